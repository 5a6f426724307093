"""What trackers are told of a row and of a study."""

from dataclasses import replace
from pathlib import Path

from harness.measure.epoch import Epoch
from harness.study.row import COLUMNS, Details
from harness.study.store import Study
from harness.trackers.events import PARAMS, StudyEnd, run_of
from tests.unit.reporting.fake_study import make_row


def epoch(number: int, train_loss: float | None) -> Epoch:
    """A point of a curve."""
    return Epoch(epoch=number, phase=1, lr=None, train_loss=train_loss, train_accuracy=None, val_loss=1.0, val_accuracy=0.5, val_score=0.4)


def test_every_column_with_a_value_is_told_once_under_its_name(tmp_path: Path) -> None:
    """Asked for, a number that came of it, or text; an empty cell is nothing, and true is 1."""
    row = make_row("a", val_accuracy=0.5, error=None, val_ece=None)
    run = run_of(row, Study(tmp_path))
    told = [*run.params, *run.metrics, *run.texts]
    assert sorted(told) == sorted(name for name in COLUMNS if getattr(row, name) is not None)
    assert (run.params["freeze"], run.metrics["val_accuracy"], run.metrics["frozen_ok"], run.texts["status"]) == ("all", 0.5, 1.0, "ok")
    assert set(PARAMS) <= set(COLUMNS)


def test_the_recipe_and_the_curve_have_names_of_their_own(tmp_path: Path) -> None:
    """A setting that is a column already is told once; an epoch without a training loss has none."""
    recipe = {"name": "short", "schedule": "held", "batch_size": 32, "lr_search": [1.0], "release": None}
    run = run_of(make_row("a", details=Details(recipe=recipe, curve=[epoch(0, None), epoch(1, 2.0)])), Study(tmp_path))
    assert {name: value for name, value in run.params.items() if name.startswith("train.")} == {
        "train.schedule": "held",
        "train.lr_search": "[1.0]",
    }
    assert [(number, values.get("epoch/train_loss")) for number, values in run.curve] == [(0, None), (1, 2.0)]
    assert run.curve[1][1]["epoch/val_accuracy"] == 0.5


def test_whatever_changes_in_a_row_changes_its_digest(tmp_path: Path) -> None:
    """Latencies, which are no part of the row's own file, included; the same row has the same digest."""
    row, study = make_row("a"), Study(tmp_path)
    digests = {run_of(other, study).digest for other in (row, replace(row), replace(row, latency_ms_p50=1.5), replace(row, seed=3))}
    assert len(digests) == 3


def test_a_study_has_its_report_its_table_and_what_was_exported(tmp_path: Path) -> None:
    """Hidden files are nobody's; the digest follows the contents; pictures inside the page stay here."""
    end = StudyEnd(Study(tmp_path), None)
    for name in ("results.csv", "report/index.html", "report/plots/a.svg", "export/a/model.onnx", "report/.half", "rows/a.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert [name for _, name in end.files()] == ["report/index.html", "report/plots/a.svg", "export/a/model.onnx", "results.csv"]
    before = end.digest
    (tmp_path / "report" / "index.html").write_text(
        'y<img src="data:image/webp;base64,AAAA" alt="a"> and <img src="data:image/webp;base64,BB==" alt="b">'
    )
    assert (end.digest != before, end.model) == (True, None)
    (page,) = [file.read_text() for file, name in end.files() if name == "report/index.html"]
    assert page == 'y<img src="data:," alt="a"> and <img src="data:," alt="b">'
