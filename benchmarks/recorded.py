"""Recorded tables of candidates that were trained several times: reading one, and simulating one whose truth is known.

Input of `benchmarks.replay`. One line per candidate, repeat and, where it was recorded, epoch. Shapes: K candidates, E epochs.

| column | meaning |
|---|---|
| `candidate`, `repeat` | names; repeats are runs that differ by seed alone |
| `score` | higher is better; a fraction, or percent where any is above 1 |
| `cost_s` | seconds from the start of the run to here (the whole run, without `epoch`) |
| `epoch` | optional: whole epochs after which the score was read; every run has the same ones, the last is the full training |
| `prior`, `probe` | optional, one value per candidate or empty: what was known before, and the score of a linear probe |
| `probe_s` | optional: seconds that the probe took |
| `family` | optional, one per candidate |
| `latency_ms` | optional, one per candidate: of one image through the network that is shipped |
| `truth` | optional, one per candidate: the score that repeats scatter around, where a simulation knows it |
"""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.errors import TableError
from harness.search.predicted_cost import FACTOR
from harness.transfer.rungs import short_epochs

FloatArray = npt.NDArray[np.float64]

REQUIRED = ("candidate", "repeat", "score", "cost_s")
CONSTANT = ("prior", "probe", "probe_s", "truth", "latency_ms")
"""Numbers that a candidate has one of."""
_WHOLE = ("truth", "latency_ms")
"""Columns that have a number for every candidate, or are left out."""

_LOWEST = {"cost_s": 1e-9, "probe_s": 0.0, "epoch": 1.0, "latency_ms": 1e-9}
_ALLOWED = {
    "cost_s": "seconds above 0",
    "probe_s": "seconds from 0",
    "epoch": "a whole number from 1",
    "latency_ms": "milliseconds above 0",
}

ASSUMED_EPOCHS = 3
"""Of a full training whose epochs were not recorded, where a probe's time is estimated from it."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Recorded:
    """A table, checked. Missing numbers are NaN."""

    names: tuple[str, ...]
    backbones: tuple[str, ...]
    """Of each candidate; its own name where the table does not tell. Depths of one backbone have it in common, and its probe."""
    families: tuple[str | None, ...]
    epochs: tuple[int, ...] | None
    """Ascending; None: scores were recorded at the end alone."""
    scores: tuple[FloatArray, ...]
    """Of each candidate, its repeats x E."""
    costs_s: tuple[FloatArray, ...]
    prior_K: FloatArray
    probe_K: FloatArray
    probe_s_K: FloatArray
    """Recorded, or estimated as one pass without gradients."""
    is_probe_timed: bool
    truth_K: FloatArray | None
    latency_ms_K: FloatArray | None

    @property
    def num_repeats(self) -> list[int]:
        return [len(scores) for scores in self.scores]

    @property
    def points(self) -> float:
        """What a score is multiplied by to be in points of a hundred."""
        return 1.0 if max(float(scores.max()) for scores in self.scores) > 1 else 100.0

    @property
    def firsts(self) -> list[int]:
        """The first candidate of each backbone, which stands for what they have in common."""
        return list({backbone: k for k, backbone in reversed(list(enumerate(self.backbones)))}.values())[::-1]

    def part(self, chosen: Sequence[int]) -> "Recorded":
        """The same table with some of its candidates."""
        at = list(chosen)
        return replace(
            self,
            names=tuple(self.names[k] for k in at),
            backbones=tuple(self.backbones[k] for k in at),
            families=tuple(self.families[k] for k in at),
            scores=tuple(self.scores[k] for k in at),
            costs_s=tuple(self.costs_s[k] for k in at),
            prior_K=self.prior_K[at],
            probe_K=self.probe_K[at],
            probe_s_K=self.probe_s_K[at],
            truth_K=None if self.truth_K is None else self.truth_K[at],
            latency_ms_K=None if self.latency_ms_K is None else self.latency_ms_K[at],
        )

    @property
    def is_repeated(self) -> bool:
        """Whether any candidate was."""
        return max(self.num_repeats) > 1

    def noise(self, epoch: int = -1) -> float:
        """Standard deviation between repeats of one candidate, pooled over candidates; 0 when none was repeated."""
        freedom_K, variance_K = self._spread(epoch)
        return float(math.sqrt(freedom_K @ variance_K / freedom_K.sum())) if self.is_repeated else 0.0

    def noise_K(self) -> FloatArray | None:
        """Standard deviation of each candidate's final score; None where nothing tells of it.

        That of its own repeats, moved towards the pooled one: as far as chance alone makes the candidates' variances differ. One repeat: the
        pooled one. Where nobody was repeated, the distance from a truth that is known tells, for all candidates alike.

        Source: empirical Bayes as in Smyth, Statistical Applications in Genetics and Molecular Biology 2004, by moments, as variances may be 0.
        """
        if self.is_repeated:
            return np.sqrt(_shrunk(*self._spread()))
        if self.truth_K is None:
            return None
        apart_K = np.concatenate(self.scores)[:, -1] - self.truth_K
        return np.full(len(apart_K), math.sqrt(float((apart_K**2).mean())))

    def _spread(self, epoch: int = -1) -> tuple[FloatArray, FloatArray]:
        """Of each candidate its degrees of freedom, and the variance between its repeats (0 for one)."""
        freedom_K = np.array(self.num_repeats, dtype=np.float64) - 1
        squares_K = np.array([len(scores) * float(scores[:, epoch].var()) for scores in self.scores])
        return freedom_K, squares_K / np.maximum(freedom_K, 1)


def _shrunk(freedom_K: FloatArray, variance_K: FloatArray) -> FloatArray:
    """Posterior means of the variances under an inverse gamma whose mean and variance fit all candidates; some freedom is above 0."""
    pooled = freedom_K @ variance_K / freedom_K.sum()
    squared = freedom_K @ (variance_K**2 * freedom_K / (freedom_K + 2)) / freedom_K.sum()  # of the true variances
    excess = squared - pooled**2
    if excess <= 0:
        return np.full(len(variance_K), pooled)
    weight = 2 + 2 * pooled**2 / excess  # degrees of freedom that the pooled one counts as
    return np.asarray((weight * pooled + freedom_K * variance_K) / (weight + freedom_K))


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the file, its cells as they are."""

    number: int
    cells: Mapping[str, str]


def read_table(path: Path) -> Recorded:
    """Read and check a table.

    Raises:
        TableError: one line that names the file, what is wrong with it and what to give.
    """
    lines = _lines(path)
    by_candidate: dict[str, list[_Line]] = defaultdict(list)
    for line in lines:
        by_candidate[_name(path, line, "candidate")].append(line)
    if len(by_candidate) < 2:
        raise TableError(f"{path}: holds one candidate, so there is nothing to choose; give two or more.")
    epochs = _epochs(path, lines) if "epoch" in lines[0].cells else None
    runs = [_runs(path, name, own, epochs) for name, own in by_candidate.items()]
    constants = {column: np.array([_constant(path, column, own) for own in by_candidate.values()]) for column in CONSTANT}
    for column in _WHOLE:
        if np.isnan(constants[column]).any() and column in lines[0].cells:
            raise TableError(f"{path}: {column} is empty for some candidates; give it for all, or leave the column out.")
    full_s_K = np.array([costs_s[:, -1].mean() for _, costs_s in runs])
    estimated_s_K = full_s_K / (FACTOR * (epochs[-1] if epochs else ASSUMED_EPOCHS))
    return Recorded(
        names=tuple(by_candidate),
        backbones=tuple(_only(path, "backbone", own) or name for name, own in by_candidate.items()),
        families=tuple(_only(path, "family", own) or None for own in by_candidate.values()),
        epochs=epochs,
        scores=tuple(scores for scores, _ in runs),
        costs_s=tuple(costs_s for _, costs_s in runs),
        prior_K=constants["prior"],
        probe_K=constants["probe"],
        probe_s_K=np.where(np.isnan(constants["probe_s"]), estimated_s_K, constants["probe_s"]),
        is_probe_timed=not np.isnan(constants["probe_s"]).any(),
        truth_K=_whole(constants["truth"]),
        latency_ms_K=_whole(constants["latency_ms"]),
    )


def _whole(values_K: FloatArray) -> FloatArray | None:
    return None if np.isnan(values_K).any() else values_K


def _lines(path: Path) -> list[_Line]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            read = [(reader.line_num, cells) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read ({error}); give a CSV file with the columns {', '.join(REQUIRED)}.") from error
    if missing := [name for name in REQUIRED if name not in columns]:
        raise TableError(f"{path}: lacks the columns {', '.join(missing)}; it needs {', '.join(REQUIRED)}.")
    if too_long := next((number for number, cells in read if None in cells), None):
        raise TableError(
            f"{path}, line {too_long}: has more cells than the header; write decimals with a point, and names with commas in quotes."
        )
    if not read:
        raise TableError(f"{path}: holds no lines below its header; give one for each candidate and repeat.")
    return [_Line(number, {name: cells[name].strip() for name in columns}) for number, cells in read]


def _name(path: Path, line: _Line, column: str) -> str:
    found = line.cells[column]
    if not found:
        raise TableError(f"{path}, line {line.number}: {column} is empty; give a name or a number for every run of every candidate.")
    return found


def _number(path: Path, line: _Line, column: str) -> float:
    text = line.cells[column]
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise TableError(f"{path}, line {line.number}: {column}={text!r} is not a number; give one on every line.")
    if found < _LOWEST.get(column, -math.inf) or (column == "epoch" and found % 1):
        raise TableError(f"{path}, line {line.number}: {column}={text} is not allowed; give {_ALLOWED[column]}.")
    return found


def _epochs(path: Path, lines: Sequence[_Line]) -> tuple[int, ...]:
    found = tuple(sorted({int(_number(path, line, "epoch")) for line in lines}))
    if (short := short_epochs(found[-1])) not in found:
        raise TableError(f"{path}: has no epoch {short}; a search of {found[-1]} epochs reads epochs {short} and {found[-1]}.")
    return found


def _runs(path: Path, name: str, own: Sequence[_Line], epochs: tuple[int, ...] | None) -> tuple[FloatArray, FloatArray]:
    """Scores and costs of one candidate, its repeats x E."""
    found: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)
    for line in own:
        repeat, epoch = _name(path, line, "repeat"), 1 if epochs is None else int(_number(path, line, "epoch"))
        if epoch in found[repeat]:
            at = "" if epochs is None else f" at epoch {epoch}"
            raise TableError(f"{path}, line {line.number}: candidate {name!r} has repeat {repeat}{at} twice; give each once.")
        found[repeat][epoch] = _number(path, line, "score"), _number(path, line, "cost_s")
    wanted = epochs or (1,)
    for repeat, run in found.items():
        if missing := [str(epoch) for epoch in wanted if epoch not in run]:
            raise TableError(f"{path}: candidate {name!r} lacks epoch {', '.join(missing)} in repeat {repeat}; every run needs all epochs.")
    both = np.array([[run[epoch] for epoch in wanted] for run in found.values()])
    if (np.diff(both[:, :, 1], axis=1) <= 0).any():
        raise TableError(f"{path}: cost_s of candidate {name!r} does not rise from epoch to epoch; give seconds since the run began.")
    return both[:, :, 0], both[:, :, 1]


def _constant(path: Path, column: str, own: Sequence[_Line]) -> float:
    """A number that a candidate has one of; NaN where it is empty."""
    found = _only(path, column, own)
    return math.nan if not found else _number(path, own[0], column)


def _only(path: Path, column: str, own: Sequence[_Line]) -> str:
    found = {line.cells.get(column, "") for line in own}
    if len(found) > 1:
        several = ", ".join(sorted(found))
        raise TableError(f"{path}: candidate {own[0].cells['candidate']!r} has several values of {column} ({several}); give it one.")
    return found.pop()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a simulated table is drawn from. Scores are fractions."""

    epochs: int = 9
    depths: int = 3
    """Candidates of each backbone."""
    common_frac: float = 0.7
    """Of the variance of the candidates' truth, what the depths of a backbone have in common; a probe and a prior see no more than that."""
    spread: float = 0.025
    """Standard deviation of the candidates' truth, around 0.85."""
    noise: float = 0.004
    """Standard deviation of a repeat around its candidate's truth."""
    tau_prior: float = 0.55
    tau_probe: float = 0.80
    """Rank correlations (Kendall) with what depths have in common."""
    tau_epochs: Mapping[int, float] | None = None
    """Rank correlation (Kendall) of scores after so many epochs with the truth. None: `DEFAULT_TAUS`."""
    cost_s: float = 60.0
    """Median of a full training with nothing frozen."""
    cost_sigma: float = 0.7
    """Standard deviation of the logarithm of backbones' costs."""
    num_rates: int = 3
    """Learning rates that are each tried in a short training before the whole, as the harness does."""
    num_images: int = 500
    """Of one pass, by whose time the latency of one image is told."""


DEFAULT_TAUS = {1: 0.85, 3: 0.92}
"""A score after one epoch of nine orders candidates a little better than a probe; after three, better again."""


def simulate(world: World, num_candidates: int, num_repeats: int, seed: int) -> pd.DataFrame:
    """A table whose truth is known: probe, prior and early scores are the truth seen through independent normal errors of a given rank correlation."""
    rng = np.random.default_rng(seed)
    backbone_K = np.arange(num_candidates) // world.depths
    common_B, own_K = rng.normal(size=backbone_K[-1] + 1), rng.normal(size=num_candidates)
    share = world.common_frac if world.depths > 1 else 1.0
    skill_K = math.sqrt(share) * common_B[backbone_K] + math.sqrt(1 - share) * own_K
    truth_K = 0.85 + world.spread * skill_K
    stops = sorted({1, short_epochs(world.epochs), world.epochs})
    seen_at = {stop: _seen(skill_K, (world.tau_epochs or DEFAULT_TAUS).get(stop, 1.0), rng) for stop in stops}
    whole = _passes(world.epochs, world)
    pass_s_B = world.cost_s * np.exp(world.cost_sigma * rng.normal(size=len(common_B))) / FACTOR / whole
    trained_K = 1.0 - np.arange(num_candidates) % world.depths / world.depths
    cost_s_K = pass_s_B[backbone_K] * FACTOR * whole * (1 + 2 * trained_K) / 3
    prior_K = 0.75 + 0.04 * _seen(common_B, world.tau_prior, rng)[backbone_K]
    probe_K = 0.80 + 1.5 * world.spread * _seen(common_B, world.tau_probe, rng)[backbone_K]
    lines = []
    for k in range(num_candidates):
        for repeat in range(num_repeats):
            speed, luck = rng.normal(1.0, 0.03), rng.normal()
            for stop in stops:
                level = 0.85 + world.spread * seen_at[stop][k] - 0.02 * math.log(world.epochs / stop)
                own = luck if stop == world.epochs else rng.normal()
                score, cost_s = level + world.noise * own, cost_s_K[k] * speed * _passes(stop, world) / whole
                lines.append(
                    (
                        f"candidate {k + 1}",
                        f"backbone {backbone_K[k] + 1}",
                        repeat + 1,
                        stop,
                        score,
                        cost_s,
                        prior_K[k],
                        probe_K[k],
                        pass_s_B[backbone_K[k]],
                        truth_K[k],
                        1000 * pass_s_B[backbone_K[k]] / world.num_images,
                    )
                )
    columns = ["candidate", "backbone", "repeat", "epoch", "score", "cost_s", "prior", "probe", "probe_s", "truth", "latency_ms"]
    digits = {"score": 5, "cost_s": 2, "prior": 4, "probe": 4, "probe_s": 3, "truth": 5, "latency_ms": 3}
    return pd.DataFrame(lines, columns=columns).round(digits)


def _seen(skill_K: FloatArray, tau: float, rng: np.random.Generator) -> FloatArray:
    """The same skill through a normal error; of two normals with correlation r, Kendall's tau is 2 asin(r) / pi."""
    r = math.sin(math.pi * tau / 2)
    return np.asarray(r * skill_K + math.sqrt(1 - r * r) * rng.normal(size=len(skill_K)))


def _passes(stop: int, world: World) -> int:
    """Epochs paid for by then: those of the short training so far, or of all short ones and the whole."""
    return stop if stop < world.epochs else world.num_rates * short_epochs(world.epochs) + world.epochs
