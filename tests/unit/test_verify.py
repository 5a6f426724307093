"""The check of a study: silent where everything matches, one line for every thing that does not."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.backbones.weights import BUNDLES
from harness.config import VerifyConfig
from harness.errors import TableError
from harness.features.entry import RowType
from harness.features.store import FeatureStore
from harness.status import BAD_JOBS, Status
from harness.study.model_file import ModelFile
from harness.study.models import Models
from harness.study.store import Predictions, Study
from harness.study.table import write_table
from harness.verification.weights import weigh
from harness.verify import run
from tests.unit.reporting.fake_study import make_row, write_job, write_study
from tests.unit.study.models import make_header
from tests.unit.study.test_store import flip

Check = Callable[[], tuple[int, list[str]]]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two good jobs, two failed ones, a table and an entry of cached features; no row claims a weights file that could be here."""
    made = write_study(tmp_path / "results" / "s", backbones=("resnet50", "squeezenet"), depths=("all",), num_val=60, num_test=30)
    for row in made.rows():
        made.write_row(replace(row, weights="random", weights_source="random", weights_sha256=None))
    write_table(made)
    with FeatureStore(tmp_path / "cache" / "features", max_gib=1).create({"a": 1}, RowType("uint8", 4), 3) as writer:
        writer.append(np.ones((3, 4), np.uint8))
    return made


@pytest.fixture
def check(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run it; its exit status, and what it said before the last line, which says how many things that were."""

    def ask() -> tuple[int, list[str]]:
        capsys.readouterr()
        status = run(VerifyConfig("s", str(study.root.parent), str(tmp_path / "cache")))
        *said, last = capsys.readouterr().out.splitlines()
        ending = {0: "everything matches.", 1: "1 thing named above does not match."}.get(
            len(said), f"{len(said)} things named above do not match."
        )
        assert last.endswith(f": {ending}")
        assert (status == 0) == (not said)
        return status, said

    return ask


def good(study: Study) -> str:
    """Id of a good job."""
    return next(row.job_id for row in study.rows() if row.status == Status.ok)


def only(said: list[str]) -> str:
    """The one line that was said."""
    (line,) = said
    return line


@pytest.fixture
def looked_at(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What the last line of a check without findings says was looked at."""

    def ask(cache: str = "cache") -> str:
        capsys.readouterr()
        assert run(VerifyConfig("s", str(study.root.parent), str(tmp_path / cache))) == 0
        (line,) = capsys.readouterr().out.splitlines()
        return line.removeprefix(f"{study.root}: ").removesuffix(": everything matches.")

    return ask


def test_what_was_looked_at_is_counted(study: Study, looked_at: Callable[..., str], tmp_path: Path) -> None:
    """The last line claims no more than what was there: no predictions of failed jobs, no folder that is not there."""
    in_cache = f"1 feature entry in {tmp_path / 'cache' / 'features'}"
    assert looked_at() == f"4 rows, 2 prediction files, 2 tables, 0 models, 0 openings of test predictions, 0 weights files, {in_cache}"
    elsewhere = f"0 feature entries (there is no folder {tmp_path / 'nowhere'}; cache_dir=... names another)"
    assert looked_at("nowhere").endswith(f", 0 weights files, {elsewhere}")
    study.open_test(good(study), "why")
    for row in study.rows():
        if row.status == Status.ok and row.job_id != good(study):
            study.row_path(row.job_id).unlink()
    write_table(study)
    assert looked_at().startswith("3 rows, 1 prediction file, 2 tables, 0 models, 1 opening of test predictions, ")
    for name in ("results.csv", "results.parquet"):
        (study.root / name).unlink()
    assert ", 0 tables, " in looked_at()


def test_weights_that_are_not_here_are_said(study: Study, looked_at: Callable[..., str]) -> None:
    """They count as not looked at, beside those that are here."""
    path = BUNDLES["tf_efficientnet_lite1"].path()
    assert path is not None
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    first, second = (row for row in study.rows() if row.status == Status.ok)
    study.write_row(replace(first, weights="gone.pth", weights_source="file", weights_sha256="0" * 64))
    write_table(study)
    assert ", 0 of 1 weights file (the rest was not found on this machine), " in looked_at()
    study.write_row(replace(second, model="tf_efficientnet_lite1", weights_source="bundled", weights_sha256=sha256))
    write_table(study)
    assert ", 1 of 2 weights files (the rest was not found on this machine), " in looked_at()


def test_a_study_as_it_was_written_matches_and_stays_so(study: Study, check: Check) -> None:
    """Nothing is said, nothing is changed, and no test predictions count as opened."""
    before = {path: path.read_bytes() for path in study.root.rglob("*") if path.is_file()}
    assert check() == (0, [])
    assert {path: path.read_bytes() for path in study.root.rglob("*") if path.is_file()} == before
    assert study.opened() == set()


@pytest.mark.parametrize("where", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("kind", ["row", "predictions"])
def test_one_changed_bit_is_found(study: Study, check: Check, kind: str, where: float) -> None:
    """Anywhere in a row or in a file of predictions, the sealed part included; the line names the file and the way out.

    One line: that the table and the log of openings name the job of a row that cannot be read says nothing new.
    """
    job_id = good(study)
    study.open_test(job_id, "why")
    path = study.row_path(job_id) if kind == "row" else study.predictions_path(job_id)
    flip(path, where)
    status, said = check()
    assert status == BAD_JOBS
    assert only(said).startswith(f"{path}: ")
    assert "run the same sweep again" in said[0]


def test_tables_that_cannot_be_compared_do_not_count_as_looked_at(
    study: Study, check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a damaged row; a table that a report has written since then, without that row, can be compared."""
    flip(study.row_path(good(study)))
    cfg = VerifyConfig("s", str(study.root.parent), str(tmp_path / "cache"))
    run(cfg)
    assert ", 1 prediction file, 0 of 2 tables (the rest cannot be compared while rows are damaged), " in capsys.readouterr().out
    write_table(study)
    run(cfg)
    assert ", 1 prediction file, 2 tables, " in capsys.readouterr().out


def test_lost_predictions_do_not_count_as_looked_at(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are named, and the others counted."""
    study.predictions_path(good(study)).unlink()
    run(VerifyConfig("s", str(study.root.parent), str(tmp_path / "cache")))
    assert ", 1 of 2 prediction files (the rest is named above), " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["rows.npy", "entry.json"])
def test_one_changed_bit_of_kept_features_is_found(check: Check, tmp_path: Path, name: str) -> None:
    """In the rows or beside them; the entry is left for the next job to replace."""
    (folder,) = (tmp_path / "cache" / "features").iterdir()
    flip(folder / name)
    status, said = check()
    assert (status, only(said).startswith(f"{folder}: is damaged (")) == (BAD_JOBS, True)
    assert said[0].endswith("; leave it to the next job that needs it, which computes it anew, or delete it.")
    assert folder.exists()


def test_an_entry_under_another_name_is_found(check: Check, tmp_path: Path) -> None:
    """Whole as it is, it belongs to other images."""
    (folder,) = (tmp_path / "cache" / "features").iterdir()
    shutil.copytree(folder, folder.with_name("0" * 32))
    assert "belongs to another address" in only(check()[1])


def test_a_row_with_another_number_than_its_predictions_say_is_found(study: Study, check: Check) -> None:
    """Sealed or not: what is stated is computed anew; what rounds differently on another processor is the same."""
    row = next(row for row in study.rows() if row.status == Status.ok)
    assert row.val_log_loss is not None
    study.write_row(replace(row, val_log_loss=row.val_log_loss * (1 + 1e-12)))
    write_table(study)
    assert check() == (0, [])
    study.write_row(replace(row, val_log_loss=row.val_log_loss + 1e-6, val_accuracy=None))
    write_table(study)
    status, said = check()
    assert status == BAD_JOBS
    assert "says val_accuracy=None, its predictions say 0." in only(said)
    assert "1 more" in said[0]
    study.write_row(replace(row, n_val=61))
    write_table(study)
    assert "says n_val=61, its predictions are of 60 images" in only(check()[1])


def test_predictions_that_have_no_metrics_are_found(study: Study, check: Check) -> None:
    """A label beyond the classes."""
    job_id = good(study)
    old = study.val_predictions(job_id)
    study.write_predictions(job_id, Predictions(old.log_probs_NC, old.labels_N + 99, old.ids_N), None)
    study.write_row(next(row for row in study.rows() if row.job_id == job_id))
    assert "no metrics come of its predictions" in only(check()[1])


@pytest.mark.parametrize("name", ["results.csv", "results.parquet"])
@pytest.mark.parametrize("how", ["flipped", "stale", "rubbish"])
def test_a_table_that_does_not_hold_the_rows_is_found(study: Study, check: Check, name: str, how: str) -> None:
    """Damaged or of other rows; making it anew puts it right."""
    path = study.root / name
    if how == "flipped":
        content = path.read_bytes()
        flip(path, (content.index(b"short") + 0.5) / (len(content) - 1))
    elif how == "rubbish":
        path.write_bytes(b"\xff\x00PAR1")
    else:
        kept = path.read_bytes()
        study.write_row(make_row("late", status="failed", error="no", weights_sha256=None))
        write_table(study)
        path.write_bytes(kept)
    line = only(check()[1])
    assert line.startswith(f"{path}: does not hold what the rows do")
    assert f" -m harness.report study=s results_dir={study.root.parent}`" in line  # of the Python that runs this
    write_table(study)
    assert check() == (0, [])


def keep_model(study: Study, job_id: str, *, model_blake2b: str) -> Path:
    """A kept model of a job; its path."""
    models = Models(study)
    models.write(ModelFile(make_header(job_id=job_id, model_blake2b=model_blake2b), {"head.weight": np.ones((2, 3), np.float32)}))
    return models.path(job_id)


def test_kept_models_are_checked(study: Study, check: Check, looked_at: Callable[..., str]) -> None:
    """A whole one of its own row is fine; any changed bit, another row's model and one without a row are named."""
    job_id = good(study)
    row = next(row for row in study.rows() if row.job_id == job_id)
    path = keep_model(study, job_id, model_blake2b=str(row.model_blake2b))
    assert ", 1 model, " in looked_at()
    for where in (0.01, 0.5, 1.0):
        flip(path, where)
        assert only(check()[1]).startswith(f"{path}: ")
        path = keep_model(study, job_id, model_blake2b=str(row.model_blake2b))
    keep_model(study, job_id, model_blake2b="0" * 32)
    assert "is not the model that its row was made from" in only(check()[1])
    path.unlink()
    other = keep_model(study, "0123456789abcdef", model_blake2b="0" * 32)
    assert only(check()[1]).startswith(f"{other}: is the model of a job that has no row")


def test_an_opened_job_without_a_row_is_found(study: Study, check: Check) -> None:
    """Somebody deleted a row whose test predictions had been looked at, or a bit of the log changed."""
    job_id = good(study)
    study.open_test(job_id, "why")
    assert check() == (0, [])
    study.row_path(job_id).unlink()
    write_table(study)
    assert f"names jobs that have no row: {job_id}" in only(check()[1])


def test_weights_on_this_machine_are_held_against_the_rows(tmp_path: Path) -> None:
    """A package's file and one that the command named; what is not here, or is another file by now, is not held against them."""
    path = BUNDLES["tf_efficientnet_lite0"].path()
    assert path is not None
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    own = tmp_path / "own.pth"
    own.write_bytes(b"weights")
    bundled = make_row("b", "tf_efficientnet_lite0", weights=path.stem, weights_source="bundled", weights_sha256=sha256)
    changed = replace(bundled, job_id="c", weights_sha256="0" * 64)
    given = make_row("g", weights="own.pth", weights_source="file", weights_sha256=hashlib.sha256(b"weights").hexdigest())
    given = replace(given, details=replace(given.details, command=[f"weights={own}"]))
    odd = tmp_path / "=1 own.pth"
    odd.write_bytes(b"weights")
    quoted = replace(given, job_id="q", weights=odd.name, details=replace(given.details, command=[f"weights='{odd}'"]))
    inline = replace(given, job_id="i", weights_sha256="1" * 64, details=replace(given.details, command=[f"backbone=resnet50@{own}"]))
    gone = replace(given, job_id="x", details=replace(given.details, command=["weights=/nowhere/own.pth"]))
    nowhere = make_row("n", "no_such_net", weights_source="hub", weights_sha256="2" * 64)
    found = {
        file.path: file.wrong
        for file in weigh([bundled, changed, given, quoted, inline, gone, nowhere, make_row("r", weights_sha256=None)])
    }
    assert found == {path: ["c"], own: ["i"], odd: []}


def test_changed_weights_are_reported(study: Study, check: Check) -> None:
    """In the line of the file, with the jobs that had other ones."""
    path = BUNDLES["tf_efficientnet_lite1"].path()
    row = next(row for row in study.rows() if row.status == Status.ok)
    study.write_row(replace(row, model="tf_efficientnet_lite1", weights_source="bundled", weights_sha256="0" * 64))
    write_table(study)
    assert only(check()[1]).startswith(f"{path}: is not the file that job {row.job_id} was made from; ")


def test_a_class_without_a_val_image_is_no_mismatch(tmp_path: Path) -> None:
    """Metrics that do not exist are empty in the row and in what is computed."""
    study = Study(tmp_path / "results" / "s")
    log_probs_NC = np.log(np.full((4, 3), 1 / 3, np.float32))
    row = make_row("a", weights_source="random", weights_sha256=None)
    write_job(study, row, Predictions(log_probs_NC, np.array([0, 0, 1, 1]), list("abcd")))
    assert run(VerifyConfig("s", str(tmp_path / "results"), str(tmp_path / "cache"))) == 0


def test_an_unknown_study_lists_those_there(study: Study) -> None:
    """As everywhere else."""
    with pytest.raises(TableError, match=r"not in .*there are s\."):
        run(VerifyConfig("t", str(study.root.parent)))


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("study=t",), 2), (("studdy=s",), 2)])
def test_the_command(study: Study, tmp_path: Path, arguments: tuple[str, ...], status: int) -> None:
    """As a program: exit status, one line of error, and no torch."""
    code = "import sys, harness.verify; harness.verify.main()"
    folders = [f"results_dir={study.root.parent}", f"cache_dir={tmp_path / 'cache'}"]
    done = subprocess.run([sys.executable, "-c", code, *folders, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == (status != 0)
    if status == 0:
        flip(study.row_path(good(study)))
        again = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=False)
        assert (again.returncode, again.stderr) == (3, "")


def test_imports_no_torch() -> None:
    """Whoever only checks hashes need not wait for it."""
    code = "import sys, harness.verify, harness.verification.recomputed; print([n for n in ('torch', 'timm', 'torchvision') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
