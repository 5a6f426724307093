"""The sealed test split: the recommended's predictions are opened, and what they say about the choice.

Last step of selection. Everything is chosen on train and val. The recommended's test score can take the recommendation away, if val and
test together are nearly certain that it is behind; it can never choose among others, whose predictions stay sealed. A what-if question
(other limits, prices or metrics than the sweep's own) opens nothing at all.
Shapes: N test images.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from harness.select.candidates import Candidate
from harness.select.comparison import FloatArray, Interval, interval
from harness.select.contest import Contest
from harness.select.decision import Picks, Veto, veto
from harness.select.evidence import Evidence
from harness.select.resamples import Resamples
from harness.select.said import Said
from harness.study.row_objective import objective_of
from harness.study.store import Predictions, Study

_SEED = 20_240_302

Tests = dict[str, Predictions]
"""Id of a job -> what it predicted on test; one for each seed of a candidate."""


class Outcome(StrEnum):
    """What the test split said about the recommendation."""

    confirmed = "confirmed"  # val and test together do not contradict it
    overturned = "overturned"  # they do, and the next by utility is recommended
    no_test = "no_test"  # the data set has no test split
    undefined = "undefined"  # the metric has no value on test
    sealed = "sealed"  # a what-if question opens nothing, and nothing else has opened the recommended before


@dataclass(frozen=True, slots=True)
class OpenedTest:
    """A finalist on the images that nothing was chosen on. Means over its seeds."""

    num_images: int
    score: float | None
    interval: Interval | None
    undefined: str | None
    """Why the ranking's metric has no value on test."""
    quality: dict[str, float]
    """Every metric that is defined on test."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Val less test, positive: worse on test. In the metric's unit; the same seeds on both, images of both drawn anew."""

    value: float
    interval: Interval
    is_beyond_chance: bool
    """Its interval lies above zero: more than the choice of images explains. Having been picked on val is part of what is left."""


@dataclass(frozen=True, slots=True)
class Finalist:
    """A candidate whose test predictions were opened."""

    label: str
    test: OpenedTest
    drop: Drop | None
    """None where the metric is undefined on test."""
    prob_behind: float | None
    """That the best is better by more than a point, by val and its own test score; None where its test score had no say."""


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """Everything that opening the seals has told."""

    outcome: Outcome
    picks: Picks
    """In the end; positions are those within the contest."""
    val_choice: int
    """Position among the candidates of what train and val recommend."""
    recommended: int
    """The same of what is recommended in the end."""
    finalists: tuple[Finalist, ...]
    """What train and val recommend, and after an overturn what is recommended instead; empty without a test split."""
    tests: Tests
    """Of the recommended; empty without a test split, and where its predictions stay sealed."""
    num_opened: int = 0
    """Jobs of this study whose test predictions were ever opened."""

    @property
    def test(self) -> OpenedTest | None:
        """The recommended on test."""
        return self.finalists[-1].test if self.tests else None


@dataclass(frozen=True, slots=True)
class Seals:
    """The sealed test predictions of a study, and who asks for them."""

    study: Study
    by: str
    """The command, for the log."""
    may_open: bool
    """False for a what-if question: it sees what was opened before it, and nothing else."""

    def tests(self, candidate: Candidate, reason: str) -> Tests | None:
        """Of every seed; empty without a test split, None where they stay sealed. Raises TableError when they cannot be read."""
        if candidate.row.n_test and not self.may_open and not self.study.opened().issuperset(row.job_id for row in candidate.rows):
            return None
        found = {row.job_id: self.study.open_test(row.job_id, reason, self.by) for row in candidate.rows}
        return {job_id: each for job_id, each in found.items() if each is not None}


def open_recommended(seals: Seals, contest: Contest, picks: Picks) -> Opening:
    """Open the recommended's test predictions, every seed, and let them confirm or overturn it.

    After an overturn the next candidate's are opened too, for its score alone: it was not chosen by them.

    Args:
        seals: of the study; what is opened is logged there.
        contest: what train and val say.
        picks: theirs.

    Raises:
        TableError: predictions cannot be read.
    """
    found = _opened(seals, contest, picks)
    return replace(found, num_opened=len(seals.study.opened()))


def _opened(seals: Seals, contest: Contest, picks: Picks) -> Opening:
    first, metric = contest.order[picks.recommended.position], contest.val.metric
    tests = seals.tests(contest.pool.candidates[first], f"recommended by {metric.value}")
    if tests is None:
        return Opening(Outcome.sealed, picks, first, first, (), {})
    if not tests:
        return Opening(Outcome.no_test, picks, first, first, (), {})
    seen = _Seen.of(contest, first, tests)
    if seen.evidence is None:
        return Opening(Outcome.undefined, picks, first, first, (seen.finalist(None),), tests)
    found = _veto(contest, picks, first, seen.evidence)
    if not found.is_overturned:
        return Opening(Outcome.confirmed, picks, first, first, (seen.finalist(found.prob_behind),), tests)
    second = contest.order[found.picks.recommended.position]
    reason = f"recommended by {metric.value} after the test images overturned {contest.label(first)}"
    others = seals.tests(contest.pool.candidates[second], reason) or {}
    finalists = [seen.finalist(found.prob_behind), *([_Seen.of(contest, second, others).finalist(None)] if others else [])]
    return Opening(Outcome.overturned, found.picks, first, second, tuple(finalists), others)


def _veto(contest: Contest, picks: Picks, first: int, test: Evidence) -> Veto:
    """By val and test, each image, or group of images, of either counting alike.

    How much a score varies is read off its own images, so one that is too good to be true seems to vary least of all and would outweigh
    a test score that contradicts it. So both have the variance of an image that they show together.
    """
    val = contest.on_val_alone(first)
    sizes, variances = (np.array([get(each) for each in (val, test)]) for get in (lambda found: len(found.labels_N), _image_variance))
    growth_of_val, growth_of_test = sizes @ variances / sizes.sum() / variances
    variance = float(test.covariance_KK[0, 0] * growth_of_test + contest.evidence.seed_variance_K[first])
    return veto(picks, contest.belief_if(first, growth_of_val), contest.options, float(test.scores_K[0]), variance)


def _image_variance(found: Evidence) -> float:
    """Of a single candidate's score, as if it were known from one image."""
    return float(found.without_seeds().covariance_KK[0, 0]) * len(found.labels_N)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """One candidate on test."""

    contest: Contest
    k: int
    said: Said
    first: Predictions
    quality: dict[str, float]
    undefined: str | None
    evidence: Evidence | None
    """None where the metric is undefined."""

    @classmethod
    def of(cls, contest: Contest, k: int, tests: Tests) -> "_Seen":
        candidate, found, metric = contest.pool.candidates[k], list(tests.values()), contest.val.metric
        said = Said.of(candidate.rows, found, keeps_probabilities=True)
        labels_N, num_classes = found[0].labels_N, found[0].log_probs_NC.shape[1]
        each = [objective_of(row).quality(one.log_probs_NC, labels_N, metric) for row, one in zip(candidate.rows, found, strict=True)]
        undefined = next((reasons[metric.value] for _, reasons in each if metric.value in reasons), None)
        runs = said.runs(labels_N, num_classes, metric)
        evidence = None if undefined else Evidence.of(runs, metric, [len(found)], found[0].groups_N)
        return cls(contest, k, said, found[0], _means([values for values, _ in each]), undefined, evidence)

    def finalist(self, prob_behind: float | None) -> Finalist:
        label, num_images = self.contest.label(self.k), len(self.first.labels_N)
        if self.evidence is None:
            return Finalist(label, OpenedTest(num_images, None, None, self.undefined, self.quality), None, None)
        cfg, metric = self.contest.cfg, self.contest.val.metric
        test = Resamples.from_evidence(self.evidence, metric, cfg.num_resamples)
        opened = OpenedTest(num_images, test.score(0), test.interval(0, cfg.confidence), None, self.quality)
        return Finalist(label, opened, _drop(self.contest.val, self.k, test, cfg.confidence), prob_behind)


def _means(found: list[dict[str, float | None]]) -> dict[str, float]:
    """Means over seeds of the metrics that every seed has."""
    return {
        name: float(np.mean([value for value in values if value is not None]))
        for name in found[0]
        if None not in (values := [each[name] for each in found])
    }


def _drop(val: Resamples, k: int, test: Resamples, confidence: float) -> Drop:
    """Val and test are other images, so their draws are paired at random."""
    test_draws_R: FloatArray = np.random.default_rng(_SEED).permutation(test.image_draws_RK[:, 0])
    found = interval(val.image_draws_RK[:, k] - test_draws_R, confidence)
    return Drop(float(val.scores_K[k] - test.scores_K[0]), found, found.low > 0)
