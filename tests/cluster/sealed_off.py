"""A place of its own for daemons: namespaces of network (loopback only), processes, mounts and host name. With its end, everything in it ends."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_INIT = "hostname localhost && ip addr add 10.0.0.1/32 dev lo && ip link set lo up && echo up && while :; do sleep 1; done"
"""Its first process: a shell, which also takes note of what has ended."""


@dataclass
class Place:
    """One such place, while it is there."""

    pid: int
    """Of its first process, as seen from outside."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables of all that runs in it, besides those of its caller."""
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """What stays."""

    @property
    def known(self) -> dict[str, str]:
        """All variables of what runs in it."""
        return os.environ | self.env

    def command(self, argv: Sequence[str]) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--net", "--pid", "--mount", "--uts", f"--wdns={Path.cwd()}", "--", *argv]

    def run(self, *argv: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Raises subprocess.TimeoutExpired."""
        return subprocess.run(self.command(argv), capture_output=True, text=True, check=False, timeout=timeout_s, env=self.known)

    def start(self, *argv: str, log: Path) -> None:
        """Start what stays."""
        with log.open("ab") as out:
            self.started.append(subprocess.Popen(self.command(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.known))

    def processes(self) -> list[psutil.Process]:
        """All that runs in it, but for the first."""
        own = (Path("/proc") / str(self.pid) / "ns" / "pid").readlink()
        return [found for found in psutil.process_iter() if found.pid != self.pid and _namespace(found.pid) == own]

    def of(self, *words: str) -> list[psutil.Process]:
        """Processes in it in whose command or variables each of these words is."""
        return [found for found in self.processes() if all(word in _said(found) for word in words)]


@contextmanager
def sealed_off() -> Iterator[Place]:
    """Make one; whatever is still running in it is killed at the end."""
    argv = ["unshare", "--uts", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "--", "bash", "-c", _INIT]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as outer:
        place = None
        try:
            assert outer.stdout is not None
            assert outer.stdout.readline() == "up\n", "namespaces need root; run it as root"
            (first,) = psutil.Process(outer.pid).children()
            place = Place(first.pid)
            yield place
        finally:
            outer.kill()  # takes its child along, and that, being the first in its namespace, all others
            for started in place.started if place else ():
                started.wait()


def wait_until(is_so: Callable[[], object], what: str, timeout_s: float = 90.0) -> None:
    """Wait for a condition. Raises AssertionError."""
    ends_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < ends_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.1)


def _namespace(pid: int) -> Path | None:
    try:
        return (Path("/proc") / str(pid) / "ns" / "pid").readlink()
    except OSError:
        return None


def _said(process: psutil.Process) -> str:
    try:
        return "\n".join((*process.cmdline(), *(f"{name}={value}" for name, value in process.environ().items())))
    except psutil.Error:
        return ""
