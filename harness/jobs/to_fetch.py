"""Weights that are still on the hub when a sweep begins: how much there is to fetch, and a process that does so ahead of the jobs. Torch-free.

A job gets what it needs by itself (`backbones.weights.fetched`). What comes ahead of it is there when it starts, and what fails is tried again by it, which
then has its row.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from harness.backbones.backbone import BackboneSpec, Weights
from harness.backbones.weights import fetched, is_missing
from harness.errors import HarnessError
from harness.jobs.spec import JobSpec
from harness.process.beside import Beside
from harness.process.isolate import die_with_parent

_NICENESS = 10
_MIB = 2**20


def announcement(jobs: Sequence[JobSpec]) -> str | None:
    """What is said before the first job; None when there is nothing to fetch.

    Args:
        jobs: that are to run.
    """
    sizes = [weights.remote.size_bytes for _, weights in _missing(jobs) if weights.remote is not None]
    if not sizes:
        return None
    known = [size for size in sizes if size is not None]
    more = f" and {len(sizes) - len(known):,} of unknown size" if len(known) < len(sizes) else ""
    return f"weights to fetch from the hub: {len(known):,} ({sum(known) / _MIB:,.0f} MiB){more}, each before its first job at the latest"


@contextmanager
def fetching_ahead(jobs: Sequence[JobSpec]) -> Iterator[None]:
    """While the block runs, fetch what jobs need, in their order, one file at a time, in a process of its own that is not waited for."""
    missing = _missing(jobs)
    beside = None
    if missing:
        with suppress(OSError, EOFError):  # no process can be started
            beside = Beside("harness.jobs.to_fetch:fetch_all", missing, niceness=_NICENESS)
    try:
        yield
    finally:
        if beside is not None:
            beside.close(at_once=True)


def fetch_now(jobs: Sequence[JobSpec]) -> Iterator[str]:
    """Fetch what jobs need, one file after the other, for workers that may have no network. Yields what is done and what went wrong, a line each."""
    for spec, weights in _missing(jobs):
        try:
            fetched(spec, weights)
        except HarnessError as error:
            yield f"weights of {spec.requested} were not fetched, and the worker that needs them tries again: {error}"
        else:
            yield f"weights of {spec.requested} are here"


def fetch_all(connection: Connection, missing: Sequence[tuple[BackboneSpec, Weights]]) -> None:
    """The process, until all is there or the connection is closed."""
    die_with_parent()
    for spec, weights in missing:
        if connection.poll():
            return
        with suppress(HarnessError):
            fetched(spec, weights)


def _missing(jobs: Sequence[JobSpec]) -> list[tuple[BackboneSpec, Weights]]:
    """Each file once, with a network that needs it."""
    first: dict[str | None, tuple[BackboneSpec, Weights]] = {}
    for job in jobs:
        first.setdefault(job.weights.sha256, (job.backbone, job.weights))
    return [(spec, weights) for spec, weights in first.values() if weights.remote is not None and is_missing(weights)]
