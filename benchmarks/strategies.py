"""Ways to choose a candidate for a given time: the staged search itself, and what it must beat. Played on a recorded table, not trained.

Between a table (`recorded`) and the report (`replay`). Shapes: K candidates, E recorded epochs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.recorded import FloatArray, Recorded
from harness.search.belief import Gain
from harness.search.predicted_cost import NOTHING, Prediction
from harness.search.staged import Budget, search
from harness.search.trial import Trial
from harness.select.posterior import Known, Posterior, posterior
from harness.transfer.rungs import Rung, short_epochs

IntArray = npt.NDArray[np.int64]

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

    table: Recorded
    drawn: Draw
    predictions: Mapping[tuple[str, Rung], Prediction]
    noise: Mapping[Rung, float]
    """Standard deviation of a repeat."""
    place: Mapping[str, int]
    """Of a candidate in the table, by the names of its trials."""
    at: Mapping[Rung, int]
    """Of a rung among the recorded epochs."""
    spent: float = 0.0
    seen: dict[str, Rung] = field(default_factory=dict)

    def train(self, name: str, rung: Rung) -> bool:
        """Pay for it."""
        k = self.place[name]
        if rung is Rung.probe:
            self.spent += float(self.table.probe_s_K[k])
        else:
            before = float(self.drawn.costs_s_KE[k, self.at[self.seen[name]]]) if name in self.seen else 0.0
            self.spent += float(self.drawn.costs_s_KE[k, self.at[rung]]) - before
        self.seen[name] = rung
        return True

    def believe(self, names: Sequence[str]) -> Posterior:
        """The posterior that ships. A table tells nothing of val images: errors are those of repeats."""
        point = 1 / self.table.points
        pairs = [
            (self._score(name, Rung.whole) - self._score(name, Rung.short)) / point for name, at in self.seen.items() if at is Rung.whole
        ]
        gain, level = Gain.seen(pairs), self._probe_level()
        scores_K, error_K = np.full(len(names), np.nan), np.zeros(len(names))
        for k, name in enumerate(names):
            if (rung := self.seen.get(name)) is not None:
                scores_K[k] = self._score(name, rung) + {Rung.probe: level, Rung.short: gain.mean * point, Rung.whole: 0.0}[rung]
                error_K[k] = math.hypot(self.noise[rung], gain.sd * point if rung is Rung.short else 0.0)
        return posterior(scores_K, np.diag(error_K**2), [self._known(name) for name in names], point=point)

    def score(self, name: str) -> float | None:
        """Of the rung that was paid for."""
        return self._score(name, self.seen[name]) if name in self.seen else None

    def excluded(self, name: str) -> bool:
        """A table's probes are no candidates: they tell of the others."""
        return name.startswith(_PROBE)

    def predict_s(self, name: str, path: Sequence[Rung]) -> Prediction:
        """Costs are those since the start of a run: what the last rung takes, less what is paid already."""
        last, paid = self.predictions[name, path[-1]], self.predictions[name, self.seen[name]] if name in self.seen else NOTHING
        return Prediction(last.value_s - paid.value_s, last.low_s - paid.low_s, last.high_s - paid.high_s)

    def spent_s(self) -> float:
        return self.spent

    def _score(self, name: str, rung: Rung) -> float:
        k = self.place[name]
        return float(self.table.probe_K[k] if rung is Rung.probe else self.drawn.scores_KE[k, self.at[rung]])

    def _probe_level(self) -> float:
        """How much higher trained candidates score than the probes of their backbones, on average; probes may be on a scale of their own."""
        done = [name for name, rung in self.seen.items() if rung is Rung.whole]
        ahead = [self._score(name, Rung.whole) - probe for name in done if np.isfinite(probe := self.table.probe_K[self.place[name]])]
        return float(np.mean(ahead)) if ahead else 0.0

    def _known(self, name: str) -> Known:
        k = self.place[name]
        prior = float(self.table.prior_K[k])
        return Known(backbone=self.table.backbones[k], family=self.table.families[k], top1_frac=None if np.isnan(prior) else prior)


class Staged:
    """The staged search of the harness."""

    def __init__(self, table: Recorded, noise: Sequence[float], share: float) -> None:
        """Noise is the standard deviation of a repeat at each recorded epoch."""
        self.table, self.share = table, share
        epochs = table.epochs or (1,)
        self.trials, self.place = _trials(table)
        self.at = {Rung.short: epochs.index(short_epochs(epochs[-1])), Rung.whole: len(epochs) - 1}
        self.noise = {Rung.probe: noise[-1]} | {rung: noise[at] for rung, at in self.at.items()}
        self.predictions = dict(_predictions(table, self.trials, self.place, self.at))

    def __call__(self, drawn: Draw) -> Choice:
        """Search one draw; of those that were trained whole the best score is taken."""
        player = Player(self.table, drawn, self.predictions, self.noise, self.place, self.at)
        search(self.trials, player, budget=Budget(share=self.share))
        done = [self.place[name] for name, rung in player.seen.items() if rung is Rung.whole]
        chosen = max(done, key=lambda k: float(drawn.scores_KE[k, -1])) if done else self._likely(player)
        return Choice(chosen, player.spent)

    def _likely(self, player: Player) -> int:
        """Where there was no time to train any: the likeliest best, or the first where nothing is known either."""
        candidates = [trial.name for trial in self.trials if not trial.is_probe]
        mean_K = player.believe([*player.seen, *candidates]).mean_K[len(player.seen) :] if player.seen else np.zeros(len(candidates))
        return self.place[candidates[int(mean_K.argmax())]]


def _trials(table: Recorded) -> tuple[list[Trial], dict[str, int]]:
    trials, place = [], {}
    firsts = set(table.firsts)
    for k, (name, backbone) in enumerate(zip(table.names, table.backbones, strict=True)):
        prior = None if np.isnan(table.prior_K[k]) else float(table.prior_K[k])
        is_probed = k in firsts and not np.isnan(table.probe_K[k])
        for called, is_probe in [(_PROBE + backbone, True), (name, False)] if is_probed else [(name, False)]:
            trials.append(Trial(called, backbone, prior, is_probe))
            place[called] = k
    return trials, place


def _predictions(
    table: Recorded, trials: Sequence[Trial], place: Mapping[str, int], at: Mapping[Rung, int]
) -> list[tuple[tuple[str, Rung], Prediction]]:
    found = []
    for trial in trials:
        k = place[trial.name]
        taken = {Rung.probe: np.full(1, table.probe_s_K[k])} if trial.is_probe else {rung: table.costs_s[k][:, e] for rung, e in at.items()}
        found += [((trial.name, rung), Prediction(float(s_R.mean()), float(s_R.min()), float(s_R.max()))) for rung, s_R in taken.items()]
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
