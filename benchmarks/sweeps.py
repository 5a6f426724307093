"""Whole sweeps as a person starts them, timed from start to exit, with the rows they wrote. Used by the benchmarks of the harness itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.side_by_side import BenchmarkError, run_module
from harness.status import Status
from harness.study.row import Row
from harness.study.store import Study


@dataclass(frozen=True, slots=True)
class Swept:
    """One `python -m harness.sweep`."""

    wall_s: float
    """Of the whole command: imports, preparing, jobs, report."""
    study: Study
    rows: Sequence[Row]
    """Of the whole study, in no order."""


def sweep(folder: Path, *overrides: str, study: str = "bench") -> Swept:
    """Run a sweep whose results and cache lie in `folder`; what an earlier one left there is found and used. Only its jobs run: no folds beside them.

    Args:
        folder: an empty one for a sweep with an empty cache.
        overrides: as on the command line.
        study: name of the study; with the name of an earlier one, jobs that are done are not run again.

    Raises:
        BenchmarkError: some row is not good.
    """
    run = run_module("harness.sweep", "evidence.minutes=0", *overrides, *places(folder, study))
    found = Study(folder / "results" / study)
    return Swept(run.wall_s, found, good_rows(found))


def places(folder: Path, study: str) -> list[str]:
    """The overrides that keep a sweep within `folder`."""
    return [f"study={study}", f"results_dir={folder}/results", f"cache_dir={folder}/cache"]


def good_rows(study: Study) -> list[Row]:
    """The rows of a study. Raises BenchmarkError when there are none or one of them is not ok."""
    rows = study.rows()
    bad = [row for row in rows if row.status != Status.ok.value]
    if bad or not rows:
        reason = f"{bad[0].backbone} freeze={bad[0].freeze}: {bad[0].error}" if bad else "it has no rows"
        raise BenchmarkError(f"{study.root.name}: {reason}; run the sweep by hand to see more.")
    return rows


def total(rows: Sequence[Row], column: str) -> float:
    """Sum of a column; empty cells count nothing."""
    return float(sum(getattr(row, column) or 0 for row in rows))


def features_s(rows: Sequence[Row]) -> float:
    """Seconds of the passes that these rows' own jobs made, each in a process of its own; jobs that found everything kept made none."""
    return total([row for row in rows if row.num_activations_computed], "features_s")


def add_up(rows: Sequence[Row]) -> dict[str, float]:
    """What the jobs of a sweep spent (seconds) and how many images they sent through frozen layers."""
    return {
        "features_s": features_s(rows),
        "train_s": total(rows, "train_s"),
        "jobs_s": total(rows, "total_s"),
        "num_activations_computed": total(rows, "num_activations_computed"),
    }
