"""Jobs that die, hang or take all memory, and sweeps that are killed, interrupted or not alone."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

import psutil

from harness.status import Status
from harness.study.row import Row
from harness.study.store import Study
from tests.faults.box import TRIO, WAIT_S, Box, Ended, quality, wait_for
from tests.faults.catalog import Fault, Outcome, Seen, add, fault
from tests.faults.misbehave import DEEDS, SMALL, plant

GOOD = (0, 13)
LIMITS = ("job.stall_minutes=0.15", "job.timeout_minutes=0.4", "job.memory_gib=1.5")


@cache
def _misbehaving() -> tuple[Ended, Mapping[int, Row], Study]:
    """One real sweep in which everything that a job can do wrong happens between two good jobs; by seed."""
    folder = Path(tempfile.mkdtemp())
    box = Box(folder)
    seeds = ",".join(str(seed) for seed in (GOOD[0], *DEEDS, SMALL, GOOD[1]))
    ended = box.run("backbone=test_resnet", "freeze=none", f"seed={seeds}", *LIMITS, env=plant(folder / "plant"))
    return ended, {row.seed: row for row in box.rows()}, box.study


def _after(seed: int, status: Status, *said: str) -> Seen:
    """The row of one misbehaving job, the others being good and the report there."""
    ended, rows, study = _misbehaving()
    assert ended.status == 3, ended.err
    assert set(rows) == {*GOOD, *DEEDS, SMALL}
    assert all(rows[good].status == Status.ok for good in GOOD)
    assert (study.report_dir / "index.html").exists()
    row = rows[seed]
    assert (row.status, row.val_accuracy) == (status, None), row
    assert all(word in (row.error or "") for word in said), row.error
    return Seen(Outcome.row, ended.line(f"seed={seed}:"))


def _misdeed(name: str, injected: str, seed: int, status: Status, *said: str) -> None:
    add(Fault("job", name, injected, lambda _: _after(seed, status, *said)))


_misdeed(
    "a job raises an exception",
    "the model's code raises RuntimeError with a message of two lines",
    1,
    Status.failed,
    "RuntimeError: a shape that does not fit",
)
_misdeed("a job calls `sys.exit`", "the model's code calls sys.exit(5)", 2, Status.killed, "exit status 5")
_misdeed("a job calls `os._exit`", "the model's code calls os._exit(7)", 3, Status.killed, "exit status 7")
_misdeed("a job crashes with a segmentation fault", "the model's code reads address 0", 4, Status.killed, "SIGSEGV")
_misdeed("a job is killed from outside", "SIGKILL to the job's process", 5, Status.killed, "SIGKILL")
_misdeed(
    "a job allocates memory without end",
    "the model's code allocates until it is stopped; job.memory_gib=1.5",
    6,
    Status.oom,
    "GiB of memory",
    "job.memory_gib",
)
_misdeed("a job hangs", "the model's code sleeps; job.stall_minutes=0.15", 7, Status.timeout, "no sign of life", "job.stall_minutes")
_misdeed(
    "a job works without end",
    "the model's code works on and on; job.timeout_minutes=0.4",
    8,
    Status.timeout,
    "took longer",
    "job.timeout_minutes",
)
_misdeed("a job's process is stopped", "SIGSTOP to the job's process", 9, Status.timeout, "no sign of life")
_misdeed("a job raises what would end a program", "the model's code raises KeyboardInterrupt", 10, Status.killed, "exit status 1")
_misdeed("a job recurses too deep", "the model's code raises RecursionError", 11, Status.failed, "RecursionError")


@fault("job", "MemoryError in every pass of more than 10 images, at a batch of 32")
def a_batch_too_large(_: Box) -> Seen:
    """a batch does not fit into memory"""
    ended, rows, _study = _misbehaving()
    row = rows[SMALL]
    assert (row.status, row.batch_size, row.micro_batch) == (Status.ok, 32, 8), row
    assert row.val_accuracy is not None
    assert row.latency_ms_p50 is not None
    return Seen(Outcome.recovered, f"{ended.line(f'seed={SMALL}:')} (micro_batch = {row.micro_batch} in the table)")


@fault("job", "train.lr=1e30")
def a_divergence(box: Box) -> Seen:
    """the loss stops being finite"""
    ended = box.sweep("backbone=test_resnet", "freeze=none,all", "train.lr=1e30", "train.head_init=random")
    assert ended.status == 3, ended.err
    assert {row.status for row in box.rows()} == {Status.diverged}
    assert all(row.val_accuracy is None for row in box.rows())
    return Seen(Outcome.row, ended.line("freeze=none"))


def _under(box: Box, *launcher: str) -> Seen:
    """Some of the same under another launcher."""
    seeds = {0: Status.ok, 2: Status.killed, 3: Status.killed, 4: Status.killed, 6: Status.oom, 7: Status.timeout, 13: Status.ok}
    named = ",".join(map(str, seeds))
    ended = box.run("backbone=test_resnet", "freeze=none", f"seed={named}", *LIMITS, *launcher, env=plant(box.root / "plant"))
    assert ended.status == 3, ended.err
    assert {row.seed: row.status for row in box.rows()} == seeds
    assert (box.study.report_dir / "index.html").exists()
    return Seen(Outcome.row, ended.line("seed=4:"))


@fault("job", "exit, segfault, endless memory and a hang between two good jobs, hydra/launcher=joblib")
def under_joblib(box: Box) -> Seen:
    """jobs misbehave under the joblib launcher"""
    return _under(box, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@fault("job", "exit, segfault, endless memory and a hang between two good jobs, hydra/launcher=submitit_local")
def under_submitit(box: Box) -> Seen:
    """jobs misbehave under submitit on this machine"""
    return _under(box, "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=10", "hydra.sweeper.max_batch_size=2")


# Sweeps.

MANY = ("backbone=test_resnet", "freeze=none", "seed=0,1,2,3,4,5,6,7")
"""Jobs enough that a sweep is not over before its signal comes."""


@cache
def undisturbed(jobs: tuple[str, ...] = TRIO) -> Mapping[str, tuple[object, ...]]:
    """What these jobs come to."""
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder))
        assert box.run(*jobs).status == 0
        return quality(box.rows())


def _row_files(box: Box) -> int:
    return len(list((box.study.root / "rows").glob("[!.]*.json")))


_FROM_TERMINALS = frozenset({signal.SIGINT, signal.SIGHUP})
"""What a terminal sends to a command and all its children."""


def _interrupted_by(box: Box, how: signal.Signals) -> tuple[Ended, float]:
    """The sweep gets a signal after its first row, and is run again. Returns how the first ended, and how long that took."""
    process = box.start(*MANY)
    wait_for(lambda: _row_files(box) >= 1)
    sent = time.monotonic()
    (os.killpg if how in _FROM_TERMINALS else os.kill)(process.pid, how)
    out, err = process.communicate(timeout=WAIT_S)
    taken_s = time.monotonic() - sent
    assert 1 <= len(box.rows()) < len(undisturbed(MANY))
    again = box.sweep(*MANY)
    assert again.status == 0, again.err
    assert quality(box.rows()) == undisturbed(MANY)
    return Ended(process.returncode, out, err), taken_s


@fault("sweep", "SIGKILL to the sweep after its first row; the same command again")
def a_killed_sweep(box: Box) -> Seen:
    """the sweep is killed"""
    ended, _ = _interrupted_by(box, signal.SIGKILL)
    assert ended.status == -signal.SIGKILL
    return Seen(Outcome.resumed, "nothing; the next run says how many of the jobs are already done and goes on")


@fault("sweep", "SIGKILL to a sweep under joblib while two jobs run")
def a_killed_sweep_with_workers(box: Box) -> Seen:
    """the sweep is killed while workers of a launcher run its jobs"""
    jobs = (*MANY, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")  # whose jobs have one thread each, and other last digits
    process = box.start(*jobs)
    wait_for(lambda: _row_files(box) >= 1)
    family = psutil.Process(process.pid).children(recursive=True)
    assert any("loky" in " ".join(member.cmdline()) for member in family)
    process.kill()
    process.communicate(timeout=WAIT_S)
    gone, left = psutil.wait_procs(family, timeout=10)
    assert gone
    assert not [member for member in left if member.status() != psutil.STATUS_ZOMBIE]
    again = box.run(*jobs)
    assert again.status == 0, again.err
    assert quality(box.rows()) == undisturbed(jobs)
    return Seen(Outcome.resumed, "nothing; the workers end within seconds, and the next run goes on")


@fault("sweep", "SIGINT to the sweep and its children after its first row; the same command again")
def an_interrupted_sweep(box: Box) -> Seen:
    """Ctrl-C"""
    ended, taken_s = _interrupted_by(box, signal.SIGINT)
    assert ended.status == 130
    assert taken_s < 5
    return Seen(Outcome.resumed, ended.line("interrupted:"))


def _has_children(pid: int) -> bool:
    return bool(psutil.Process(pid).children())


@fault("sweep", "SIGINT to the sweep and its children at three moments while it imports and prepares")
def an_interrupted_start(box: Box) -> Seen:
    """Ctrl-C before the first job"""
    for delay_s in (0.0, 0.5, 1.5):
        process = box.start(*TRIO)
        wait_for(partial(_has_children, process.pid))
        time.sleep(delay_s)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 130, err
        assert err.splitlines() == ["interrupted; re-run the same command to resume"]
    return Seen(Outcome.resumed, err.strip())


@fault("sweep", "SIGINT to the sweep and its children after its last row")
def an_interrupted_report(box: Box) -> Seen:
    """Ctrl-C while the report is written"""
    process = box.start(*TRIO)
    wait_for(lambda: _row_files(box) == 3)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    ended = Ended(process.returncode, out, err)
    assert ended.status == 130, err
    command = shlex.split(ended.line("interrupted: 3 of 3 jobs").split("`")[1])
    assert command[1:3] == ["-m", "harness.report"]
    assert box.report(*command[3:]).status == 0
    return Seen(Outcome.resumed, ended.line("interrupted:"))


@fault("sweep", "SIGTERM to the sweep after its first row; the same command again")
def a_terminated_sweep(box: Box) -> Seen:
    """the sweep is asked to end, as a scheduler does"""
    _interrupted_by(box, signal.SIGTERM)
    return Seen(Outcome.resumed, "nothing; the next run says how many of the jobs are already done and goes on")


@fault("sweep", "SIGHUP to the sweep and its children after its first row; the same command again")
def a_closed_terminal(box: Box) -> Seen:
    """the terminal is closed"""
    _interrupted_by(box, signal.SIGHUP)
    return Seen(Outcome.resumed, "nothing; the next run says how many of the jobs are already done and goes on")


@fault("sweep", "SIGKILL to the process that jobs are forked from, after the first row")
def no_more_forks(box: Box) -> Seen:
    """the process that jobs come from is killed"""
    process = box.start(*TRIO)
    wait_for(lambda: _row_files(box) >= 1)
    for helper in psutil.Process(process.pid).children():
        if "forkserver" in " ".join(helper.cmdline()):
            helper.kill()
    out, err = process.communicate(timeout=WAIT_S)
    ended = Ended(process.returncode, out, err)
    assert len(box.rows()) == 3, err
    lost = [row for row in box.rows() if row.status != Status.ok]
    assert len(lost) <= 1
    assert box.sweep(*TRIO, "retry=failed").status == 0
    assert quality(box.rows()) == undisturbed()
    return Seen(Outcome.row, ended.line("KILLED") if lost else ended.line("[3/3]"))


@fault("sweep", "a second sweep of the same jobs into the same study at the same time")
def two_sweeps(box: Box) -> Seen:
    """two sweeps at once into one study"""
    processes = [box.start(*TRIO) for _ in range(2)]
    ends = [process.communicate(timeout=2 * WAIT_S) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    assert quality(box.rows()) == undisturbed()
    return Seen(Outcome.recovered, "both end well; each job was trained once")


@fault("sweep", "a process that holds the claim of a job gets SIGKILL")
def an_owner_that_died(box: Box) -> Seen:
    """whoever was running a job died without a word"""
    code = "import sys, time; from pathlib import Path; from harness.study.claims import claimed\nwith claimed(Path(sys.argv[1]), sys.argv[2]):\n    print('held', flush=True)\n    time.sleep(600)"
    job_id = next(iter(undisturbed()))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(box.study.root), job_id], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        owner.kill()
    ended = box.sweep(*TRIO)
    assert ended.status == 0
    assert quality(box.rows()) == undisturbed()
    return Seen(Outcome.recovered, ended.line("3 jobs"))


@fault("sweep", "standard output is a pipe that nobody reads any more")
def nobody_listens(box: Box) -> Seen:
    """the output is piped into a program that ends"""
    with box.start(*TRIO) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert "Traceback" not in err
    box.sweep(*TRIO)
    assert quality(box.rows()) == undisturbed()
    return Seen(Outcome.resumed, "nothing; rows that were written stay, and the same command goes on")


@fault("sweep", "a job that failed; the same command, then with retry=failed")
def a_failed_job_again(box: Box) -> Seen:
    """a failed job is not tried again unasked"""
    options = ("backbone=test_resnet", "freeze=all", "seed=0,1", "job.timeout_minutes=0.0001")
    assert box.sweep(*options).status == 3
    again = box.sweep("backbone=test_resnet", "freeze=all", "seed=0,1")
    assert again.status == 3
    assert {row.status for row in box.rows()} == {Status.timeout}
    assert box.sweep("backbone=test_resnet", "freeze=all", "seed=0,1", "retry=failed").status == 0
    assert {row.status for row in box.rows()} == {Status.ok}
    return Seen(Outcome.row, again.line("failed before"))
