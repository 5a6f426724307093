"""Whatever a job's process does, the sweep gets a value."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import DivergedError
from harness.isolate import run_isolated
from harness.study.row import Status


def _give(value: int) -> int:
    return value + 1


def _fail(message: str) -> None:
    raise ValueError(message)


def _diverge() -> None:
    raise DivergedError("loss is nan")


def _run_out_of_memory() -> None:
    raise MemoryError


def _die(how: str) -> None:
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    time.sleep(60)


def test_a_value_comes_back() -> None:
    """The ordinary case."""
    outcome = run_isolated(f"{__name__}:_give", 41)
    assert (outcome.status, outcome.value) == (Status.ok, 42)


def test_an_exception_is_one_line() -> None:
    """Type and message, no line breaks."""
    outcome = run_isolated(f"{__name__}:_fail", "first\nsecond")
    assert (outcome.status, outcome.error) == (Status.failed, "ValueError: first second")


def test_divergence_and_memory_have_their_own_status() -> None:
    """A row says which of the usual ends it was."""
    assert run_isolated(f"{__name__}:_diverge").status is Status.diverged
    assert run_isolated(f"{__name__}:_run_out_of_memory").status is Status.oom


@pytest.mark.parametrize(("how", "said"), [("exit", "exit status 7"), ("kill", "SIGKILL")])
def test_death_without_a_word_is_a_killed_job(how: str, said: str) -> None:
    """`os._exit` and signals leave no exception; the status and the cause come from outside."""
    outcome = run_isolated(f"{__name__}:_die", how)
    assert outcome.status is Status.killed
    assert said in (outcome.error or "")


def _note_pid_and_hang(path: str) -> None:
    Path(path).write_text(str(os.getpid()), encoding="ascii")
    time.sleep(60)


def test_a_job_dies_with_its_sweep(tmp_path: Path) -> None:
    """Killing the sweep leaves no job behind that goes on using the machine."""
    note = tmp_path / "pid"
    code = f"from harness.isolate import run_isolated; run_isolated({f'{__name__}:_note_pid_and_hang'!r}, {str(note)!r})"
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2]) as sweep:
        _wait_until(lambda: note.exists() and note.read_text(encoding="ascii") != "")
        sweep.kill()
    job = Path("/proc") / note.read_text(encoding="ascii")
    _wait_until(lambda: not job.exists() or "\nState:\tZ" in (job / "status").read_text(encoding="ascii"))


def _wait_until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + 50
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_a_job_over_time_is_ended() -> None:
    """The caller does not wait for a hanging job."""
    outcome = run_isolated(f"{__name__}:_hang", timeout_s=1)
    assert outcome.status is Status.timeout
    assert "job_timeout_min" in (outcome.error or "")
