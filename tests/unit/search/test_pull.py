"""Workers on made-up jobs: who takes what, what waits, what is left to others. Nothing is trained."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.jobs.identity import failed_row
from harness.jobs.sharing import head_group_key
from harness.jobs.spec import JobSpec
from harness.process.isolate import Outcome
from harness.process.place import Place, here
from harness.search import runner
from harness.search.grid import Groups
from harness.search.pull import Crew
from harness.search.runner import Sweep
from harness.status import Status
from harness.study.claims import try_claimed
from harness.study.store import Study
from harness.transfer.depth import parse_freeze
from tests.unit.search.test_cross_fit import World

GPUS = [Place(cuda_visible=str(number)) for number in range(8)]
PATIENCE_S = 10.0
"""Of a test that would hang."""


def grid(folder: Path, *backbones: str, freeze: Sequence[str] = ("all", "0.5")) -> list[JobSpec]:
    """Jobs as a sweep would have them."""
    passing = tuple(map(parse_freeze, freeze))
    return [replace(World(folder).job(name, depth), passing=passing, asked_at="2020-01-01") for name in backbones for depth in freeze]


class Recorded(Sweep):
    """A sweep whose jobs do what a test says, and write a row."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ran: list[tuple[str, str | None]] = []
        self.does: Callable[[str, bool], bool] = lambda _, __: True

    def run(self, jobs: Sequence[JobSpec], *_: Any, is_last_resort: bool = True, **__: Any) -> bool:
        name = f"{jobs[0].config.backbone} {jobs[0].depth}"
        self.ran.append((name, here().cuda_visible))
        if not self.does(name, is_last_resort):
            return False
        for job in jobs:
            Study(job.config.study_dir).write_row(failed_row(job, Status.failed, "made up"))
        return True


def work(sweep: Recorded, places: Sequence[Place]) -> bool:
    """Pull all of its jobs."""
    return Crew(sweep, Groups(sweep, sweep.jobs), places).run()


def test_each_accelerator_has_one_worker(tmp_path: Path) -> None:
    """Eight of them run eight jobs at once, each job on its own; every job runs once."""
    sweep = Recorded(grid(tmp_path, *"abcdefgh", freeze=["none"]))
    together = threading.Barrier(8, timeout=PATIENCE_S)
    sweep.does = lambda _, __: together.wait() >= 0
    assert work(sweep, GPUS)
    assert not together.broken
    assert sorted(place or "" for _, place in sweep.ran) == [place.cuda_visible for place in GPUS]
    assert len({name for name, _ in sweep.ran}) == len(sweep.ran) == 8


def test_the_depths_of_a_backbone_wait_for_its_first(tmp_path: Path) -> None:
    """Whoever has the first passes the images for all; meanwhile the other worker takes another backbone, and the depths come when it is done."""
    sweep = Recorded(grid(tmp_path, "a", "b", freeze=["all", "0.5", "none"]))
    b_is_done = threading.Event()

    def does(name: str, _: bool) -> bool:
        if name == "a all":
            assert b_is_done.wait(PATIENCE_S)
        if name.startswith("b") and len([each for each, _ in sweep.ran if each.startswith("b")]) == 3:
            b_is_done.set()
        return True

    sweep.does = does
    assert work(sweep, GPUS[:2])
    names = [name for name, _ in sweep.ran]
    assert set(names[:4]) == {"a all", "b all", "b 0.5", "b none"}
    assert set(names[4:]) == {"a 0.5", "a none"}


def test_depths_that_share_no_pass_wait_for_nothing(tmp_path: Path) -> None:
    """Where nothing is frozen in any job, all seeds train at once."""
    jobs = [replace(job, passing=(parse_freeze("none"),)) for job in (World(tmp_path).job("a", "none", seed) for seed in range(4))]
    sweep = Recorded(jobs)
    together = threading.Barrier(4, timeout=PATIENCE_S)
    sweep.does = lambda _, __: together.wait() >= 0
    assert work(sweep, GPUS[:4])
    assert not together.broken
    assert len(sweep.ran) == 4


def test_what_has_no_room_on_one_device_is_left_to_another(tmp_path: Path) -> None:
    """Each device is tried once; the last one's word is the row's."""
    jobs = grid(tmp_path, "large", "small", freeze=["none"])
    sweep = Recorded(jobs)
    sweep.does = lambda name, _: not (name.startswith("large") and here().cuda_visible != "2")
    assert work(sweep, GPUS[:3])
    tries = [place for name, place in sweep.ran if name.startswith("large")]
    assert tries[-1] == "2"
    assert len(tries) == len(set(tries))


def test_the_last_device_is_the_last_resort(tmp_path: Path) -> None:
    """Where nobody has room, whoever is last is told that there is no other, so that it writes the row."""
    sweep = Recorded(grid(tmp_path, "large", freeze=["none"]))
    told = list[bool]()

    def does(_: str, is_last_resort: bool) -> bool:
        told.append(is_last_resort)
        return is_last_resort

    sweep.does = does
    assert work(sweep, GPUS[:3])
    assert told == [False, False, True]


def test_a_device_tries_smaller_batches_before_it_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down to four images at once; then the job is another device's, whole, and its row is good news only."""
    tries: dict[str, list[tuple[str | None, int | None]]] = {"a": [], "b": []}
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def isolated(_: str, jobs: Sequence[JobSpec], *__: Any, **___: Any) -> Outcome[Any]:
        mine = tries[jobs[0].config.backbone]
        if not mine:
            both.wait()  # each device has a job
        mine.append((here().cuda_visible, jobs[0].micro_batch))
        if here().cuda_visible == "small":
            return Outcome(Status.oom, error="no memory")
        return Outcome(Status.ok, value=[failed_row(job, Status.failed, "ran") for job in jobs])

    monkeypatch.setattr(runner, "run_isolated", isolated)
    sweep = Sweep(grid(tmp_path, "a", "b", freeze=["none"]))
    assert Crew(sweep, Groups(sweep, sweep.jobs), [Place(cuda_visible="small"), Place(cuda_visible="large")]).run()
    tried = {name: mine for name, mine in tries.items() if mine[0][0] == "small"}
    assert list(tried.values()) == [[("small", None), ("small", 16), ("small", 8), ("small", 4), ("large", None)]]
    assert {row.error for row in Study(sweep.jobs[0].config.study_dir).rows()} == {"ran"}


def test_what_others_run_comes_last(tmp_path: Path) -> None:
    """A claimed job is passed over; when its holder is gone without a row it is run here."""
    first, second = jobs = grid(tmp_path, "a", "b", freeze=["none"])
    sweep = Recorded(jobs)
    is_done = threading.Event()

    def hold() -> None:
        with try_claimed(first.config.study_dir, head_group_key(first)) as is_held:
            assert is_held
            holding.set()
            is_done.wait(PATIENCE_S)

    holding, holder = threading.Event(), threading.Thread(target=hold)
    holder.start()
    holding.wait()

    def does(_: str, __: bool) -> bool:
        is_done.set()
        return True

    sweep.does = does
    assert work(sweep, GPUS[:1])
    holder.join()
    assert [name for name, _ in sweep.ran] == [f"{job.config.backbone} none" for job in (second, first)]


def test_what_others_have_done_is_told_and_not_run(tmp_path: Path) -> None:
    """Rows that appear meanwhile are the jobs' own."""
    jobs = grid(tmp_path, "a", "b", freeze=["none"])
    sweep = Recorded(jobs)

    def does(_: str, __: bool) -> bool:
        Study(jobs[1].config.study_dir).write_row(failed_row(jobs[1], Status.failed, "by another host"))
        return True

    sweep.does = does
    assert work(sweep, GPUS[:1])
    assert [name for name, _ in sweep.ran] == ["a none"]
    assert {row.job_id for row in sweep.progress.rows.values()} == {job.job_id for job in jobs}


def test_what_was_done_before_it_was_claimed_is_not_begun(tmp_path: Path) -> None:
    """Whoever had the claim before may just have ended; nor is anything begun twice here."""
    sweep = Recorded(grid(tmp_path, "a", "b", freeze=["none"]))
    groups = Groups(sweep, sweep.jobs)
    first, second = groups.tasks()
    job = first.jobs[0]
    row = failed_row(job, Status.failed, "made up")
    Study(job.config.study_dir).write_row(row)
    assert not groups.begin(first)
    assert groups.begin(second)
    assert not groups.begin(second)


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 5))
def test_workers_begin_at_backbones_of_their_own(start_frac: float, num: int) -> None:
    """Wherever it begins, a worker meets every job once, and the first of a backbone before its other depths."""
    with TemporaryDirectory() as folder:
        jobs = grid(Path(folder), *(f"b{number}" for number in range(num)), freeze=["all", "0.5", "none"])
        groups = Groups(Recorded(jobs), jobs, start_frac)
        left = [job for of_group in groups.left.values() for job in of_group]
        first = next(groups.tasks())
    assert sorted(job.job_id for job in left) == sorted(job.job_id for job in jobs)
    assert first.jobs[0].config.backbone == f"b{int(start_frac * num)}"
    assert [str(job.depth) for job in left] == ["all", "0.5", "none"] * num


def test_several_workers_keep_no_long_job_for_the_end(tmp_path: Path) -> None:
    """What trains longest comes first, by its depth and its backbone's pass, and a few backbones are passed ahead, not all; one worker goes by the command line."""

    def order(places: Sequence[Place], *ended: str) -> list[str]:
        jobs = grid(tmp_path / f"{len(places)} {len(ended)}", *"abcdef", freeze=["all", "-1", "0.5", "none"])
        groups = Groups(Recorded(jobs, places=places), jobs)
        for task in [task for task in groups.tasks() if task.jobs[0].config.backbone in ended]:
            row = failed_row(task.jobs[0], Status.failed, "made up")
            took_s = 4.0 if task.jobs[0].config.backbone == "b" else 1.0
            Study(task.jobs[0].config.study_dir).write_row(replace(row, features_s=took_s))
            groups.ended(task, None)
        return [f"{task.jobs[0].config.backbone} {task.jobs[0].depth}" for task in groups.tasks()]

    assert order(GPUS[:1], "a") == ["a -1", "a 0.5", "a none", *(f"{name} all" for name in "bcdef")]
    assert order(GPUS[:2]) == [f"{name} all" for name in "abcdef"]
    ready = ["b none", "b 0.5", "b -1", "a none", "a 0.5", "a -1"]
    assert order(GPUS[:2], "a", "b") == ["c all", "d all", *ready, "e all", "f all"]
    assert order(GPUS[:2], *"acdf")[:5] == ["a none", "c none", "d none", "f none", "a 0.5"]


def test_of_a_group_only_what_is_left_is_run(tmp_path: Path) -> None:
    """Heads on one backbone run together; those that another sweep has done since the group was made are left out."""
    jobs = [replace(World(tmp_path).job("a", "all", seed), asked_at="2020-01-01") for seed in range(3)]
    sweep, ran = Recorded(jobs), list[int]()
    groups = Groups(sweep, jobs)
    Study(jobs[1].config.study_dir).write_row(failed_row(jobs[1], Status.failed, "by another sweep"))
    run = Recorded.run
    sweep.run = lambda given, *more, **named: ran.extend(job.config.seed for job in given) or run(sweep, given, *more, **named)  # type: ignore[method-assign,func-returns-value]
    assert Crew(sweep, groups, GPUS[:1]).run()
    assert ran == [0, 2]


def test_an_impatient_worker_leaves(tmp_path: Path) -> None:
    """With nothing to do for longer than its patience it is gone, and says that not all is done."""
    (job,) = grid(tmp_path, "a", freeze=["none"])
    sweep = Recorded([job], patience_s=0.0)
    with try_claimed(job.config.study_dir, head_group_key(job)):
        assert not work(sweep, GPUS[:1])
    assert sweep.ran == []


@pytest.mark.parametrize("num_workers", [1, 3])
def test_what_breaks_a_job_breaks_no_other(tmp_path: Path, num_workers: int) -> None:
    """An error outside of a job's own process is its row; the others run."""
    sweep = Recorded(grid(tmp_path, *"abcd", freeze=["none"]))

    def does(name: str, _: bool) -> bool:
        if name == "b none":
            raise RuntimeError("no more threads")
        return True

    sweep.does = does
    assert work(sweep, GPUS[:num_workers])
    rows = Study(sweep.jobs[0].config.study_dir).rows()
    assert {row.backbone: row.error for row in rows if row.status == "killed"} == {"b": "RuntimeError: no more threads"}
    assert len(rows) == 4


def test_a_study_that_cannot_be_written_ends_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error reaches the caller, and no thread is left."""
    sweep = Recorded(grid(tmp_path, *"abcdef", freeze=["none"]))
    monkeypatch.setattr(Groups, "begin", lambda *_: 1 / 0)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        work(sweep, GPUS[:3])
    time.sleep(0.05)
    assert threading.active_count() == before
