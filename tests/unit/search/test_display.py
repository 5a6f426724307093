"""What a sweep says of the time that is left, and of a job while it runs."""

import io
from pathlib import Path
from platform import node
from typing import Any

import pytest
from rich.console import Console

from harness.jobs.spec import JobSpec
from harness.search.display import Progress
from harness.study.row import Row
from tests.unit.search.test_cross_fit import World
from tests.unit.select.planted import make_row


@pytest.fixture
def jobs(tmp_path: Path) -> list[JobSpec]:
    """Two backbones, heads first; two seeds of each fine-tune."""
    world = World(tmp_path)
    heads = [world.job(name, "all") for name in ("small", "large")]
    return [*heads, *(world.job(name, "none", seed) for name in ("small", "large") for seed in (0, 1))]


def ended(job: JobSpec, total_s: float, features_s: float | None = None) -> Row:
    """A row of this machine."""
    sizes: dict[str, Any] = {"n_train": 240, "n_val": 60, "n_test": 0, "primary_metric": "accuracy"}
    return make_row(job.job_id, job.config.backbone, str(job.depth), total_s=total_s, features_s=features_s, host=node(), **sizes)


def left_s(progress: Progress) -> float:
    """Of the whole sweep."""
    found = progress.stage().left_s
    assert found is not None
    return found


def test_the_time_left_is_no_mean_over_jobs(jobs: list[JobSpec]) -> None:
    """Heads that took little do not promise that fine-tunes will; what one seed took, the other will; a large backbone takes what its probe says."""
    progress = Progress(jobs)
    assert progress.stage().left_s is None
    small, large = jobs[:2]
    progress.finished([ended(small, 3.0, 1.5)])
    progress.finished([ended(large, 9.0, 7.5)])
    assert left_s(progress) > 10 * (3.0 + 9.0)
    progress.finished([ended(jobs[2], 40.0)])
    of_large_s = (left_s(progress) - 40.0 - left_of_timing(progress)) / 2
    assert of_large_s > 3 * 40.0


def left_of_timing(progress: Progress) -> float:
    """When all jobs are done."""
    whole = Progress(progress.jobs)
    whole.finished([ended(job, 1.0, 1.0) for job in progress.jobs])
    return left_s(whole)


def test_a_terminal_shows_what_a_job_does(jobs: list[JobSpec]) -> None:
    """In a line that vanishes; the time left falls while a job runs. Where there is no terminal nobody is told."""
    out = io.StringIO()
    progress = Progress(jobs, Console(file=out, force_terminal=True, width=120))
    progress.finished([ended(jobs[0], 3.0, 1.5)])
    out.truncate(0)
    with progress.watched([jobs[1]]) as show:
        assert show is not None
        show("epoch 3 of 10 · 212 images/s\x1b[2J")
        assert "large freeze=all seed=0 · epoch 3 of 10 · 212 images/s" in out.getvalue()
        assert " left" in out.getvalue()
        assert "\x1b[2J" not in out.getvalue()
    running = progress.stage("", {jobs[1].job_id}, 2.0).left_s
    assert running == pytest.approx(left_s(progress) - 2.0)
    with Progress(jobs, Console(file=io.StringIO())).watched([jobs[1]]) as nobody:
        assert nobody is None
