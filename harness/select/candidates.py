"""From rows to candidates: the good rows of one protocol, seeds of one candidate together, with their val predictions.

First step of a ranking. Shapes: N val images, S seeds.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import TableError
from harness.study.row import Row, Status
from harness.study.store import Damage, Predictions, Study
from harness.words import counted

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

CANDIDATE = ("backbone", "weights", "weights_sha256", "freeze", "release", "recipe_hash", "image_size", "precision", "device")
"""Columns that make two rows the same candidate; weights of equal name but other content are not, nor is another processor."""

NETWORK = ("latency_key", "model", "params_m", "image_size", "device")
"""Columns that inference times depend on."""

TIMINGS = ("latency_ms_p50", "latency_ms_min", "latency_ms_low", "latency_ms_high", "latency_ms_p95", "latency_steady", "throughput_ips")
"""Inference times: columns of a row and fields of `Cost`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a candidate costs: means over its seeds, except memory (largest) and the time spent (sum).

    Inference times are those of its network, which all its rows share: `study.timing` fills them from the machine that timed the networks
    of this protocol last, so that all candidates' times are of one machine.
    """

    latency_ms_p50: float | None
    latency_ms_min: float | None
    """Lowest median of a block of calls: what remains when the machine was busy most of the time."""
    latency_ms_low: float | None
    """Ends of the 95 % interval of the median."""
    latency_ms_high: float | None
    latency_ms_p95: float | None
    latency_steady: bool | None
    """False: the machine was busy, so the median says more of it than of the network. `select.latency` has times to decide with."""
    throughput_ips: float | None
    params_m: float | None
    trainable_params_m: float | None
    gmacs: float | None
    frozen_macs_frac: float | None
    weights_mib: float | None
    peak_mem_mib: float | None
    train_min: float | None
    """Minutes of training one seed, the passes through the fixed backbone included."""
    total_s: float | None
    """Seconds of all jobs together."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One backbone at one freeze depth under one recipe, with one row per seed."""

    label: str
    """For people; unique within a ranking."""
    line: str
    """The label without its freeze depth: candidates of one line differ in depth only."""
    rows: tuple[Row, ...]
    """In the order of their seeds."""
    predicted_SN: IntArray
    true_log_prob_SN: FloatArray
    """Log-probability (nats) that each seed gave to the true class of each val image."""

    @property
    def row(self) -> Row:
        """The row of the lowest seed, for everything that seeds share."""
        return self.rows[0]

    @property
    def answers(self) -> tuple[IntArray, FloatArray]:
        """What it said about the val images, for resampling."""
        return self.predicted_SN, self.true_log_prob_SN

    @property
    def network(self) -> tuple[object, ...]:
        """What inference times depend on; equal for candidates that are one network, however they were trained."""
        return tuple(getattr(self.row, name) for name in NETWORK)

    @cached_property
    def cost(self) -> Cost:
        return _cost(self.rows)

    def mean(self, column: str) -> float | None:
        """Mean of a column over seeds; None when no seed has it."""
        return _mean(self.rows, column)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A good or pruned row that this ranking does not use."""

    row: Row
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Everything that may be compared, and what may not."""

    protocol: str | None
    candidates: tuple[Candidate, ...]
    labels_N: IntArray
    class_names: tuple[str, ...]
    failed: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    pruned: tuple[Row, ...] = ()
    """Of this protocol: a staged search gave them up for better ones, so their scores are of a shorter training."""
    damaged: tuple[Damage, ...] = ()
    """Files of the study that cannot be used; good rows whose predictions are among them are not ranked."""


def load_pool(study: Study, protocol: str | None = None) -> Pool:
    """Read a study's rows and val predictions.

    Args:
        study: the folder.
        protocol: the protocol to rank; None: that of the newest good row.

    Raises:
        TableError: there are no rows that can be used, or candidates were not measured on the same val images.
    """
    rows, damaged = study.rows(), tuple(study.damaged())
    good, pruned, failed = _by_status(rows)
    lost = {found.job_id for found in damaged}
    good = [row for row in good if row.job_id not in lost]
    if not (good or pruned or failed):
        raise TableError(_no_rows(study, damaged))
    if not good:
        return Pool(None, (), np.empty(0, dtype=np.int64), tuple(rows[-1].details.class_names), failed, (), pruned, damaged)
    chosen = protocol or good[-1].protocol
    ranked = [row for row in good if row.protocol == chosen]
    if not ranked:
        known = ", ".join(sorted({row.protocol for row in good}))
        raise TableError(f"{study.root}: no good row has protocol {chosen}; there are {known}.")
    newest, older = _newest_per_seed(ranked)
    left_out = [LeftOut(row, _difference(row, ranked[-1])) for row in (*good, *pruned) if row.protocol != chosen]
    left_out += [LeftOut(row, "a newer job has the same candidate and seed") for row in older]
    candidates, labels_N = _candidates(study, newest)
    same = tuple(row for row in pruned if row.protocol == chosen)
    return Pool(chosen, candidates, labels_N, tuple(ranked[-1].details.class_names), failed, tuple(left_out), same, damaged)


def _no_rows(study: Study, damaged: Sequence[Damage]) -> str:
    if not damaged:
        return f"{study.root}: holds no rows; run `python -m harness.sweep study={study.name}` first."
    more = f" {counted(len(damaged) - 1, 'more file')} cannot be used either." if len(damaged) > 1 else ""
    return f"{study.root}: holds no row that can be used. {damaged[0]}{more}"


def _by_status(rows: Iterable[Row]) -> tuple[list[Row], tuple[Row, ...], tuple[Row, ...]]:
    """Good, pruned and failed rows, each in their order."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.status if row.status in (Status.ok.value, Status.pruned.value) else ""].append(row)
    return groups[Status.ok.value], tuple(groups[Status.pruned.value]), tuple(groups[""])


def _key(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in CANDIDATE)


def _newest_per_seed(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    newest: dict[tuple[object, ...], Row] = {}
    older: list[Row] = []
    for row in rows:
        key = (*_key(row), row.seed)
        older += [newest[key]] if key in newest else []
        newest[key] = row
    return list(newest.values()), older


def _difference(row: Row, ranked: Row) -> str:
    """Which values of the two protocols differ, in words."""
    ours, theirs = ranked.details.protocol, row.details.protocol
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if not names:
        return f"protocol {row.protocol} instead of {ranked.protocol}"
    return "; ".join(f"{name} is {theirs.get(name)} instead of {ours.get(name)}" for name in names)


def _candidates(study: Study, rows: Sequence[Row]) -> tuple[tuple[Candidate, ...], IntArray]:
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[_key(row)].append(row)
    ordered = [sorted(group, key=lambda row: row.seed) for group in groups.values()]
    names = labels([group[0] for group in ordered])
    first = (ordered[0][0], study.val_predictions(ordered[0][0].job_id))
    candidates = [_candidate(study, name, group, first) for name, group in zip(names, ordered, strict=True)]
    return tuple(candidates), first[1].labels_N


def _candidate(study: Study, name: tuple[str, str], rows: Sequence[Row], first: tuple[Row, Predictions]) -> Candidate:
    predicted: list[IntArray] = []
    true_log_prob: list[FloatArray] = []
    for row in rows:
        found = study.val_predictions(row.job_id)
        _require_same_images(row, found, *first)
        predicted.append(found.log_probs_NC.argmax(axis=1))
        true_log_prob.append(found.log_probs_NC[np.arange(len(found.labels_N)), found.labels_N])
    label, line = name
    return Candidate(label, line, tuple(rows), np.stack(predicted), np.stack(true_log_prob))


def _require_same_images(row: Row, found: Predictions, first_row: Row, first: Predictions) -> None:
    same = found.ids_N == first.ids_N and np.array_equal(found.labels_N, first.labels_N)
    if not same or found.log_probs_NC.shape != first.log_probs_NC.shape:
        raise TableError(
            f"jobs {first_row.job_id} and {row.job_id}: their val images, labels or classes differ though their protocol is the same; "
            f"delete rows/{row.job_id}.json and run the sweep again."
        )


def labels(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(label, line) of each candidate: backbone and depth, and whatever else is needed to tell its candidates apart."""
    extras = _extras(rows)
    names = []
    for row in rows:
        told = [text for name in extras[_backbone(row)] if (text := _setting(row, name))]
        names.append((" · ".join([_backbone(row), row.freeze, *told]), " · ".join([_backbone(row), *told])))
    count = Counter(label for label, _ in names)
    return [
        (label, line) if count[label] == 1 else (f"{label} · {row.job_id}", f"{line} · {row.job_id}")
        for (label, line), row in zip(names, rows, strict=True)
    ]


def _extras(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Per backbone, the settings in which candidates of one depth differ; used for all its depths, so that lines hold together."""
    depths: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        depths[(_backbone(row), row.freeze)].append(row)
    extras: dict[str, list[str]] = defaultdict(list)
    for (backbone, _), group in depths.items():
        extras[backbone] += [name for name in _varying(group) if name not in extras[backbone]]
    return extras


def _backbone(row: Row) -> str:
    return f"{row.backbone} (random weights)" if row.weights == "random" else row.backbone


def _settings(row: Row) -> dict[str, Any]:
    """What may tell two candidates of equal backbone and depth apart, most telling first."""
    own = {"weights": row.weights, "image_size": row.image_size, "precision": row.precision, "device": row.device, "recipe": row.recipe}
    return own | {f"recipe.{name}": value for name, value in row.details.recipe.items() if name != "name"}


def _varying(rows: Sequence[Row]) -> list[str]:
    settings = [_settings(row) for row in rows]
    names = [name for name in settings[0] if len({str(setting.get(name)) for setting in settings}) > 1]
    if "recipe" in names:  # the name of a recipe stands for its settings, as long as no two share it
        short = [name for name in names if not name.startswith("recipe.")]
        if len({tuple(str(setting.get(name)) for name in short) for setting in settings}) == len(rows):
            return short
    return names


def _setting(row: Row, name: str) -> str:
    value = _settings(row).get(name)
    if name == "image_size":
        return f"{value} px"
    return f"{name.removeprefix('recipe.')}={value}" if name.startswith("recipe.") else str(value)


def _cost(rows: Sequence[Row]) -> Cost:
    train_s, features_s = _mean(rows, "train_s"), _mean(rows, "features_s")
    memory = [row.peak_mem_mib for row in rows if row.peak_mem_mib is not None]
    total = [row.total_s for row in rows if row.total_s is not None]
    names = ("params_m", "trainable_params_m", "gmacs", "frozen_macs_frac", "weights_mib")
    means: dict[str, Any] = {name: _mean(rows, name) for name in names}
    timed = next((row for row in rows if row.latency_ms_p50 is not None), rows[0])
    return Cost(
        **{name: getattr(timed, name) for name in TIMINGS},
        **means,
        peak_mem_mib=max(memory, default=None),
        train_min=None if train_s is None else (train_s + (features_s or 0.0)) / 60,
        total_s=sum(total) if total else None,
    )


def _mean(rows: Sequence[Row], column: str) -> float | None:
    values = [value for row in rows if (value := getattr(row, column)) is not None]
    return sum(values) / len(values) if values else None
