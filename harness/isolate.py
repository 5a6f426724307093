"""Run a function in a process of its own, so that its death, its hanging or its memory is a value and not the end of the sweep."""

import importlib
import multiprocessing
import multiprocessing.context
import os
import signal
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from harness.debug import is_debugging
from harness.errors import DivergedError, HarnessError
from harness.study.row import Status

T = TypeVar("T")

_PRELOAD = ["harness.preload"]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How an isolated call ended. `value` is there exactly when the status is ok."""

    status: Status
    value: T | None = None
    error: str | None = None
    """One line."""


def warm_up() -> None:
    """Start importing what jobs need, in the background; the first call of `run_isolated` then finds it done."""
    if isinstance(_context(), multiprocessing.context.ForkServerContext):
        forkserver.ensure_running()


def run_isolated(target: str, *arguments: Any, timeout_s: float | None = None) -> Outcome[Any]:
    """Call a function in a fresh process and wait for its value, its exception or its death.

    An interrupt of the caller ends the child and is passed on.

    Args:
        target: `module:function`; a name and not an object, so that the caller need not import torch.
        arguments: picklable.
        timeout_s: longer than this becomes an outcome with status `timeout`; None: no limit.
    """
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(sender, target, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(timeout_s):
            return Outcome(Status.timeout, error=f"took longer than {timeout_s:g} s; raise job_timeout_min or make the job smaller.")
        return _receive(receiver, process)
    finally:
        _end(process)
        receiver.close()


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


def _receive(receiver: Connection, process: Any) -> Outcome[Any]:
    try:
        outcome: Outcome[Any] = receiver.recv()
    except EOFError:
        process.join()
        return Outcome(Status.killed, error=_cause_of_death(process.exitcode))
    return outcome


def _cause_of_death(exit_code: int) -> str:
    if exit_code >= 0:
        return f"the job's process ended by itself with exit status {exit_code}."
    name = signal.Signals(-exit_code).name
    hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
    return f"the job's process was ended by {name}{hint}."


def _end(process: Any) -> None:
    process.join(0.2)
    for stop in (process.terminate, process.kill):
        if process.is_alive():
            stop()
            process.join(5)
    process.close()


def _call(sender: Connection, target: str, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        module, _, function = target.partition(":")
        outcome: Outcome[Any] = Outcome(Status.ok, value=getattr(importlib.import_module(module), function)(*arguments))
    except Exception as error:  # noqa: BLE001  whatever a job raises becomes its row
        if is_debugging():
            traceback.print_exc()
        outcome = Outcome(_status_of(error), error=one_line(error))
    sender.send(outcome)
    sender.close()


def _die_with_parent() -> None:
    """A job whose sweep was killed has nobody to report to; it must not go on using the machine."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _status_of(error: Exception) -> Status:
    if isinstance(error, DivergedError):
        return Status.diverged
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return Status.oom
    return Status.failed


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; foreign exceptions with their type in front."""
    text = " ".join(str(error).split())
    return text if isinstance(error, HarnessError) else f"{type(error).__name__}: {text}"
