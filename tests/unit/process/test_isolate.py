"""Whatever a job's process does, the sweep gets a value."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from harness.errors import DivergedError
from harness.process.heartbeat import beat
from harness.process.isolate import Limits, run_isolated
from harness.process.progress import track
from harness.status import Status


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


def _work_visibly() -> None:
    for _ in track(range(4), "epoch 1", num_images=40):
        time.sleep(0.6)


def test_what_a_job_does_is_told_to_who_shows_it() -> None:
    """How far a loop is and how many images it takes a second, about once a second; and no bars of the job's own."""
    said = list[str]()
    assert run_isolated(f"{__name__}:_work_visibly", show=said.append).status is Status.ok
    assert said[0] == "epoch 1: 0 of 4"
    assert re.fullmatch(r"epoch 1: 2 of 4 · 1\d images/s", said[1])


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
    code = f"from harness.process.isolate import run_isolated; run_isolated({f'{__name__}:_note_pid_and_hang'!r}, {str(note)!r})"
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3]) as sweep:
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
    outcome = run_isolated(f"{__name__}:_hang", limits=Limits(timeout_s=1))
    assert outcome.status is Status.timeout
    assert "job.timeout_minutes" in (outcome.error or "")


def _beat_for(seconds: float, *, stops: bool) -> str:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        beat()
        time.sleep(0.05)
    if stops:
        time.sleep(60)
    return "done"


def test_a_job_that_shows_life_is_slow_and_one_that_shows_none_is_stuck() -> None:
    """Heartbeats put the end off; silence brings it."""
    limits = Limits(stall_s=3)
    assert run_isolated(f"{__name__}:_beat_for_slow", limits=limits).value == "done"
    outcome = run_isolated(f"{__name__}:_beat_then_hang", limits=limits)
    assert outcome.status is Status.timeout
    assert "no sign of life" in (outcome.error or "")


def _beat_for_slow() -> str:
    return _beat_for(6, stops=False)


def _beat_then_hang() -> str:
    return _beat_for(1, stops=True)


def _hold(num_mib: int, *, helper: bool) -> int:
    def hold() -> None:
        held = bytearray(b"x") * (num_mib * 2**20)
        time.sleep(20)
        del held

    if helper and os.fork() == 0:
        hold()
    time.sleep(20) if helper else hold()
    return 1


def _hold_much() -> int:
    return _hold(1200, helper=False)


def _have_a_helper_hold_much() -> int:
    return _hold(1200, helper=True)


@pytest.mark.parametrize("who", ["_hold_much", "_have_a_helper_hold_much"])
def test_memory_over_the_limit_ends_a_job_and_its_helpers(who: str) -> None:
    """What the job's process and its children hold together counts; the limit is in the reason, and the children are gone too."""
    outcome = run_isolated(f"{__name__}:{who}", limits=Limits(memory_mib=1200))
    assert outcome.status is Status.oom
    assert "1.2 GiB are allowed" in (outcome.error or "")
    _wait_until(lambda: not any(_is_large(process) for process in psutil.Process().children(recursive=True)))


def _is_large(process: psutil.Process) -> bool:
    try:
        return bool(process.memory_info().rss > 1200 * 2**20)
    except psutil.NoSuchProcess:
        return False


def _fork_and_die() -> None:
    if os.fork() == 0:
        time.sleep(20)
    os._exit(7)


def test_a_death_is_noticed_although_a_helper_lives() -> None:
    """A child of the job holds the pipe open; the job's own end counts."""
    started = time.monotonic()
    outcome = run_isolated(f"{__name__}:_fork_and_die")
    assert "exit status 7" in (outcome.error or "")
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("is_light", [False, True])
def test_a_script_without_a_guard_runs_once(tmp_path: Path, *, is_light: bool) -> None:
    """No process imports the script that started it, so `if __name__ == "__main__"` is not needed."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from harness.process.isolate import run_isolated\n"
        f"print('runs', run_isolated('builtins:len', [1, 2], is_light={is_light}).value)\n"
        "print(__file__, __spec__)\n",
        encoding="utf-8",
    )
    ran = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ran.stdout.splitlines() == ["runs 2", f"{script} None"], ran.stderr
