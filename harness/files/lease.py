"""A name that one process of any host holds at a time, where there is no lock but a store that can put an object only if there is none.

Every holding of a name is an object of its own, `<name>/0`, `<name>/1`, ..., and who creates the next one holds it: of all who try at once exactly one
succeeds. The holder rewrites its object every few seconds, and marks it when it is over. Whoever sees an object unchanged for `SILENT_S` by its own clock
may create the next, so clocks of two hosts are never compared. Both sides then look again, each after it has written: a holder whether there is
a next object, a successor whether the holder's has changed after all. At least one sees the other and gives way, so two never hold a name once both have looked.
"""

import json
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field

from harness.errors import StoreError
from harness.files import objects

RENEW_S = 5.0
_ASK_S = 2.0
"""A name that somebody holds is asked for so often at most, however impatient whoever wants it."""
SILENT_S = 20.0
"""Several times what a holder needs to renew, so that a slow store costs nobody a job."""


@dataclass(frozen=True, slots=True)
class _Sighting:
    """The latest holding of a name as this process knows it."""

    number: int
    content: bytes
    since: float
    """When this process first saw this content."""
    asked: float
    """When it last looked."""

    @property
    def is_free(self) -> bool:
        return _is_over(self.content) or self.is_silent

    @property
    def is_silent(self) -> bool:
        return time.monotonic() - self.since >= SILENT_S


_sightings: dict[str, _Sighting] = {}


@dataclass(eq=False)
class Lease:
    """A holding, renewed by a thread until it is released."""

    url: str
    number: int
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_lost: bool = False
    _beat: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def content(self, *, is_over: bool = False) -> bytes:
        """Never the same twice, but for the end."""
        return json.dumps({"owner": self.owner, "beat": self._beat, "over": is_over}).encode()

    def renew(self) -> bool:
        """Whether it is held: write, then look for a successor. Raises StoreError."""
        with self._lock:
            if not self.is_lost and not self._ended.is_set():
                self._beat += 1
                objects.put(self.content(), f"{self.url}/{self.number}")
                self.is_lost = objects.read(f"{self.url}/{self.number + 1}") is not None
            return not self.is_lost

    def keep(self) -> None:
        """Renew it from now on."""
        threading.Thread(target=self._keep, daemon=True).start()

    def release(self) -> None:
        """Let others have it. One that cannot be told so falls silent."""
        self._ended.set()
        with self._lock, suppress(StoreError):
            objects.put(self.content(is_over=True), f"{self.url}/{self.number}")

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_S) and not self.is_lost:
            with suppress(StoreError):  # who writes under the lease asks again, and says what is wrong
                self.renew()


def take(url: str) -> Lease | None:
    """Hold a name if nobody does; asks and never waits.

    A holder that has died is succeeded only by a process that has asked before, `SILENT_S` or more ago.

    Raises:
        StoreError: the store cannot be asked.
    """
    seen = _look(url)
    if seen is not None and not seen.is_free:
        return None
    lease = Lease(url, 0 if seen is None else seen.number + 1)
    if not _create(lease):
        return None
    if seen is not None and not _is_over(seen.content) and objects.read(f"{url}/{seen.number}") != seen.content:
        lease.release()  # its holder has come back meanwhile, and gives way as well
        return None
    lease.keep()
    return lease


def is_held(url: str) -> bool:
    """Whether somebody seems to hold a name. Raises StoreError."""
    seen = _look(url)
    return seen is not None and not seen.is_free


def _create(lease: Lease) -> bool:
    """Whether it is ours; also when the store did put the object but its answer was lost, and a second try met the first."""
    address = f"{lease.url}/{lease.number}"
    return objects.create(lease.content(), address) or objects.read(address) == lease.content()


def _look(url: str) -> _Sighting | None:
    """The latest holding; None when there never was one. None is ever deleted, so they are found in steps that double, then halve."""
    before, now = _sightings.get(url), time.monotonic()
    if before and not before.is_free and now - before.asked < _ASK_S:
        return before
    low, content, step = (before.number, None, 1) if before else (-1, None, 1)
    while (found := objects.read(f"{url}/{low + step}")) is not None:
        low, content, step = low + step, found, 2 * step
    while step > 1:
        step //= 2
        if (found := objects.read(f"{url}/{low + step}")) is not None:
            low, content = low + step, found
    if before and low == before.number:
        content = objects.read(f"{url}/{low}")
    if content is None:
        return None
    is_same = before is not None and (before.number, before.content) == (low, content)
    seen = _sightings[url] = _Sighting(low, content, before.since if before and is_same else time.monotonic(), now)
    return seen


def _is_over(content: bytes) -> bool:
    try:
        return bool(json.loads(content)["over"])
    except (ValueError, TypeError, KeyError):
        return False
