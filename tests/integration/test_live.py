"""The report while a sweep runs: what it says midway, and that no page goes on saying so afterwards."""

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import run
from sys import executable

import pytest

from harness.config import RankConfig
from harness.reporting.stage import Pace, Stage, Watched
from harness.search import live
from harness.search.live import LivePages
from harness.search.runner import Sweep
from harness.study.row import Row
from harness.study.store import Study
from tests.integration.commands import TINY, Command

AT_ONCE = Pace(0.0, 0.0, niceness=0)
SWEEP = (*TINY, "study=digits", "backbone=test_resnet,test_vit,test_efficientnet", "freeze=all")
REFRESH = '<meta http-equiv="refresh" content="10">'


def page(results: Path) -> str:
    """As it is now; empty where there is none."""
    path = results / "digits" / "report" / "index.html"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something holds within a minute."""
    end = time.monotonic() + 60
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_the_page_follows_the_sweep(tmp_path: Path, run_sweep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Midway it says how many jobs are done, ranks them, reloads itself and has opened no test prediction. Interrupted, it says so and no longer
    reloads itself. The report takes its place.
    """
    results = tmp_path / "results"
    finished, seen = Sweep.finished, list[Row]()

    def and_interrupt(sweep: Sweep, rows: Sequence[Row], num_left: int | None = None) -> None:
        finished(sweep, rows, num_left)
        seen.extend(rows)
        if len(seen) == 2:
            assert eventually(lambda: "2 of 3 jobs done" in page(results) and "So far: 2 candidates" in page(results)), page(results)
            assert REFRESH in page(results)
            assert not (results / "digits" / "opened.jsonl").exists()
            raise KeyboardInterrupt

    monkeypatch.setattr(live, "PACE", AT_ONCE)
    monkeypatch.setattr(Sweep, "finished", and_interrupt)
    assert run_sweep(*SWEEP).status == 130
    assert "refresh" not in page(results)
    assert "interrupted: 2 of 3 jobs done" in page(results)
    assert "So far: 2 candidates" in page(results)
    assert "python -m harness.report study=digits" in page(results)
    assert run_sweep(*SWEEP).status == 0
    assert "refresh" not in page(results)
    assert "still running" not in page(results)
    assert 'id="decision"' in page(results)


class Pages(LivePages):
    """Of a study, without jobs."""

    root = Path()

    def _watched(self) -> list[Watched]:
        return [Watched(self.root, RankConfig(), frozenset())]


STAGE = Stage(num_jobs=3, num_done=0, num_failed=0, left_s=300.0, doing="training <b>net</b>")


def test_a_page_that_cannot_be_written_is_one_line_and_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep goes on without live pages."""
    monkeypatch.setattr(live, "PACE", AT_ONCE)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Pages, "root", tmp_path / "file" / "study")
    said = list[str]()
    with Pages([], time.perf_counter(), said.append) as pages:

        def is_told() -> bool:
            pages.tell(STAGE)
            return bool(said)

        assert eventually(is_told)
        pages.tell(STAGE)
        pages.be_quiet()
    assert len(said) == 1
    assert re.match(r"the report is not written while the sweep runs: .*file/study/report/index.html: cannot be written", said[0])


def begin_and_die(root: str) -> None:
    """What a sweep does that is killed when its first page is there."""
    live.PACE = AT_ONCE
    Pages.root = Path(root)
    pages = Pages([], time.perf_counter(), print).__enter__()
    pages.tell(STAGE)
    eventually((Study(Path(root)).report_dir / "index.html").exists)
    os._exit(9)


def test_the_page_of_a_killed_sweep_says_so(tmp_path: Path) -> None:
    """Whoever is killed can write nothing any more; the process beside it does. Before the first row, the page says what is being done."""
    code = f"from tests.integration.test_live import begin_and_die; begin_and_die({str(tmp_path / 'digits')!r})"
    assert run([executable, "-c", code], check=False).returncode == 9
    assert eventually(lambda: "The sweep was interrupted: 0 of 3 jobs done" in page(tmp_path))
    assert "refresh" not in page(tmp_path)
    assert "<b>net" not in page(tmp_path)
