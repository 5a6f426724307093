"""Whatever is typed behind the command: it is taken, or refused in one line with exit status 2. Nothing runs here."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import example, given
from hypothesis import strategies as st

from harness.cli.command import explain, known_keys
from harness.config import SweepConfig
from harness.errors import ConfigError, DataError
from harness.process import isolate
from harness.search import grid, runner
from harness.search import sweep as search
from harness.sweep import main as sweep_main
from harness.text.untrusted import one_line
from tests.unit.fuzzing import examples

pytestmark = pytest.mark.slow

KEYS = [*known_keys(SweepConfig), "hydra/launcher", "hydra.mode", "experiment", "hydra", "hydra.job.name", "nothing", "data.name.x", ""]
WORDS = [
    *(
        "null",
        "true",
        "nan",
        "inf",
        "-1",
        "0",
        "1e999",
        "1" * 5000,
        "''",
        "'",
        '"',
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        "[]",
        "{}",
        "[1,[2]]",
        "{a:1}",
    ),
    *(
        "${",
        "${data.name}",
        "${nothing}",
        "${oc.env:NOTHING}",
        "${oc.decode:'['}",
        "${.}",
        "${study}",
        "???",
        "choice(",
        "range(1,3)",
        "glob(*)",
    ),
    *(
        "sort(",
        "int(x)",
        "a,b",
        ",",
        "a,,b",
        "\\",
        "\\,",
        "\x1b[31m",
        "a\nb",
        "\udcff",
        "größe",
        "../x",
        "/x",
        ".",
        "a/b",
        "a" * 300,
        "((((",
        "#",
    ),
]
VALUES = st.one_of(st.sampled_from(WORDS), st.text(max_size=12), st.integers().map(str), st.floats().map(repr))
TYPED = st.one_of(
    st.tuples(
        st.sampled_from(["", "", "", "+", "++", "~"]), st.sampled_from(KEYS), st.sampled_from(["=", "=", "=", ":=", "", "==", "@"]), VALUES
    ).map("".join),
    st.text(max_size=20),
).filter(lambda text: not text.startswith("-") and "\0" not in text)


@pytest.fixture(scope="module")
def stubbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The command line with everything behind the configuration cut off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("typed"))
        patch.setattr(isolate, "warm_up", lambda: None)
        patch.setattr(runner, "expand_backbones", list)
        patch.setattr(grid, "run_one", lambda _: "")
        patch.setattr(grid, "run_grid", lambda *_: 0)
        patch.setattr(search, "run_search", lambda *_: 0)
        yield


def _ended(*typed: str) -> tuple[object, str]:
    before, sys.argv = sys.argv, ["harness.sweep", *typed]
    GlobalHydra.instance().clear()
    said = io.StringIO()
    status: object = 0
    try:
        with contextlib.redirect_stderr(said):
            sweep_main()
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = before
    return status, said.getvalue()


def _check(*typed: str) -> str:
    status, said = _ended(*typed)
    if status == 0:
        return said
    assert status == 2, said
    assert said.startswith("error: "), said
    assert said.count("\n") == 1, said
    assert one_line(said[:-1]) == said[:-1], said
    return said


@pytest.mark.timeout(3600)
@examples(80)
@given(st.lists(TYPED, min_size=1, max_size=3))
@example(["study=a\nb"])
@example(["train=null"])
@example(["data=null"])
@example(["train.lr_search=null"])
@example(["~train"])
@example(["workers=" + "1" * 5000])
@example(["device=cuda:" + "1" * 5000])
@example(["seed=" + "1" * 5000])
@example(["study=${study}"])
@example([""])
def test_taken_or_refused_in_one_line(stubbed: None, typed: list[str]) -> None:
    """No traceback, no second line, no control character."""
    _check("backbone=test_resnet", "data=digits", *typed)


def test_what_is_right_is_taken(stubbed: None, tmp_path: Path) -> None:
    """The stubs do not hide that nothing is refused."""
    assert _check("backbone=test_resnet", "data=digits", "freeze=all,-1", "seed=0,1", f"results_dir={tmp_path}") == ""


def test_a_word_where_none_fits_is_told_with_its_key_and_what_that_takes(stubbed: None, tmp_path: Path) -> None:
    """Whatever the type of an option is; texts take any word (`train.release` together with its epochs only)."""
    texts = set()
    for key in set(known_keys(SweepConfig)) - {"train.release"}:
        elsewhere = [] if key == "results_dir" else [f"results_dir={tmp_path}"]
        said = _check("backbone=test_resnet", "data=digits", *elsewhere, f"{key}=no_such_word")
        if said:
            assert said.startswith((f"error: {key}=no_such_word: ", f"error: {key}=[no_such_word]: "))
            assert any(words in said for words in (f"not allowed; {key} takes ", "not allowed; give ", "unknown; there is ")), said
        else:
            texts.add(key)
    assert texts == {
        *("backbone", "blocks", "freeze", "weights", "study", "results_dir", "cache_dir"),
        *("data.name", "data.source", "data.root", "data.drop", "train.name", "rank.costs"),
        *("slurm.partition", "slurm.account", "slurm.qos", "slurm.setup", "ray.address"),
    }


def test_each_problem_is_one_line() -> None:
    """A name with a line end or an escape sequence in it adds no line and no colour; problems that are told together stay apart."""
    assert explain(DataError("data.root=a\n\x1b[31mb: does not exist")) == ["data.root=a\\n\\x1b[31mb: does not exist"]
    assert explain(ConfigError("one\nand the same", "two")) == ["one\\nand the same", "two"]


@pytest.mark.parametrize("mode", ["MULTIRUN", "RUN"])
def test_a_mistake_of_the_harness_is_not_put_down_to_the_command_line(stubbed: None, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """What goes wrong behind the configuration is raised as what it is, whoever ran the job."""
    for name in ("run_grid", "run_one"):
        monkeypatch.setattr(grid, name, lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _ended("backbone=test_resnet", "data=digits", f"hydra.mode={mode}")
