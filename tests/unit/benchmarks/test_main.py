"""Running every benchmark one after the other."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

import benchmarks
from benchmarks.__main__ import BENCHMARKS, Benchmark, main


def test_a_benchmark_whose_package_is_missing_is_skipped_with_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Its command is shown, nothing is run, and nothing failed."""
    assert main([Benchmark("table", needs="no_such_package")]) == 0
    printed = capfd.readouterr().out
    assert "$ python -m benchmarks.table --short" in printed
    assert "skipped: no_such_package is not installed" in printed


def test_a_benchmark_that_fails_does_not_stop_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    """The exit status and the last line tell of it."""
    assert main([Benchmark("no_such_module"), Benchmark("figures")]) == 1
    printed = capfd.readouterr().out
    assert "$ python -m benchmarks.figures --short" in printed
    assert printed.splitlines()[-1].endswith("failed: no_such_module")


def test_every_command_is_run() -> None:
    """A benchmark that is added to the folder is added to the list."""
    modules = Path(benchmarks.__file__).parent.glob("*.py")
    commands = {path.stem for path in modules if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")} - {"__main__"}
    assert {benchmark.name for benchmark in BENCHMARKS} == commands


@pytest.mark.parametrize("name", [benchmark.name for benchmark in BENCHMARKS if benchmark.needs is None])
def test_every_command_takes_a_file_for_its_record(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json PATH` means the same everywhere, in the short form as well."""
    monkeypatch.setattr(sys, "argv", [name, "--short", "--json", "nowhere/record.json"])
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 2
    assert "nowhere/record.json cannot be written" in capsys.readouterr().err
