"""Whether a server answers at all, found out in bounded time."""

import queue
import threading
from collections.abc import Callable

from harness.online.reasons import root_words, through_proxy


def why_no_answer(ask: Callable[[], None], server: str, limit_s: float) -> str | None:
    """A few words on why `ask` got no answer within `limit_s` seconds; None when it returned.

    The limit is hard: looking up a name and headers that trickle in obey no timeout, so a thread may be left behind.

    Args:
        ask: makes one small request; whatever it raises says that there was no answer.
        server: whom it asks, an address.
    """
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def asked() -> None:
        try:
            ask()
            answers.put(None)
        except Exception as error:  # noqa: BLE001  whatever the client raises
            answers.put(f"{root_words(error)}{through_proxy(server)}")

    threading.Thread(target=asked, daemon=True).start()
    try:
        return answers.get(timeout=limit_s)
    except queue.Empty:
        return f"no answer within {limit_s:g} s{through_proxy(server)}"
