"""The ranking: everything that the report prints about who is best, who may be, and what to use. Opens the seal of the recommended.

Last step of selection: pool -> evidence -> limits -> posterior -> decision -> the recommended on test -> recommendation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from harness.config import Metric, RankConfig
from harness.measure.quality import PerClass, confusion, per_class, quality
from harness.select.candidates import Candidate, Cost, LeftOut, Pool, load_pool
from harness.select.comparison import IntArray, Interval
from harness.select.contest import Contest
from harness.select.decision import Decision
from harness.select.finalists import Finalist, OpenedTest, Opening, Outcome, Seals, open_recommended
from harness.select.limits import Breach
from harness.select.metric import choose_metric, is_higher_better
from harness.select.pairs import Pair
from harness.select.prior import OwnRanks, own_ranks
from harness.select.protocols import Protocol
from harness.select.ranks import RankInterval
from harness.select.resamples import Difference
from harness.select.said import Said
from harness.select.sample_size import Separation
from harness.select.sensitivity import Sensitivity
from harness.study.row import Row
from harness.study.store import Damage, Predictions, Study


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One candidate in the ranking. Scores are in the metric's own unit (log loss: lower is better)."""

    candidate: Candidate
    rank: int | None
    """1 is the best score; None when a limit excludes the candidate."""
    rank_interval: RankInterval | None
    """Places that chance leaves open, for all candidates at once; None when a limit excludes the candidate."""
    score: float
    interval: Interval
    tied: bool
    """In the tied set of the candidates within the limits."""
    on_front: bool
    """On the Pareto front of score and latency of the candidates within the limits."""
    front_prob: float | None
    """Share of joint draws of score and latency in which it is on that front; None when it is excluded or its latency unknown."""
    dominated_by: str | None
    """Label of a candidate that is better on both in nearly all draws (`rank.confidence`); None when there is none."""
    breaches: tuple[Breach, ...]
    behind: Difference | None
    """How much better the recommended candidate scores; None without a recommendation and for the recommended itself."""
    expected: float
    """Expected true score, by what was measured and what was known before."""
    prob_best: float | None
    """That no candidate within the limits is better; None when a limit excludes the candidate."""
    expected_loss: float | None
    """Expected score of the best within the limits, whoever that is, less its own; None when it is excluded."""

    @property
    def label(self) -> str:
        return self.candidate.label

    @property
    def cost(self) -> Cost:
        return self.candidate.cost

    @property
    def excluded(self) -> list[str]:
        return [breach.text for breach in self.breaches]


@dataclass(frozen=True, slots=True, eq=False)
class ClassScores:
    """Per-class results of one candidate on one split, its seeds taken together."""

    label: str
    split: str
    classes: list[PerClass]
    confusion_CC: IntArray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Ranking:
    """What one study says under one `RankConfig`."""

    study: str
    where: str
    """Arguments that name the study to every command, as typed in a shell."""
    protocol: str | None
    protocols: tuple[Protocol, ...]
    """All that the study holds, the one that is ranked included; rows of several do not compare."""
    rank: RankConfig
    metric: Metric
    metric_reason: str
    entries: tuple[Entry, ...]
    """Best score first; those that a limit excludes come after all others."""
    decision: Decision | None
    """What is recommended in the end, after the recommended's test predictions were opened, and why; None: nobody is within the limits.
    Its positions are those of `eligible`."""
    outcome: Outcome | None
    """What the test images said; None when nothing is recommended."""
    val_choice: Entry | None
    """What train and val recommend."""
    recommended: Entry | None
    """What is recommended in the end."""
    best: Entry | None
    """Best score of those within the limits, or of all when none is."""
    runner_up: Entry | None
    """Best score of the others within the limits."""
    pairs: tuple[Pair, ...]
    """On val: the recommended, or else the best, against every other within the limits; then all other pairs if they are few."""
    separation: Separation | None
    """Of the choice and the best other one that cannot be excluded as best: what would tell which is better; None when nobody else is."""
    sensitivity: Sensitivity | None
    """What would change the choice of train and val; None when there is none."""
    finalists: tuple[Finalist, ...]
    """What train and val recommend, and after an overturn what is recommended instead; empty without a test split, and those that a what-if
    question left sealed are missing."""
    test: OpenedTest | None
    """The recommended on test; None without a test split or where it stays sealed."""
    num_opened: int
    """Jobs of this study whose test predictions were ever opened."""
    class_scores: tuple[ClassScores, ...]
    """On val: the recommended (else the best) and the runner-up."""
    final_scores: ClassScores | None
    """The recommended on test, or on val when there is no test split or it stays sealed."""
    baseline: dict[str, float]
    """Val quality of always naming the most frequent class of val."""
    num_images: int
    """Labelled images that the comparison rests on: of train and val where heads were judged out of fold, else of val."""
    labels_N: IntArray
    """Of the val images."""
    class_names: tuple[str, ...]
    failed: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    pruned: tuple[Row, ...]
    """Jobs of this protocol that a staged search stopped early. They are not ranked."""
    damaged: tuple[Damage, ...]
    """Files of the study that cannot be used; what they held is not in the ranking."""

    def command(self, name: str) -> str:
        """What runs a command of the harness on this study, as typed in a shell."""
        return f"python -m harness.{name} {self.where}"

    def entry(self, label: str) -> Entry:
        """The candidate of that label."""
        return next(entry for entry in self.entries if entry.label == label)

    @property
    def budget(self) -> Entry | None:
        """The faster candidate that a higher price of latency would choose."""
        return None if self.decision is None else self.eligible[self.decision.budget.position]

    @property
    def fastest(self) -> Entry | None:
        """The best of the lowest latency."""
        return None if self.decision is None else self.eligible[self.decision.fastest.position]

    @property
    def tied(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.tied]

    @property
    def eligible(self) -> list[Entry]:
        """Candidates within the limits."""
        return [entry for entry in self.entries if not entry.breaches]

    @property
    def nearest(self) -> list[Entry]:
        """The three candidates that miss the limits by least."""
        missing = [entry for entry in self.entries if entry.breaches]
        return sorted(missing, key=lambda entry: max(breach.ratio for breach in entry.breaches))[:3]


def rank(
    study: Study, cfg: RankConfig, own: OwnRanks | None = None, *, protocol: str | None = None, may_open: bool = True, by: str = "report"
) -> Ranking:
    """Rank the candidates of one protocol, decide, and let the recommended's test predictions confirm or overturn it.

    Args:
        study: the folder.
        cfg: metric, limits, prices.
        own: ranks of networks on other data sets; None: they are looked up beside the study.
        protocol: which; None: the one with the most good jobs.
        may_open: False for a what-if question: test predictions that nothing has opened before stay sealed.
        by: the command that asks, for the log of what was opened.

    Raises:
        TableError: the study cannot be read, or the metric is undefined on its val split.
    """
    with threadpool_limits(1, user_api="blas"):  # products of dozens of candidates: threads would wait for each other
        return _rank(study, cfg, own or own_ranks(study), Seals(study, by, may_open), protocol)


def _rank(study: Study, cfg: RankConfig, own: OwnRanks, seals: Seals, protocol: str | None) -> Ranking:
    pool = load_pool(study, protocol)
    metric, reason = choose_metric(pool, cfg)
    contest = Contest.of(pool, metric, cfg, own) if pool.candidates else None
    decision = contest.decision() if contest else None
    opening = open_recommended(seals, contest, decision) if contest and decision else None
    entries = _entries(contest, opening) if contest else ()
    eligible = [entry for entry in entries if not entry.breaches]
    best = next(iter(eligible or entries), None)
    chosen, val_choice = (
        (_entry(contest, entries, k) for k in (opening.recommended, opening.val_choice)) if contest and opening else (None, None)
    )
    runner_up = next((entry for entry in eligible if entry is not chosen), None)
    shown = [entry for entry in (chosen or best, runner_up) if entry is not None]
    return Ranking(
        study=study.name,
        where=study.where,
        protocol=pool.protocol,
        protocols=pool.protocols,
        rank=cfg,
        metric=metric,
        metric_reason=reason,
        entries=entries,
        decision=opening.decision if opening else None,
        outcome=opening.outcome if opening else None,
        val_choice=val_choice,
        recommended=chosen,
        best=best,
        runner_up=runner_up,
        pairs=_pairs(contest, opening) if contest else (),
        separation=contest.separation(opening.val_choice) if contest and opening else None,
        sensitivity=Sensitivity.of(contest, opening.val_choice) if contest and opening else None,
        finalists=opening.finalists if opening else (),
        test=opening.test if opening else None,
        num_opened=len(study.opened()),
        class_scores=tuple(_class_scores(entry, metric, "val", _val(study, entry)) for entry in shown),
        final_scores=_final_scores(study, chosen, metric, opening) if chosen and opening else None,
        baseline=_baseline(pool),
        num_images=contest.num_images if contest else 0,
        labels_N=pool.labels_N,
        class_names=pool.class_names,
        failed=pool.failed,
        left_out=pool.left_out,
        pruned=pool.pruned,
        damaged=pool.damaged,
    )


def _entry(contest: Contest, entries: Sequence[Entry], k: int) -> Entry:
    return next(entry for entry in entries if entry.label == contest.label(k))


def _entries(contest: Contest, opening: Opening | None) -> tuple[Entry, ...]:
    """All candidates in their order."""
    first = opening.recommended if opening else None
    places = {k: place for place, k in enumerate(contest.order)}
    open_ranks, on_front, front, confidence = contest.rank_intervals(), contest.point_front(), contest.front(), contest.cfg.confidence
    within, sign = contest.belief_within() if contest.order else None, 1.0 if is_higher_better(contest.val.metric) else -1.0
    return tuple(
        Entry(
            candidate=contest.pool.candidates[k],
            rank=places[k] + 1 if k in places else None,
            rank_interval=open_ranks.get(k),
            score=contest.val.score(k),
            interval=contest.val.interval(k, confidence),
            tied=bool(contest.tied_K[k]),
            on_front=on_front.get(k, False),
            front_prob=front.prob(places[k]) if k in places else None,
            dominated_by=_label(contest, front.dominated_by(places[k])) if k in places else None,
            breaches=contest.missed[k],
            behind=contest.val.difference(first, k, confidence) if first is not None and first != k else None,
            expected=sign * float(contest.belief.mean_K[k]),
            prob_best=float(within.prob_best_K[places[k]]) if within and k in places else None,
            expected_loss=float(within.expected_loss_K[places[k]]) if within and k in places else None,
        )
        for k in (*contest.order, *contest.excluded)
    )


def _label(contest: Contest, place: int | None) -> str | None:
    return None if place is None else contest.label(contest.order[place])


def _pairs(contest: Contest, opening: Opening | None) -> tuple[Pair, ...]:
    return contest.pairs(opening.recommended if opening else contest.order[0]) if contest.order else ()


def _final_scores(study: Study, chosen: Entry, metric: Metric, opening: Opening) -> ClassScores:
    if opening.tests:
        return _class_scores(chosen, metric, "test", list(opening.tests.values()))
    return _class_scores(chosen, metric, "val", _val(study, chosen))


def _baseline(pool: Pool) -> dict[str, float]:
    if not pool.candidates:
        return {}
    share_C = np.bincount(pool.labels_N, minlength=len(pool.class_names)) / len(pool.labels_N)
    log_probs_NC = np.tile(np.log(np.maximum(share_C, 1e-12)), (len(pool.labels_N), 1))
    return {name: value for name, value in quality(log_probs_NC, pool.labels_N)[0].items() if value is not None}


def _val(study: Study, entry: Entry) -> list[Predictions]:
    return [study.val_predictions(row.job_id) for row in entry.candidate.rows]


def _class_scores(entry: Entry, metric: Metric, split: str, seeds: Sequence[Predictions]) -> ClassScores:
    predicted_N = Said.of(entry.candidate.rows, seeds).decided_SN(metric).ravel()
    labels_N = np.concatenate([found.labels_N for found in seeds])
    num_classes = seeds[0].log_probs_NC.shape[1]
    return ClassScores(entry.label, split, per_class(predicted_N, labels_N, num_classes), confusion(predicted_N, labels_N, num_classes))
