"""Commands started in a folder from elsewhere: nothing in it runs, whichever way the command was started."""

import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2]
STARTS = {
    "as a module": [sys.executable, "-m", "harness"],
    "as a script": [sys.executable, "{script}"],
}
SCRIPT = """
import sys
sys.path.insert(0, {home!r})
import harness, subprocess
subprocess.run([sys.executable, "-c", "import email, harness"], check=True)
"""


@pytest.mark.parametrize("start", STARTS)
def test_files_called_like_modules_do_not_run(tmp_path: Path, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the command itself nor in a process that it starts."""
    folder, marks = tmp_path / "photos", tmp_path / "marks"
    folder.mkdir()
    marks.mkdir()
    for name in ("email", "typing", "numpy", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(marks / name)!r}, 'w')\n", encoding="utf-8")
    script = tmp_path / "harness-sweep"
    script.write_text(SCRIPT.format(home=str(HOME)), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(HOME))
    command = [part.format(script=script) for part in STARTS[start]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(marks.iterdir()) == []
    subprocess.run([sys.executable, "-c", "import email"], cwd=folder, check=False)
    assert [mark.name for mark in marks.iterdir()] == ["email"], "the trap must be one"


def test_a_checkout_is_found_without_being_installed() -> None:
    """Started in the checkout itself, the harness is still found there, by its own processes too."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import harness; print(harness.__file__)'], check=True)"
    command = [sys.executable, "-c", f"import sys; sys.argv[0] = '-m'; import harness; {code}"]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(HOME / "harness" / "__init__.py")
