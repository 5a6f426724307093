"""A study of photographs ranked, limited and used by metrics of a class, by costs, and by metrics of probabilities."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

import harness
from tests.integration.commands import QUICK, Command
from tests.integration.test_predict import Predict, photos, run_predict

__all__ = ["photos", "run_predict"]
SWEEP = (*QUICK, "weights=random", "backbone=test_resnet", "freeze=all,0.5", "train.epochs=1", "data.image_size=32", "study=digits")

BY_EACH = (
    *("roc_auc", "average_precision", "average_precision:digit 1", "top2_accuracy", "matthews_corrcoef", "cohen_kappa", "fbeta@beta=2"),
    *("precision:digit 1", "f1:digit 1", "sensitivity@specificity=0.9:digit 1", "expected_cost"),
)


def test_a_study_is_ranked_limited_and_used_by_any_metric(
    run_sweep: Command, run_report: Command, run_predict: Predict, photos: Path, tmp_path: Path
) -> None:
    """The sweep refuses a class that is not there before a job runs; then every metric has its report, and a model is scored and decides by it."""
    costs = tmp_path / "costs.csv"
    costs.write_text("true,digit 0,digit 1,digit 2\ndigit 0,0,1,1\ndigit 1,20,0,20\ndigit 2,1,1,0\n", encoding="utf-8")
    refused = run_sweep(*SWEEP, f"data.root={photos}", "rank.metric=recall:digit1")
    assert (refused.status, "did you mean digit 1?" in refused.err) == (2, True)
    assert not (refused.results / "digits" / "rows").exists()
    swept = run_sweep(*SWEEP, f"data.root={photos}", "rank.metric=recall:digit 1")
    assert swept.status == 0, swept.err
    assert "recall of digit 1" in swept.out
    for metric in BY_EACH:
        said = run_report("study=digits", f"rank.metric={metric}", f"rank.costs={costs}", "rank.num_resamples=200")
        assert said.status == 0, said.err
        assert "Use test_resnet" in said.out
    limited = run_report("study=digits", "rank.limits=recall:digit 1>=1,log_loss<=0.0001")
    assert "No recommendation: " in limited.out
    study = harness.load_study(swept.results / "digits")
    assert study.rank(metric="recall:digit 1").table["metric"].iloc[0] == "recall:digit 1"
    assert study.rank(metric="roc_auc", limits=["recall:digit 1>=2"]).recommended is None

    assert run_predict("study=digits", f"images={photos / 'test'}", "metric=roc_auc").status == 0
    plain = pd.read_csv(tmp_path / "answers.csv")
    by_costs = run_predict("study=digits", f"images={photos / 'test'}", "metric=expected_cost", f"costs={costs}")
    assert by_costs.status == 0, by_costs.err
    frame, names = pd.read_csv(tmp_path / "answers.csv"), [f"digit {number}" for number in range(3)]
    cost_CC = pd.read_csv(costs, index_col=0).to_numpy()
    probs_NC = frame[[f"prob_{name}" for name in names]].to_numpy()
    assert frame["label"].tolist() == [names[number] for number in (probs_NC @ cost_CC).argmin(axis=1)]
    assert (frame["label"] == "digit 1").sum() > (plain["label"] == "digit 1").sum()
    true_N, called_N = (np.array([names.index(name) for name in frame[column]]) for column in ("given_label", "label"))
    assert f"{cost_CC[true_N, called_N].mean():.2f} expected cost" in by_costs.out
    auc = metrics.roc_auc_score(true_N, probs_NC / probs_NC.sum(axis=1, keepdims=True), multi_class="ovr")
    scored = run_predict("study=digits", f"images={photos / 'test'}", "metric=roc_auc").out
    assert f"{100 * auc:.1f}" in scored
    assert run_predict("study=digits", f"images={photos / 'test'}", "metric=expected_cost").status == 2
    with pytest.raises(harness.ConfigError, match="did you mean accuracy"):
        study.rank(metric="acuracy")
