"""Check in bounded time whether a server answers at all."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TypeVar

from harness.online.reasons import root_words, through_proxy

T = TypeVar("T")


def why_no_answer(ask: Callable[[], None], server: str, limit_s: float) -> str | None:
    """A few words on why `ask` got no answer within `limit_s` seconds; None when it returned.

    The limit is hard: looking up a name and headers that trickle in obey no timeout, so a thread may be left behind.

    Args:
        ask: makes one small request; whatever it raises says that there was no answer.
        server: whom it asks, an address.
    """
    try:
        within(ask, limit_s)
    except _NoAnswerError:
        return f"no answer within {limit_s:g} s{through_proxy(server)}"
    except Exception as error:  # noqa: BLE001  whatever the client raises
        return f"{root_words(error)}{through_proxy(server)}"
    return None


def within(call: Callable[[], T], limit_s: float) -> T:
    """Return what `call` returns, or raise what it raises.

    Raises:
        TimeoutError: after `limit_s` seconds it had done neither; it goes on in a thread that nobody waits for.
    """
    answers: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
    is_late = threading.Event()

    def called() -> None:
        answer: Future[T] = Future()
        try:
            found = call()
            if is_late.is_set() and isinstance(found, AbstractContextManager):
                with found:  # a response, which holds its connection
                    return
            answer.set_result(found)
        except BaseException as error:  # noqa: BLE001  it is raised where it is waited for
            answer.set_exception(error)
        answers.put(answer)

    threading.Thread(target=called, daemon=True).start()
    try:
        return answers.get(timeout=limit_s).result()
    except queue.Empty:
        is_late.set()
        raise _NoAnswerError from None


class _NoAnswerError(TimeoutError):
    pass
