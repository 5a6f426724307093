"""`harness COMMAND`: one entry for all commands."""

import sys

import pytest

from harness.__main__ import COMMANDS, main


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    try:
        return main()
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_answers_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With what its own module says."""
    assert _run(monkeypatch, name, "--help") == 0
    assert "usage" in (said := capsys.readouterr().out) or "Keys, their defaults" in said


def test_a_command_does_what_its_module_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments and exit status are those of `python -m harness.NAME`."""
    assert _run(monkeypatch, "backbones", "resnet18", "--csv") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("resnet18,resnet,11.69")
    assert _run(monkeypatch, "backbones", "resnet1888") == 2


def test_an_unknown_command_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with what was typed and what there is; nothing has run."""
    assert _run(monkeypatch, "swep") == 2
    assert capsys.readouterr().err == f"error: swep: no such command; did you mean sweep? Known: {', '.join(COMMANDS)}.\n"


def test_without_a_command_the_screen_names_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0."""
    assert _run(monkeypatch) == 0
    screen = capsys.readouterr().out
    assert all(f"harness.{name}" in screen for name in COMMANDS)
