"""The ranking: who was compared, the numbers of each, and what to use. Opens the seal of the recommended.

Last step of selection: pool -> evidence -> limits -> posterior -> picks -> the recommended on test -> entries -> decision.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from threadpoolctl import threadpool_limits

from harness.config import RankConfig, RankMetric
from harness.select.candidates import Pool
from harness.select.comparison import Interval
from harness.select.contest import Contest
from harness.select.decision import Picks
from harness.select.entries import Entry, entries_of, expected_interval
from harness.select.finalists import Finalist, OpenedTest, Opening, Outcome, Seals, open_recommended
from harness.select.metric import baseline, choose_metric
from harness.select.pairs import Pair
from harness.select.prior import OwnRanks, own_ranks
from harness.select.sample_size import Separation
from harness.select.screen import load_screened, num_possible
from harness.select.sensitivity import Sensitivity
from harness.select.what_if import WhatIf
from harness.study.store import Study

__all__ = ["Decision", "Entry", "Ranking", "rank"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Decision:
    """What to use and why, in the end: after the recommended's test predictions were opened, where there are any."""

    picks: Picks
    """With the figures of each."""
    recommended: Entry
    budget: Entry
    """The faster candidate that a higher price of latency would choose."""
    fastest: Entry
    """The best of the lowest latency."""
    val_choice: Entry
    """What train and val recommend."""
    expected_interval: Interval
    """Of the true score of the recommended, by train and val and what was known before."""
    pairs: tuple[Pair, ...] = ()
    """On val: the recommended against every other within the limits; then all other pairs if they are few. None without predictions."""
    separations: tuple[Separation, ...] = ()
    """What would tell the choice of train and val from the best other one that cannot be excluded as best; empty when nobody else is."""
    sensitivity: Sensitivity = field(default_factory=Sensitivity)
    """What would change the choice of train and val."""
    opening: Opening | None = None
    """What the sealed test images say; None without predictions."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ranking:
    """What one pool says under one `RankConfig`."""

    pool: Pool
    """Who is compared, and what is left out."""
    rank: RankConfig
    metric: RankMetric
    metric_reason: str
    entries: tuple[Entry, ...] = ()
    """Best score first; those that a limit excludes come after all others."""
    decision: Decision | None = None
    """None: nobody is within the limits."""
    what_if: WhatIf | None = None
    """What another price or limit is answered with; None: there is nobody to choose between."""
    num_possible: int = 0
    """Of those that are ranked by their score alone, candidates that may be better than the best score (`screen`)."""

    @cached_property
    def guess(self) -> float | None:
        """The score of the best answer that looks at no image; None where there is nobody who did better, or worse."""
        return baseline(self.pool, self.metric).get(self.metric.value) if self.pool.candidates else None

    def command(self, name: str) -> str:
        """What runs a command of the harness on this study, as typed in a shell."""
        return f"python -m harness.{name} {self.pool.where}"

    def entry(self, label: str) -> Entry:
        """The candidate of that label."""
        return next(entry for entry in self.entries if entry.label == label)

    def entry_of(self, k: int) -> Entry:
        """The candidate at that position of the pool."""
        return next(entry for entry in self.entries if entry.candidate is self.pool.candidates[k])

    @property
    def recommended(self) -> Entry | None:
        """What is recommended in the end."""
        return self.decision.recommended if self.decision else None

    @property
    def best(self) -> Entry | None:
        """Best score of those within the limits, or of all when none is."""
        return next(iter(self.entries), None)

    @property
    def runner_up(self) -> Entry | None:
        """Best score of the others within the limits."""
        return next((entry for entry in self.eligible if entry is not self.recommended), None)

    @property
    def tied(self) -> list[Entry]:
        """Those that cannot be excluded as best."""
        return [entry for entry in self.entries if entry.tied]

    @property
    def eligible(self) -> list[Entry]:
        """Candidates within the limits that were compared with each other."""
        return [entry for entry in self.entries if not entry.breaches and not entry.is_outranked]

    @property
    def nearest(self) -> list[Entry]:
        """The three candidates that miss the limits by least."""
        missing = [entry for entry in self.entries if entry.breaches]
        return sorted(missing, key=lambda entry: max(breach.ratio for breach in entry.breaches))[:3]

    @property
    def outcome(self) -> Outcome | None:
        """What the test images said; None when nothing is recommended."""
        return self._opening.outcome if self._opening else None

    @property
    def finalists(self) -> tuple[Finalist, ...]:
        """Whose test predictions were opened for this choice."""
        return self._opening.finalists if self._opening else ()

    @property
    def test(self) -> OpenedTest | None:
        """The recommended on test; None without a test split or where it stays sealed."""
        return self._opening.test if self._opening else None

    @property
    def _opening(self) -> Opening | None:
        return self.decision.opening if self.decision else None


def rank(
    study: Study, cfg: RankConfig, own: OwnRanks | None = None, *, protocol: str | None = None, may_open: bool = True, by: str = "report"
) -> Ranking:
    """Rank the candidates of one protocol, decide, and let the recommended's test predictions confirm or overturn it.

    Args:
        study: the folder.
        cfg: metric, limits, prices.
        own: ranks of models on other data sets; None: they are looked up beside the study.
        protocol: which; None: the one with the most good jobs.
        may_open: False for a what-if question: test predictions that nothing has opened before stay sealed.
        by: the command that asks, for the log of what was opened.

    Raises:
        TableError: the study cannot be read, or the metric is undefined on its val split.
    """
    with threadpool_limits(1, user_api="blas"):  # products of dozens of candidates: threads would wait for each other
        return _rank(
            load_screened(study, cfg, protocol),
            cfg,
            own or own_ranks(study),
            Seals(study, by, may_open),
        )


def _rank(pool: Pool, cfg: RankConfig, own: OwnRanks, seals: Seals) -> Ranking:
    metric, reason = choose_metric(pool, cfg)
    if not pool.candidates:
        return Ranking(pool=pool, rank=cfg, metric=metric, metric_reason=reason)
    contest = Contest.of(pool, metric, cfg, own)
    what_if = WhatIf.of(contest)
    if not contest.order:
        return Ranking(pool=pool, rank=cfg, metric=metric, metric_reason=reason, entries=entries_of(contest), what_if=what_if)
    opening = open_recommended(seals, contest, contest.picks())
    entries = entries_of(contest, opening.recommended)
    best = contest.order[0]
    best_sd = float(contest.evidence.covariance_KK[best, best]) ** 0.5
    decision = replace(
        decision_of(contest, entries, opening.picks),
        val_choice=_entry(contest, entries, opening.val_choice),
        pairs=contest.pairs(opening.recommended),
        separations=contest.separations(opening.val_choice),
        sensitivity=Sensitivity.of(contest, opening.val_choice),
        opening=opening,
    )
    return Ranking(
        pool=pool,
        rank=cfg,
        metric=metric,
        metric_reason=reason,
        entries=entries,
        decision=decision,
        what_if=what_if,
        num_possible=num_possible(pool, float(contest.val.scores_K[best]), best_sd, cfg.confidence),
    )


def decision_of(contest: Contest, entries: Sequence[Entry], picks: Picks) -> Decision:
    """What is picked, by itself: nothing is said of pairs, of other settings, or of test."""
    recommended, budget, fastest = (
        _entry(contest, entries, contest.order[pick.position]) for pick in (picks.recommended, picks.budget, picks.fastest)
    )
    return Decision(
        picks=picks,
        recommended=recommended,
        budget=budget,
        fastest=fastest,
        val_choice=recommended,
        expected_interval=expected_interval(contest, contest.order[picks.recommended.position]),
    )


def _entry(contest: Contest, entries: Sequence[Entry], k: int) -> Entry:
    return next(entry for entry in entries if entry.candidate is contest.pool.candidates[k])
