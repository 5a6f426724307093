"""Kept models of a study: whose are kept, and what is left when a sweep is killed while it writes one."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from harness.study.models import Models
from harness.study.row import Row
from tests.integration.commands import TINY, Command

TRAINED = (*TINY, "backbone=test_resnet", "freeze=all,none", "train.head_init=random", "train.lr_search=[1]")


def _quality(row: Row) -> dict[str, object]:
    return {name: value for name, value in asdict(row).items() if name.startswith(("val_", "train_acc", "model_blake2b"))}


def test_whose_models_are_kept(run_sweep: Command) -> None:
    """Nobody's with `none`, and then every job's with `all`: jobs without one are done again and come to the same."""
    without = run_sweep(*TRAINED, "model.keep=none")
    assert "models: " not in without.out
    models, before = Models(without.study()), {row.job_id: _quality(row) for row in without.rows()}
    assert (models.folder.exists(), len(before)) == (False, 2)
    again = run_sweep(*TRAINED, "model.keep=all")
    assert {row.job_id: _quality(row) for row in again.rows()} == before
    assert sorted(models.job_ids()) == sorted(before)
    stated = re.search(r"models: at most ([\d.]+) MiB in ", again.out)
    number, actual_mib = models.kept()
    assert stated is not None
    assert f"models: {number} kept, {actual_mib:,.1f} MiB in {models.folder}" in again.out
    assert actual_mib - 0.1 <= float(stated.group(1)) <= actual_mib + 0.1
    untouched = run_sweep(*TRAINED, "model.keep=all")
    assert "models: at most" not in untouched.out
    assert [row.started_at for row in untouched.rows()] == [row.started_at for row in again.rows()]


def test_a_sweep_killed_while_it_writes_a_model_loses_nothing(run_sweep: Command, tmp_path: Path) -> None:
    """Half a model is no model: the job has no row yet, and the same command comes to the table of a sweep that was left alone."""
    options = [*TINY, "backbone=resnet50", "freeze=none", "train.head_init=random", "train.lr_search=[1]", "model.keep=all"]
    clean = run_sweep(*options, results="clean")
    models = Models(type(clean.study())(tmp_path / "results" / "digits"))
    folders = [f"results_dir={tmp_path / 'results'}", f"cache_dir={tmp_path / 'cache'}", "evidence.minutes=0"]
    sweep = subprocess.Popen([sys.executable, "-m", "harness.sweep", *folders, *options], start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while sweep.poll() is None and not list(models.folder.glob(".*")):
            time.sleep(0.001)
        assert sweep.poll() is None, "the sweep was over before it could be killed"
    finally:
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()
    assert list(models.folder.glob(".*")), "nothing was half written"
    assert (models.job_ids(), models.study.rows()) == ([], [])
    again = run_sweep(*options)
    assert (again.status, [_quality(row) for row in again.rows()]) == (0, [_quality(row) for row in clean.rows()])
    (row,) = again.rows()
    assert models.damaged(row) is None
