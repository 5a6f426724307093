"""Rows and predictions on disk."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.errors import TableError
from harness.study.row import COLUMN_DOCS, COLUMNS, Details, Epoch, Row, Status, from_json, to_json
from harness.study.store import Predictions, Study
from harness.study.table import write_table


def make_row(job_id: str, status: Status = Status.ok, **columns: object) -> Row:
    """A row with the required columns filled."""
    given: dict[str, object] = {
        "job_id": job_id, "status": status.value, "study": "s", "protocol": "p", "backbone": "b", "model": "b", "freeze": "all",
        "recipe": "short", "recipe_hash": "r", "seed": 0, "dataset": "d", "started_at": "2026-01-01T00:00:00", "harness_version": "0",
        "host": "h", "details": Details(curve=[Epoch(epoch=0, phase=1, lr=None, train_loss=None, train_accuracy=None, val_loss=1.0, val_accuracy=0.5)]),
    }  # fmt: skip
    return Row(**(given | columns))  # type: ignore[arg-type]


def _predictions(num_images: int) -> Predictions:
    return Predictions(
        np.log(np.full((num_images, 2), 0.5, np.float32)), np.zeros(num_images, np.int64), [f"ünï {i}" for i in range(num_images)]
    )


def test_a_row_survives_json() -> None:
    """What is read is what was written, learning curve included."""
    row = make_row("a", val_accuracy=0.25)
    assert from_json(json.loads(json.dumps(to_json(row)))) == row


def test_rows_of_a_later_version_can_be_read() -> None:
    """Unknown columns are ignored, so that an older harness can still rank what it understands."""
    record = to_json(make_row("a")) | {"invented_later": 1}
    assert from_json(record) == make_row("a")


def test_a_job_is_done_only_with_a_good_row_and_its_predictions(tmp_path: Path) -> None:
    """Failed jobs, and rows without predictions, run again."""
    study = Study(tmp_path)
    study.write_row(make_row("good"))
    study.write_row(make_row("bad", Status.failed))
    assert not study.is_done("good")
    study.write_predictions("good", _predictions(3), None)
    study.write_predictions("bad", _predictions(3), None)
    assert study.is_done("good")
    assert not study.is_done("bad")
    assert not study.is_done("never ran")


def test_opening_the_test_split_is_logged_once(tmp_path: Path) -> None:
    """Reading val leaves no trace; breaking the seal does."""
    study = Study(tmp_path)
    study.write_predictions("a", _predictions(3), _predictions(2))
    assert len(study.val_predictions("a").labels_N) == 3
    assert study.opened() == set()
    for _ in range(2):
        opened = study.open_test("a", "recommended")
        assert opened is not None
        assert opened.ids_N == ["ünï 0", "ünï 1"]
    assert study.opened() == {"a"}
    assert len((tmp_path / "opened.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_damaged_files_are_named_with_the_way_out(tmp_path: Path) -> None:
    """Half a row or half an archive is an error that says which file and what to do."""
    study = Study(tmp_path)
    study.write_predictions("a", _predictions(3), None)
    path = study.predictions_path("a")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(TableError, match=r"a\.npz: cannot be read"):
        study.val_predictions("a")
    study.row_path("b").parent.mkdir()
    study.row_path("b").write_text('{"job_id": ', encoding="utf-8")
    with pytest.raises(TableError, match=r"b\.json: cannot be read .* delete it"):
        study.rows()


def test_the_table_has_every_column_in_order_and_empty_cells_for_none(tmp_path: Path) -> None:
    """CSV and parquet hold the same table; a failed job's metrics are empty, not zero."""
    study = Study(tmp_path)
    study.write_row(make_row("a", val_accuracy=0.5, started_at="2026-01-02"))
    study.write_row(make_row("b", Status.failed, error='no, "really"\nnot'))
    write_table(study)
    table = pd.read_csv(tmp_path / "results.csv")
    assert tuple(table.columns) == COLUMNS
    assert list(table["job_id"]) == ["b", "a"]
    assert np.isnan(table["val_accuracy"][0])
    assert list(pd.read_parquet(tmp_path / "results.parquet")["job_id"]) == ["b", "a"]


def test_every_column_says_what_it_means() -> None:
    """Units and meanings live with the columns."""
    assert all(COLUMN_DOCS[name] for name in COLUMNS)
