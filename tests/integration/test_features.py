"""What sweeps share: cached activations, heads trained together, and what is left after a sweep was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.study.row import Row
from harness.study.store import Study
from tests.integration.commands import QUICK, TINY, Command
from tests.integration.test_sweep import QUALITY

LITE = (*QUICK, "backbone=tf_efficientnet_lite0", "data=elpv", "data.max_images=60", "data.image_size=64", "train.epochs=1")
"""Real weights and photographs, small."""


def _quality(row: Row) -> list[object]:
    return [getattr(row, name) for name in QUALITY]


def test_later_jobs_and_sweeps_pass_nothing(run_sweep: Command) -> None:
    """The first job of a backbone sends every image through it once; depths, seeds and learning rates after that, none."""
    ended = run_sweep(*LITE, "freeze=all,0.5,-1")
    assert ended.status == 0, ended.err
    assert sorted(row.num_activations_computed or 0 for row in ended.rows("elpv")) == [0, 0, 60]
    assert {row.freeze: row.trained_from for row in ended.rows("elpv")} == {"all": "bn2", "0.5": "blocks.3.2", "-1": "blocks.6.0"}
    later = run_sweep(*LITE, "freeze=all,0.5", "seed=1", "train.lr=0.01", results="later")
    assert [row.num_activations_computed for row in later.rows("elpv")] == [0, 0]
    assert all(row.features_s for row in later.rows("elpv")), "what the rows cost is known although nothing was computed"


def test_rows_do_not_depend_on_what_was_kept(run_sweep: Command) -> None:
    """The same jobs with a filled store, and with none at all in plain float32, come to the same predictions."""
    options = (*LITE, "freeze=all,0.5,none", "precision=float32")
    kept = run_sweep(*options)
    plain = run_sweep(*options, "store.max_gib=0", results="plain")
    for one, other in zip(kept.rows("elpv"), plain.rows("elpv"), strict=True):
        assert one.job_id == other.job_id
        assert (one.cached_mib or 0) >= 0 == other.cached_mib
        mine, theirs = (ended.study("elpv").val_predictions(one.job_id) for ended in (kept, plain))
        assert mine.log_probs_NC == pytest.approx(theirs.log_probs_NC, abs=2e-3)
        assert (mine.log_probs_NC.argmax(axis=1) == theirs.log_probs_NC.argmax(axis=1)).all()


def test_heads_run_together_and_are_rows_of_their_own(run_sweep: Command) -> None:
    """Three seeds and two learning rates of a head share one process, so one start, and one network; each equals the job run alone."""
    ended = run_sweep(*LITE, "freeze=all", "seed=0,1,2", "train.lr=0.001,0.01", "train.lr_search=[1]", "train.head_init=random")
    rows = ended.rows("elpv")
    assert len({row.started_at for row in rows}) == 1
    assert ended.status == 0, ended.err
    assert len(rows) == 6
    assert len({row.latency_key for row in rows}) == len({row.timed_at for row in rows}) == 1
    assert len({row.val_log_loss for row in rows}) == 6
    alone = run_sweep(*LITE, "freeze=all", "seed=2", "train.lr=0.01", "train.lr_search=[1]", "train.head_init=random", results="alone")
    (row,) = alone.rows("elpv")
    assert _quality(row) == _quality(next(other for other in rows if other.job_id == row.job_id))


def test_a_job_that_fails_does_not_take_its_group_along(run_sweep: Command) -> None:
    """Of three learning rates one explodes: its row says so, the others are good, and the status tells."""
    ended = run_sweep(
        *LITE,
        "freeze=all",
        "train.head_init=random",
        "train.lr=0.001,1e30,0.01",
        "train.optimizer=sgd",
        "train.warmup_frac=0",
        "train.lr_search=[1]",
    )
    assert ended.status == 3
    assert {row.lr: row.status for row in ended.rows("elpv")} == {0.001: "ok", 1e30: "diverged", 0.01: "ok"}


def test_a_sweep_killed_while_it_writes_features_loses_nothing(run_sweep: Command, tmp_path: Path) -> None:
    """Killed in the middle of a pass, then run again: the rows are those of a sweep that was left alone."""
    options = [*TINY, "backbone=test_resnet", "freeze=all,0.5", "data.max_images=1500", "data.image_size=224"]
    clean = run_sweep(*options, f"cache_dir={tmp_path / 'clean_cache'}", results="clean")
    features = tmp_path / "cache" / "features"
    folders = [f"results_dir={tmp_path / 'results'}", f"cache_dir={tmp_path / 'cache'}"]
    sweep = subprocess.Popen([sys.executable, "-m", "harness.sweep", *folders, *options], start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while sweep.poll() is None and not _half_written(features):
            time.sleep(0.01)
        assert sweep.poll() is None, "the pass was over before it could be killed"
    finally:
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()
    assert not list((Study(tmp_path / "results" / "digits").root / "rows").glob("*.json"))
    again = run_sweep(*options)
    assert again.status == 0
    assert {row.job_id: _quality(row) for row in again.rows()} == {row.job_id: _quality(row) for row in clean.rows()}
    assert not list(features.glob(".*")), "nothing is left of the writer that died"


def _half_written(features: Path) -> bool:
    """Whether some entry has a few rows and is not finished."""
    return any(path.stat().st_size > 1_000_000 for path in features.glob(".*/rows.npy"))
