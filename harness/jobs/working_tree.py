"""The commit of the working directory, asked of git in a way that lets nothing in that directory run.

A sweep may be started in a folder that came from elsewhere, with a `.git` in it. Its configuration names programs: to watch files,
to filter their contents, to fetch what is missing, hooks. `provenance` wants a number from it and nothing else.
"""

import os
import subprocess

_TIMEOUT_S = 10
_HARMLESS = {"core.fsmonitor": "false", "core.hooksPath": os.devnull}
_OFFLINE = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}


def commit() -> str | None:
    """Short commit of the working directory, with `+` when tracked files differ from it.

    None outside a repository, without git, or with one of before 2.31: it passes over the settings that keep it from running things.
    """
    found = _git("rev-parse", "--short=12", "HEAD")
    if not found or _git("config", "core.hooksPath") != os.devnull:
        return None
    is_changed = _git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty", **_without_filters())
    return found + ("+" if is_changed else "")


def _without_filters() -> dict[str, str]:
    """Settings that empty the filters which the repository itself, not its user, has configured."""
    listed = (_git("config", "--show-scope", "--name-only", "--get-regexp", r"^filter\.") or "").splitlines()
    keys = [key for scope, _, key in (line.partition("\t") for line in listed) if scope in ("local", "worktree")]
    names = {key.removeprefix("filter.").rpartition(".")[0] for key in keys}
    return {f"filter.{name}.{part}": value for name in names for part, value in (("clean", ""), ("process", ""), ("required", "false"))}


def _git(*arguments: str, **settings: str) -> str | None:
    """What git prints; None when it fails. Settings given in the environment go before those of any file."""
    first = os.environ.get("GIT_CONFIG_COUNT", "")
    start = int(first) if first.isdecimal() else 0  # what the user has set this way stays
    pairs = list(enumerate((_HARMLESS | settings).items(), start))
    given = {f"GIT_CONFIG_{part}_{place}": pair[at] for place, pair in pairs for at, part in enumerate(("KEY", "VALUE"))}
    environment = {**os.environ, **_OFFLINE, **given, "GIT_CONFIG_COUNT": str(start + len(pairs))}
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=_TIMEOUT_S,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
