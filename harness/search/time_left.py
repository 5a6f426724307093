"""How long the jobs of a grid that are left will take: the cost model of the staged search, fed with the rows that are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from platform import node

from harness.jobs.sharing import backbone_key, candidate_key, head_groups
from harness.jobs.spec import JobSpec
from harness.search.predicted_cost import CostModel, Work
from harness.search.work import typical_forward_s, work_of
from harness.status import Status
from harness.study.row import Row
from harness.transfer.rungs import Rung


@dataclass(frozen=True, slots=True)
class _Group:
    """Jobs that run together."""

    jobs: Sequence[JobSpec]
    candidate: str
    backbone: str
    finds_features: bool
    """Heads on a backbone whose features an earlier group has computed."""


@dataclass(slots=True)
class TimeLeft:
    """Of a sweep over these jobs."""

    jobs: Sequence[JobSpec]
    _groups: list[_Group] = field(default_factory=list)
    _unseen: list[_Group] = field(default_factory=list)
    """That have not told yet how long they took."""
    _probes: dict[str, Row] = field(default_factory=dict)
    """By backbone."""
    _model: CostModel = field(default_factory=CostModel)

    def __post_init__(self) -> None:
        probed = set[str]()
        for jobs in head_groups(self.jobs).values():
            backbone, is_head = backbone_key(jobs[0]), jobs[0].trains_head_only
            self._groups.append(_Group(jobs, candidate_key(jobs[0]), backbone, is_head and backbone in probed))
            probed |= {backbone} if is_head else set()
        self._unseen = list(self._groups)

    def predict_s(self, rows: Mapping[str, Row]) -> dict[str, float] | None:
        """Return the seconds of each job that has no row; jobs that run together share theirs. None where nothing was measured on this machine.

        Args:
            rows: of the jobs that have one, by id.
        """
        self._observe(rows)
        if not self._model.measured:
            return None
        found: dict[str, float] = {}
        for group in self._groups:
            if left := [job.job_id for job in group.jobs if job.job_id not in rows]:
                needed_s = self._model.predict(group.candidate, self._work(group)).value_s
                found |= dict.fromkeys(left, needed_s / len(group.jobs))
        return found

    def _observe(self, rows: Mapping[str, Row]) -> None:
        """Learn from groups that have ended well on this machine."""
        for group in [group for group in self._unseen if all(job.job_id in rows for job in group.jobs)]:
            self._unseen.remove(group)
            own = [rows[job.job_id] for job in group.jobs]
            if all(row.status == Status.ok and row.total_s is not None and row.host == node() for row in own):
                if group.jobs[0].trains_head_only:
                    self._probes.setdefault(group.backbone, own[0])
                self._model = self._model.observe(group.candidate, self._work(group), sum(row.total_s or 0.0 for row in own))

    def _work(self, group: _Group) -> Work:
        probe, typical_s = self._probes.get(group.backbone), typical_forward_s(self._probes.values())
        work = work_of(group.jobs, Rung.whole, probe, typical_s, is_tried=False)
        return replace(work, kind="head", passed_frac=0.0) if group.finds_features else work
