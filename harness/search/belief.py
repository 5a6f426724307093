"""The posterior of the true scores of a search's trials: that of the ranking, extended to short trainings and to trials without a score.

Between rows, some of which are of short trainings, and the procedure. A trial that never ran is predicted from its backbone's probe and from
other trials at its depth; one that had a short training from that score, plus the uncertain gain of the full training.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.config import Metric, RankConfig, RankMetric, is_higher_better
from harness.select.candidates import CANDIDATE, Pool, pool_of
from harness.select.limits import breaches
from harness.select.measured import evidence_of
from harness.select.metric import choose_metric, needs_probabilities
from harness.select.posterior import POINT, Known, Posterior, posterior
from harness.select.prior import OwnRanks, prior
from harness.status import Status
from harness.study.row import Row
from harness.study.store import Study
from harness.transfer.depth import FreezeDepth, parse_freeze

GAIN_POINTS, GAIN_SD_POINTS = 0.5, 1.5
"""Prior of the gain of a full training over a short one, before any trial has had both."""
OWN_SD_POINTS, OWN_FREEDOM = 0.7, 3.0
"""How much one trial differs from others in that, and how many of them that guess is worth."""
KNOWN_LIMITS = ("max_params_m", "max_gmacs", "max_weights_mib")
"""Limits on what all depths of a backbone have in common: its probe tells."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What more training adds to a short one's score, in points: mean and standard deviation, the trial's own part included."""

    mean: float
    sd: float

    @classmethod
    def seen(cls, gains_points: Sequence[float]) -> "Gain":
        """From trials that had both: a normal mean with a normal prior, and the mode of a variance with a scaled inverse chi-squared one."""
        num = len(gains_points)
        seen = float(np.var(gains_points)) * num if num > 1 else 0.0
        own = (OWN_FREEDOM * OWN_SD_POINTS**2 + seen) / (OWN_FREEDOM + max(num - 1, 0))
        precision = 1 / GAIN_SD_POINTS**2 + num / own
        mean = (GAIN_POINTS / GAIN_SD_POINTS**2 + sum(gains_points) / own) / precision
        return cls(mean, math.sqrt(1 / precision + own))


@dataclass(slots=True)
class Beliefs:
    """What was measured so far in one study."""

    study: Study
    rank: RankConfig
    own: OwnRanks
    before: Mapping[str, Row]
    """Of each trial, what a row says before it ran: its backbone's name, weights and family, its freeze depth."""
    backbones: Mapping[str, str]
    """Of each trial."""
    rows: dict[str, Sequence[Row]] = field(default_factory=dict)
    """Of each trial that was measured, one per seed."""
    short: dict[str, Sequence[Row]] = field(default_factory=dict)
    """The same of those that went on from a short training: what they had come to there."""
    _read: tuple[Sequence[str], Pool] | None = None

    def measured(self, name: str, rows: Sequence[Row]) -> None:
        """A trial has come to these rows."""
        if name in self.rows and rows[0].status == Status.ok:
            self.short[name] = self.rows[name]
        self.rows[name], self._read = rows, None

    def of(self, names: Sequence[str]) -> Posterior:
        """The true scores of these trials at the end, in their order; one at least was measured."""
        pool = self._pool([name for name in names if name in self.rows])
        metric, _ = choose_metric(pool, self.rank)
        evidence = evidence_of(pool, pool.candidates, metric)
        place = {_key(candidate.row): k for k, candidate in enumerate(pool.candidates)}
        seen = [k for k, name in enumerate(names) if name in self.rows]
        order = [place[_key(self.rows[names[k]][0])] for k in seen]
        is_short = np.array([self.rows[names[k]][0].status == Status.pruned for k in seen])
        gain = Gain.seen(
            [(_score(self.rows[name], metric) - _score(early, metric)) / POINT for name, early in self.short.items() if name in self.rows]
        )
        scores_K, covariance_KK = np.full(len(names), np.nan), np.zeros((len(names), len(names)))
        scores_K[seen] = evidence.scores_K[order] + np.where(is_short, gain.mean * POINT, 0.0)
        covariance_KK[np.ix_(seen, seen)] = evidence.covariance_KK[np.ix_(order, order)] + np.diag(
            np.where(is_short, (gain.sd * POINT) ** 2, 0.0)
        )
        return posterior(scores_K, covariance_KK, [self._known(name) for name in names])

    def excluded(self, name: str) -> list[str]:
        """Limits of the user's that its backbone does not keep, one sentence each; none where that is not known yet."""
        of_backbone = next((rows for other, rows in self.rows.items() if self.backbones[other] == self.backbones[name]), None)
        if of_backbone is None:
            return []
        known = pool_of(self.study, of_backbone, keeps_probabilities=needs_probabilities(self.rank)).candidates
        return [breach.text for candidate in known for breach in breaches(candidate, self.rank) if breach.key in KNOWN_LIMITS]

    def score(self, name: str) -> float | None:
        """Of a trial on val, higher is better, by the metric to rank by or, where rows have none of it, by their primary one; None: it has none yet."""
        if (rows := self.rows.get(name)) is None:
            return None
        asked = self.rank.metric
        return _score(rows, Metric(asked) if asked in set(Metric) - {Metric.auto} else Metric(rows[0].primary_metric or Metric.accuracy))

    def _pool(self, names: Sequence[str]) -> Pool:
        if self._read is None or self._read[0] != names:
            rows = [row for name in names for row in self.rows[name]]
            self._read = names, pool_of(self.study, rows, keeps_probabilities=needs_probabilities(self.rank))
        return self._read[1]

    def _known(self, name: str) -> Known:
        """Without a row of its own, all but its depth is known from its backbone's."""
        row = self.before[name]
        measured = next((rows[0] for other, rows in self.rows.items() if self.backbones[other] == self.backbones[name]), None)
        rank = self.own.of(row)
        return Known(
            backbone=self.backbones[name],
            family=row.family,
            top1_frac=prior(row),
            log2_cost=math.log2(measured.gmacs) if measured and measured.gmacs else None,
            own_rank=None if rank is None else rank.mean,
            frozen_frac=_frozen_frac(parse_freeze(row.freeze), measured),
        )


def _frozen_frac(depth: FreezeDepth, measured: Row | None) -> float | None:
    if measured is None or not measured.num_blocks or (depth.num_free or 0) > measured.num_blocks:
        return depth.frozen_frac
    return depth.num_frozen(measured.num_blocks) / measured.num_blocks


def _score(rows: Sequence[Row], metric: RankMetric) -> float:
    """Mean over seeds, higher is better; 0 for a metric that has no value on val. Of one without a column, the primary metric stands for it."""
    metric = metric if isinstance(metric, Metric) else Metric(rows[0].primary_metric or Metric.accuracy)
    values = [getattr(row, f"val_{metric.value}") for row in rows]
    return float(np.mean([value or 0.0 for value in values])) * (1 if is_higher_better(metric) else -1)


def _key(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in CANDIDATE)
