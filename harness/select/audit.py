"""The self-audit: how well each cheap score would have chosen in this very study, judged by the study's own fine-tunes.

Rows in, a table of numbers out; the report prints it. Higher is better for everything in here: log loss and own ranks
carry a minus sign.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from harness.config import Metric, RankMetric
from harness.select.order import Scores, agreement, choose, rank_average
from harness.select.prior import OwnRanks, best_scores, log_params, prior
from harness.status import Status
from harness.study.row import Row
from harness.text.language import say
from harness.transfer.depth import WHOLE

MIN_BACKBONES = 3
"""Fewer cannot be put into an order that says anything."""

NUMBERS_TAKEN = (1, 3)
"""How many backbones are fine-tuned on a score's advice; all of them would be no advice."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What fine-tuning a score's first `num_taken` backbones would have led to."""

    num_taken: int
    recall: float
    """Share of the truly best `num_taken` among them, in [0, 1]."""
    regret: float
    """What the best of them scores below the best of all, in the metric's unit; 0 or more."""
    cost_s: float | None
    """Time of the score for all backbones and of the fine-tunes of those taken (seconds)."""
    cost_frac: float | None
    """The same as a share of the time that fine-tuning all of them took."""


@dataclass(frozen=True, slots=True)
class Line:
    """One score or rule."""

    name: str
    """A column of the row, or one of `prior`, `log_params`, `own_rank`, `random`, `probe_and_prior`, `one_epoch`."""
    num_backbones: int
    """How many have it; everything is computed over these."""
    tau: float | None
    """Weighted Kendall tau with the fine-tunes, in [-1, 1]; for `random` what is expected, which is 0. None: too few, or all equal."""
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """The cheap scores of one study against its fine-tunes."""

    metric: Metric
    num_backbones: int
    """Backbones with a good fine-tune: the truth."""
    num_untuned: int
    """Other backbones, of which the truth is not known: stopped early, failed, or only their head was trained."""
    grid_s: float | None
    """Time of everything that was trained for the backbones of the truth (seconds)."""
    lines: tuple[Line, ...]
    reason: str | None
    """Why there are no lines."""


@dataclass(frozen=True, slots=True)
class _Times:
    """What one backbone took, in seconds."""

    passes_s: float
    """Computing its features, once."""
    transferability_s: float | None
    heads_s: float
    tune_s: float | None
    epoch_s: float | None
    """One epoch of each of its fine-tunes."""


@dataclass(frozen=True, slots=True)
class _Way:
    """What a rule has to measure first, and what is left to do for the backbones it takes."""

    score_s: Callable[[_Times], float | None]
    then_s: Callable[[_Times], float | None]


def audit(rows: Sequence[Row], ranked_by: RankMetric, own: OwnRanks) -> Audit:
    """Judge the cheap scores.

    The truth about a backbone is the val score of its best fine-tuned candidate, the mean over its seeds.

    Args:
        rows: of one protocol; only good ones count as fine-tunes, those that were stopped early do not.
        ranked_by: what the study ranks by; of one that rows have no column for, their primary metric takes its place.
        own: mean ranks on other data sets.
    """
    known = next((row.primary_metric for row in rows if row.primary_metric), None)
    metric = ranked_by if isinstance(ranked_by, Metric) else Metric(known or Metric.accuracy)
    by_backbone = _by_backbone(rows)
    tuned = [row for row in rows if is_fine_tuned(row)]
    sign = -1.0 if metric is Metric.log_loss else 1.0
    truth = best_scores(tuned, backbone, lambda row: _signed(getattr(row, f"val_{metric.value}"), sign))
    num_untuned = len(by_backbone) - len(truth)
    if len(truth) < MIN_BACKBONES:
        return Audit(metric, len(truth), num_untuned, None, (), _too_few(len(truth)))
    times = {name: _times(by_backbone[name]) for name in truth}
    found = _scores({name: by_backbone[name] for name in truth}, metric, own)
    lines = tuple(_line(name, scores, truth, times) for name, scores in found.items())
    return Audit(metric, len(truth), num_untuned, _grid_s(times.values()), lines, None)


def is_fine_tuned(row: Row) -> bool:
    """Whether the job ended well and trained some layer of its backbone."""
    return row.status == Status.ok.value and not is_frozen(row)


def is_frozen(row: Row) -> bool:
    """Whether nothing of the backbone could be trained."""
    if row.adapter is not None:
        return False
    if row.num_frozen_blocks is None or row.num_blocks is None:
        return row.freeze == str(WHOLE)
    return row.num_frozen_blocks >= row.num_blocks


def backbone(row: Row) -> str:
    """What has features of its own, and so scores of its own: a backbone with its weights at one image size."""
    return " ".join(str(part) for part in (row.backbone, row.weights, row.weights_sha256, row.image_size))


def _line(name: str, scores: Scores, truth: Scores, times: Mapping[str, _Times]) -> Line:
    if len(scores) < MIN_BACKBONES:
        return Line(name, len(scores), None, ())
    grid_s = _grid_s(times[each] for each in scores)
    choices = tuple(
        _choice(name, scores, truth, times, grid_s=grid_s, num_taken=number) for number in NUMBERS_TAKEN if number < len(scores)
    )
    return Line(name, len(scores), 0.0 if name == "random" else agreement(scores, truth), choices)


def _choice(name: str, scores: Scores, truth: Scores, times: Mapping[str, _Times], *, grid_s: float | None, num_taken: int) -> Choice:
    recall, regret, taken = choose(scores, truth, num_taken)
    way = _WAYS.get(name, _TRANSFERABILITY)
    scored = [way.score_s(times[each]) for each in scores]
    thens = [_signed(way.then_s(times[each]), share) for each, share in taken.items()]
    cost_s = _sum([*scored, *thens])
    return Choice(num_taken, recall, regret, cost_s, cost_s / grid_s if cost_s is not None and grid_s else None)


def _scores(by_backbone: Mapping[str, Sequence[Row]], metric: Metric, own: OwnRanks) -> dict[str, Scores]:
    """Every score and rule, in the order in which they are shown; backbones without a value are left out."""
    found = {name: _known(by_backbone, partial(score, own=own)) for name, score in _SCORES.items()}
    tuned = [row for rows in by_backbone.values() for row in rows if is_fine_tuned(row)]
    return {
        "random": dict.fromkeys(by_backbone, 0.0),
        **found,
        "probe_and_prior": rank_average(found["probe_accuracy"], found["prior"]),
        "one_epoch": best_scores(tuned, backbone, partial(_first_epoch, metric=metric)),
    }


def _known(by_backbone: Mapping[str, Sequence[Row]], score: Callable[[Row], float | None]) -> Scores:
    """Mean over the rows that have a value; they agree, unless a score was measured more than once."""
    values = {name: [value for row in rows if (value := score(row)) is not None] for name, rows in by_backbone.items()}
    return {name: fmean(known) for name, known in values.items() if known}


def _first_epoch(row: Row, metric: Metric) -> float | None:
    """What the study ranks by, on val after the first epoch, as far as curves hold it: log loss, with a minus sign, the row's primary metric, else accuracy."""
    point = next((point for point in row.details.curve if point.epoch == 1), None)
    if point is None or metric is Metric.log_loss:
        return None if point is None else -point.val_loss
    return point.val_score if metric.value == row.primary_metric else point.val_accuracy


def _column(row: Row, own: OwnRanks, *, name: str, sign: float = 1.0) -> float | None:  # noqa: ARG001 - every score takes the same
    return _signed(getattr(row, name), sign)


def _own_rank(row: Row, own: OwnRanks) -> float | None:
    found = own.of(row)
    return None if found is None else -found.mean


_SCORES: Mapping[str, Callable[..., float | None]] = {
    "probe_accuracy": partial(_column, name="probe_accuracy"),
    "probe_log_loss": partial(_column, name="probe_log_loss", sign=-1.0),
    "knn_accuracy": partial(_column, name="knn_accuracy"),
    "logme": partial(_column, name="logme"),
    "gbc": partial(_column, name="gbc"),
    "leep": partial(_column, name="leep"),
    "h_score": partial(_column, name="h_score"),
    "prior": lambda row, own: prior(row),  # noqa: ARG005
    "log_params": lambda row, own: log_params(row),  # noqa: ARG005
    "own_rank": _own_rank,
}


def _by_backbone(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[backbone(row)].append(row)
    return found


def _too_few(number: int) -> str:
    return say(
        "No backbone has a fine-tune that ended well; judging the cheap scores takes at least {least}."
        if number == 0
        else "Only one backbone has a fine-tune that ended well; judging the cheap scores takes at least {least}."
        if number == 1
        else "Only {number} backbones have a fine-tune that ended well; judging the cheap scores takes at least {least}.",
        number=number,
        least=MIN_BACKBONES,
    )


def _times(rows: Sequence[Row]) -> _Times:
    tuned = [row for row in rows if is_fine_tuned(row)]
    others = [row for row in rows if not is_fine_tuned(row)]
    spent = [row.transferability_s for row in rows if row.transferability_s is not None]
    return _Times(
        passes_s=max((row.features_s for row in rows if row.features_s is not None), default=0.0),
        transferability_s=max(spent, default=None),
        heads_s=sum(row.train_s or 0.0 for row in others),
        tune_s=_sum(row.train_s for row in tuned),
        epoch_s=_sum(_epoch_s(row) for row in tuned),
    )


def _epoch_s(row: Row) -> float | None:
    epochs = row.epochs_trained or row.epochs
    return None if row.train_s is None or not epochs else row.train_s / epochs


def _grid_s(times: Iterable[_Times]) -> float | None:
    return _sum(_sum((each.passes_s, each.heads_s, each.tune_s)) for each in times)


def _sum(values: Iterable[float | None]) -> float | None:
    """None as soon as a part is unknown."""
    known = list(values)
    return None if None in known else math.fsum(value for value in known if value is not None)


def _signed(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


_FREE = _Way(score_s=lambda _: 0.0, then_s=lambda times: _sum((times.passes_s, times.tune_s)))
_TRANSFERABILITY = _Way(score_s=lambda times: _sum((times.passes_s, times.transferability_s)), then_s=lambda times: times.tune_s)
_ONE_EPOCH = _Way(
    score_s=lambda times: _sum((times.passes_s, times.epoch_s)),
    then_s=lambda times: _sum((times.tune_s, _signed(times.epoch_s, -1.0))),
)
_WAYS = {"random": _FREE, "prior": _FREE, "log_params": _FREE, "own_rank": _FREE, "one_epoch": _ONE_EPOCH}
"""All other names are scores from cached features. `transferability_s` is the time of all of them together, so each is charged for all."""
