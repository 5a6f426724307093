"""Sweeps whose workers are elsewhere, with commands that stand in for Slurm's; `tests/cluster` has the real one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.fake_slurm import install, options
from tests.faults.box import QUALITY
from tests.integration.commands import TINY, Command, Ended

OPTIONS = (*TINY, "backbone=test_resnet", "freeze=all,none", "precision=float32")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Slurm's commands on the PATH; what they have started ends with the test."""
    monkeypatch.setenv("PATH", install(tmp_path / "commands"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    yield tmp_path / "commands"
    subprocess.run(["scancel", "1"], check=True)


def table(ended: Ended) -> pd.DataFrame:
    """State and quality of every job, by its id."""
    return pd.read_csv(ended.study().root / "results.csv").set_index("job_id").sort_index()[["status", *QUALITY]]


def test_a_sweep_on_slurm_is_the_sweep_here(commands: Path, run_sweep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers, one report; the jobs have the ids and scores that they have without a cluster, which is no part of either."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    there = run_sweep(*OPTIONS, "on=slurm", "workers=2", "slurm.partition=p", results="there")
    assert there.status == 0, there.err
    assert "2 workers submitted to Slurm, each with 1 core and no GPU: 1" in there.out
    assert "[2/2]" in there.out
    assert "--partition=p" in options(commands)
    assert (there.study().root / "report" / "index.html").exists()
    assert not [part for row in there.rows() for part in row.details.command if part.startswith(("on=", "slurm.", "workers="))]
    here = run_sweep(*OPTIONS, results="here")
    pd.testing.assert_frame_equal(table(there), table(here), check_exact=True)


def test_a_worker_that_is_told_to_stop_leaves_at_once(commands: Path, tmp_path: Path) -> None:
    """In the middle of a job: one line in its log, no row, no process of it left; and the task goes back into the queue."""
    folders = [f"results_dir={tmp_path / 'results'}", f"cache_dir={tmp_path / 'cache'}"]
    more = ("evidence.minutes=0", "train.epochs=2000", "train.augment=light", "on=slurm", "job.stall_minutes=null")
    study = tmp_path / "results" / "digits"
    with subprocess.Popen([sys.executable, "-m", "harness.sweep", *folders, *OPTIONS, *more], stdout=subprocess.DEVNULL) as sweep:
        try:
            until(lambda: list(study.glob("claims/*.lock")))
            script = psutil.Process(int((commands / "1_0.pid").read_text(encoding="ascii")))
            until(lambda: len(script.children(recursive=True)) > 3)  # the worker, what jobs are forked from, and a job
            below = script.children(recursive=True)
            script.send_signal(signal.SIGUSR1)
            until((commands / "requeued").exists)
            until(lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in below))
        finally:
            sweep.kill()
    (log,) = study.glob("plan/*/slurm/1_0.log")
    assert log.read_text(encoding="utf-8").splitlines()[-1] == "told to end by SIGTERM"
    assert not list(study.glob("rows/*"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["on=slurm"], "on=slurm: there is no sbatch on this machine"),
        (["on=moon"], "on=moon: not allowed; on takes one of here, slurm, ray"),
        (["on=ray", "ray.address=127.0.0.1:1"], "ray.address=127.0.0.1:1: nothing answers there (Connection refused)"),
        (["on=ray", "ray.num_gpus=-1"], "ray.num_gpus=-1"),
        (["on=slurm", "slurm.options=exclusive"], "slurm.options=exclusive: not allowed; give options as sbatch takes them"),
    ],
)
def test_what_no_cluster_takes_is_one_line(run_sweep: Command, monkeypatch: pytest.MonkeyPatch, given: list[str], said: str) -> None:
    """And status 2, with no row."""
    if any("127.0.0.1" in each for each in given):
        pytest.importorskip("ray")
    monkeypatch.setenv("PATH", "/nowhere")
    ended = run_sweep(*OPTIONS, *given)
    assert ended.status == 2
    assert said in ended.err
    assert len([line for line in ended.err.splitlines() if line.startswith("error:")]) == 1
    assert not (ended.results / "digits" / "rows").exists()


def test_without_ray_the_command_names_what_to_install(run_sweep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra of this package."""
    monkeypatch.setattr("harness.clusters.on_ray.find_spec", lambda _: None)
    ended = run_sweep(*OPTIONS, "on=ray")
    assert ended.status == 2
    assert "pip install 'model-selection-harness[ray]'" in ended.err


def until(is_so: Callable[[], object]) -> None:
    """Wait for it."""
    ends_s = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < ends_s
        time.sleep(0.1)
