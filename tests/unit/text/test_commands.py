"""Commands run as printed: by the Python that printed them, however it is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.text import commands
from harness.text.commands import runnable


@pytest.fixture(autouse=True)
def anew() -> None:
    """Each test has surroundings of its own."""
    commands._interpreter.cache_clear()


def test_without_the_environment_active(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The path to this Python stands in front, relative where it lies below the current folder; other words stay."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    said = runnable("run `python -m harness.report` first; python -m venv")
    assert said == f"run `{sys.executable} -m harness.report` first; python -m venv"
    assert runnable("python -m pip install x") == f"{sys.executable} -m pip install x"
    assert runnable(said) == said
    commands._interpreter.cache_clear()
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert runnable("python -m harness.sweep") == ".venv/bin/python -m harness.sweep"


def test_with_the_environment_active(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As everybody types it."""
    python = tmp_path / "python"
    python.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(python))
    assert runnable("python -m harness.sweep") == "python -m harness.sweep"


def test_the_screen_runs_as_printed() -> None:
    """The first command that `python -m harness` names, with --help, where no python is active."""
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    screen = subprocess.run([sys.executable, "-m", "harness"], capture_output=True, text=True, check=True, env=environment).stdout
    command = next(line for line in screen.splitlines() if "-m harness.report" in line).split()[:3]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, env=environment)
    assert "Keys, their defaults" in done.stdout


def test_a_python_without_the_harness_s_packages_says_so(tmp_path: Path) -> None:
    """In a checkout, before its environment is active: one line with the remedy."""
    checkout = Path(commands.__file__).parents[2]
    bare = [sys.executable, "-I", "-S", "-c", "import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv = ['-m']; import harness"]
    done = subprocess.run([*bare, str(checkout)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "source .venv/bin/activate" in done.stderr
