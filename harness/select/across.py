"""The same candidates in several studies: their ranks in each, their mean ranks, and how far the studies agree.

After the contests of single studies. What one study says is not heard in another: the posterior of each knows nothing of ranks on other data
sets, and is drawn independently of the others. Test predictions stay sealed. Metrics may differ between studies: ranks compare all the same.
Shapes: R draws, K candidates, S studies.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from threadpoolctl import threadpool_limits

from harness.config import RankConfig, RankMetric, is_higher_better
from harness.errors import ConfigError, TableError
from harness.select.candidates import CANDIDATE, Candidate, labels, load_pool
from harness.select.comparison import FloatArray, IntArray, Interval, interval
from harness.select.contest import Contest
from harness.select.entries import possible
from harness.select.limits import Breach
from harness.select.metric import choose_metric, needs_probabilities
from harness.select.prior import OwnRanks
from harness.study.row import Row
from harness.study.store import Study
from harness.text.language import say

SHARED = ("backbone", "weights", "weights_sha256", "freeze", "release", "adapter")
"""Columns that make candidates of two studies the same: recipe, image size and machine may differ. Where a study has several of one such name, these
count as well."""

_SEED = 20_261_129

Name = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A study, and how it is to be ranked."""

    study: Study
    cfg: RankConfig = field(default_factory=RankConfig)
    protocol: str | None = None
    """None: the one with the most good jobs."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One candidate in one study. Scores are in the metric's own unit."""

    candidate: Candidate
    expected: float
    """Expected true score."""
    interval: Interval
    """Of the true score."""
    exceeds: tuple[Breach, ...]
    """Limits of this study that it misses."""
    mean_rank: float | None = None
    """Expected rank among the candidates that are ranked everywhere; 1 is the best. None where it is not one of them, as below."""
    prob_best: float | None = None
    """That none of them is better here."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One candidate in all studies."""

    label: str
    cells: tuple[Cell | None, ...]
    """In the order of the studies; None where a study does not have it."""
    mean_rank: float | None = None
    """Expected mean of its ranks over the studies; None: it has none, as `left_out` says."""
    interval: Interval | None = None
    """Of that mean."""
    prob_best: float | None = None
    """That no other candidate has a lower mean rank."""
    missing: tuple[str, ...] = ()
    """Studies that do not have it."""
    outside: Mapping[str, Sequence[Breach]] = field(default_factory=dict)
    """Study whose limits it misses -> those."""

    @property
    def left_out(self) -> str:
        """Why it has no mean rank; empty where it has one."""
        if self.mean_rank is not None:
            return ""
        limits = [
            say("{study} ({limits})", study=study, limits=say("; ").join(breach.text for breach in found))
            for study, found in self.outside.items()
        ]
        reasons = [
            say("missing in {studies}", studies=say(", ").join(self.missing)) if self.missing else "",
            say("outside the limits of {studies}", studies=say(", ").join(limits)) if limits else "",
        ]
        return say("; ").join(filter(None, reasons)) or say("no other candidate is in every study within its limits")


@dataclass(frozen=True, slots=True, eq=False)
class RankedStudy:
    """What one study says of everything in it."""

    study: Study
    metric: RankMetric
    contest: Contest

    @property
    def name(self) -> str:
        return self.study.name

    @property
    def row(self) -> Row:
        """Of any candidate, for what all of them share."""
        return self.contest.pool.candidates[0].row


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two studies order the candidates that both have alike."""

    studies: tuple[str, str]
    num_candidates: int
    tau: float | None
    """Kendall's tau-b of the expected scores, in [-1, 1]; None when either study expects the same of all."""
    interval: Interval | None
    """Of the tau of the true scores, in draws of both. Below `tau` where scores lie close: an order that is not sure agrees with none."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Several studies side by side."""

    studies: tuple[RankedStudy, ...]
    candidates: tuple[Compared, ...]
    """That two studies or more have: by mean rank, then those without one by name."""
    only_in: Mapping[str, tuple[str, ...]]
    """Study -> labels of candidates that no other has."""
    agreements: tuple[Agreement, ...]
    """Of every two studies that share two candidates or more."""
    confidence: float
    """Of all intervals."""

    @property
    def ranked(self) -> tuple[Compared, ...]:
        """Those that every study has within its limits, lowest mean rank first; empty when there are fewer than two."""
        return tuple(each for each in self.candidates if each.mean_rank is not None)

    @property
    def metrics(self) -> tuple[RankMetric, ...]:
        """Each once."""
        return tuple(dict.fromkeys(study.metric for study in self.studies))


def compare(asked: Sequence[Asked]) -> Comparison:
    """Rank each study by its own settings, then hold the same candidates against each other over all of them.

    Raises:
        ConfigError: fewer than two studies, or one is given twice.
        TableError: a study cannot be ranked, or no candidate is in two of them.
    """
    _require_several(asked)
    with threadpool_limits(1, user_api="blas"):
        studies = tuple(_ranked_study(each) for each in asked)
    positions, only_in = _shared(studies)
    if not positions:
        raise TableError(
            f"study={','.join(study.name for study in studies)}: no candidate is in two of them; sweep the same backbones at the same freeze depths."
        )
    return _compared(studies, positions, only_in, asked[0].cfg.confidence)


def ranks(values_RK: FloatArray) -> FloatArray:
    """Rank of each value in its row: 1 for the highest, equal values share the mean of theirs."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-values_RK, axis=1))


def kendall_tau(first_RK: FloatArray, second_RK: FloatArray) -> FloatArray:
    """Kendall's tau-b of each row of one and the same row of the other, shape R; NaN where either is the same for all.

    Source: Kendall, The Treatment of Ties in Ranking Problems, Biometrika 1945.
    """
    first_KR, second_KR = (
        np.ascontiguousarray(2 * ranks(each).T, dtype=np.int32) for each in (first_RK, second_RK)
    )  # whole numbers are faster
    alike_R, one_R, other_R = np.zeros((3, len(first_RK)), dtype=np.int64)
    for k in range(len(first_KR) - 1):
        one_JR, other_JR = (np.sign(each[k + 1 :] - each[k]) for each in (first_KR, second_KR))
        alike_R += (one_JR * other_JR).sum(axis=0)
        one_R += np.count_nonzero(one_JR, axis=0)
        other_R += np.count_nonzero(other_JR, axis=0)
    untied_R = np.sqrt(one_R.astype(np.float64) * other_R)
    return np.asarray(np.divide(alike_R, untied_R, out=np.full(len(first_RK), np.nan), where=untied_R > 0))


def _require_several(asked: Sequence[Asked]) -> None:
    names = [each.study.name for each in asked]
    if len(asked) < 2:
        raise ConfigError(f"study={','.join(names)}: a comparison takes two studies or more.")
    if again := next((name for name, count in Counter(names).items() if count > 1), None):
        raise ConfigError(f"study={','.join(names)}: two of them are {again}; give each study once.")


def _ranked_study(asked: Asked) -> RankedStudy:
    pool = load_pool(asked.study, asked.protocol, keeps_probabilities=needs_probabilities(asked.cfg))
    if not pool.candidates:
        raise TableError(f"study={asked.study.name}: no job has ended well, so there is nothing to compare.")
    metric, _ = choose_metric(pool, asked.cfg)
    return RankedStudy(asked.study, metric, Contest.of(pool, metric, asked.cfg, OwnRanks({})))


def _shared(studies: Sequence[RankedStudy]) -> tuple[dict[str, tuple[int | None, ...]], dict[str, tuple[str, ...]]]:
    """Label -> position in each study, of candidates that two or more have; study -> labels of those that it alone has.

    Depths that ended in one model in every study are one here too.
    """
    rows = [_rows_of(study) for study in studies]
    several = {name for own in rows for name, count in Counter(_name(row) for row, _ in own).items() if count > 1}
    found = [{_name(row, several): (row, k) for row, k in own} for own in rows]
    names = list(dict.fromkeys(name for own in found for name in own))
    by_positions: dict[tuple[int | None, ...], list[Row]] = {}
    for name in names:
        positions = tuple(own[name][1] if name in own else None for own in found)
        by_positions.setdefault(positions, []).append(next(own[name][0] for own in found if name in own))
    titles = _titles(list(by_positions.values()))
    shared = {title: at for title, at in zip(titles, by_positions, strict=True) if len(at) - at.count(None) > 1}
    alone = {
        study.name: tuple(title for title, at in zip(titles, by_positions, strict=True) if title not in shared and at[s] is not None)
        for s, study in enumerate(studies)
    }
    return shared, {name: own for name, own in alone.items() if own}


def _rows_of(study: RankedStudy) -> list[tuple[Row, int]]:
    """One row for each candidate and its position; depths that ended in the model of another have its position."""
    seen: dict[tuple[Name, int], Row] = {}
    for k, candidate in enumerate(study.contest.pool.candidates):
        for row in (*candidate.rows, *candidate.twins):
            seen.setdefault((tuple(getattr(row, name) for name in CANDIDATE), k), row)
    return [(row, k) for (_, k), row in seen.items()]


def _name(row: Row, several: Iterable[Name] = ()) -> Name:
    short = tuple(getattr(row, name) for name in SHARED)
    return tuple(getattr(row, name) for name in CANDIDATE) if short in several else short


def _titles(groups: Sequence[Sequence[Row]]) -> list[str]:
    """`resnet50 · all (= none)`."""
    firsts = [label for label, _ in labels([group[0] for group in groups])]
    same = [f" (= {', '.join(row.strategy for row in group[1:])})" if len(group) > 1 else "" for group in groups]
    return [first + more for first, more in zip(firsts, same, strict=True)]


def _compared(
    studies: Sequence[RankedStudy],
    positions: Mapping[str, tuple[int | None, ...]],
    only_in: Mapping[str, tuple[str, ...]],
    confidence: float,
) -> Comparison:
    draws = [_draws(study, number) for number, study in enumerate(studies)]
    cells = {
        label: tuple(None if k is None else _cell(study, k, confidence) for study, k in zip(studies, at, strict=True))
        for label, at in positions.items()
    }
    everywhere = [label for label, found in cells.items() if all(cell and not cell.exceeds for cell in found)]
    ranked = _ranked({label: (positions[label], cells[label]) for label in everywhere}, draws, confidence) if len(everywhere) > 1 else []
    unranked = [_unranked(label, studies, found) for label, found in cells.items() if label not in everywhere or not ranked]
    return Comparison(
        studies=tuple(studies),
        candidates=(*ranked, *sorted(unranked, key=lambda each: each.label)),
        only_in=only_in,
        agreements=tuple(_agreements(studies, draws, list(positions.values()), confidence)),
        confidence=confidence,
    )


def _draws(study: RankedStudy, number: int) -> FloatArray:
    """Of the true scores, shape R x K. All posteriors are drawn from the same normal numbers: another order makes them independent."""
    return np.random.default_rng([_SEED, number]).permutation(study.contest.belief.draws_RK, axis=0)


def _cell(study: RankedStudy, k: int, confidence: float) -> Cell:
    found = interval(study.contest.belief.draws_RK[:, k], confidence)
    expected = possible(study.metric, float(study.contest.belief.mean_K[k]))
    if is_higher_better(study.metric):
        found = Interval(max(found.low, 0.0), min(found.high, 1.0))
    else:
        found = Interval(max(-found.high, 0.0), -found.low)
    return Cell(study.contest.pool.candidates[k], expected, found, tuple(study.contest.missed[k]))


def _unranked(label: str, studies: Sequence[RankedStudy], cells: tuple[Cell | None, ...]) -> Compared:
    found = [(study.name, cell) for study, cell in zip(studies, cells, strict=True)]
    missing = tuple(name for name, cell in found if cell is None)
    return Compared(label, cells, missing=missing, outside={name: cell.exceeds for name, cell in found if cell and cell.exceeds})


def _ranked(
    found: Mapping[str, tuple[tuple[int | None, ...], tuple[Cell | None, ...]]], draws: Sequence[FloatArray], confidence: float
) -> list[Compared]:
    """Mean ranks of candidates that are everywhere, lowest first."""
    at_KS = np.array([positions for positions, _ in found.values()], dtype=np.int64)
    ranks_SRK = np.stack([ranks(draws_RK[:, at_KS[:, s]]) for s, draws_RK in enumerate(draws)])
    mean_RK = ranks_SRK.mean(axis=0)
    best_SK = np.stack([_prob_lowest(ranks_RK) for ranks_RK in ranks_SRK])
    prob_K = _prob_lowest(mean_RK)
    compared = [
        Compared(
            label,
            tuple(
                replace(cell, mean_rank=float(ranks_SRK[s, :, k].mean()), prob_best=float(best_SK[s, k]))
                for s, cell in enumerate(cells)
                if cell is not None
            ),
            mean_rank=float(mean_RK[:, k].mean()),
            interval=interval(mean_RK[:, k], confidence),
            prob_best=float(prob_K[k]),
        )
        for k, (label, (_, cells)) in enumerate(found.items())
    ]
    return sorted(compared, key=lambda each: (each.mean_rank, each.label))


def _prob_lowest(ranks_RK: FloatArray) -> FloatArray:
    """How often each has the lowest rank; those that share it share the draw."""
    is_lowest_RK = ranks_RK <= ranks_RK.min(axis=1, keepdims=True)
    return np.asarray((is_lowest_RK / is_lowest_RK.sum(axis=1, keepdims=True)).mean(axis=0))


def _agreements(
    studies: Sequence[RankedStudy], draws: Sequence[FloatArray], positions: Sequence[tuple[int | None, ...]], confidence: float
) -> Iterable[Agreement]:
    for first, second in combinations(range(len(studies)), 2):
        both = np.array([(at[first], at[second]) for at in positions if at[first] is not None and at[second] is not None], dtype=np.int64)
        if len(both) > 1:
            pair = ((studies[first], draws[first], both[:, 0]), (studies[second], draws[second], both[:, 1]))
            tau = kendall_tau(*(study.contest.belief.mean_K[None, at_K] for study, _, at_K in pair))
            yield Agreement(
                (studies[first].name, studies[second].name), len(both), _or_none(tau), _tau_interval(pair[0][1:], pair[1][1:], confidence)
            )


def _tau_interval(first: tuple[FloatArray, IntArray], second: tuple[FloatArray, IntArray], confidence: float) -> Interval | None:
    tau_R = kendall_tau(*(draws_RK[:, at_K] for draws_RK, at_K in (first, second)))
    known_R = tau_R[np.isfinite(tau_R)]
    return interval(known_R, confidence) if len(known_R) else None


def _or_none(tau_R: FloatArray) -> float | None:
    return float(tau_R[0]) if np.isfinite(tau_R[0]) else None
