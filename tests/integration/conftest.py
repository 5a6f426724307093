"""Sweeps through the real command line, in this process; each job still runs in a process of its own."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from harness import report
from harness.sweep import main as sweep
from tests.integration.commands import Command, Ended


def _run(main: Callable[[], None], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    GlobalHydra.instance().clear()
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def run_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """`python -m harness.sweep ...` with results and caches below tmp_path; nothing is cross-fitted unless the arguments ask for it."""

    def run(*arguments: str, results: str = "results") -> Ended:
        first = [f"results_dir={tmp_path / results}", f"cache_dir={tmp_path / 'cache'}", "evidence.minutes=0"]
        status = _run(sweep, [*first, *arguments], monkeypatch)
        return Ended(status, *capfd.readouterr(), tmp_path / results)

    return run


@pytest.fixture
def run_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """`python -m harness.report ...` on the same results."""

    def run(*arguments: str) -> Ended:
        status = _run(report.main, [f"results_dir={tmp_path / 'results'}", *arguments], monkeypatch)
        return Ended(status, *capfd.readouterr(), tmp_path / "results")

    return run
