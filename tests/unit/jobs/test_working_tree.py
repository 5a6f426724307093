"""Asking git for the commit of a folder from elsewhere runs nothing that the folder names."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.jobs import working_tree

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Git in a fresh repository that is the current folder, without the user's configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for part in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{part}_NAME", "a")
        monkeypatch.setenv(f"GIT_{part}_EMAIL", "a@b.example")
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    run("init", "-q")
    Path("a.txt").write_text("one\n", encoding="utf-8")
    run("add", "a.txt")
    run("commit", "-q", "-m", "first")
    return run


def test_commit_and_change(git: Git) -> None:
    """Twelve letters of the commit, and a plus once a tracked file differs; files that git does not know do not count."""
    commit = git("rev-parse", "HEAD")[:12]
    Path("new.txt").write_text("x", encoding="utf-8")
    assert working_tree.commit() == commit
    Path("a.txt").write_text("two\n", encoding="utf-8")
    assert working_tree.commit() == f"{commit}+"


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of one there is no commit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert working_tree.commit() is None


def test_a_git_that_cannot_be_kept_from_running_things_is_not_asked(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2.31 it knew no settings from the environment; the programs that the folder names would run."""
    old = tmp_path / "bin" / "git"
    old.parent.mkdir()
    old.write_text(f'#!/bin/sh\nunset GIT_CONFIG_COUNT\nexec "{shutil.which("git")}" "$@"\n', encoding="utf-8")
    old.chmod(0o755)
    git("config", "core.fsmonitor", f"sh -c 'echo > {tmp_path}/ran'")
    monkeypatch.setenv("PATH", f"{old.parent}{os.pathsep}{os.environ['PATH']}")
    assert working_tree.commit() is None
    assert not (tmp_path / "ran").exists()


def test_settings_of_the_user_stay(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment already says to git is kept, such as which owners' folders may be read."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.abbrev")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "nonsense")  # git refuses it: so it has been read
    assert working_tree.commit() is None


def test_nothing_of_the_folder_runs(git: Git, tmp_path: Path) -> None:
    """Programs that its configuration names, as watcher, filter and hook, and which a plain `git status` starts, are not started."""
    marks = tmp_path / "marks"
    marks.mkdir()
    programs = {name: f"sh -c 'echo > {marks}/{name}; cat'" for name in ("watcher", "clean", "odd.name=x")}
    hook = Path(".git/hooks/post-index-change")
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho > {marks}/hook\n", encoding="utf-8")
    hook.chmod(0o755)
    git("config", "core.fsmonitor", programs["watcher"])
    git("config", "filter.evil.clean", programs["clean"])
    git("config", "filter.odd.name=x.clean", programs["odd.name=x"])
    Path(".gitattributes").write_text("*.txt filter=evil\n*.bin filter=odd.name=x\n", encoding="utf-8")
    Path("a.txt").write_text("two\n", encoding="utf-8")
    commit = git("rev-parse", "HEAD")[:12]
    os.utime("a.txt", (1, 1))
    before = set(marks.iterdir())
    assert working_tree.commit() == f"{commit}+"
    assert set(marks.iterdir()) == before
    git("status", "--porcelain")
    assert {path.name for path in set(marks.iterdir()) - before} >= {"watcher", "clean"}, "the trap must be one"
