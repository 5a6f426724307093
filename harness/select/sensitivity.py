"""What would change the recommendation: another metric, another limit, or half the images.

After the recommendation, by the same decision on other terms. Shapes: K candidates, R resamples.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.config import OF_ONE_LABEL, OF_SEVERAL_LABELS, Metric
from harness.data.labels import is_several
from harness.select.comparison import BoolArray, FloatArray
from harness.select.contest import Contest, believe, believe_each
from harness.select.decision import Terms, recommend, utilities
from harness.select.limits import column_of, set_limits
from harness.select.measured import evidence_of
from harness.select.metric import why_undefined
from harness.select.posterior import Posterior
from harness.select.rule import or_infinite

NUM_HALVES = 100
"""Half-size sets of images that are looked at."""

NUM_NEAR = 200
"""Candidates of the highest utility on all images, among which the halves choose: hundreds of others that no half would choose take all the time."""

MAX_STEPS = 20
"""Values of a limit that are tried in one direction, evenly spread over those at which a candidate drops out or comes in."""

MAX_OTHERS = 3

TIGHTENED = ("max_latency_ms", "max_params_m")
"""Limits that are tried although the user did not set them."""


@dataclass(frozen=True, slots=True)
class OtherMetric:
    """Who would be recommended under another metric."""

    metric: Metric
    recommended: str | None
    """A label; None where the metric is undefined."""
    undefined: str | None
    """Why it is undefined on these images."""


@dataclass(frozen=True, slots=True)
class OtherLimit:
    """The first value of a limit, on the way from where it is, at which the recommendation changes."""

    key: str
    """Field of `RankConfig`."""
    limit: float
    is_tighter: bool
    """True: a limit just below `limit` gives another recommendation. False: a limit of `limit` or just above does."""
    recommended: str | None
    """The label of that other; None: nobody is left."""


@dataclass(frozen=True, slots=True)
class FewerImages:
    """What is recommended on random halves of the images, each class halved."""

    num_images: int
    num_draws: int
    same_frac: float
    """Share of the halves with the same recommendation."""
    others: tuple[tuple[str, float], ...]
    """Labels and shares of whom the other halves recommend, most frequent first, three at most."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What changes the recommendation that train and val give."""

    metrics: tuple[OtherMetric, ...] = ()
    """Every metric but the one that ranks."""
    limits: tuple[OtherLimit, ...] = ()
    """Only limits that change it: set ones in both directions, latency and parameters tightened in any case."""
    half: FewerImages = FewerImages(0, 0, 0.0, ())

    @classmethod
    def of(cls, contest: Contest, first: int) -> "Sensitivity":
        """What would change the choice of one candidate."""
        return cls(other_metrics(contest), other_limits(contest, first), half_the_images(contest, first))


def other_metrics(contest: Contest) -> tuple[OtherMetric, ...]:
    """Who of those within the limits would be recommended under every other metric."""
    known = OF_SEVERAL_LABELS if is_several(contest.pool.labels_N) else OF_ONE_LABEL
    return tuple(_other_metric(contest, other) for other in known if other is not contest.val.metric)


def _other_metric(contest: Contest, metric: Metric) -> OtherMetric:
    if reason := why_undefined(contest.pool, metric):
        return OtherMetric(metric, None, reason)
    evidence = evidence_of(contest.pool, contest.pool.candidates, metric)
    belief = believe(contest.pool, contest.own, evidence.scores_K, evidence.covariance_KK, metric).take(contest.order)
    return OtherMetric(metric, contest.label(contest.order[recommend(belief, contest.options, contest.terms)]), None)


def other_limits(contest: Contest, first: int) -> tuple[OtherLimit, ...]:
    """The nearest limits that would change the recommendation, tighter ones first.

    Args:
        contest: limits as they are.
        first: the position of the recommended.
    """
    given = set_limits(contest.cfg)
    missed = [frozenset(breach.key for breach in found) for found in contest.missed]
    within_K = np.array([not keys for keys in missed])
    found = [_tighten(contest, key, within_K, first) for key in dict.fromkeys((*TIGHTENED, *given))]
    for key, limit in given.items():
        found.append(_loosen(contest, key, np.array([keys <= {key} for keys in missed]), limit, first))
    return tuple(change for change in found if change is not None)


def half_the_images(contest: Contest, first: int) -> FewerImages:
    """How often the recommendation survives with half the images.

    A mean over a random half, drawn without replacement, varies around that over all images just as a bootstrap mean does:
    each draw serves as a half, whose errors are twice those of all images.

    Source: Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982, chapter 8 (half-sampling).
    """
    covariance_KK = contest.evidence.covariance_KK + contest.evidence.without_seeds().covariance_KK
    halves, near = contest.val.image_draws_RK[:NUM_HALVES], _near(contest)
    beliefs, options = believe_each(contest.pool, contest.own, halves, covariance_KK), contest.options_of(near)
    chosen = (recommend(_of_some(belief, near, contest.order), options, contest.terms) for belief in beliefs)
    votes = Counter(contest.label(near[position]) for position in chosen)
    same = votes.pop(contest.label(first), 0)
    others = tuple((label, count / len(halves)) for label, count in votes.most_common(MAX_OTHERS))
    return FewerImages(contest.pool.num_images // 2, len(halves), same / len(halves), others)


def _near(contest: Contest) -> tuple[int, ...]:
    """Those compared of the highest utility, in their order."""
    utility = utilities(contest.belief_within(), contest.options, contest.terms)
    kept = np.sort(np.argsort(-utility, kind="stable")[:NUM_NEAR])
    return tuple(contest.order[place] for place in kept.tolist())


def _of_some(belief: Posterior, near: Sequence[int], order: Sequence[int]) -> Posterior:
    """What is believed of some; those left out are not drawn."""
    return belief.take(order) if len(near) == len(order) else belief.alone(near)


def _tighten(contest: Contest, key: str, within_K: BoolArray, first: int) -> OtherLimit | None:
    """Down from the most expensive to the recommended itself, which is out at the latest when the limit is below its own value."""
    value_K = _values(contest, key)
    steps = _steps(value_K[within_K & (value_K >= value_K[first])])[::-1]
    return _first_change(contest, key, steps, lambda limit: within_K & (value_K < limit), first, is_tighter=True)


def _loosen(contest: Contest, key: str, within_K: BoolArray, limit: float, first: int) -> OtherLimit | None:
    """Up from the limit, over the values of those that miss no other one."""
    value_K = _values(contest, key)
    steps = _steps(value_K[within_K & (value_K > limit)])
    return _first_change(contest, key, steps, lambda limit: within_K & (value_K <= limit), first, is_tighter=False)


def _values(contest: Contest, key: str) -> FloatArray:
    """What the limit is about, shape K; infinite where it was not measured."""
    return np.array([or_infinite(getattr(candidate.cost, column_of(key))) for candidate in contest.pool.candidates])


def _steps(values: FloatArray) -> FloatArray:
    """Ascending, each once, both ends kept, those that were not measured left out."""
    known = np.unique(values[np.isfinite(values)])
    return known[np.unique(np.linspace(0, len(known) - 1, min(len(known), MAX_STEPS)).round().astype(np.int64))]


def _first_change(
    contest: Contest, key: str, steps: FloatArray, within: Callable[[float], BoolArray], first: int, *, is_tighter: bool
) -> OtherLimit | None:
    for limit in steps.tolist():
        found = _recommend(contest, np.flatnonzero(within(limit)).tolist(), Terms.of(replace(contest.cfg, **{key: limit})))
        if found != first:
            return OtherLimit(key, limit, is_tighter, None if found is None else contest.label(found))
    return None


def _recommend(contest: Contest, among: Sequence[int], terms: Terms) -> int | None:
    """Of some of the K, by what is believed of all; a limit on latency changes what latency costs as well."""
    if not among:
        return None
    options = contest.options_of(among)
    return among[recommend(contest.belief.take(among), options, terms)]
