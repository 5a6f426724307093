"""Run a function in a process of its own; its death, a hang or too much memory becomes a value and does not end the sweep.

Meanwhile the caller watches the process: its run time, its last heartbeat and its memory.
"""

import importlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

import psutil

from harness.errors import ConfigError, DivergedError, HarnessError, is_debugging, is_out_of_memory
from harness.process import heartbeat, place
from harness.process.alive import is_alive
from harness.process.sockets import use_short_folder
from harness.status import Status
from harness.text import untrusted

T = TypeVar("T")

_PRELOAD = ["harness.jobs.preload"]
_LEFT_BEHIND = "ignore:resource_tracker:UserWarning"
_POLL_S = 0.2
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How an isolated call ended. `value` is there exactly when the status is ok."""

    status: Status
    value: T | None = None
    error: str | None = None
    """One line."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call may take; None: no limit."""

    timeout_s: float | None = None
    stall_s: float | None = None
    """Without a sign of life."""
    memory_mib: float | None = None
    """Of its process and those that it starts."""


NO_LIMITS = Limits()


def warm_up() -> None:
    """Start importing what jobs need, in the background; the first call of `run_isolated` then finds it done."""
    _context()


def run_isolated(
    target: str, *arguments: Any, limits: Limits = NO_LIMITS, is_light: bool = False, show: Callable[[str], None] | None = None
) -> Outcome[Any]:
    """Call a function in a fresh process and wait for its value, its exception or its death.

    An interrupt of the caller ends the child and is passed on. It computes where the calling thread says (`place.at`), and sees the
    accelerators that its caller sees now, whatever they were when `warm_up` was called.

    Args:
        target: `module:function`; a name and not an object, so that the caller need not import torch.
        arguments: picklable.
        limits: going over the first two becomes an outcome with status `timeout`, over the last one with status `oom`.
        is_light: the function needs nothing of what `warm_up` imports, and does not wait for it.
        show: is told about once a second what the function is doing, for a person to see; it then draws no bars of its own.
    """
    context = light_context() if is_light else _context()
    receiver, sender = context.Pipe(duplex=False)
    settle = partial(place.here().settle, place.variables())
    process = context.Process(target=_call, args=(sender, target, arguments, show is not None, settle))
    num_oom_kills = _num_oom_kills()
    try:
        with (
            without_main(),
            born_quiet() if is_light else nullcontext(),
        ):  # the other kind is born of a quiet server, for which it may wait
            process.start()
    except (EOFError, OSError) as error:
        return _unborn(error)
    finally:
        sender.close()
    try:
        return _wait(receiver, process, limits, num_oom_kills, show or (lambda _: None))
    finally:
        _end(process)
        receiver.close()


def _wait(receiver: Connection, process: Any, limits: Limits, num_oom_kills: int, show: Callable[[str], None]) -> Outcome[Any]:
    started = heard = time.monotonic()
    while True:
        if receiver.poll(_POLL_S):
            try:
                message = receiver.recv()
            except EOFError:
                return _death(process, num_oom_kills)
            if isinstance(message, Outcome):
                return message
            heard = time.monotonic()
            show(message)
        elif _has_ended(process) and not receiver.poll():  # helpers that it has forked may hold the pipe open
            return _death(process, num_oom_kills)
        go_on()
        if (broken := _broken(limits, time.monotonic() - started, time.monotonic() - heard, process.pid)) is not None:
            return broken


def _has_ended(process: Any) -> bool:
    """Starting a process asks after all others, and what two threads ask at once only one of them is told."""
    with _starting:
        return process.exitcode is not None


_ending = threading.Event()


@contextmanager
def end_all() -> Iterator[None]:
    """Meanwhile whoever waits for a call is interrupted, in all threads, and the call is ended."""
    _ending.set()
    try:
        yield
    finally:
        _ending.clear()


def go_on() -> None:
    """For loops that wait. Raises KeyboardInterrupt while all calls are ended."""
    if _ending.is_set():
        raise KeyboardInterrupt


def _broken(limits: Limits, taken_s: float, silent_s: float, pid: int) -> Outcome[Any] | None:
    """The outcome of a call that went over a limit."""
    if limits.timeout_s is not None and taken_s > limits.timeout_s:
        return Outcome(Status.timeout, error=f"took longer than {limits.timeout_s:g} s; raise job.timeout_minutes or make the job smaller.")
    if limits.stall_s is not None and silent_s > limits.stall_s:
        return Outcome(Status.timeout, error=f"gave no sign of life for {limits.stall_s:g} s; raise job.stall_minutes if it was only slow.")
    if limits.memory_mib is not None and (held_mib := _memory_mib(pid)) > limits.memory_mib:
        allowed = f"{limits.memory_mib / 1024:.1f} GiB are allowed"
        return Outcome(
            Status.oom, error=f"held {held_mib / 1024:.1f} GiB of memory and {allowed}; raise job.memory_gib or make the job smaller."
        )
    return None


def _memory_mib(pid: int) -> float:
    """Of a process and its children; 0 when it has just ended."""
    try:
        process = psutil.Process(pid)
        return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / _MIB)
    except psutil.NoSuchProcess:
        return 0.0


def light_context() -> Any:
    """Of processes that begin with an interpreter of their own."""
    known = multiprocessing.get_all_start_methods()
    # Workers of joblib have a start method of their own, which a child would be told to use and does not know.
    if multiprocessing.get_start_method(allow_none=True) not in {None, *known}:
        multiprocessing.set_start_method("spawn", force=True)
    return multiprocessing.get_context("spawn")


def _context() -> Any:
    light = light_context()
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return light
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    use_short_folder()
    try:
        with born_quiet():
            forkserver.ensure_running()
    except OSError:  # no socket can be made: jobs then import everything anew
        return light
    return context


def require_watchable() -> None:
    """See that processes can be looked after. Raises ConfigError."""
    if sys.platform == "linux" and not Path("/proc/self/stat").exists():
        raise ConfigError("/proc: is not mounted, and without it no job can be watched; mount it (mount -t proc proc /proc) and try again.")


_starting = threading.Lock()


@contextmanager
def without_main() -> Iterator[None]:
    """Processes that start here do not import the file of the program that starts them: a script without a guard would run again in each."""
    main = vars(sys.modules["__main__"])
    with _starting:
        own: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
        main.update(__file__=None, __spec__=None)
        try:
            yield
        finally:
            del main["__file__"], main["__spec__"]
            main.update(own)


@contextmanager
def born_quiet() -> Iterator[None]:
    """Processes that start here never hear of an interrupt, which a terminal sends to all: what it means is decided by the sweep.

    Nor do they warn of what a killed job has left and they clean up.
    """
    sys.warnoptions.append(_LEFT_BEHIND)
    resource_tracker.ensure_running()  # lets interrupts through again when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        sys.warnoptions.remove(_LEFT_BEHIND)


def _unborn(error: Exception) -> Outcome[Any]:
    """The outcome of a process that could not be started."""
    remedy = "free some memory, or end other programs"
    if (allowed := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        remedy = f"raise the limit of {allowed / 2**30:.1f} GiB of address space, of which torch alone takes several (ulimit -v unlimited)"
    reason = " ".join(str(error).split()) or type(error).__name__
    return Outcome(Status.killed, error=f"no process could be started for it ({reason}); {remedy}.")


def _death(process: Any, num_oom_kills: int) -> Outcome[Any]:
    """The outcome of a process that ended without a word."""
    process.join()
    if process.exitcode >= 0:
        return Outcome(Status.killed, error=f"the job's process ended by itself with exit status {process.exitcode}.")
    name = signal.Signals(-process.exitcode).name
    if name == "SIGKILL" and _num_oom_kills() > num_oom_kills:
        return Outcome(Status.oom, error="the system ran out of memory and killed the job's process; make the job or its batch smaller.")
    return Outcome(Status.killed, error=f"the job's process was ended by {name}.")


def machine_memory_mib() -> float:
    """What the machine has, or the container that this runs in."""
    limits = [float(psutil.virtual_memory().total)]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max": no limit
            limits.append(float(Path(path).read_text(encoding="ascii")))
    return min(limits) / _MIB


def _num_oom_kills() -> int:
    """Processes that the system has killed for memory since it started; 0 where it does not tell."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _end(process: Any) -> None:
    process.join(0.2)
    with suppress(psutil.NoSuchProcess):
        for helper in psutil.Process(process.pid).children(recursive=True):  # what decodes images for it
            with suppress(psutil.NoSuchProcess):
                helper.kill()
    for stop in (process.terminate, process.kill):
        if process.is_alive():
            stop()
            process.join(5)
    process.close()


def _call(sender: Connection, target: str, arguments: tuple[Any, ...], is_shown: bool, settle: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for where there is no fork server
    with suppress(OSError):  # when memory runs out, this is what may go, and not the sweep
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    die_with_parent()
    heartbeat.listen(sender.send, is_shown=is_shown)
    try:
        settle()
        module, _, function = target.partition(":")
        outcome: Outcome[Any] = Outcome(Status.ok, value=getattr(importlib.import_module(module), function)(*arguments))
    except Exception as error:  # noqa: BLE001  whatever a job raises becomes its row
        if is_debugging():
            traceback.print_exc()
        outcome = Outcome(_status_of(error), error=one_line(error))
    with suppress(BrokenPipeError):  # nobody waits for it any more
        sender.send(outcome)
    sender.close()


@cache
def die_with_parent() -> None:
    """From now on this process ends when the one that started it does.

    A job, or a launcher's worker, whose sweep was killed has nobody to report to; it must not go on using the machine.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.pid,), daemon=True).start()


def _end_after(pid: int) -> None:
    while is_alive(pid):
        time.sleep(_POLL_S)
    os._exit(1)


def _status_of(error: Exception) -> Status:
    if isinstance(error, DivergedError):
        return Status.diverged
    return Status.oom if is_out_of_memory(error) else Status.failed


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; foreign exceptions with their type in front."""
    text = untrusted.one_line(" ".join(str(error).split()))
    return text if isinstance(error, HarnessError) else f"{type(error).__name__}: {text}"
