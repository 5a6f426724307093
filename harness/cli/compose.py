"""What Hydra composes, as dataclasses: one configuration per job, what the jobs of a sweep share composed once.

At the border: behind it a job is a `SweepConfig`, and later a `JobSpec`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from harness.cli.command import typed
from harness.config import SweepConfig
from harness.errors import ConfigError
from harness.files import local_folder
from harness.files.place import is_store

Overrides = Sequence[str]
"""Of one job, as they composed it."""


def to_config(cfg: DictConfig) -> SweepConfig:
    """The dataclass behind a composed configuration, validated. Raises ConfigError when a required key has no value."""
    try:
        found = typed(cfg, SweepConfig)
    except OmegaConfBaseException:
        if missing := sorted(OmegaConf.missing_keys(cfg)):
            raise ConfigError(f"{missing[0]}: no value given; add {missing[0]}=... (several, separated by commas, are swept).") from None
        raise
    for key, folder in {"results_dir": found.results_dir, "cache_dir": found.cache_dir, "data.root": found.data.root}.items():
        _require_home(key, folder)
    local_folder(found.results_dir)  # names what it does not take
    if is_store(found.cache_dir):
        raise ConfigError(
            f"cache_dir={found.cache_dir}: is a folder of this machine; give store.shared={found.cache_dir} for cached activations."
        )
    return found


def _require_home(key: str, folder: str | None) -> None:
    try:
        Path(folder or "").expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{key}={folder}: ~ stands for no folder, as HOME is not set or there is no such user; give the whole path."
        ) from error


class Composer:
    """Configurations of the jobs of one sweep.

    Hydra takes about 80 ms to compose one. Jobs that differ only in values of single keys share one composition, in which these values are set as
    Hydra would set them. Where the two might not be the same, a job is composed by itself.
    """

    def __init__(self, compose: Callable[[Overrides], DictConfig], is_group: Callable[[str], bool]) -> None:
        """Take the two things that Hydra knows.

        Args:
            compose: a whole configuration, also with Hydra's own part.
            is_group: whether a key chooses a file of `conf/`.
        """
        self._compose = compose
        self._is_group = cache(is_group)
        self._parsed = cache(OverridesParser.create().parse_override)
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def config(self, overrides: Overrides) -> SweepConfig:
        """Of one job. Raises whatever Hydra does about these overrides, and ConfigError."""
        own = self._single_values(overrides)
        texts = {each.input_line for each in own}
        shared = (*(each.key_or_group for each in own), "", *(text for text in overrides if text not in texts))
        if shared not in self._composed:
            self._composed[shared] = self._whole(overrides)
            return to_config(self._composed[shared])
        try:
            for each in own:
                OmegaConf.update(self._composed[shared], each.key_or_group, each.value())
            return to_config(self._composed[shared])
        except Exception:  # noqa: BLE001  whatever it is, what Hydra says about these overrides is what is told
            return to_config(self._whole(overrides))

    def _whole(self, overrides: Overrides) -> DictConfig:
        cfg = self._compose(overrides)
        with read_write(cfg), open_dict(cfg):
            cfg.pop("hydra", None)
        return cfg

    def _single_values(self, overrides: Overrides) -> list[Override]:
        """Those that set one value of one key, which no other override reaches."""
        parsed = [self._parsed(text) for text in overrides]
        settings = [each for each in parsed if isinstance(each.value(), dict) or not self._is_group(each.key_or_group)]
        return [each for each in settings if _is_single(each) and not any(_overlap(each, other) for other in settings if other is not each)]


def _is_single(override: Override) -> bool:
    is_plain = override.type is OverrideType.CHANGE and override.package is None and not override.is_sweep_override()
    return is_plain and override.key_or_group in _single_keys() and not isinstance(override.value(), dict | list)


def _overlap(one: Override, other: Override) -> bool:
    first, second = f"{one.key_or_group}.", f"{other.key_or_group}."
    return first.startswith(second) or second.startswith(first)


@cache
def _single_keys() -> frozenset[str]:
    """Dotted names of all keys that have no keys of their own."""
    return frozenset(key for key, _ in leaves(SweepConfig))


def leaves(schema: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and type of every key of a configuration that has no keys of its own."""
    hints = get_type_hints(schema)
    for name in (field.name for field in fields(schema)):
        kind = hints[name]
        if is_dataclass(kind) and isinstance(kind, type):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind
