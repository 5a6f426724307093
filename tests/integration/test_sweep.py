"""From the command line to rows, table and report."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn import metrics

from harness.config import Metric
from harness.measure.quality import decide
from harness.study.row import COLUMNS, TRANSFERABILITY_COLUMNS
from harness.study.store import Study
from tests.integration.commands import QUICK, TINY, Command

QUALITY = [name for name in COLUMNS if name.startswith(("val_", "train_accuracy", "train_log_loss", "last_val"))]


def _probabilities(log_probs_NC: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Float64 probabilities that sum to one as scikit-learn insists."""
    return softmax(log_probs_NC.astype(np.float64), axis=1)


def test_a_grid_becomes_rows_a_table_and_a_report(run_sweep: Command) -> None:
    """Two families at three depths: every row good, numbers as scikit-learn recomputes them, files where they should be."""
    ended = run_sweep(*TINY, "backbone=test_resnet,test_vit", "freeze=all,-1,none")
    assert ended.status == 0, ended.err
    rows = ended.rows()
    assert [row.status for row in rows] == ["ok"] * 6
    for row in rows:
        val = ended.study().val_predictions(row.job_id)
        predicted = decide(val.log_probs_NC, Metric(str(row.primary_metric)), np.array(row.details.class_prior))
        assert row.val_accuracy == pytest.approx(metrics.accuracy_score(val.labels_N, predicted))
        assert row.val_f1_macro == pytest.approx(metrics.f1_score(val.labels_N, predicted, average="macro", zero_division=0))
        assert row.val_log_loss == pytest.approx(metrics.log_loss(val.labels_N, _probabilities(val.log_probs_NC)), rel=1e-4)
        assert row.frozen_ok
        assert (row.boundary is None) == (row.freeze == "none")
        assert (row.frozen_macs_frac == 0) == (row.freeze == "none")
    trainable = {(row.backbone, row.freeze): row.trainable_params_m for row in rows}
    for name in ("test_resnet", "test_vit"):
        assert trainable[name, "all"] < trainable[name, "-1"] < trainable[name, "none"]  # type: ignore[operator]
    study = ended.study().root
    assert len(pd.read_csv(study / "results.csv")) == 6
    assert (study / "report" / "index.html").exists()
    assert "[6/6]" in ended.out
    assert str(study / "report" / "index.html") in ended.out.replace("\n", "")


def test_a_finished_sweep_trains_nothing_again(run_sweep: Command) -> None:
    """The second run finds every job done and leaves its rows untouched."""
    options = (*TINY, "backbone=test_resnet", "freeze=all")
    first = run_sweep(*options)
    before = {path: path.stat().st_mtime_ns for path in (first.study().root / "rows").iterdir()}
    second = run_sweep(*options)
    assert second.status == 0
    assert "1 already done" in second.out
    assert before == {path: path.stat().st_mtime_ns for path in (first.study().root / "rows").iterdir()}
    third = run_sweep(*options, "seed=1")
    assert len(third.rows()) == 2


def test_a_launcher_with_workers_of_its_own_runs_the_jobs(tmp_path: Path) -> None:
    """Under joblib each worker prepares its job again and runs it: every row is good."""
    folders = [f"results_dir={tmp_path / 'results'}", f"cache_dir={tmp_path / 'cache'}"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    command = [sys.executable, "-m", "harness.sweep", *folders, *TINY, "backbone=test_resnet", "freeze=all,none", *launcher]
    # Its workers wait for more to do for minutes, which is no business of the process that runs the tests.
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert [row.status for row in Study(tmp_path / "results" / "digits").rows()] == ["ok"] * 2


def test_the_same_command_gives_the_same_quality(run_sweep: Command) -> None:
    """Two empty folders, one command: identical ids and identical quality columns."""
    options = (*TINY, "backbone=test_resnet,test_vit", "freeze=all,none", "train.augment=light")
    one, other = run_sweep(*options, results="one"), run_sweep(*options, results="other")
    tables = [pd.read_csv(ended.study().root / "results.csv").sort_values("job_id", ignore_index=True) for ended in (one, other)]
    pd.testing.assert_frame_equal(tables[0][["job_id", *QUALITY]], tables[1][["job_id", *QUALITY]], check_exact=True)


def test_the_default_precision_trains_as_float32_does(run_sweep: Command) -> None:
    """Where layers train, nothing is rewritten for speed before them: log-probabilities of every depth are equal to the bit."""
    found = {}
    for precision in ("auto", "float32"):
        ended = run_sweep(*TINY, "backbone=test_resnet", "freeze=all,-1,none", f"precision={precision}", results=precision)
        assert ended.status == 0, ended.err
        found[precision] = {row.freeze: ended.study().val_predictions(row.job_id).log_probs_NC for row in ended.rows()}
    assert set(found["auto"]) == {"all", "-1", "none"}
    for freeze, log_probs_NC in found["auto"].items():
        np.testing.assert_array_equal(log_probs_NC, found["float32"][freeze])


def test_a_job_over_time_is_a_row_and_the_sweep_goes_on(run_sweep: Command) -> None:
    """Status 3, a row that says timeout, empty metrics, and still a report."""
    ended = run_sweep(*TINY, "backbone=test_resnet", "freeze=all", "job.timeout_minutes=0.0001")
    assert ended.status == 3
    (row,) = ended.rows()
    assert row.status == "timeout"
    assert row.val_accuracy is None
    assert "TIMEOUT" in ended.out
    assert (ended.study().root / "report" / "index.html").exists()


def test_a_failed_job_is_said_at_once_and_tried_again_when_asked(run_sweep: Command) -> None:
    """A depth that one backbone is too short for fails there alone; the same command leaves it, `retry=failed` runs it once more."""
    ended = run_sweep(*TINY, "backbone=test_resnet,test_vit", "freeze=-7")
    assert ended.status == 3
    by_name = {row.backbone: row for row in ended.rows()}
    assert sorted(row.status for row in by_name.values()) == ["failed", "ok"]
    failed = next(row for row in by_name.values() if row.status == "failed")
    assert "blocks; give -1 to" in (failed.error or "")
    assert f"FAILED: {failed.error}" in ended.out
    again = run_sweep(*TINY, "backbone=test_resnet,test_vit", "freeze=-7")
    assert again.status == 3
    assert "1 already done, 1 failed before (retry=failed tries them again)" in again.out
    assert {row.job_id: row.started_at for row in again.rows()} == {row.job_id: row.started_at for row in by_name.values()}
    retried = run_sweep(*TINY, "backbone=test_resnet,test_vit", "freeze=-7", "retry=failed")
    assert retried.status == 3
    times = {row.job_id: row.started_at for row in retried.rows()}
    assert times[failed.job_id] > failed.started_at


def test_the_report_ranks_again_with_other_limits(run_sweep: Command, run_report: Command) -> None:
    """Nothing is trained; a limit that nobody meets gives no recommendation and still exit status 0."""
    run_sweep(*TINY, "backbone=test_resnet,test_vit", "freeze=all")
    ended = run_report("rank.max_params_m=0.000001")
    assert ended.status == 0
    (page,) = ended.study().root.glob("report-*/report.md")  # a what-if question has a folder of its own
    assert "none of 2 candidates meets the limits" in page.read_text(encoding="utf-8")


def test_two_data_sets_are_two_studies_with_a_report_each(run_sweep: Command) -> None:
    """Sweeping `data` fills one study per data set, and none is left without its report."""
    ended = run_sweep(*QUICK, "weights=random", "data=digits,elpv", "data.max_images=60", "data.image_size=32", "train.epochs=1",
                      "backbone=test_resnet", "freeze=all")  # fmt: skip
    assert ended.status == 0, ended.err
    for name in ("digits", "elpv"):
        assert (ended.study(name).report_dir / "index.html").exists()


def test_one_backbone_may_have_weights_of_its_own(run_sweep: Command) -> None:
    """`name@random` is random though pretrained weights are the default, also behind a glob; the command in its row says so too."""
    ended = run_sweep(
        *QUICK, "data=digits", "data.max_images=60", "data.image_size=32", "train.epochs=1", "backbone=test_res*t@random", "freeze=all"
    )
    assert ended.status == 0, ended.err
    rows = ended.rows()
    assert {row.weights for row in rows} == {"random"}
    assert "test_resnet" in {row.backbone for row in rows}
    assert "backbone=test_resnet@random" in {part for row in rows for part in row.details.command}


def test_the_learning_rate_that_was_kept_is_in_the_row(run_sweep: Command) -> None:
    """Three rates and more beyond an edge are tried; the row names the best and says whether it lies on the edge; a closed-form head needs none."""
    ended = run_sweep(*TINY, "backbone=test_resnet", "freeze=all,-1")
    head, tuned = sorted(ended.rows(), key=lambda row: row.freeze, reverse=True)
    assert (head.freeze, head.lr, head.lrs_tried, head.epochs_trained, head.is_trained) == ("all", None, None, 0, False)
    tried = [float(lr) for lr in (tuned.lrs_tried or "").split()]
    assert {9e-5, 3e-4, 9e-4} <= set(tried)
    assert tuned.lr == float(min(tuned.details.lr_losses, key=lambda lr: tuned.details.lr_losses[lr] or np.inf))
    assert tuned.lr_on_edge == (tuned.lr in {min(tried), max(tried)})
    assert tuned.epochs_trained == 1
    (single,) = run_sweep(*TINY, "backbone=test_resnet", "freeze=-1", "train.lr_search=[1]", results="single").rows()
    assert (single.lr, single.lrs_tried, single.lr_on_edge) == (3e-4, None, None)


def test_rows_hold_what_features_say_without_fine_tuning(run_sweep: Command) -> None:
    """Scores of the frozen backbone are the same in every row of it; one that does not exist has a reason."""
    ended = run_sweep(*TINY, "backbone=test_resnet", "freeze=all,none")
    first, second = ended.rows()
    for name in TRANSFERABILITY_COLUMNS:
        assert getattr(first, name) == getattr(second, name)
    assert first.probe_accuracy is not None
    assert first.logme is not None
    assert first.leep is None
    assert "classifier" in first.details.undefined["leep"]
    assert first.details.undefined["leep"] == second.details.undefined["leep"]
