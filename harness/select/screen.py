"""Which candidates there is room to compare with each other. The others are ranked by their scores alone, and compared with nobody.

Between the rows of a study and its pool, where candidates are more than a computer can hold pairs of. Every candidate is scored on all images, one
after the other, so that what it says of them is held once at a time. Whoever may be recommended, now or by other limits, has to be among those
that are compared: the best scores within the limits, and those whom fewest others beat on score, latency and size together.
Shapes: K candidates, A things that are asked about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.config import RankConfig, RankMetric
from harness.data.labels import strata_of
from harness.select.candidates import Candidate, Outranked, Pool, Reader, load_pool
from harness.select.evidence import num_equal
from harness.select.limits import SLID, Breach, breaches, column_of, score_breach
from harness.select.metric import choose_metric, needs_probabilities, score_limits
from harness.select.rule import or_infinite
from harness.select.scores import natural, score_and_influence
from harness.select.units import Units, variances
from harness.study.store import Study

MOST, LEAST = 1000, 200
"""Candidates that are compared with each other: the posterior and all pairs of them take memory by the square, and time by the cube."""
MOST_VALUES = 60_000_000
"""Candidates times images that are compared at most, half a gigabyte of what each image adds to each score: of many images `LEAST` remain."""
NUM_UNBEATEN = 60
"""Of those compared, candidates that are there for what they cost: as many as a page asks other limits and prices of."""


def load_screened(study: Study, cfg: RankConfig, protocol: str | None = None) -> Pool:
    """The pool of a study as `load_pool` reads it, with as many candidates as can be compared and the others by their scores. Raises like that."""
    return load_pool(study, protocol, keeps_probabilities=needs_probabilities(cfg), screen=_Screen(cfg))


def room(num_images: int) -> int:
    """How many candidates are compared on so many images."""
    return max(LEAST, min(MOST, MOST_VALUES // max(num_images, 1)))


def num_possible(pool: Pool, best_score: float, best_sd: float, confidence: float) -> int:
    """How many that are ranked by their score alone might be better than the best score, by a bound that holds for all of them at once.

    Two scores on the same images err together, which only brings the truth nearer to what was measured; the bound counts them as if they did not.

    Source: Bonferroni's inequality over all that are left out.
    """
    behind = np.array([best_score - each.score for each in pool.outranked if not each.breaches])
    sd = np.array([np.hypot(best_sd, each.sd) for each in pool.outranked if not each.breaches])
    return int(np.count_nonzero(behind < NormalDist().inv_cdf(1 - (1 - confidence) / max(len(behind), 1)) * sd))


@dataclass(frozen=True, slots=True)
class _Screen:
    """By one question."""

    cfg: RankConfig

    def __call__(self, bare: Sequence[Candidate], reader: Reader) -> tuple[Sequence[Candidate], tuple[Outranked, ...]]:
        """Those to compare, and the others, best score first."""
        first = bare[0].row
        num_images = (first.n_val or 0) + (first.n_train or 0) * any(each.row.oof_folds for each in bare)
        if len(bare) <= (size := room(num_images)):
            return bare, ()
        scorer = _Scorer.of(self.cfg, reader.filled(bare[0]), reader)
        scored = [scorer.score(each, reader) for each in bare]
        kept = set(_kept(scored, size))
        others = sorted((scored[k] for k in range(len(bare)) if k not in kept), key=lambda each: (-each.score, each.candidate.label))
        return [bare[k] for k in sorted(kept)], tuple(others)


@dataclass(frozen=True, slots=True, eq=False)
class _Scorer:
    """Scores candidates one by one."""

    cfg: RankConfig
    pool: Pool
    """Of one candidate, for what all have in common."""
    metric: RankMetric
    limits: tuple[tuple[RankMetric, float], ...]

    @classmethod
    def of(cls, cfg: RankConfig, candidate: Candidate, reader: Reader) -> "_Scorer":
        val, names = reader.val, tuple(candidate.row.details.class_names)
        pool = Pool(candidate.row.protocol, (candidate,), val.labels_N, val.labels_N[:0], names, (), (), groups_N=val.groups_N)
        return cls(cfg, pool, choose_metric(pool, cfg)[0], tuple(score_limits(pool, cfg)))

    def score(self, bare: Candidate, reader: Reader) -> Outranked:
        """On every image that it was judged on."""
        candidate = reader.filled(bare)
        score, sd, equal = self._of(candidate, reader, self.metric)
        found = [*breaches(bare, self.cfg), *self._short(candidate, reader)]
        return Outranked(bare, score, sd, equal, tuple(found))

    def _of(self, candidate: Candidate, reader: Reader, metric: RankMetric) -> tuple[float, float, float]:
        """Mean over seeds, its standard error, and the images of equal weight that it is known from."""
        images = reader.first("oof") if candidate.out_of_fold is not None else reader.val
        assert images is not None
        said = candidate.out_of_fold if candidate.out_of_fold is not None else candidate.val
        runs = said.runs(images.labels_N, len(self.pool.class_names), metric)
        score_S, influence_SN = score_and_influence(runs, metric)
        units = Units.of(strata_of(images.labels_N), images.groups_N).judged_by(influence_SN)
        variance = float(variances(units.gathered(influence_SN.mean(axis=0, keepdims=True)), units.strata_U)[0])
        return float(score_S.mean()), variance**0.5, num_equal(images.labels_N, metric) / units.design_effect

    def _short(self, candidate: Candidate, reader: Reader) -> list[Breach]:
        """Limits on other scores that it misses."""
        found = [score_breach(metric, natural(metric, self._of(candidate, reader, metric)[0]), limit) for metric, limit in self.limits]
        return [each for each in found if each is not None]


def _kept(scored: Sequence[Outranked], size: int) -> list[int]:
    """Positions of those to compare. Whoever was cross-fitted is among them, as that was paid for."""
    unbeaten = _unbeaten(scored, [k for k, each in enumerate(scored) if not each.breaches]) + _unbeaten(scored, range(len(scored)))
    folded = [k for k, each in enumerate(scored) if each.candidate.folds]
    by_score = sorted(range(len(scored)), key=lambda k: (bool(scored[k].breaches), -scored[k].score, scored[k].candidate.label))
    return list(dict.fromkeys([*folded, *unbeaten, *by_score]))[:size]


def _unbeaten(scored: Sequence[Outranked], among: Sequence[int]) -> list[int]:
    """Those of some whom fewest others beat on everything that is asked about: limits and prices choose nobody else."""
    asked_AK = np.array([[-scored[k].score, *_costs(scored[k].candidate)] for k in among]).reshape(len(among), 1 + len(SLID)).T.copy()
    num_better_K = [np.count_nonzero((asked_AK <= own_A1).all(axis=0)) for own_A1 in asked_AK.T[:, :, None]]
    return [among[place] for place in np.argsort(num_better_K, kind="stable")[:NUM_UNBEATEN].tolist()]


def _costs(candidate: Candidate) -> list[float]:
    return [or_infinite(getattr(candidate.cost, column_of(key))) for key in SLID]
