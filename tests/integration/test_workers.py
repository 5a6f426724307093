"""Several workers on one sweep, as commands: the same table as with one, whoever joins, whoever is killed."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from harness.study.row import COLUMNS, Row
from harness.study.store import Study
from tests.integration.commands import TINY, Command

GRID = (*TINY, "backbone=test_resnet,test_vit", "freeze=all,-1,none", "precision=float32", "evidence.minutes=0")
"""Six jobs."""
QUALITY = [name for name in COLUMNS if name.startswith(("val_", "oof_", "train_accuracy", "train_log_loss"))] + ["status", "model_blake2b"]

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="has one core")


def quality(rows: Sequence[Row]) -> dict[str, list[object]]:
    """What a worker must not change, by job."""
    return {row.job_id: [*(getattr(row, name) for name in QUALITY), row.details.curve] for row in rows}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    """What one worker with one thread makes of the grid."""
    folder = tmp_path_factory.mktemp("alone")
    ended = _command(folder, "harness.sweep", *GRID)
    ended.communicate()
    assert ended.returncode == 0
    return quality(Study(folder / "results" / "digits").rows())


def _command(folder: Path, module: str, *options: str) -> "subprocess.Popen[str]":
    """With one thread a process, whatever there is; `harness.sweep` with a cache of its own."""
    places = [f"results_dir={folder / 'results'}"] + [f"cache_dir={folder / 'cache'}"] * (module == "harness.sweep")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", module, *options, *places], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    )


Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    """Start commands on one folder of results; none is left."""
    processes = []

    def one(module: str, *options: str) -> "subprocess.Popen[str]":
        processes.append(_command(tmp_path, module, *options))
        return processes[-1]

    yield one
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _wait_for(path: Path, what: str, num: int = 1) -> None:
    ends = time.monotonic() + 120
    while len(list(path.glob(what))) < num:
        assert time.monotonic() < ends, f"no {what} in {path}"
        time.sleep(0.1)


def test_two_workers_make_the_rows_of_one(run_sweep: Command, alone: dict[str, list[object]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal in every column of quality and in the hash of the model; each backbone is passed once; the second run finds all done."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ended = run_sweep(*GRID, "workers=2")
    assert ended.status == 0, ended.err
    assert quality(ended.rows()) == alone
    passed = [row.backbone for row in ended.rows() if row.num_activations_computed]
    assert sorted(passed) == ["test_resnet", "test_vit"]
    assert "6 already done" in run_sweep(*GRID, "workers=2").out


def test_others_may_join(tmp_path: Path, start: Started, alone: dict[str, list[object]]) -> None:
    """A worker that is started by hand takes jobs of the sweep's plan; who follows hears of all rows; each command ends by itself."""
    sweep = start("harness.sweep", *GRID, "workers=2")
    _wait_for(tmp_path / "results" / "digits" / "plan", "*/jobs.json")
    worker, follower = start("harness.work"), start("harness.follow")
    said = {name: process.communicate(timeout=240)[0] for name, process in (("sweep", sweep), ("work", worker), ("follow", follower))}
    assert (sweep.returncode, worker.returncode, follower.returncode) == (0, 0, 0), said
    assert quality(Study(tmp_path / "results" / "digits").rows()) == alone
    for name in ("sweep", "follow"):
        assert "Use test_" in said[name], said[name]
    late = start("harness.work")
    assert "its sweep is over; there is nothing to do" in late.communicate(timeout=60)[0]
    assert late.returncode == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_worker_leaves_is_done_by_another(
    tmp_path: Path, start: Started, alone: dict[str, list[object]], how: signal.Signals
) -> None:
    """A sweep is killed in the middle, and so is the worker that goes on; the next does what is left, times, ranks and reports."""
    root = tmp_path / "results" / "digits"
    sweep = start("harness.sweep", *GRID, "workers=2")
    _wait_for(root / "rows", "*.json", 1)
    sweep.kill()
    sweep.communicate()
    first = start("harness.work")
    _wait_for(root / "rows", "*.json", 3)
    first.send_signal(how)
    said = first.communicate(timeout=60)[0]
    assert first.returncode == {signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[how], said
    assert ("told to end by SIGTERM: what was begun is free for other workers" in said) == (how == signal.SIGTERM)
    last = start("harness.work")
    said = last.communicate(timeout=240)[0]
    assert last.returncode == 0, said
    assert quality(Study(root).rows()) == alone
    assert (root / "report" / "index.html").exists()


def test_a_long_training_goes_on_where_it_was_ended(tmp_path: Path, start: Started) -> None:
    """Whoever takes it up trains the epochs that are left; the row is that of a training that nobody ended, and the snapshot is gone."""
    one = (
        *TINY,
        "backbone=test_resnet",
        "freeze=none",
        "precision=float32",
        "evidence.minutes=0",
        "train.epochs=60",
        "train.lr_search=[0.3,1.0]",
    )
    undisturbed = _command(tmp_path / "undisturbed", "harness.sweep", *one)
    undisturbed.communicate()
    root = tmp_path / "results" / "digits"
    sweep = start("harness.sweep", *one, "job.snapshot_minutes=0")
    _wait_for(root / "snapshots", "*.pt")
    sweep.kill()
    sweep.communicate()
    kept = torch.load(io.BytesIO(next((root / "snapshots").glob("*.pt")).read_bytes()[16:]), weights_only=True)
    again = start("harness.sweep", *one, "job.snapshot_minutes=0")
    again.communicate(timeout=240)[0]
    (row,) = Study(root).rows()
    assert quality([row]) == quality(Study(tmp_path / "undisturbed" / "results" / "digits").rows())
    assert row.train_s > kept["spent_s"]
    assert row.energy_wh is None
    assert "a process that was ended before" in row.details.undefined["energy_wh"]
    assert not list((root / "snapshots").iterdir())


def test_a_search_over_workers_accounts_for_every_candidate(run_sweep: Command) -> None:
    """With the whole grid's time each is trained as a single worker would have; none is trained twice."""
    staged = (*GRID, "search=staged", "budget.minutes=60")
    one, two = run_sweep(*staged, results="one"), run_sweep(*staged, "workers=2", results="two")
    assert (one.status, two.status) == (0, 0), two.err
    assert {row.status for row in two.rows()} == {"ok"}
    assert {row.job_id: row.val_log_loss for row in two.rows()} == pytest.approx(
        {row.job_id: row.val_log_loss for row in one.rows()}, rel=1e-4
    )


def test_what_cannot_be_shared_out_is_refused(run_sweep: Command) -> None:
    """Too many workers, no number, workers and a launcher of Hydra's: before anything runs."""
    for options, said in (
        (("workers=1000",), "workers=1000: this machine has"),
        (("workers=0",), "workers=0: not allowed; give a number from 1, or auto"),
        (("workers=many",), "workers=many: not allowed; give a number from 1, or auto"),
        (("workers=2", "hydra/launcher=joblib"), "so workers and on cannot be given with it"),
    ):
        ended = run_sweep(*GRID, *options)
        assert ended.status == 2, options
        assert said in ended.err, ended.err
        assert not (ended.results / "digits").exists()
