"""Ways to choose a candidate for a given time: the staged search itself, and what it must beat. Played on a recorded table, not trained.

Between a table (`recorded`) and the report (`replay`). Shapes: K candidates, E recorded epochs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.recorded import FloatArray, Recorded
from harness.search.predicted_cost import Prediction
from harness.search.staged import Contender, search

IntArray = npt.NDArray[np.int64]

TIE_Z = 1.96
"""Scores of two single runs closer than this many standard errors of their difference are not told apart."""

_PROBE = "probe of "


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """What one search sees: of every candidate one repeat, drawn at random."""

    table: Recorded
    scores_KE: FloatArray
    costs_s_KE: FloatArray
    """From the start of the run."""
    truth_K: FloatArray
    lots_K: FloatArray
    """Breaks ties, and orders what is chosen at random."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a strategy ends with."""

    chosen: int
    spent_s: float


def draw(table: Recorded, rng: np.random.Generator) -> Draw:
    """Draw a repeat of each candidate; the truth is what the simulation knows, else the mean of the other repeats, else the repeat itself."""
    picked = [int(rng.integers(count)) for count in table.num_repeats]
    truth = [float(np.delete(own[:, -1], at).mean() if len(own) > 1 else own[0, -1]) for own, at in zip(table.scores, picked, strict=True)]
    return Draw(
        table,
        np.stack([own[at] for own, at in zip(table.scores, picked, strict=True)]),
        np.stack([own[at] for own, at in zip(table.costs_s, picked, strict=True)]),
        np.array(truth) if table.truth_K is None else table.truth_K,
        rng.random(len(table.names)),
    )


@dataclass(slots=True)
class Player:
    """A `staged.Trainer` that looks up what a run scored and took. Predictions are means over repeats, their range is that of the repeats."""

    predictions: Mapping[tuple[str, int, int], Prediction]
    noise: Mapping[int, float]
    """Standard deviation of a repeat at each epoch."""
    drawn: Draw
    place: Mapping[str, int]
    """Of a candidate in the table, by the names of its contenders."""
    at: Mapping[int, int]
    """Of an epoch among the recorded ones."""
    spent: float = 0.0
    reached: dict[str, int] = field(default_factory=dict)

    def train(self, name: str, epochs: int) -> float:
        """The recorded score."""
        k = self.place[name]
        if name.startswith(_PROBE):
            self.spent += float(self.drawn.table.probe_s_K[k])
            return float(self.drawn.table.probe_K[k])
        before = float(self.drawn.costs_s_KE[k, self.at[self.reached[name]]]) if name in self.reached else 0.0
        self.spent += float(self.drawn.costs_s_KE[k, self.at[epochs]]) - before
        self.reached[name] = epochs
        return float(self.drawn.scores_KE[k, self.at[epochs]])

    def tied(self, name: str, others: Sequence[str]) -> set[str]:
        """Closer than two runs of one candidate may be; of probes those that are equal, as their noise is not recorded."""
        if name.startswith(_PROBE):
            probe_K = self.drawn.table.probe_K
            return {other for other in others if probe_K[self.place[other]] == probe_K[self.place[name]]}
        at = self.at[self.reached[name]]
        score_K, limit = self.drawn.scores_KE[:, at], TIE_Z * np.sqrt(2) * self.noise[self.reached[name]]
        return {other for other in others if abs(score_K[self.place[other]] - score_K[self.place[name]]) <= limit}

    def predict_s(self, name: str, start: int, stop: int) -> Prediction:
        return self.predictions[name, start, stop]

    def spent_s(self) -> float:
        return self.spent


class Staged:
    """The staged search of the harness."""

    def __init__(self, table: Recorded, noise: Sequence[float], share: float) -> None:
        """Noise is the standard deviation of a repeat at each recorded epoch."""
        self.share = share
        self.epochs = table.epochs or (1,)
        self.contenders, self.place = _contenders(table)
        self.at = {epoch: position for position, epoch in enumerate(self.epochs)}
        self.noise = dict(zip(self.epochs, noise, strict=True))
        self.predictions = dict(_predictions(table, self.contenders, self.place, self.epochs))

    def __call__(self, drawn: Draw) -> Choice:
        """Search one draw."""
        player = Player(self.predictions, self.noise, drawn, self.place, self.at)
        found = search(self.contenders, player, epochs=self.epochs[-1], share=self.share)
        chosen = next(standing for standing in found.standings if not standing.contender.is_probe)
        return Choice(self.place[chosen.contender.name], player.spent)


def _contenders(table: Recorded) -> tuple[list[Contender], dict[str, int]]:
    contenders, place = [], {}
    firsts = set(table.firsts)
    for k, (name, backbone) in enumerate(zip(table.names, table.backbones, strict=True)):
        prior = None if np.isnan(table.prior_K[k]) else float(table.prior_K[k])
        is_probed = k in firsts and not np.isnan(table.probe_K[k])
        for called, is_probe in [(_PROBE + backbone, True), (name, False)] if is_probed else [(name, False)]:
            contenders.append(Contender(called, backbone, table.families[k], prior, is_probe))
            place[called] = k
    return contenders, place


def _predictions(
    table: Recorded, contenders: Sequence[Contender], place: Mapping[str, int], epochs: Sequence[int]
) -> list[tuple[tuple[str, int, int], Prediction]]:
    found = []
    for contender in contenders:
        k = place[contender.name]
        until_RE = np.concatenate([np.zeros((len(table.costs_s[k]), 1)), table.costs_s[k]], axis=1)
        for first, start in enumerate((0, *epochs)):
            for last, stop in enumerate((0, *epochs)):
                taken_R = np.full(1, table.probe_s_K[k]) if contender.is_probe else until_RE[:, last] - until_RE[:, first]
                if first < last:
                    prediction = Prediction(float(taken_R.mean()), float(taken_R.min()), float(taken_R.max()))
                    found.append(((contender.name, start, stop), prediction))
    return found


Order = Callable[[Draw], FloatArray]
"""What a strategy trains first; higher is earlier."""


def at_random(drawn: Draw) -> FloatArray:
    """No knowledge."""
    return drawn.lots_K


def by_prior(drawn: Draw) -> FloatArray:
    """What was known before."""
    return _filled(drawn.table.prior_K)


def by_probe(drawn: Draw) -> FloatArray:
    """The linear probe."""
    return _filled(drawn.table.probe_K)


def by_both(drawn: Draw) -> FloatArray:
    """Mean rank of the two."""
    return _ranks(by_prior(drawn)) + _ranks(by_probe(drawn))


def in_order(order: Order, drawn: Draw, time_s: float, *, is_probing: bool) -> Choice:
    """Train in full, in that order, whatever fits; the best of those. Probes of all are paid first, where they are looked at."""
    probes_s = [drawn.table.probe_s_K[k] for k in drawn.table.firsts if not np.isnan(drawn.table.probe_K[k])]
    paid_s = float(sum(probes_s)) if is_probing else 0.0
    return _finish(drawn, order(drawn), drawn.costs_s_KE[:, -1], paid_s, time_s)


def one_epoch(drawn: Draw, time_s: float) -> Choice:
    """Train all up to the first recorded epoch, in no order; then go on with the best by that score, whatever fits."""
    started, paid_s = _fitting(drawn.lots_K, drawn.costs_s_KE[:, 0], 0.0, time_s)
    seen_K = np.full(len(drawn.lots_K), -np.inf)
    seen_K[started] = drawn.scores_KE[started, 0]
    rest_s_K = np.where(np.isfinite(seen_K), drawn.costs_s_KE[:, -1] - drawn.costs_s_KE[:, 0], np.inf)
    return _finish(drawn, seen_K, rest_s_K, paid_s, time_s)


def everything(drawn: Draw) -> Choice:
    """The full grid."""
    return Choice(int(drawn.scores_KE[:, -1].argmax()), float(drawn.costs_s_KE[:, -1].sum()))


def _finish(drawn: Draw, order_K: FloatArray, cost_s_K: FloatArray, paid_s: float, time_s: float) -> Choice:
    """Train to the end what fits; the best of that, or the first in order when nothing does."""
    trained, spent_s = _fitting(order_K, cost_s_K, paid_s, time_s)
    if not trained:
        return Choice(int(np.lexsort((drawn.lots_K, order_K))[-1]), spent_s)
    return Choice(max(trained, key=lambda k: float(drawn.scores_KE[k, -1])), spent_s)


def _fitting(order_K: FloatArray, cost_s_K: FloatArray, paid_s: float, time_s: float) -> tuple[list[int], float]:
    taken: list[int] = []
    for k in np.argsort(-order_K, kind="stable").tolist():
        if paid_s + cost_s_K[k] <= time_s:
            taken.append(k)
            paid_s += float(cost_s_K[k])
    return taken, paid_s


def _filled(values_K: FloatArray) -> FloatArray:
    return np.where(np.isnan(values_K), -np.inf, values_K)


def _ranks(values_K: FloatArray) -> FloatArray:
    """Mean ranks; higher is better."""
    return np.asarray((values_K[:, None] > values_K).sum(axis=1) - (values_K[:, None] < values_K).sum(axis=1), dtype=np.float64)
