"""What Hydra composes, as dataclasses: one configuration per job, what the jobs of a sweep share composed once.

At the border: behind it a job is a `SweepConfig`, and later a `JobSpec`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
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

_REFERENCE = "${"
"""What a value begins with that is made of others."""

Overrides = Sequence[str]
"""Of one job, as they composed it."""


def to_config(cfg: DictConfig) -> SweepConfig:
    """The dataclass behind a composed configuration, validated. Raises ConfigError when a required key has no value."""
    try:
        return _with_homes(typed(cfg, SweepConfig))
    except OmegaConfBaseException:
        if missing := sorted(OmegaConf.missing_keys(cfg)):
            raise ConfigError(f"{missing[0]}: no value given; add {missing[0]}=... (several, separated by commas, are swept).") from None
        raise


def _with_homes(found: SweepConfig) -> SweepConfig:
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


@dataclass(frozen=True, slots=True)
class _Shared:
    """What jobs have in common that differ only in values of single keys."""

    cfg: DictConfig
    """In which these values are set, job by job."""
    referring: frozenset[str]
    """Parts with values that are made of others."""
    known: dict[tuple[str, ...], Any] = field(default_factory=dict)
    """Other parts by name and what a job sets in them: jobs that set the same have the same object."""
    is_set: dict[str, str] = field(default_factory=dict)
    """By key, the override that it stands at."""

    @classmethod
    def of(cls, cfg: DictConfig) -> "_Shared":
        plain = OmegaConf.to_container(cfg, resolve=False)
        assert isinstance(plain, dict)
        return cls(cfg, frozenset(str(name) for name, value in plain.items() if _REFERENCE in repr(value)))

    def config(self, own: Sequence[Override]) -> SweepConfig:
        """With these values of single keys."""
        lines: dict[str, list[str]] = {}
        for each in own:
            key, line = each.key_or_group, str(each.input_line)
            if self.is_set.get(key) != line:
                self.is_set.pop(key, None)
                OmegaConf.update(self.cfg, key, each.value())
                self.is_set[key] = line
            lines.setdefault(key.partition(".")[0], []).append(line)
        return _with_homes(SweepConfig(**{str(name): self._part(str(name), lines.get(str(name), [])) for name in self.cfg}))

    def _part(self, name: str, own: Sequence[str]) -> Any:
        if name in self.referring or any(_REFERENCE in line for line in own):
            return _as_object(self.cfg[name])
        if (name, *own) not in self.known:
            self.known[name, *own] = _as_object(self.cfg[name])
        return self.known[name, *own]


def _as_object(value: Any) -> Any:
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


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
        self._shared: dict[tuple[str, ...], _Shared] = {}

    def config(self, overrides: Overrides) -> SweepConfig:
        """Of one job. Raises whatever Hydra does about these overrides, and ConfigError."""
        own = self._single_values(overrides)
        texts = {each.input_line for each in own}
        key = (*(each.key_or_group for each in own), "", *(text for text in overrides if text not in texts))
        if key not in self._shared:
            self._shared[key] = _Shared.of(self._whole(overrides))
            return to_config(self._shared[key].cfg)
        try:
            return self._shared[key].config(own)
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
    for name in (each.name for each in fields(schema)):
        kind = hints[name]
        if is_dataclass(kind) and isinstance(kind, type):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind
