"""Rows and predictions on disk."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.errors import StoreError, TableError
from harness.measure.epoch import Epoch
from harness.status import Status
from harness.study.row import COLUMN_DOCS, COLUMNS, ROW_SCHEMA, Details, Row, from_json, to_json
from harness.study.sealed import sealed
from harness.study.store import Predictions, Study, find_study, note_swept
from harness.study.table import write_table


def make_row(job_id: str, status: Status = Status.ok, **columns: object) -> Row:
    """A row with the required columns filled."""
    given: dict[str, object] = {
        "job_id": job_id, "status": status.value, "study": "s", "protocol": "p", "backbone": "b", "model": "b", "freeze": "all",
        "recipe": "short", "recipe_hash": "r", "seed": 0, "dataset": "d", "started_at": "2026-01-01T00:00:00", "harness_version": "0",
        "host": "h", "details": Details(curve=[
            Epoch(epoch=0, phase=1, lr=None, train_loss=None, train_accuracy=None, val_loss=1.0, val_accuracy=0.5, val_score=0.5)
        ]),
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


def test_keys_that_are_no_columns_are_ignored() -> None:
    """A row with a column that this version does not have is still a row."""
    record = to_json(make_row("a")) | {"invented_later": 1}
    assert from_json(record) == make_row("a")


def test_a_job_is_done_only_with_a_good_row_and_its_predictions(tmp_path: Path) -> None:
    """A failed job has none; predictions that came after the row are not those that it was made from."""
    study = Study(tmp_path)
    study.write_row(make_row("good"))
    assert [(found.name, found.reason) for found in study.damaged()] == [("predictions/good.npz", "is missing")]
    study.write_predictions("good", _predictions(3), None)
    assert not study.is_done("good")
    study.write_row(make_row("good"))
    assert study.damaged() == []
    study.write_predictions("bad", _predictions(3), None)
    study.write_row(make_row("bad", Status.failed))
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


def flip(path: Path, where: float = 0.5) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def as_folder(path: Path) -> None:
    """Put a folder in a file's place."""
    path.unlink()
    path.mkdir()


def as_pipe(path: Path) -> None:
    """Put a pipe that nobody writes to in a file's place."""
    path.unlink()
    os.mkfifo(path)


def as_loop(path: Path) -> None:
    """A link to itself."""
    path.unlink()
    path.symlink_to(path)


def of_schema(number: int) -> Callable[[Path], object]:
    """As a version with another schema would have written it, before rows had a seal and after."""

    def write(path: Path) -> None:
        record = json.loads(path.read_text()) | {"schema": number}
        del record["blake2b"]
        text = json.dumps(record)
        path.write_text(text if number < ROW_SCHEMA else sealed(text))

    return write


ROW_DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "is not JSON any more, so cut short or changed"),
    "rubbish": (lambda path: path.write_bytes(bytes(range(256))), "is not JSON any more, so cut short or changed"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "a list": (lambda path: path.write_text("[1]"), "is no record"),
    "too deep": (lambda path: path.write_text("[" * 100_000), "is not JSON any more, so cut short or changed"),
    "edited": (lambda path: path.write_text(path.read_text().replace('"seed": 0', '"seed": 1')), "is not as it was written"),
    "flipped": (flip, "is not as it was written|is not JSON any more"),
    "unsealed": (lambda path: path.write_text(path.read_text().replace("blake2b", "blake2c", 1)), "is not as it was written"),
    "older": (of_schema(ROW_SCHEMA - 1), f"schema {ROW_SCHEMA - 1}, older than schema {ROW_SCHEMA}"),
    "newer": (of_schema(ROW_SCHEMA + 1), f"schema {ROW_SCHEMA + 1}, newer than schema {ROW_SCHEMA}"),
    "folder": (as_folder, r"cannot be read \(is not a file\)"),
    "pipe": (as_pipe, r"cannot be read \(is not a file\)"),
    "renamed": (lambda path: path.write_bytes(path.with_name("good.json").read_bytes()), "holds the row of another job, good"),
}


@pytest.mark.parametrize("name", ROW_DAMAGES)
def test_a_damaged_row_is_left_out_by_name_and_its_job_not_done(tmp_path: Path, name: str) -> None:
    """The others are read as ever; the damage is one line with the file, what is wrong and what to do."""
    damage, reason = ROW_DAMAGES[name]
    study = Study(tmp_path)
    for job_id in ("good", "hit"):
        study.write_predictions(job_id, _predictions(3), None)
        study.write_row(make_row(job_id))
    assert study.damaged() == []
    damage(study.row_path("hit"))
    assert [row.job_id for row in study.rows()] == ["good"]
    (found,) = study.damaged()
    assert (found.path, found.job_id, found.name) == (study.row_path("hit"), "hit", "rows/hit.json")
    assert re.search(reason, found.reason)
    assert "\n" not in str(found)
    assert found.remedy
    assert study.read_row("hit") is None
    assert not study.is_done("hit")
    with pytest.raises(TableError, match=r"hit\.json: "):
        study.val_predictions("hit")
    assert study.is_done("good")


def test_rows_of_the_schema_before_stay_whole_beside_new_ones(tmp_path: Path) -> None:
    """A study of the version before loses nothing: its row and predictions keep every byte while the same sweep adds rows of this version.

    It is told by name what to do; the table holds what this version can read.
    """
    study = Study(tmp_path)
    study.write_predictions("before", _predictions(3), _predictions(2))
    study.write_row(make_row("before"))
    older = {key: value for key, value in json.loads(study.row_path("before").read_text()).items() if key != "blake2b"}
    older |= {"schema": 5, "num_prefix_images": 600, "prefix_mode": "float32", "prefix_note": None, "kept_mib": 1.5}
    for column in ("num_activations_computed", "activations_mode", "activations_note", "cached_mib"):
        del older[column]
    study.row_path("before").write_text(sealed(json.dumps(older, indent=1)), encoding="ascii")
    paths = (study.row_path("before"), study.predictions_path("before"))
    bytes_before = [path.read_bytes() for path in paths]
    study.write_predictions("anew", _predictions(3), _predictions(2))
    study.write_row(make_row("anew"))
    write_table(study)
    assert [row.job_id for row in study.rows()] == pd.read_csv(tmp_path / "results.csv")["job_id"].tolist() == ["anew"]
    assert [path.read_bytes() for path in paths] == bytes_before
    (found,) = study.damaged()
    assert str(found).startswith(f"{paths[0]}: holds a row of schema 5, older than schema 6 of this version; run the same sweep again, ")
    assert str(found).endswith("under a new id, or report it with the version that wrote it; delete it when it is of no more use.")


def test_a_row_whose_file_is_a_loop_is_read_as_none(tmp_path: Path) -> None:
    """A link to itself has no content."""
    study = Study(tmp_path)
    study.write_row(make_row("a"))
    as_loop(study.row_path("a"))
    assert (study.rows(), study.read_row("a")) == ([], None)
    assert len(study.damaged()) == 1


def test_what_was_damaged_is_written_anew(tmp_path: Path) -> None:
    """The same job run again replaces the file, whatever lies there."""
    study = Study(tmp_path)
    study.write_row(make_row("a", Status.failed))
    as_pipe(study.row_path("a"))
    study.write_row(make_row("a", Status.failed))
    assert study.read_row("a") == make_row("a", Status.failed)


PREDICTION_DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "is not the file that its row was made from"),
    "flipped": (flip, "is not the file that its row was made from"),
    "missing": (Path.unlink, "is missing"),
    "folder": (as_folder, "cannot be read"),
}


@pytest.mark.parametrize("name", PREDICTION_DAMAGES)
@pytest.mark.parametrize("status", [Status.ok, Status.pruned])
def test_damaged_predictions_are_never_loaded(tmp_path: Path, name: str, status: Status) -> None:
    """The row stays a row, but its job is not done, and neither split comes out."""
    damage, reason = PREDICTION_DAMAGES[name]
    study = Study(tmp_path)
    study.write_predictions("a", _predictions(3), _predictions(2))
    study.write_row(make_row("a", status))
    assert study.has_predictions("a")
    damage(study.predictions_path("a"))
    assert [row.job_id for row in study.rows()] == ["a"]
    (found,) = study.damaged()
    assert (found.name, found.job_id) == ("predictions/a.npz", "a")
    assert reason in found.reason
    assert not study.has_predictions("a")
    assert not study.is_done("a")
    for load in (study.val_predictions, lambda job_id: study.open_test(job_id, "why")):
        with pytest.raises(TableError, match=r"predictions/a\.npz: .*run the same sweep again"):
            load("a")
    assert study.opened() == set()


def test_predictions_of_another_run_are_not_taken_for_those_of_the_row(tmp_path: Path) -> None:
    """A sweep that was killed between predictions and row leaves a pair that does not belong together."""
    study = Study(tmp_path)
    study.write_predictions("a", _predictions(3), None)
    study.write_row(make_row("a"))
    study.write_predictions("a", _predictions(4), None)
    assert not study.is_done("a")
    study.write_row(make_row("a"))
    assert study.is_done("a")


def test_rubbish_without_a_row_is_a_one_line_error(tmp_path: Path) -> None:
    """Predictions that no row vouches for are read as far as they can be."""
    study = Study(tmp_path)
    study.write_predictions("a", _predictions(3), None)
    cut(study.predictions_path("a"))
    with pytest.raises(TableError, match=r"a\.npz: cannot be read .*; run the same sweep again"):
        study.val_predictions("a")


def test_a_torn_log_tells_what_it_can(tmp_path: Path) -> None:
    """Lines that cannot be read are counted, the others are read, and the next one starts on a line of its own."""
    study = Study(tmp_path)
    for job_id in "ab":
        study.write_predictions(job_id, _predictions(3), _predictions(2))
        study.write_row(make_row(job_id))
    study.open_test("a", "why")
    log = tmp_path / "opened.jsonl"
    log.write_bytes(log.read_bytes() + b'\xff\n[]\n{"job_id": "b", "rea')
    assert study.opened() == {"a"}
    study.open_test("b", "why")
    assert study.opened() == {"a", "b"}
    (found,) = study.damaged()
    assert (found.name, found.reason) == ("opened.jsonl", "has 3 lines that cannot be read, so it may tell too little")
    study.note_search({"spent_s": 1.0})
    with (tmp_path / "searches.jsonl").open("a") as torn:
        torn.write("{")
    study.note_search({"spent_s": 2.0})
    assert study.searches() == [{"spent_s": 1.0}, {"spent_s": 2.0}]
    assert len(study.damaged()) == 2


def test_rows_that_cannot_be_listed_are_an_error_and_not_none(tmp_path: Path) -> None:
    """A study whose folder of rows is something else is not taken for an empty one."""
    (tmp_path / "rows").write_text("")
    with pytest.raises(StoreError, match=r"rows: cannot be read \(Not a directory\)"):
        Study(tmp_path).rows()


def test_a_study_without_its_name(tmp_path: Path) -> None:
    """The only one, else the one that a sweep was at last, whatever clocks said and whatever is damaged; else all are named."""
    Study(tmp_path / "a").write_row(make_row("a", started_at="2099-01-01"))
    assert find_study(tmp_path, None).name == "a"
    Study(tmp_path / "病理").write_row(make_row("a"))
    with pytest.raises(TableError, match=r"holds several studies; give study=NAME; there are a, 病理\."):
        find_study(tmp_path, None)
    note_swept(Study(tmp_path / "病理"))
    cut(Study(tmp_path / "病理").row_path("a"))
    assert find_study(tmp_path, None).name == "病理"
    assert find_study(tmp_path, "a").name == "a"


def test_results_that_cannot_be_listed_are_not_taken_for_empty(tmp_path: Path) -> None:
    """A file in their place is named for what it is; a folder that is not there holds no study."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file: cannot be read \(Not a directory\)"):
        find_study(tmp_path / "file", None)
    with pytest.raises(TableError, match="holds no study"):
        find_study(tmp_path / "none", None)


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
