"""The record of a benchmark: written where it was asked for, beside the module by a full run, and never unasked by a short one."""

import argparse
import json
from enum import StrEnum
from pathlib import Path

import pytest

from benchmarks.kept import add_json, keep


class Kind(StrEnum):
    """An enum as settings have it."""

    plain = "as it is"


def arguments(*given: str) -> argparse.Namespace:
    """Of a benchmark that has a short form."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    add_json(parser)
    return parser.parse_args(given)


@pytest.mark.parametrize("form", [(), ("--short",)])
def test_a_file_that_was_asked_for_is_written_in_both_forms(tmp_path: Path, form: tuple[str, ...]) -> None:
    """There and nowhere else; enums by their value."""
    keep({"kind": Kind.plain, "value": 1.5}, arguments(*form, "--json", str(tmp_path / "asked.json")), str(tmp_path / "module.py"))
    assert json.loads((tmp_path / "asked.json").read_text(encoding="utf-8")) == {"kind": "as it is", "value": 1.5}
    assert [path.name for path in tmp_path.iterdir()] == ["asked.json"]


def test_unasked_only_a_full_run_writes_and_beside_its_module(tmp_path: Path) -> None:
    """A short form leaves nothing behind, and neither does a benchmark that keeps no record of its own."""
    keep({}, arguments("--short"), str(tmp_path / "module.py"))
    keep({}, arguments())
    assert list(tmp_path.iterdir()) == []
    keep({"value": 1}, arguments(), str(tmp_path / "module.py"))
    assert json.loads((tmp_path / "module.json").read_text(encoding="utf-8")) == {"value": 1}


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not after the hours that the benchmark takes: a folder that is not there, or a folder instead of a file."""
    for path in (tmp_path / "nowhere" / "x.json", tmp_path):
        with pytest.raises(SystemExit) as ended:
            arguments("--json", str(path))
        assert ended.value.code == 2
        assert f"{path} cannot be written; give a file in a folder that is there" in capsys.readouterr().err
