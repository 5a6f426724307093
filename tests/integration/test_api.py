"""The Python interface on real sweeps of tiny networks: the same jobs, numbers and answers as the commands, in scripts and notebooks."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone

import harness
from harness import predict
from harness.study import store
from tests.integration.api_examples import draw
from tests.integration.commands import Command
from tests.integration.conftest import _run

ROOT = Path(__file__).parents[2]
OPTIONS: dict[str, Any] = {
    "weights": "random",
    "train__epochs": 1,
    "data__image_size": 32,
    "evidence__minutes": 0,
    "measure__warm_up_s": 0,
    "measure__timing_s": 0,
}
"""Of a sweep that takes seconds."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noise."""
    return draw(tmp_path_factory.mktemp("api") / "photos")


@pytest.fixture(scope="module")
def study(photos: Path) -> Iterator[harness.Study]:
    """Two networks at two depths, two seeds of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        folders: dict[str, Any] = {"results_dir": photos.parent / "results", "cache_dir": photos.parent / "cache"}
        yield harness.sweep(photos, ["test_resnet", "test_vit"], ["all", 0.5], seeds=range(2), study="noise", **OPTIONS, **folders)


def test_a_sweep_is_that_of_the_command_line(study: harness.Study, photos: Path, run_sweep: Command) -> None:
    """The same jobs by their ids, so that what one has run the other finds done."""
    typed = [f"{key.replace('__', '.')}={value}" for key, value in OPTIONS.items()]
    swept = run_sweep(*typed, f"data.root={photos}", "backbone=test_resnet,test_vit", "freeze=all,0.5", "seed=0,1", "study=noise")
    assert swept.status == 0, swept.err
    assert {row.job_id for row in swept.rows("noise")} == set(study.results["job_id"])
    again = run_sweep(*typed, f"results_dir={study.path.parent}", f"data.root={photos}", "backbone=test_vit", "freeze=all", "study=noise")
    assert "1 job, 1 already done" in again.out


def test_results_and_predictions_are_those_of_the_rows(study: harness.Study) -> None:
    """The table as it is written, and val scores found again from single predictions."""
    results, found = study.results, study.predictions("val")
    assert len(results) == 8
    assert study.failed.empty
    assert results.equals(pd.read_parquet(study.path / "results.parquet"))
    assert np.allclose(found.filter(like="prob_").sum(axis=1), 1)
    own = (found["label"] == found["decision"]).groupby(found["job_id"]).mean()
    stated = results.set_index("job_id")["val_accuracy"]
    assert np.allclose(own.loc[stated.index].to_numpy(), stated.to_numpy(float))


def test_sealed_predictions_stay_sealed(study: harness.Study) -> None:
    """Only those of jobs that a report has opened are given out; ranking under limits opens nothing."""
    opened = store.Study(study.path).opened()
    assert set(study.predictions("test")["job_id"]) == opened
    ranking = study.rank(points_per_doubling=0, metric="f1_macro", max_params_m=0.4)
    assert ranking.table["excluded"].notna().any()
    assert store.Study(study.path).opened() == opened
    (study.path / "opened.jsonl").rename(study.path / "hidden")
    try:
        with pytest.raises(harness.TableError, match="sealed"):
            study.predictions("test")
    finally:
        (study.path / "hidden").rename(study.path / "opened.jsonl")


def test_the_answer_is_that_of_the_report(study: harness.Study, tmp_path: Path) -> None:
    """One table, one sentence, one recommendation; also where the report is asked for elsewhere."""
    ranking = study.rank()
    written = pd.read_csv(study.path / "report" / "ranking.csv")
    assert list(ranking.table.columns) == list(written.columns)
    assert ranking.recommended == written.loc[written["recommended"], "label"].item()
    page = study.report(tmp_path / "page")
    assert page == tmp_path / "page" / "index.html"
    assert (tmp_path / "page" / "ranking.csv").read_text() == (study.path / "report" / "ranking.csv").read_text()
    assert ranking.headline.replace("\N{NO-BREAK SPACE}", " ") in (study.path / "report" / "report.md").read_text(encoding="utf-8")
    assert study.report(max_params_m=0.4).parent.name == "report-max_params_m=0.4"
    nobody = study.rank(max_params_m=0.001)
    assert (nobody.recommended, nobody.headline[:17]) == (None, "No recommendation")


def test_a_model_answers_as_the_command_does(study: harness.Study, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths, pictures and arrays alike."""
    typed = [
        f"results_dir={study.path.parent}",
        "study=noise",
        f"images={photos}",
        f"to={tmp_path / 'answers.csv'}",
        "candidate=test_vit all",
    ]
    assert _run(predict.main, typed, monkeypatch) == 0
    written = pd.read_csv(tmp_path / "answers.csv")
    model = harness.load_model(study, "test_vit all")
    own = model.predict(photos)
    pd.testing.assert_frame_equal(own.drop(columns="error"), written)
    assert own["error"].isna().all()
    files = [photos / path for path in written["path"]]
    pictures = [Image.open(path) for path in files]
    arrays = [np.asarray(picture) for picture in pictures]
    for given in ([str(path) for path in files], pictures, arrays, np.stack(arrays)):
        other = model.predict(given)
        pd.testing.assert_frame_equal(other.filter(regex="label|prob|margin"), own.filter(regex="^label|prob|margin"))
    assert len(model.predict(arrays[0])) == len(model.predict(pictures[0])) == len(model.predict(files[0])) == 1
    grey = model.predict([picture.convert("L") for picture in pictures[:3]] + [np.asarray(pictures[0].convert("L"))])
    assert grey["label"].notna().all()


def test_what_cannot_be_read_has_a_line_that_says_why(study: harness.Study, photos: Path, tmp_path: Path) -> None:
    """Lines stay in the order of what was given; what can never be an image is an error."""
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG no picture")
    model = study.model("test_resnet all")
    found = model.predict([photos / "dark" / "0.png", tmp_path / "damaged.png", tmp_path / "gone.png", photos / "dark" / "1.png"])
    assert found["label"].notna().tolist() == [True, False, False, True]
    assert found["error"].isna().tolist() == [True, False, False, True]
    assert found["error"][2] == "No such file or directory"
    assert model.predict([tmp_path / "gone.png"])["margin"].isna().all()
    assert model.predict([]).empty
    for wrong in (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4)), [3], b"x", 3, np.zeros((0, 4), np.uint8)):
        with pytest.raises(harness.DataError, match="is no image"):
            model.predict(wrong)
    with pytest.raises(harness.ConfigError, match="no such folder or file"):
        model.predict(tmp_path / "nowhere")


def test_studies_and_models_are_found(study: harness.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, by folder, or the last; what is not there is named."""
    monkeypatch.chdir(study.path.parent.parent)
    for named in ("noise", study.path, str(study.path), None):
        assert harness.load_study(named).name == "noise"
    assert harness.load_model("noise", str(study.results["job_id"][0])).freeze == study.results["freeze"][0]
    with pytest.raises(harness.TableError, match="there are noise"):
        harness.load_study("nose")
    with pytest.raises(harness.TableError, match="did you mean 'test_vit all'"):
        study.model("test_vit al")
    with pytest.raises(harness.ConfigError, match=r"device='tpu'"):
        study.model(device="tpu")


def test_a_frame_is_swept_and_a_failed_job_raises_nothing(photos: Path, tmp_path: Path) -> None:
    """Images are named as in the frame; a job without the memory that it needs is a row, and listed."""
    paths: list[Any] = sorted(photos.rglob("*.png"))
    splits = ["test" if number % 4 == 0 else "val" if number % 4 == 1 else "train" for number in range(len(paths))]
    frame = pd.DataFrame({"path": paths, "label": [path.parent.name for path in paths], "split": splits, "doctor": "x"})
    folders: dict[str, Any] = {"results_dir": tmp_path / "results", "cache_dir": tmp_path / "cache"}
    study = harness.sweep(frame, "test_resnet", "all", **OPTIONS, **folders)
    assert (study.name, study.results["status"].tolist()) == ("table", ["ok"])
    found = study.predictions("val").merge(frame.assign(path=[str(path) for path in paths]), left_on="image", right_on="path")
    assert len(found) == splits.count("val")
    assert (found["label_x"] == found["label_y"]).all()
    failed = harness.sweep(frame, "test_resnet", "none", study="failed", job__memory_gib=0.001, **OPTIONS, **folders).failed
    assert failed[["backbone", "freeze", "status"]].to_numpy().tolist() == [["test_resnet", "none", "oom"]]
    assert "job.memory_gib" in failed["error"][0]
    gone = frame.assign(path=[tmp_path / path.name if number < 7 else path for number, path in enumerate(paths)])
    with pytest.raises(harness.ConfigError, match=r"images that are not there \(7\)"):
        harness.sweep(gone, "test_resnet", "all", study="gone", **OPTIONS, **folders)
    with pytest.raises(harness.ConfigError, match="did you mean test_resnet"):
        harness.sweep(frame, "test_resne", **OPTIONS, **folders)


def test_a_candidate_is_an_estimator(photos: Path, tmp_path: Path) -> None:
    """It can be cloned, keeps classes as they were given, and says which image it cannot read."""
    paths = sorted(photos.rglob("*.png"))
    y = [12 if path.parent.name == "bright" else 3 for path in paths]
    given = clone(harness.Classifier("test_vit", options={**OPTIONS, "cache_dir": tmp_path}))
    classifier = given.fit(paths, y)
    assert classifier.classes_.tolist() == [3, 12]
    assert classifier.score(paths, y) > 0.9
    probs = classifier.predict_proba(paths[:4])
    assert classifier.classes_[probs.argmax(axis=1)].tolist() == classifier.predict(paths[:4]).tolist()
    with pytest.raises(harness.DataError, match=r"gone\.png: No such file or directory; 1 of 2 images cannot be read"):
        classifier.predict([paths[0], tmp_path / "gone.png"])
    with pytest.raises(harness.TrainingError, match=r"job.memory_gib"):
        given.set_params(options={**OPTIONS, "cache_dir": tmp_path, "job__memory_gib": 0.001}).fit(paths, y)


def _script(folder: Path, body: str, *arguments: str) -> "subprocess.Popen[str]":
    """A program of a user's, without a guard."""
    (folder / "program.py").write_text(body, encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(folder), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(folder / "program.py"), *arguments]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_an_unguarded_script_runs_once(photos: Path, tmp_path: Path) -> None:
    """No `if __name__ == "__main__"`, and no exit: what follows the sweep runs."""
    body = f"import harness\nprint('begins')\nstudy = harness.sweep({str(photos)!r}, 'test_vit', 'all', **{OPTIONS!r})\nprint(len(study.results), study)\n"
    with _script(tmp_path, body) as ran:
        out, _ = ran.communicate(timeout=120)
    assert (out.count("begins"), out.splitlines()[-1]) == (1, "1 Study('results/folder')"), out


def test_an_interrupt_is_raised_once_jobs_are_stopped(photos: Path, tmp_path: Path) -> None:
    """KeyboardInterrupt reaches the caller with what is done; no process is left, and the same call goes on."""
    options = OPTIONS | {"train__epochs": 20_000, "train__lr_search": [1]}
    body = (
        "import harness, psutil\n"
        f"try:\n    harness.sweep({str(photos)!r}, 'test_vit', 'none', **{options!r})\n"
        "except KeyboardInterrupt as interrupt:\n    print('caught', interrupt)\n"
        "print('left', [each.name() for each in psutil.Process().children(recursive=True) if each.num_threads() > 1])\n"
    )
    with _script(tmp_path, body) as ran:
        _wait_until(lambda: any((tmp_path / "results").glob("*/claims/*")))
        time.sleep(3)
        ran.send_signal(signal.SIGINT)
        out, _ = ran.communicate(timeout=60)
    assert "caught interrupted: 0 of 1 job has a row" in out, out
    assert out.splitlines()[-1] == "left []"


def _wait_until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_another_thread_may_sweep(photos: Path, tmp_path: Path) -> None:
    """As kernels and servers do."""
    found: list[int] = []

    def run() -> None:
        folders: dict[str, Any] = {"results_dir": tmp_path / "results", "cache_dir": tmp_path / "cache"}
        found.append(len(harness.sweep(photos, "test_vit", "all", **OPTIONS, **folders).results))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(120)
    assert found == [1]


def test_examples_of_the_docstrings_do_what_they_say(tmp_path: Path) -> None:
    """Every public function, class and method, as a reader would run them."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    script = [sys.executable, str(Path(__file__).with_name("api_examples.py"))]
    ran = subprocess.run(script, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=200)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "attempted=0" not in ran.stdout


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/quickstart.ipynb in a kernel of its own, offline: lines in one stream, the answer as a table, no warning."""
    import nbclient
    import nbformat

    for name, value in {
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = {cell.source.partition("\n")[0]: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    swept = outputs["import harness"]
    lines = "".join(each.text for each in swept if each.output_type == "stream" and each.name == "stdout")
    assert "[6/6] " in lines
    assert "\nReport: results/digits/report/index.html\n" in lines
    assert not [each for cell in outputs.values() for each in cell if each.get("name") == "stderr"]
    (bar,) = [each for each in swept if each.output_type == "display_data"]
    assert bar.data["text/html"] == ""
    (answer,) = outputs["study.rank()"]
    assert "<table" in answer.data["text/html"]
    assert "Use test_" in answer.data["text/plain"]
