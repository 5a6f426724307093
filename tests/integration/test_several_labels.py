"""Several labels an image through every command: scores, choice and decisions against computations of their own."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import harness
from benchmarks.several_labels import decisions_changed, differences, draw_shapes, recommend_directly
from harness.study.store import Study
from tests.integration.commands import QUICK, Command
from tests.integration.test_cross_fit import endless
from tests.integration.test_predict import Predict, run_predict

__all__ = ["endless", "run_predict"]
ONE_RATE = ("train.epochs=1", "train.lr_search=[1]", "train.lr=0.01")
SWEEP = (*QUICK, "weights=random", "data.image_size=32", "study=shapes", "model.keep=all")


@pytest.mark.usefixtures("endless")
def test_a_table_of_several_labels_becomes_a_model_in_use(
    run_sweep: Command, run_report: Command, run_predict: Predict, tmp_path: Path
) -> None:
    """Heads, a fine-tune and its folds; the report, a what-if question, predict, refit and export. One class an image is refused by its metrics."""
    table = draw_shapes(tmp_path / "shapes", 120, 4)
    data = ("data=table", f"data.root={table}", "data.label_separator='|'")
    refused = run_sweep(*SWEEP, *data, "backbone=test_vit", "rank.metric=accuracy")
    assert (refused.status, "an image may have several labels; give mean_average_precision" in refused.err) == (2, True)
    assert run_sweep(*SWEEP, *data, "backbone=test_resnet,test_vit", "freeze=all", *ONE_RATE).status == 0
    swept = run_sweep(*SWEEP, *data, "backbone=test_vit", "freeze=none", "train.head_init=random", *ONE_RATE, "evidence.minutes=60")
    assert swept.status == 0, swept.err
    assert "mean average precision" in swept.out

    study = Study(swept.results / "shapes")
    rows = study.rows()
    assert any(row.fold is not None for row in rows)
    assert any(row.is_trained for row in rows)
    assert {row.primary_metric for row in rows} == {"mean_average_precision"}
    assert all(row.val_accuracy is row.train_accuracy is row.knn_accuracy is None for row in rows)
    number, worst = differences(study)
    assert number > 60
    assert worst < 1e-6
    own = harness.load_study(study.root)
    direct, ranked = recommend_directly(study), own.rank()
    assert direct.lead > 0.01
    assert ranked.table["backbone"][0] == direct.backbone
    assert ranked.recommended is not None
    assert direct.backbone in ranked.recommended
    _report_is_about_labels(run_report)
    _what_is_used_decides_alike(own, run_predict, table, tmp_path)


def test_labels_go_with_every_way_to_train(run_sweep: Command, tmp_path: Path) -> None:
    """Weighted, smoothed, mixed, from a random head and with an adapter: every job ends well, and thresholds undo the weights."""
    table = draw_shapes(tmp_path / "shapes", 60, 2)
    data = ("data=table", f"data.root={table}", "data.label_separator='|'", "backbone=test_resnet")
    recipe = ("train.class_weights=true", "train.label_smoothing=0.1", "train.head_init=random", "train.augment=flip")
    mixed = run_sweep(*SWEEP, *data, *ONE_RATE, *recipe, "train.mixup=0.2", "train.cutmix=0.5", "freeze=none")
    adapted = run_sweep(*SWEEP, *data, *ONE_RATE, "freeze=all", "adapter=norm", "train.class_weights=true")
    assert (mixed.status, adapted.status) == (0, 0), mixed.err + adapted.err
    study = Study(mixed.results / "shapes")
    assert [row.status for row in study.rows()] == ["ok", "ok"]
    assert differences(study)[1] < 1e-6


def _report_is_about_labels(run_report: Command) -> None:
    for metric in ("f1_micro", "recall:shape 03"):
        said = run_report("study=shapes", f"rank.metric={metric}", "rank.num_resamples=200")
        assert said.status == 0, said.err
    page = (said.results / "shapes" / "report" / "report.md").read_text(encoding="utf-8")
    assert "each with any of 4 labels" in page
    assert "| threshold |" in page
    assert "Confusion matrix" not in page
    assert re.search(r"true: .*; predicted: (not )?shape 0\d, \d", page)
    assert "there is no table of classes" in page


def _what_is_used_decides_alike(own: harness.Study, run_predict: Predict, table: Path, tmp_path: Path) -> None:
    """The table of answers, the exported programs and the refitted model call the labels whose probability reaches the threshold."""
    said = run_predict("study=shapes", f"images={table}")
    assert said.status == 0, said.err
    answers = pd.read_csv(tmp_path / "answers.csv", keep_default_na=False)
    folder = own.export(tmp_path / "exported")
    decision = json.loads((folder / "preprocessing.json").read_bytes())["decision"]
    assert (decision["labels"], decision["rule"]) == ("several", "probabilities >= thresholds")
    names = [f"shape {label:02d}" for label in range(4)]
    called_NC = answers[[f"prob_{name}" for name in names]].to_numpy() >= np.array(decision["thresholds"])
    assert answers["label"].tolist() == ["|".join(np.array(names)[has]) for has in called_NC]
    given, called = (answers[column].tolist() for column in ("given_label", "label"))
    assert np.mean([one == other for one, other in zip(given, called, strict=True)]) > 0.5
    images = [table.parent / path for path in answers["path"]]
    assert decisions_changed(folder, images, called) == {"model.onnx": 0, "model.pt2": 0}
