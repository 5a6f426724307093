"""The page that lists the studies of a results folder, from a small file that each report leaves beside its pages.

After the report: none is read or ranked again. Names and texts of other studies are untrusted.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from harness.config import Language
from harness.errors import StoreError
from harness.files import atomic_write, is_folder, is_there, listed, open_plain
from harness.reporting.first_screen import headline
from harness.reporting.render import to_index
from harness.reporting.sections.facts import known_rows
from harness.select.ranking import Ranking
from harness.study.store import Study
from harness.text.counts import counted
from harness.text.language import language, say, speaking
from harness.text.untrusted import one_line

_SUMMARY = "summary.json"
_LONGEST = 2**16
"""Bytes of that file; more has not been written by a report."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of the page. Every string is plain text."""

    name: str
    href: str
    """Of its report, from the results folder; empty where there is none."""
    dataset: str
    num_jobs: str
    last: str
    """Day of its last job."""
    recommendation: str


def write_summary(study: Study, ranking: Ranking, table: pd.DataFrame) -> None:
    """Leave beside the report what the list of studies says of it. Raises StoreError.

    Args:
        study: whose.
        ranking: that the report is about.
        table: of all rows.
    """
    jobs = table[table["fold"].isna()]
    found = {
        "dataset": next((row.dataset for row in known_rows(ranking)), ""),
        "num_jobs": len(jobs),
        "last": str(jobs["started_at"].max())[:10],
        "recommendation": _in_each_language(ranking),
    }
    with atomic_write(study.report_dir / _SUMMARY) as temporary:
        temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _in_each_language(ranking: Ranking) -> dict[str, str]:
    """The headline; the list may speak another one than the report."""
    found = {}
    for each in Language:
        with speaking(each.value):
            found[each.value] = headline(ranking)
    return found


def list_studies(results_dir: Path, tell: Callable[[str], None]) -> None:
    """Write `index.html` of a results folder. Where that is not possible, one line tells so."""
    try:
        studies = [_line(Study(path)) for path in listed(results_dir, "") if _is_study(path)]
        title = say("{studies} in {folder}", studies=counted(len(studies), "study", "studies"), folder=results_dir.resolve().name)
        page = to_index(title, studies)
        with atomic_write(results_dir / "index.html") as temporary:
            temporary.write_text(page, encoding="utf-8")
    except StoreError as error:
        tell(f"the list of studies was not written: {error}")


def _is_study(path: Path) -> bool:
    return is_folder(path / "rows") or is_there(path / "report" / "index.html")


def _line(study: Study) -> Listed:
    told = _summary(study)
    has_page = is_there(study.report_dir / "index.html")
    number = told.get("num_jobs") if isinstance(told.get("num_jobs"), int) else len(study.job_ids())
    missing = say("Its report was made by an earlier version." if has_page else "No report yet: {command}", command=study.report_command)
    return Listed(
        name=one_line(study.name),
        href=f"./{quote(study.name, safe='')}/report/index.html" if has_page else "",
        dataset=_text(told, "dataset"),
        num_jobs=f"{number:,}",
        last=_text(told, "last"),
        recommendation=_recommendation(told) or missing,
    )


def _recommendation(told: dict[str, Any]) -> str:
    found = told.get("recommendation")
    return _text(found, language()) if isinstance(found, dict) else _text(told, "recommendation")


def _text(told: dict[str, Any], name: str) -> str:
    return one_line(found) if isinstance(found := told.get(name), str) else ""


def _summary(study: Study) -> dict[str, Any]:
    """Empty where there is none that can be read."""
    try:
        with open_plain(study.report_dir / _SUMMARY) as file:
            found = json.loads(file.read(_LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
