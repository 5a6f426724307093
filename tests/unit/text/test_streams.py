"""Output that can be written to, and sockets whose paths are short enough, however a command was started."""

import io
import subprocess
import sys
from multiprocessing import current_process
from pathlib import Path

import pytest

from harness.process import sockets
from harness.text import streams

_PROGRAM = """
import os, sys
from harness.text.streams import make_usable
make_usable()
print("seen"); print("seen", file=sys.stderr); sys.stderr.isatty()
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2
os.system("echo child")
"""


def test_closed_streams_take_no_file(tmp_path: Path) -> None:
    """What is printed goes nowhere, no file gets the number of an output, and children inherit outputs that are open."""
    command = f'exec "{sys.executable}" -c \'{_PROGRAM}\' "{tmp_path}/file" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    assert (tmp_path / "file").read_text(encoding="utf-8") == ""


def test_no_character_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain character stands for what the harness writes itself, an escape for all else."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    streams.make_usable()
    sys.stdout.write("vit · all ≈ 3 ms … 猫")
    sys.stdout.flush()
    assert written.getvalue() == b"vit - all ~ 3 ms ... \\u732b"


def test_a_long_folder_is_left_for_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where a socket's path would be too long; children are told."""
    config: dict[str, str] = {}
    monkeypatch.setattr(current_process(), "_config", config)
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    sockets.use_short_folder()
    assert config == {}
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/" + "x" * 133)
    monkeypatch.setattr(sockets, "_SHORT", ("/nowhere", str(tmp_path)))
    sockets.use_short_folder()
    assert Path(config["tempdir"]).parent == tmp_path
