"""What `import harness` offers: these names, at no cost until one is used; options that mean what they mean on the command line."""

import inspect
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness
from harness.api.sweeping import sweep
from harness.cli.call import composed, sweeper_of
from harness.config import ReportConfig
from harness.data.table import NEEDED
from harness.errors import ConfigError, DataError, TableError
from harness.study.table import to_frame
from tests.unit.reporting.fake_study import make_row

ROOT = Path(__file__).parents[2]
NAMES = {
    *("sweep", "load_study", "load_model", "rank", "compare", "list_backbones", "Study", "Model", "Ranking", "Classifier", "__version__"),
    *("HarnessError", "ConfigError", "DataError", "BackboneError", "TrainingError", "StoreError", "TableError", "UndefinedMetricError"),
}


def test_these_names_are_offered() -> None:
    """Whoever changes them changes other people's programs."""
    assert set(harness.__all__) == set(dir(harness)) == NAMES
    for name in NAMES:
        assert getattr(harness, name) is not None
    assert issubclass(harness.TableError, harness.HarnessError)
    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        getattr(harness, "swep")  # noqa: B009


def _python(code: str) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


def _takes_s(code: str) -> float:
    def once() -> float:
        started = time.perf_counter()
        _python(code)
        return time.perf_counter() - started

    return statistics.median(once() for _ in range(5))


def test_importing_takes_no_time() -> None:
    """Under 0.2 s beside a bare interpreter; nothing large is imported, not even by looking at what there is."""
    assert _takes_s("import harness") - _takes_s("pass") < 0.2
    print_large = (
        "import sys, harness; dir(harness); print([name for name in ('torch', 'pandas', 'numpy', 'hydra') if name in sys.modules])"
    )
    assert _python(print_large) == "[]\n"


@pytest.mark.parametrize(
    "first", ["import harness", "import harness.sweep", "from harness.sweep import run_job", "from harness import sweep"]
)
def test_sweep_is_a_module_and_a_function(first: str) -> None:
    """Whichever was imported first, `harness.sweep` can be called and has what launchers' workers look up."""
    code = f"{first}\nimport harness, inspect\nprint(callable(harness.sweep), 'backbones' in inspect.signature(harness.sweep).parameters)\n"
    assert (
        _python(f"{code}from harness.sweep import main, run_job\nimport harness.sweep\nprint(callable(harness.sweep))")
        == "True True\nTrue\n"
    )


@pytest.mark.parametrize("found", [sweep, harness.load_study, harness.load_model, harness.rank, harness.list_backbones])
def test_functions_are_shown_at_work(found: object) -> None:
    """Each docstring has an example; tests/integration/test_api.py runs them."""
    assert ">>> " in (inspect.getdoc(found) or "")


@pytest.mark.parametrize("found", [harness.Study, harness.Model, harness.Ranking])
def test_methods_are_shown_at_work(found: type) -> None:
    """Each class and each public method has an example, and each property says what it is."""
    assert ">>> " in (inspect.getdoc(found) or "")
    for name, member in inspect.getmembers(found, inspect.isfunction):
        assert name.startswith("_") or ">>> " in (inspect.getdoc(member) or ""), name


OPTIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "lists are swept": ({"backbone": ["test_resnet", "test_vit"], "freeze": ["all", 0.5, -4]}, ["backbone=test_resnet,test_vit", "freeze=all,0.5,-4"]),
    "ranges and numbers of NumPy": ({"seed": range(3), "train.lr": np.float64(0.1)}, ["seed=0,1,2", "train.lr=0.1"]),
    "two underscores are a dot": ({"train__epochs": 3, "data__max_images": None}, ["train.epochs=3", "data.max_images=null"]),
    "a list is the value of a key that takes one": ({"train__lr_search": [0.3, 1]}, ["train.lr_search=[0.3,1]"]),
    "text is taken letter by letter": ({"study": "2024_11_28", "weights": "a,b.pth"}, ['study="2024_11_28"', 'weights="a,b.pth"']),
    "paths and words": ({"data.root": Path("x y"), "train__class_weights": True}, ['data.root="x y"', "train.class_weights=true", "data=folder"]),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_typed_for_the_caller(name: str) -> None:
    """Values become the line that a user would have to type."""
    given, line = OPTIONS[name]
    given = {"backbone": "test_resnet", **given} if "backbone" not in given else given
    with sweeper_of(given) as (_, found):
        assert [part for part in found if part != "backbone=test_resnet"] == line


def test_jobs_are_those_of_the_command_line() -> None:
    """The configurations of each job, in the same order."""
    given = {"backbone": ["test_resnet", "test_vit"], "seed": [0, 1], "data": "digits", "train__lr": [0.1, 1e-3], "study": "x"}
    with sweeper_of(given) as (sweeper, line):
        jobs = sweeper.asked(line)
    with sweeper_of({}) as (typed, _):
        line = ["backbone=test_resnet,test_vit", "seed=0,1", "data=digits", "train.lr=0.1,0.001", "study=x"]
        assert [config for config, _ in typed.asked(line)] == [config for config, _ in jobs]
    assert len(jobs) == 2 * 3 * 2 * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train__epoch": 3}, "train.epoch: unknown key; did you mean 'train.epochs'?"),
        ({"train__epochs": "many"}, "train.epochs=many: not allowed; train.epochs takes a whole number, or null."),
        ({"data": "digit"}, "data=digit: unknown; did you mean 'digits'?"),
        ({"device": "tpu"}, "device=tpu: not allowed; give one of auto, cpu, cuda, mps, or cuda:INDEX such as cuda:1."),
        ({"seed": []}, "seed: an empty list"),
        ({"hydra/launcher": "joblib"}, "hydra/launcher: launchers and other parts of Hydra are chosen on the command line"),
        ({"study": "../x"}, "study='../x': not allowed"),
    ],
)
def test_mistakes_are_told_as_on_the_command_line(options: dict[str, Any], said: str) -> None:
    """One error, what was given, what is allowed; nothing has run."""
    with pytest.raises(ConfigError) as caught:
        harness.sweep(**{"backbones": "test_resnet", "data": "digits"} | options)
    assert said in str(caught.value)


def test_ranking_options_are_those_of_the_report() -> None:
    """Same names, same checks."""
    assert composed("report", ReportConfig, {"rank.max_latency_ms": 30}).rank.max_latency_ms == 30
    with pytest.raises(ConfigError, match=r"rank.max_latency: unknown key; did you mean 'rank.max_latency_ms'"):
        harness.rank(pd.DataFrame(), max_latency=30)


def test_a_frame_without_its_columns_is_refused(tmp_path: Path) -> None:
    """The columns are named; so is what is none of the things that images can be."""
    with pytest.raises(DataError, match="has no column label"):
        harness.sweep(pd.DataFrame({"path": ["a"]}), ["test_resnet"], results_dir=tmp_path)
    with pytest.raises(DataError, match=f"is a list; .* columns {', '.join(NEEDED)}"):
        harness.sweep([1, 2], ["test_resnet"], results_dir=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"study='../x': not allowed"):
        harness.sweep(pd.DataFrame({"path": ["a"], "label": ["b"]}), ["test_resnet"], study="../x", results_dir=tmp_path)


def test_a_table_is_ranked_by_its_columns() -> None:
    """Rows put together by a program; of two protocols nothing is said but their names."""
    rows = [make_row(f"{name}{seed}", backbone=name, seed=seed, val_accuracy=0.8 + seed / 100) for name in ("a", "b") for seed in range(3)]
    frame = to_frame(rows)
    ranking = harness.rank(frame, metric="accuracy")
    assert set(ranking.table["label"]) == {"a · all", "b · all"}
    assert ranking.recommended in ("a · all", "b · all")
    assert ranking.recommended in ranking.headline
    assert "<table" in ranking._repr_html_()
    with pytest.raises(TableError, match="holds 2 protocols"):
        harness.rank(frame.assign(protocol=["p"] * 3 + ["q"] * 3), metric="accuracy")
    with pytest.raises(TableError, match="lacks job_id"):
        harness.rank(frame.drop(columns="job_id"))


def test_listed_backbones_are_a_frame() -> None:
    """Numbers are numbers, and what is unknown is empty."""
    frame = harness.list_backbones("test_resnet", "resnet18")
    assert frame["name"].tolist() == ["test_resnet", "resnet18"]
    assert frame["params_m"].tolist() == [0.47, 11.69]
    with pytest.raises(harness.BackboneError, match="did you mean"):
        harness.list_backbones("resnet5")
