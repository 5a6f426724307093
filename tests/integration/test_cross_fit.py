"""Fine-tunes that may be the best, cross-fitted at the end of a sweep: real photographs, real weights, the real command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.jobs.identity import failed_row
from harness.jobs.spec import JobSpec
from harness.measure.choice import deal
from harness.measure.quality import quality
from harness.search import cross_fit
from harness.search.runner import Sweep
from harness.status import Status
from harness.study.row import Row
from harness.study.store import Study
from tests.integration.commands import QUICK, Command

SWEEP = (
    *QUICK,
    "backbone=tf_efficientnet_lite0",
    "data=elpv",
    "data.max_images=120",
    "data.image_size=64",
    "precision=float32",
    "train.epochs=1",
    "train.lr_search=[0.3]",
    "evidence.minutes=60",
)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is good enough, and everybody may be the best: whether a fold is run does not hang on these few images."""
    monkeypatch.setattr(cross_fit, "ENOUGH_POINTS", -1.0)
    monkeypatch.setattr(cross_fit, "MIN_PROB_BEST", 0.0)


TUNED = (*SWEEP, "freeze=none", "train.head_init=random")
"""Trained in any case: there is no closed-form head that an epoch could be worse than."""


def written(folder: Path) -> dict[str, int]:
    """Files of rows and predictions, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for name in ("rows", "predictions") for path in (folder / name).iterdir()}


@pytest.mark.usefixtures("endless")
def test_a_fine_tune_is_judged_on_images_that_it_never_saw(run_sweep: Command) -> None:
    """Each image of train and val is predicted once, by a model of the other folds; the report says so; again, nothing is left to do."""
    run_sweep(*SWEEP, "freeze=all")
    ended = run_sweep(*TUNED)
    assert ended.status == 0, ended.err
    study, rows = ended.study("elpv"), ended.rows("elpv")
    head, own, *folds = sorted(rows, key=lambda row: (row.freeze, -1 if row.fold is None else row.fold))
    assert [row.fold for row in folds] == list(range(head.oof_folds or 0))
    everyone = study.out_of_fold(head.job_id)
    assert everyone is not None
    dealt = deal(everyone.labels_N, head.oof_folds or 0, seed=0)
    for row in folds:
        found = study.val_predictions(row.job_id)
        assert found.ids_N == [name for name, fold in zip(everyone.ids_N, dealt, strict=True) if fold == row.fold]
        assert_is_a_fold_of(row, own)
        assert row.n_train == len(everyone.ids_N) - len(found.ids_N)
        assert row.val_log_loss == pytest.approx(quality(found.log_probs_NC, found.labels_N)[0]["log_loss"])
        with np.load(study.predictions_path(row.job_id)) as arrays:
            assert not [name for name in arrays if name.startswith("test")]
    report = (study.report_dir / "report.md").read_text(encoding="utf-8")
    assert f"{len(folds)} of {len(folds)} folds of train and val" in report
    assert "1 fine-tune that may be the best is cross-fitted" in report
    before = written(study.root)
    again = run_sweep(*TUNED)
    assert again.status == 0
    assert written(study.root) == before


def assert_is_a_fold_of(row: Row, own: Row) -> None:
    """The same candidate at the rate, epoch and temperature that its own job chose; nothing sealed, no pass through frozen layers."""
    same = ("status", "backbone", "freeze", "recipe_hash", "protocol", "seed", "lr", "chosen_epoch", "temperature", "epochs_trained")
    assert {name: getattr(row, name) for name in same} == {name: getattr(own, name) for name in same}
    assert (row.n_test, row.lrs_tried, row.num_activations_computed, row.is_trained) == (0, None, 0, True)
    assert row.model_blake2b != own.model_blake2b


@pytest.mark.usefixtures("endless")
def test_a_fold_that_fails_spoils_nothing(run_sweep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, a row with the fold and the reason, no failed job, exit status 0; the fine-tune is judged on val as before."""
    right = Sweep.run

    def broken(sweep: Sweep, jobs: Sequence[JobSpec], *given: Any, **named: Any) -> bool:
        if jobs[0].fold is None:
            return right(sweep, jobs, *given, **named)
        Study(jobs[0].config.study_dir).write_row(failed_row(jobs[0], Status.oom, "out of memory"))
        return True

    monkeypatch.setattr(Sweep, "run", broken)
    run_sweep(*SWEEP, "freeze=all")
    ended = run_sweep(*TUNED)
    assert ended.status == 0, ended.err
    assert "OOM: out of memory; it gets no more folds" in ended.out, ended.out
    assert [(row.fold, row.status) for row in ended.rows("elpv")] == [(None, "ok"), (None, "ok"), (0, "oom")]
    report = (ended.study("elpv").report_dir / "report.md").read_text(encoding="utf-8")
    assert "No job failed." in report
    assert "fold 0 was not measured" in report
    assert "val, adjusted" in report


@pytest.mark.usefixtures("endless")
def test_none_are_cross_fitted_without_time(run_sweep: Command) -> None:
    """evidence.minutes=0: one row for each job."""
    ended = run_sweep(*TUNED, "evidence.minutes=0")
    assert [row.fold for row in ended.rows("elpv")] == [None]
