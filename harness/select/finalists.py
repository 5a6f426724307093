"""The sealed test split: whose predictions are opened, and what they say about the choice that val made.

Last step of selection. Val picks the finalists, test only checks: it can take the recommendation from a candidate that does not
hold what val promised, and hand it to another finalist, but never bring in somebody new.
Shapes: K candidates, F finalists, N test images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from harness.config import Metric, RankConfig
from harness.errors import TableError
from harness.measure.quality import quality
from harness.select.candidates import Candidate
from harness.select.comparison import FloatArray, IntArray, Interval, interval, tied_set
from harness.select.contest import Contest
from harness.select.resamples import Answers, Difference, Resamples
from harness.select.rule import cheapest
from harness.study.store import Predictions, Study

_SEED = 20_240_302

Tests = dict[str, Predictions]
"""Id of a job -> what it predicted on test; one for each seed of a candidate."""


class Outcome(StrEnum):
    """What the test split said about the recommendation."""

    confirmed = "confirmed"  # no finalist is clearly better on test
    overturned = "overturned"  # one is, and the recommendation went over
    no_test = "no_test"  # the data set has no test split
    undefined = "undefined"  # the metric has no value on test


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
    tied: bool | None
    """In the tied set of the finalists on test; None where the metric is undefined there."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What became of the choice that val made."""

    outcome: Outcome
    val_choice: str
    """Label of the candidate that val recommends."""
    recommended: str
    """Label of the one that is recommended in the end."""
    difference: Difference | None
    """If overturned, how much better the recommended scores on test than val's choice. It was picked on test, so this flatters it."""


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """Everything that opening the seals has told."""

    finalists: tuple[Finalist, ...]
    confirmation: Confirmation
    recommended: int
    """Position among the candidates."""
    tests: Tests
    """Of the recommended; empty without a test split."""

    @property
    def test(self) -> OpenedTest | None:
        """The recommended on test."""
        return next((found.test for found in self.finalists if found.label == self.confirmation.recommended), None)


def open_finalists(study: Study, contest: Contest, first: int) -> Opening:
    """Open the finalists' test predictions, every seed of each, and decide whether val's choice stands.

    Val picks the finalists: the recommended, and the two best scores within the limits. One of these two that is clearly
    behind on val (outside the tied set) stays sealed, unless the test score of the recommended, at the lower end of its
    interval, falls to what that one scores on val.

    The recommended stands unless it is outside the tied set of the finalists on test, under the same rule and confidence as on
    val. Then it is overturned, and the cheapest finalist in that set is recommended instead.

    Args:
        study: the folder; what is opened is logged there.
        contest: what val says.
        first: position of the candidate that val recommends.

    Raises:
        TableError: predictions cannot be read, or two finalists were tested on different images.
    """
    candidates, val, name = contest.pool.candidates, contest.val, contest.val.metric.value
    opened = {first: _open(study, candidates[first], f"recommended by val {name}")}
    if not opened[first]:
        return Opening((), Confirmation(Outcome.no_test, contest.label(first), contest.label(first), None), first, {})
    floor = _floor(opened[first], val.metric, contest.cfg)
    for place, k in zip(("best", "second best"), contest.order, strict=False):
        if k != first and (contest.tied_K[k] or val.scores_K[k] >= floor):
            opened[k] = _open(study, candidates[k], f"{place} val {name}")
    opened = {k: tests for k, tests in opened.items() if tests}
    _require_same_images(opened)
    return _judge(contest, opened, first)


def _open(study: Study, candidate: Candidate, reason: str) -> Tests:
    return {row.job_id: found for row in candidate.rows if (found := study.open_test(row.job_id, reason)) is not None}


def _floor(tests: Tests, metric: Metric, cfg: RankConfig) -> float:
    """The lower end of a test score's interval, higher is better; infinite where the metric is undefined."""
    if _why_undefined(tests, metric) is not None:
        return float("inf")
    return interval(_resample([tests], metric, cfg).draws_RK[:, 0], cfg.confidence).low


def _judge(contest: Contest, opened: dict[int, Tests], first: int) -> Opening:
    val, cfg, label = contest.val, contest.cfg, contest.label
    if (reason := _why_undefined(opened[first], val.metric)) is not None:
        unscored = [Finalist(label(k), _unscored(tests, reason), None, None) for k, tests in opened.items()]
        return Opening(tuple(unscored), Confirmation(Outcome.undefined, label(first), label(first), None), first, opened[first])
    test = _resample(list(opened.values()), val.metric, cfg)
    tied_F = tied_set(test.scores_K, test.draws_RK, cfg.confidence)
    scored = [
        Finalist(label(k), _scored(tests, test, f, cfg.confidence), _drop(val, k, test, f, cfg.confidence), bool(tied_F[f]))
        for f, (k, tests) in enumerate(opened.items())
    ]
    if tied_F[0]:
        return Opening(tuple(scored), Confirmation(Outcome.confirmed, label(first), label(first), None), first, opened[first])
    places = list(opened)
    winner = cheapest([contest.pool.candidates[k].cost for k in places], test.scores_K, np.flatnonzero(tied_F))
    assert winner is not None  # the best of a set is always tied with itself
    better, chosen = test.difference(winner, 0, cfg.confidence), places[winner]
    return Opening(tuple(scored), Confirmation(Outcome.overturned, label(first), label(chosen), better), chosen, opened[chosen])


def _why_undefined(tests: Tests, metric: Metric) -> str | None:
    return next((reasons[metric.value] for _, reasons in map(_quality, tests.values()) if metric.value in reasons), None)


def _quality(found: Predictions) -> tuple[dict[str, float | None], dict[str, str]]:
    return quality(found.log_probs_NC, found.labels_N)


def _resample(opened: Sequence[Tests], metric: Metric, cfg: RankConfig) -> Resamples:
    first = next(iter(opened[0].values()))
    answers = [_answers(tests, first.labels_N) for tests in opened]
    return Resamples.of(answers, first.labels_N, first.log_probs_NC.shape[1], metric, cfg.num_resamples)


def _answers(tests: Tests, labels_N: IntArray) -> Answers:
    each_N = np.arange(len(labels_N))
    predicted_SN = np.stack([found.log_probs_NC.argmax(axis=1) for found in tests.values()])
    return predicted_SN, np.stack([found.log_probs_NC[each_N, labels_N] for found in tests.values()])


def _num_images(tests: Tests) -> int:
    return len(next(iter(tests.values())).labels_N)


def _scored(tests: Tests, test: Resamples, f: int, confidence: float) -> OpenedTest:
    return OpenedTest(_num_images(tests), test.score(f), test.interval(f, confidence), None, _means(tests))


def _unscored(tests: Tests, reason: str) -> OpenedTest:
    return OpenedTest(_num_images(tests), None, None, reason, _means(tests))


def _means(tests: Tests) -> dict[str, float]:
    """Means over seeds of the metrics that every seed has."""
    found = [_quality(predictions)[0] for predictions in tests.values()]
    return {
        name: float(np.mean([value for value in values if value is not None]))
        for name in found[0]
        if None not in (values := [each[name] for each in found])
    }


def _drop(val: Resamples, k: int, test: Resamples, f: int, confidence: float) -> Drop:
    """Val and test are other images, so their draws are paired at random."""
    test_draws_R: FloatArray = np.random.default_rng(_SEED).permutation(test.image_draws_RK[:, f])
    found = interval(val.image_draws_RK[:, k] - test_draws_R, confidence)
    return Drop(float(val.scores_K[k] - test.scores_K[f]), found, found.low > 0)


def _require_same_images(opened: dict[int, Tests]) -> None:
    (first_id, first), *others = [run for tests in opened.values() for run in tests.items()]
    for job_id, found in others:
        if found.ids_N != first.ids_N or not np.array_equal(found.labels_N, first.labels_N):
            raise TableError(
                f"jobs {first_id} and {job_id}: their test images or labels differ though their protocol is the same; "
                f"delete rows/{job_id}.json and run the sweep again."
            )
