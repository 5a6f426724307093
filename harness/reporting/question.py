"""What a report is asked: the question that the sweep put, or what would be if its limits, prices or metric were others.

First step of the report command. The sweep's closing report keeps its settings beside its pages. The same question again may open the sealed
test predictions of what it recommends, and replaces `report/`; a what-if question opens nothing and is answered in a folder of its own.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from harness.config import Metric, RankConfig
from harness.errors import ConfigError
from harness.study.store import Study, atomic_write

SHOWN_ONLY = frozenset({"confidence", "num_resamples", "equivalence_frac"})
"""Settings of intervals and words: they never change what is recommended."""


@dataclass(frozen=True, slots=True)
class Question:
    """One ranking that is asked for."""

    cfg: RankConfig
    is_what_if: bool
    folder: Path
    """Where the answer goes."""


def ask(study: Study, cfg: RankConfig, given: Collection[str] | None = None) -> Question:
    """The sweep's question with some settings replaced.

    Args:
        study: the folder.
        cfg: settings as they were composed.
        given: its fields that the user gave; None: those that are not as they are by default. All others are as the sweep had them.
    """
    own = kept(study)
    names = _unlike(cfg, RankConfig()) if given is None else given
    asked = replace(own, **{name: getattr(cfg, name) for name in names})
    is_what_if = bool(_unlike(asked, own) - SHOWN_ONLY)
    return Question(asked, is_what_if, study.root / f"report-{_slug(asked)}" if is_what_if else study.report_dir)


def keep(study: Study, cfg: RankConfig) -> None:
    """Keep what a sweep closes with. Raises StoreError."""
    with atomic_write(_path(study)) as temporary:
        temporary.write_text(json.dumps(asdict(cfg) | {"metric": cfg.metric.value}, indent=1), encoding="utf-8")


def kept(study: Study) -> RankConfig:
    """What the last sweep closed with; the defaults where none has, or the file says nothing that can be used."""
    try:
        found: Any = json.loads(_path(study).read_text(encoding="utf-8"))
        known: dict[str, Any] = {field.name: found[field.name] for field in fields(RankConfig) if field.name in found}
        return RankConfig(**(known | {"metric": Metric(known.get("metric", Metric.auto.value))}))
    except (OSError, ValueError, TypeError, AttributeError, ConfigError):
        return RankConfig()


def _path(study: Study) -> Path:
    return study.report_dir / "rank.json"


def _unlike(cfg: RankConfig, other: RankConfig) -> set[str]:
    """Names of the fields in which two differ."""
    return {field.name for field in fields(RankConfig) if getattr(cfg, field.name) != getattr(other, field.name)}


def _slug(cfg: RankConfig) -> str:
    """Names and values of everything that is not as it is by default, fit for a file name; equal questions have equal ones."""
    named = [field.name for field in fields(RankConfig) if field.name in _unlike(cfg, RankConfig()) - SHOWN_ONLY]
    return "-".join(f"{name}={_word(getattr(cfg, name))}" for name in named) or "defaults"


def _word(value: Metric | float) -> str:
    return value.value if isinstance(value, Metric) else repr(float(value))
