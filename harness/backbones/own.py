"""Networks of the user's own, made exact: folders and hub repositories in timm's format, and Python functions.

Called by `catalog.resolve`, which knows the names that libraries have.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.backbones.backbone import BackboneSpec, Kind, Own
from harness.backbones.catalog import architectures, family_of
from harness.backbones.fetch import NotFetchedError, fetch
from harness.backbones.hub import Published, cached_file, in_repository, why_unreachable
from harness.backbones.python_source import source_hash
from harness.errors import BackboneError
from harness.online.reasons import brief

CONFIG, CARD = "config.json", "README.md"
_DATA_KEYS = frozenset(
    {"input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "num_classes", "pool_size"}
    | {"first_conv", "classifier", "license"}
)
"""What is taken of a `pretrained_cfg`; never where weights lie, nor how they are to be loaded."""
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---", re.DOTALL)
_LICENCE = re.compile(r"^license:\s*['\"]?([\w.+-]+)", re.MULTILINE)


def resolve_own(name: str, kind: Kind, place: str) -> BackboneSpec:
    """Make a network of the user's own exact.

    Args:
        name: as it was typed.
        kind: what it is made from.
        place: where that is.

    Raises:
        BackboneError: it is not there, or not in timm's format.
    """
    if kind is Kind.python:
        return BackboneSpec(name, place, None, "python", "python", Own(kind, place, source_hash(name, place)))
    if kind is Kind.folder:
        folder = Path(place).expanduser().absolute()  # a job may run in another folder
        place, files = str(folder), {each: folder / each for each in (CONFIG, CARD)}
        if not files[CONFIG].is_file():
            raise BackboneError(
                f"backbone={name}: {files[CONFIG]} is not there; give a folder that timm or `python -m harness.export` wrote."
            )
    else:
        files = {each: path for each in (CONFIG, CARD) if (path := _from_hub(name, place, each))}
    model, config = _read(name, files[CONFIG])
    stated = config["pretrained_cfg"].pop("license", None) or _licence_on(files.get(CARD))
    if isinstance(stated, str):
        config["pretrained_cfg"]["license"] = brief(stated)
    text = json.dumps(config, sort_keys=True)
    build = hashlib.blake2b(json.dumps([model, _deciding(config)], sort_keys=True).encode(), digest_size=4).hexdigest()
    return BackboneSpec(name, model, None, family_of(model), "timm", Own(kind, place, build, text))


def _deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """All but what says nothing of the network."""
    return {**config, "pretrained_cfg": {key: value for key, value in config["pretrained_cfg"].items() if key != "license"}}


def _from_hub(name: str, place: str, filename: str) -> Path | None:
    """A file of a repository, cached or fetched; None for a card that is not there."""
    source = in_repository(place, (filename,))
    if found := cached_file(source):
        return found
    try:
        return _fetched(name, source)
    except BackboneError:
        if filename == CARD:
            return None
        raise


def _fetched(name: str, source: Published) -> Path:
    if obstacle := why_unreachable(source):
        raise BackboneError(
            f"backbone={name}: its {source.filenames[0]} is not in the cache {source.cache_dir}, and {source.address} is out of reach "
            f"({obstacle}); give backbone=local-dir:FOLDER, or another backbone."
        )
    try:
        return fetch(replace(source.order, is_checkpoint=False))
    except NotFetchedError as error:
        raise BackboneError(f"backbone={name}: the download from {source.address} failed ({error}).") from error


def _read(name: str, path: Path) -> tuple[str, dict[str, Any]]:
    """The architecture and `pretrained_cfg` and `model_args` of a `config.json`, which is untrusted: plain values of known keys only."""
    from timm.models._hub import _parse_model_cfg

    try:
        given, model, args = _parse_model_cfg(json.loads(path.read_bytes()), {})
        config = {key: value for key, value in dict(given).items() if key in _DATA_KEYS and value is not None}
        args = {key: value for key, value in dict(args or {}).items() if key != "num_classes"}
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise BackboneError(f"backbone={name}: its {CONFIG} is not in timm's format ({brief(str(error))}).") from error
    if model not in architectures():
        raise BackboneError(
            f"backbone={name}: its {CONFIG} asks for {brief(str(model))}, an architecture that the timm here does not have."
        )
    if refused := sorted(set(args) & _refused()):
        raise BackboneError(f"backbone={name}: its {CONFIG} asks for {refused[0]}, which may not be given there.")
    return model, {"pretrained_cfg": config, "model_args": args}


def _refused() -> set[str]:
    """Arguments of `timm.create_model` that say what is loaded from where, or what it returns."""
    import timm

    return {*inspect.signature(timm.create_model).parameters, "features_only", "out_indices", "pretrained_model_args"}


def _licence_on(card: Path | None) -> str | None:
    """What a model card states in its front matter."""
    if card is None or not card.is_file():
        return None
    front = _FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace"))
    stated = _LICENCE.search(front[1]) if front else None
    return stated[1] if stated else None
