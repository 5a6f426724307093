"""How cores share pieces: in order, a few ahead, and nothing left behind."""

import threading
from collections.abc import Iterator

import pytest
import torch

from harness.compute.runtime import Runtime
from harness.compute.thread_pool import ThreadPool
from harness.config import Device, Precision

NUM_THREADS = 3
WAIT_S = 20.0
"""Long enough for any machine; nothing here waits unless the code is broken."""


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    """Three threads, however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(NUM_THREADS)
    yield ThreadPool(Runtime(Device.cpu, Precision.float32))
    torch.set_num_threads(before)


@pytest.fixture(params=[Device.cpu, Device.cuda, Device.mps])
def any_pool(request: pytest.FixtureRequest) -> ThreadPool:
    """Of each kind of device; a pool moves nothing there by itself."""
    return ThreadPool(Runtime(request.param, Precision.float32))


def _all_threads_are_free(pool: ThreadPool) -> bool:
    """Whether as many pieces as there are threads can be under way at once."""
    together = threading.Barrier(pool.num_threads)
    return len(list(pool.map(lambda _: together.wait(WAIT_S), range(pool.num_threads)))) == pool.num_threads


def test_results_come_in_the_order_of_the_pieces(any_pool: ThreadPool) -> None:
    """Any number of pieces, none included."""
    for num_pieces in (0, 1, 2, 40):
        assert list(any_pool.map(lambda piece: piece * piece, range(num_pieces))) == [piece * piece for piece in range(num_pieces)]


def test_order_holds_when_later_pieces_are_done_first(pool: ThreadPool) -> None:
    """The first piece ends only when the second has; its result still comes first."""
    second_is_done = threading.Event()

    def compute(piece: int) -> int:
        if piece == 0:
            assert second_is_done.wait(WAIT_S)
        elif piece == 1:
            second_is_done.set()
        return piece

    assert list(pool.map(compute, range(9))) == list(range(9))


def test_pieces_are_computed_at_the_same_time(pool: ThreadPool) -> None:
    """As many at once as there are threads, in threads that are not the caller's."""
    assert pool.num_threads == NUM_THREADS
    assert _all_threads_are_free(pool)
    names = set(pool.map(lambda _: threading.get_ident(), range(20)))
    assert threading.get_ident() not in names
    assert len(names) <= NUM_THREADS


def test_an_accelerator_takes_its_pieces_one_after_the_other() -> None:
    """In the caller's own thread, each when it is asked for."""
    pool = ThreadPool(Runtime(Device.cuda, Precision.float32))
    drawn: list[int] = []
    results = pool.map(lambda piece: (piece, threading.get_ident()), _noted(drawn, 9))
    assert next(results) == (0, threading.get_ident())
    assert drawn == [0]


def _noted(drawn: list[int], num_pieces: int) -> Iterator[int]:
    for piece in range(num_pieces):
        drawn.append(piece)
        yield piece


def test_only_a_few_pieces_are_drawn_ahead(pool: ThreadPool) -> None:
    """A source of any length needs the memory of a few pieces; none is drawn before the first result is asked for."""
    drawn: list[int] = []
    results = pool.map(lambda piece: piece, _noted(drawn, 1000))
    assert drawn == []
    for taken in range(1, 30):
        next(results)
        assert len(drawn) <= taken + 2 * NUM_THREADS
    assert len(drawn) >= 29 + NUM_THREADS  # or threads would run dry


def test_the_source_is_drawn_from_by_the_caller(pool: ThreadPool) -> None:
    """Sources need not be safe to use from other threads."""

    def source() -> Iterator[int]:
        for _ in range(9):
            yield threading.get_ident()

    assert set(pool.map(lambda ident: ident, source())) == {threading.get_ident()}


def test_an_exception_comes_out_and_leaves_no_thread_busy(pool: ThreadPool) -> None:
    """What came before it is delivered; what waits behind it is not begun; the threads take the next pieces."""
    gate, begun, source = threading.Event(), list[int](), list[int]()

    def compute(piece: int) -> int:
        begun.append(piece)
        if piece == 2:
            raise ValueError("piece 2")
        if piece > 2:
            assert gate.wait(WAIT_S)
        return piece

    results = pool.map(compute, _noted(source, 100))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="piece 2"):
        next(results)
    gate.set()
    assert _all_threads_are_free(pool)
    # Only what threads had taken up already ran: those behind it waited at the gate.
    assert max(begun) <= 2 + NUM_THREADS
    assert len(source) <= 3 + 2 * NUM_THREADS


def test_an_exception_of_the_source_comes_out(pool: ThreadPool) -> None:
    """An image that cannot be decoded ends the pass with its own words."""

    def source() -> Iterator[int]:
        yield from range(20)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(pool.map(lambda piece: piece, source()))
    assert _all_threads_are_free(pool)


def test_a_caller_that_stops_early_leaves_no_thread_busy(pool: ThreadPool) -> None:
    """What was drawn ahead and not begun never runs."""
    gate, begun = threading.Event(), list[int]()

    def compute(piece: int) -> int:
        begun.append(piece)
        assert piece == 0 or gate.wait(WAIT_S)
        return piece

    results = pool.map(compute, range(100))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]  # it is a generator
    gate.set()
    assert _all_threads_are_free(pool)
    assert max(begun) <= NUM_THREADS


def test_each_thread_computes_alone_and_the_caller_keeps_its_cores(pool: ThreadPool) -> None:
    """Operations of a piece use one core; those of the caller as many as before."""
    assert set(pool.map(lambda _: torch.get_num_threads(), range(12))) == {1}
    assert torch.get_num_threads() == NUM_THREADS


def test_time_without_pieces_is_counted(pool: ThreadPool) -> None:
    """A source that has its pieces ready costs next to nothing; waiting for one that threads could already compute counts."""
    clock = threading.Event()

    def slow() -> Iterator[int]:
        for piece in range(3):
            clock.wait(0.05)
            yield piece

    list(pool.map(lambda piece: piece, slow()))
    assert pool.starved_s >= 3 * 0.05 * 0.9
