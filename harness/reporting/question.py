"""The question that a report answers: the one that the sweep put, or a what-if question with other limits, prices or metric.

First step of the report command. The sweep's closing report keeps its settings beside its pages. The same question again may open the sealed
test predictions of what it recommends, and replaces `report/`; a what-if question opens nothing and is answered in a folder of its own.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from harness.config import RankConfig
from harness.errors import ConfigError
from harness.files import open_plain
from harness.select.protocols import Protocol, find_protocol, protocols_of
from harness.study.store import Study, atomic_write
from harness.text.untrusted import shell_word

MAX_WORD = 40
"""Letters of a value in the name of a folder."""
SHOWN_ONLY = frozenset({"confidence", "num_resamples", "equivalence_frac"})
"""Settings of intervals and words: they never change what is recommended."""


@dataclass(frozen=True, slots=True)
class Question:
    """One ranking that is asked for."""

    cfg: RankConfig
    is_what_if: bool
    folder: Path
    """Where the answer goes."""
    protocol: str | None
    """Of the rows that are ranked; None: the study holds none."""


def ask(study: Study, cfg: RankConfig, given: Collection[str] | None = None, protocol: str | None = None) -> Question:
    """The sweep's question with some settings replaced.

    Args:
        study: the folder.
        cfg: settings as they were composed.
        given: its fields that the user gave; None: those that are not as they are by default. All others are as the sweep had them.
        protocol: that was asked for, or the start of its name; None: that of the last sweep.

    Raises:
        TableError: the study holds no such protocol.
    """
    own, held = kept(study), protocols_of(study.rows())
    own_protocol = _kept_protocol(study, held)
    names = _unlike(cfg, RankConfig()) if given is None else given
    asked = replace(own, **{name: getattr(cfg, name) for name in names})
    wanted = own_protocol if protocol is None else find_protocol(study, held, protocol).name
    is_what_if = bool(_unlike(asked, own) - SHOWN_ONLY) or wanted != own_protocol
    slug = _slug(asked, None if wanted == own_protocol else wanted)
    return Question(asked, is_what_if, study.root / f"report-{slug}" if is_what_if else study.report_dir, wanted)


def overrides(study: Study, cfg: RankConfig, protocol: str | None, but: Collection[str] = ()) -> list[str]:
    """What the report command has to be given to ask this, each fit for a shell, without the settings in `but`."""
    own = kept(study)
    names = [field.name for field in fields(RankConfig) if field.name in _unlike(cfg, own) - set(but)]
    typed = [f"rank.{name}={_typed(getattr(cfg, name))}" for name in names]
    if protocol not in (None, _kept_protocol(study, protocols_of(study.rows()))):
        typed.append(f"protocol={protocol}")
    return [shell_word(each) for each in typed]


def keep(study: Study, cfg: RankConfig, protocol: str | None = None) -> None:
    """Keep what a sweep closes with. Raises StoreError."""
    found = asdict(cfg) | {"protocol": protocol}
    with atomic_write(_path(study)) as temporary:
        temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _kept_protocol(study: Study, held: Sequence[Protocol]) -> str | None:
    """What the last sweep's jobs were measured by; where no sweep has closed, what a ranking is about that nobody asked for."""
    found = _read(study).get("protocol")
    return next((each.name for each in held if each.name == found), held[0].name if held else None)


def _read(study: Study) -> dict[str, Any]:
    """What the last sweep kept; empty where none has, or the file cannot be read."""
    try:
        with open_plain(_path(study)) as file:
            found = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def kept(study: Study) -> RankConfig:
    """What the last sweep closed with; the defaults where none has, or the file says nothing that can be used."""
    try:
        found = _read(study)
        known: dict[str, Any] = {field.name: found[field.name] for field in fields(RankConfig) if field.name in found}
        return RankConfig(**known)
    except (ValueError, TypeError, ConfigError):
        return RankConfig()


def _path(study: Study) -> Path:
    return study.report_dir / "rank.json"


def _unlike(cfg: RankConfig, other: RankConfig) -> set[str]:
    """Names of the fields in which two differ."""
    return {field.name for field in fields(RankConfig) if getattr(cfg, field.name) != getattr(other, field.name)}


def _slug(cfg: RankConfig, protocol: str | None) -> str:
    """Names and values of everything that is not as it is by default, fit for a file name; equal questions have equal ones."""
    named = [field.name for field in fields(RankConfig) if field.name in _unlike(cfg, RankConfig()) - SHOWN_ONLY]
    parts = [f"{name}={_word(getattr(cfg, name))}" for name in named] + ([f"protocol={protocol}"] if protocol else [])
    return "-".join(parts) or "defaults"


def _typed(value: str | list[str] | float | None) -> str:
    if value is None:
        return "null"
    return ",".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


def _word(value: str | list[str] | float) -> str:
    """A value in a file name; of one that is not fit for it, what is, and a hash of all of it."""
    if isinstance(value, int | float):
        return repr(float(value))
    text = value if isinstance(value, str) else ",".join(value)
    fit = re.sub(r"[^\w.=-]+", "_", text, flags=re.ASCII)[-MAX_WORD:]
    return fit if fit == text else f"{fit}-{blake2b(text.encode(), digest_size=4).hexdigest()}"
