"""A sweep over a grid: every job prepared first, then run into rows, a group at a time, then ranked and reported.

Composing configurations is the border's work (`cli`, `hydra_plugins/`); how one job runs is in `runner`, who runs which in `pull`.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from statistics import median

from harness.clusters.cluster import cluster_of
from harness.config import Adapter
from harness.errors import ConfigError
from harness.jobs.identity import failed_row
from harness.jobs.sharing import activations_key, head_group_key, head_groups, one_per_study
from harness.jobs.spec import JobSpec
from harness.jobs.to_fetch import announcement, fetching_ahead
from harness.process.isolate import die_with_parent
from harness.search.pull import Crew, Task
from harness.search.runner import Asked, Sweep, begin, is_wanted, prepare_jobs, require_folders
from harness.status import Status
from harness.study.claims import claimed, is_claimed
from harness.study.row import Row
from harness.study.store import Study
from harness.transfer.depth import FreezeDepth

Launch = Callable[[Sequence[JobSpec]], Sequence[str | None]]
"""Runs jobs; returns, for each, None when its row is written, else what went wrong."""


def run_grid(asked: Sequence[Asked], launcher: Launch | None = None, at_once: int | None = None) -> int:
    """Run what is not done yet, then write the report. Returns the exit status.

    Args:
        asked: the jobs.
        launcher: runs them in processes of its own; None: workers of this sweep do.
        at_once: jobs that a launcher is given at a time; None: all.

    Raises:
        ConfigError: something is wrong with the jobs, or who shall run them; nothing has run.
    """
    sweep = begin(asked)
    cluster = cluster_of(sweep.jobs[0].config)
    if launcher is not None and (cluster is not None or len(sweep.places) > 1):
        raise ConfigError("hydra/launcher: hands out jobs one by one, so workers and on cannot be given with it; leave it out, or them.")
    require_folders(sweep.jobs)
    if cluster is not None:
        from harness.search.follow import submit

        return submit(sweep, cluster)
    close_plan = planned(sweep)
    todo = announced(sweep)
    with sweep.progress.interruptible(), sweep.live, fetching_ahead(todo):
        if launcher is None:
            Crew(sweep, Groups(sweep, todo), sweep.places).run()
        else:
            _launch(sweep, {job.job_id: job for job in todo}, launcher, at_once)
        from harness.search.closing import finish  # what a ranking needs is imported while jobs run, or not at all

        status = finish(sweep)
    close_plan(status)
    return status


def planned(sweep: Sweep) -> Callable[[int], None]:
    """Write a plan, so that others may join several workers, and return what notes that it is over."""
    if len(sweep.places) == 1:
        return lambda _: None
    from harness.search.plan import mark_closed, write_plan

    return partial(mark_closed, write_plan(sweep.jobs))


def announced(sweep: Sweep) -> list[JobSpec]:
    """The jobs that are to run, once it is said what is about to happen."""
    for job in one_per_study(sweep.jobs):
        Study(job.config.study_dir).skim()
    todo = [job for job in sweep.jobs if is_wanted(job)]
    num_done = sum(Study(job.config.study_dir).is_done(job.job_id) for job in sweep.jobs)
    sweep.progress.announce(num_done, num_failed=len(sweep.jobs) - len(todo) - num_done)
    if text := announcement(todo):
        sweep.progress.say(text)
    sweep.progress.found({job.job_id for job in todo})
    return todo


def run_one(asked: Asked) -> str:
    """Run the job that a launcher's worker was given, made exact once more; its row is on disk when this returns.

    Returns:
        The job's id.
    """
    die_with_parent()
    (job,) = jobs = prepare_jobs([asked])
    with claimed(job.config.study_dir, head_group_key(job)):
        if is_wanted(job):
            Sweep(jobs).run(jobs)
    return job.job_id


_BACKBONES_PER_WORKER = 2
"""Whose activations are kept at once, where several workers choose what to do next."""
_MANY_BLOCKS = 1000
"""More than any backbone has."""


@dataclass(eq=False)
class Groups:
    """The groups of a grid that are left: a `pull.Work`.

    The first job of a backbone that runs passes all images through it and caches activations for its other depths, which therefore wait for it;
    meanwhile workers take other backbones.
    """

    sweep: Sweep
    todo: Sequence[JobSpec]
    start_frac: float = 0.0
    """Where among the backbones this worker begins to look, in [0, 1): many that began at the first would all walk past what the others have taken."""
    left: dict[str, list[JobSpec]] = field(init=False)
    begun: set[str] = field(default_factory=set)
    """Groups that are running here, or were."""
    passed: set[str] = field(init=False)
    """Backbones, by `activations_key`, of which a job has ended or was done before."""
    pass_s: dict[str, float] = field(default_factory=dict)
    """What their passes took, of those that ended since."""

    def __post_init__(self) -> None:
        self.left = head_groups(_turned(self.todo, self.start_frac))
        waiting = {job.job_id for job in self.todo}
        self.passed = {activations_key(job) for job in self.sweep.jobs if job.job_id not in waiting}

    @cached_property
    def _passes(self) -> Mapping[str, str]:
        """Of each group, the pass that its backbone's depths share; none of those that share nothing."""
        return {
            name: self._backbones[name] for name, jobs in self.left.items() if any(depth.frozen_frac != 0.0 for depth in jobs[0].passing)
        }

    @cached_property
    def _backbones(self) -> Mapping[str, str]:
        """Of each group, its backbone by `activations_key`: computed once, as there may be ten thousand groups and workers ask for each job anew."""
        return {name: activations_key(jobs[0]) for name, jobs in self.left.items()}

    def tasks(self) -> Iterator[Task]:
        """First those that wait for nothing."""
        for jobs in {jobs[0].config.study_dir: jobs for jobs in self.left.values()}.values():
            Study(jobs[0].config.study_dir).skim()
        under_way = set[str]()
        for name in self._in_order():
            jobs = self.left[name]
            if name not in self.begun and all(map(_is_settled, jobs)):
                self._settled(name, None)
                continue
            if (key := self._passes.get(name)) is not None and key not in self.passed:
                if key in under_way:
                    continue
                under_way.add(key)
            yield Task(jobs)

    def _in_order(self) -> list[str]:
        """One worker goes by the command line. Of several none shall be at a long job when the others have nothing left: what trains most comes first.

        For that a few backbones are passed ahead; not all, as activations of many take room.
        """
        names, num_workers = list(self.left), len(self.sweep.places)
        if num_workers == 1:
            return names
        keys = {name: self._passes.get(name) for name in names}
        ready = [name for name, key in keys.items() if key is None or key in self.passed]
        firsts = {key: name for name, key in reversed(keys.items()) if key is not None and key not in self.passed}
        num_open = len({keys[name] for name in ready} - {None})
        ahead = list(firsts.values())[::-1][: max(_BACKBONES_PER_WORKER * num_workers - num_open, 0)]
        usual_s = median(self.pass_s.values()) if self.pass_s else 1.0
        longest_first = sorted(ready, key=lambda name: -self._duration(name, usual_s))
        return list(dict.fromkeys([*ahead, *longest_first, *names]))

    def _duration(self, name: str, usual_s: float) -> float:
        """How long a group trains, compared with others: by the pass of its backbone, and three times as long where nothing is frozen as where all is.

        An adapter trains through frozen layers too. Where the pass was before this sweep, it counts as the usual one.
        """
        job = self.left[name][0]
        frozen_frac = _frozen_frac(job.depth) if job.config.adapter is Adapter.none else 0.0
        return self.pass_s.get(self._backbones[name], usual_s) * (3 - 2 * frozen_frac)

    def begin(self, task: Task) -> bool:
        """Whether it is to be run: whoever had the claim before may have done so, or this process, in vain."""
        is_new = task.name not in self.begun
        self.begun.add(task.name)
        return is_new and any(map(is_wanted, task.jobs))

    def returned(self, task: Task) -> None:
        """Another worker may begin it."""
        self.begun.discard(task.name)

    def ended(self, task: Task, error: str | None) -> None:
        """Say how its jobs ended."""
        self._settled(task.name, error)

    def settle(self) -> None:
        """Say how those ended that others have run. For whoever only looks on: lists rows and reads those of jobs that are left."""
        folders = {job.config.study_dir for jobs in self.left.values() for job in jobs[:1]}
        there = {(folder, job_id) for folder in folders for job_id in Study(folder).job_ids()}
        for name, jobs in list(self.left.items()):
            if all((job.config.study_dir, job.job_id) in there for job in jobs) and all(map(_is_settled, jobs)):
                self._settled(name, None)

    @property
    def is_over(self) -> bool:
        """Whether all are done."""
        return not self.left

    def _settled(self, name: str, error: str | None) -> None:
        jobs = self.left.pop(name)
        rows, key = [_row_of(job, error) for job in jobs], activations_key(jobs[0])
        self.passed.add(key)
        if rows[0].features_s:
            self.pass_s[key] = rows[0].features_s
        self.sweep.finished(rows, sum(map(len, self.left.values())))


def _turned(jobs: Sequence[JobSpec], start_frac: float) -> list[JobSpec]:
    """From a backbone on, its first job first, and then from the beginning."""
    places = {key: place for place, key in reversed(list(enumerate(map(activations_key, jobs))))}
    starts = sorted(places.values())
    start = starts[int(start_frac * len(starts))] if starts else 0
    return [*jobs[start:], *jobs[:start]]


def _frozen_frac(depth: FreezeDepth) -> float:
    """For putting depths in order, whatever the backbone."""
    return 1 - depth.num_free / _MANY_BLOCKS if depth.num_free is not None else depth.frozen_frac or 0.0


def _is_settled(job: JobSpec) -> bool:
    """Whether somebody has run a job since the sweep was planned. Reads its row and nothing else."""
    row = Study(job.config.study_dir).read_row(job.job_id)
    return row is not None and row.status != Status.pruned and row.started_at >= job.asked_at


def _launch(sweep: Sweep, left: dict[str, JobSpec], launch: Launch, at_once: int | None) -> None:
    """Hand jobs to a launcher, so many at once, and say how each ended."""
    while left:
        batch = [left.pop(name) for name in _next(left, at_once or len(left))]
        rows = [_row_of(job, error) for job, error in zip(batch, launch(batch), strict=True)]
        sweep.finished(rows, len(left))


def _next(left: Mapping[str, JobSpec], num: int) -> list[str]:
    """Return the next jobs, first those that no other sweep is running."""
    if num >= len(left):
        return list(left)
    free = (name for name, job in left.items() if not is_claimed(job.config.study_dir, head_group_key(job)))
    return list(itertools.islice(free, num)) or list(left)[:num]


def _row_of(job: JobSpec, error: str | None) -> Row:
    """The job's row; a job that its launcher lost gets one that says so."""
    study = Study(job.config.study_dir)
    row = study.read_row(job.job_id) if error is None or not is_wanted(job) else None
    if row is None:
        row = failed_row(job, Status.killed, error or "the launcher ended without a row for this job.")
        study.write_row(row)
    return row
