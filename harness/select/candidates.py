"""From rows to candidates: the good rows of one protocol, seeds of one candidate together, with their val predictions.

First step of a ranking. Shapes: N images, S seeds, M images of train and val.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.config import Metric, RankMetric, is_higher_better
from harness.errors import TableError
from harness.select.cross_fitted import CrossFitted, Everyone
from harness.select.one_machine import with_times_of_one
from harness.select.protocols import Protocol, find_protocol, protocols_of
from harness.select.said import Said
from harness.status import Status
from harness.study.row import COLUMNS, Row
from harness.study.store import Damage, Predictions, Study
from harness.text.counts import counted
from harness.text.language import say

if TYPE_CHECKING:
    from harness.select.limits import Breach

IntArray = npt.NDArray[np.int64]

FEATURES_KEY = ("backbone", "model", "weights", "weights_sha256", "image_size", "precision", "device")
"""Columns that make two rows start from the same backbone, as it was loaded, on the same features."""

CANDIDATE = (
    "backbone",
    "model",
    "weights",
    "weights_sha256",
    "freeze",
    "release",
    "adapter",
    "recipe_hash",
    "image_size",
    "precision",
    "device",
)
"""Columns that make two rows the same candidate; weights of equal name but other content are not, nor is another processor."""

TIMED_MODEL = ("latency_key", "model", "params_m", "image_size", "device")
"""Columns that inference times depend on."""

TIMINGS = ("latency_ms_p50", "latency_ms_min", "latency_ms_low", "latency_ms_high", "latency_ms_p95", "latency_steady", "throughput_ips")
"""Inference times: columns of a row and fields of `Cost`."""

_MEASURED = (Status.ok.value, Status.pruned.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a candidate costs: means over its seeds, except memory (largest) and the time spent (sum).

    Inference times are those of its model, which all its rows share: `study.timing` fills them from the machine that timed the models
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
    """False: the machine was busy, so the median says more of it than of the model. `select.latency` has times to decide with."""
    throughput_ips: float | None
    params_m: float | None
    trainable_params_m: float | None
    gmacs: float | None
    frozen_macs_frac: float | None
    weights_mib: float | None
    peak_mem_mib: float | None
    train_min: float | None
    """Minutes of training one seed, the passes through the frozen backbone included."""
    total_s: float | None
    """Seconds of all jobs together."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One backbone at one freeze depth with one adapter or none, under one recipe, with one row per seed."""

    label: str
    """For people; unique within a ranking."""
    line: str
    """The label without its freeze depth: candidates of one line differ in depth only."""
    rows: tuple[Row, ...]
    """In the order of their seeds."""
    val: Said
    out_of_fold: Said | None
    """Of train and val, by heads that never saw the image; None where more than a head was trained."""
    twins: tuple[Row, ...] = ()
    """Rows of the other freeze depths or recipes that ended in the very same model: training changed nothing there that was kept."""
    cross_fitted: CrossFitted | None = None
    """Of train and val, as far as folds of this fine-tune are done; None where none is."""
    folds: tuple[Row, ...] = ()
    """Their rows."""
    num_averaged: int | None = None
    """Seeds that its only row is the mean of, where it is known from a table; None: each row is one seed."""

    @property
    def num_seeds(self) -> int:
        """How often it was trained."""
        return len(self.rows) if self.num_averaged is None else self.num_averaged

    @property
    def row(self) -> Row:
        """The row of the lowest seed, for everything that seeds share."""
        return self.rows[0]

    @property
    def features_key(self) -> tuple[object, ...]:
        """What it started from; equal for all depths of one backbone."""
        return tuple(getattr(self.row, name) for name in FEATURES_KEY)

    @property
    def models(self) -> tuple[str | None, ...]:
        """Hashes of what its seeds ended in."""
        return tuple(row.model_blake2b for row in self.rows)

    @property
    def timed_model(self) -> tuple[object, ...]:
        """What inference times depend on; equal for candidates that are one model, however they were trained."""
        return tuple(getattr(self.row, name) for name in TIMED_MODEL)

    @cached_property
    def cost(self) -> Cost:
        return _cost(self.rows)

    def mean(self, column: str) -> float | None:
        """Mean of a column over seeds; None when no seed has it."""
        return _mean(self.rows, column)

    def stated(self, metric: RankMetric) -> float | None:
        """A score as its rows state it, higher is better: out of fold where it is a head's, else on val; None where rows have no such column."""
        if not isinstance(metric, Metric):
            return None
        columns = (f"oof_{metric.value}", f"val_{metric.value}")
        found = next((value for name in columns if name in COLUMNS and (value := self.mean(name)) is not None), None)
        return None if found is None else found if is_higher_better(metric) else -found


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A good or pruned row, or a fold of a fine-tune, that this ranking does not use."""

    row: Row
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Outranked:
    """A candidate that is ranked by its score alone: too far behind to be compared with everybody (`screen`). Its predictions are not kept."""

    candidate: Candidate
    """It says nothing of any image."""
    score: float
    """Higher is better, as in `scores`."""
    sd: float
    """Of the error that the images leave in it."""
    num_equal: float
    """Images of equal weight that know as much about it."""
    breaches: "tuple[Breach, ...]"
    """Limits that it misses."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Everything that may be compared, and what may not."""

    protocol: str | None
    candidates: tuple[Candidate, ...]
    labels_N: IntArray
    """Of the val images."""
    everyone_M: IntArray
    """Labels of the train images and then the val images; empty where nothing was predicted out of fold. Without a head, train images of folds
    that nobody has done are missing."""
    class_names: tuple[str, ...]
    failed: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    groups_N: IntArray | None = None
    """Groups of the val images, which are drawn anew together; None: every image stands for itself."""
    everyone_groups_M: IntArray | None = None
    """The same of train and val."""
    pruned: tuple[Row, ...] = ()
    """Of this protocol: a staged search gave them up for better ones, so their scores are of a shorter training."""
    damaged: tuple[Damage, ...] = ()
    """Files of the study that cannot be used; good rows whose predictions are among them are not ranked."""
    protocols: tuple[Protocol, ...] = ()
    """All that the study holds, the one that is ranked included; rows of several do not compare."""
    study: str = ""
    where: str = ""
    """Arguments that name the study to every command, as typed in a shell."""
    other_machines: tuple[str, ...] = ()
    """Names of machines whose times are left out, as they do not compare with those of the one that timed last: of a table only."""
    outranked: tuple[Outranked, ...] = ()
    """Candidates beyond those that there is room to compare with each other, which are `candidates`; best score first."""

    @property
    def num_images(self) -> int:
        """Labelled images that the comparison rests on: of train and val where anybody was judged out of fold, else of val."""
        return len(self.everyone_M if is_out_of_fold(self.candidates) else self.labels_N)


def is_out_of_fold(candidates: Iterable[Candidate]) -> bool:
    """Whether any of them was judged on images of train as well."""
    return any(candidate.out_of_fold or candidate.cross_fitted for candidate in candidates)


Screen = Callable[[Sequence[Candidate], "Reader"], "tuple[Sequence[Candidate], tuple[Outranked, ...]]"]
"""Of candidates whose predictions are not read yet: those to compare, and the others."""


def load_pool(study: Study, protocol: str | None = None, *, keeps_probabilities: bool = False, screen: Screen | None = None) -> Pool:
    """Read a study's rows and val predictions.

    Args:
        study: the folder.
        protocol: the protocol to rank, of which there may be failed jobs only; None: the one with the most good jobs.
        keeps_probabilities: of every class of every image, for metrics that need more than what each image is called.
        screen: what leaves out candidates beyond those that can be compared with each other; None: all are compared.

    Raises:
        TableError: there are no rows that can be used, or candidates were not measured on the same val images.
    """
    every, found = study.contents()
    damaged = tuple(found)
    lost = {found.job_id for found in damaged if found.job_id is not None}
    if all(row.job_id in lost for row in every):
        raise TableError(_no_rows(study, damaged))
    held = protocols_of(every, lost)
    chosen = held[0] if protocol is None else find_protocol(study, held, protocol)
    own = [row for row in every if row.protocol == chosen.name]
    good, pruned, failed = _by_status(row for row in own if row.fold is None and row.job_id not in lost)
    others = [
        row for row in every if row.protocol != chosen.name and row.fold is None and row.status in _MEASURED and row.job_id not in lost
    ]
    left_out = [LeftOut(row, _difference(row, chosen, held)) for row in others]
    if not good:
        nobody, names = np.empty(0, dtype=np.int64), tuple(own[-1].details.class_names)
        return Pool(
            chosen.name,
            (),
            nobody,
            nobody,
            names,
            failed,
            tuple(left_out),
            pruned=pruned,
            damaged=damaged,
            protocols=held,
            study=study.name,
            where=study.where,
        )
    once, again = _once_per_seed(good)
    left_out += [LeftOut(row, say("another job has the same candidate and seed")) for row in again]
    used, unused = _folds_of(once, [row for row in own if row.fold is not None and row.job_id not in lost])
    left_out += unused
    reader, bare = Reader(study, keeps_probabilities=keeps_probabilities), _bare(with_times_of_one(once), used)
    compared, outranked = (bare, ()) if screen is None else screen(_merged(bare), reader)
    candidates, images = _candidates(study, _with_twins(compared, bare), used, keeps_probabilities=keeps_probabilities)
    return Pool(
        protocol=chosen.name,
        candidates=_merged(candidates),
        outranked=outranked,
        **images,
        class_names=tuple(once[0].details.class_names),
        failed=failed,
        left_out=tuple(left_out),
        pruned=pruned,
        damaged=damaged,
        protocols=held,
        study=study.name,
        where=study.where,
    )


def pool_of(study: Study, rows: Sequence[Row], *, keeps_probabilities: bool = False) -> Pool:
    """The candidates of some rows of one protocol, short trainings of a search as well; those that ended in one model stay apart."""
    candidates, images = _candidates(study, _bare(rows), keeps_probabilities=keeps_probabilities)
    return Pool(rows[0].protocol, tuple(candidates), class_names=tuple(rows[0].details.class_names), failed=(), left_out=(), **images)


def _no_rows(study: Study, damaged: Sequence[Damage]) -> str:
    if not damaged:
        return f"{study.root}: holds no rows; run `python -m harness.sweep study={study.name}` first."
    more = f" {counted(len(damaged) - 1, 'more file')} cannot be used either." if len(damaged) > 1 else ""
    return f"{study.root}: holds no row that can be used. {damaged[0]}{more}"


def _by_status(rows: Iterable[Row]) -> tuple[list[Row], tuple[Row, ...], tuple[Row, ...]]:
    """Good, pruned and failed rows, each in their order."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.status if row.status in _MEASURED else ""].append(row)
    return groups[Status.ok.value], tuple(groups[Status.pruned.value]), tuple(groups[""])


def _key(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in CANDIDATE)


def _once_per_seed(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """One row for each seed of a candidate, and the others: one outcome that was asked for in two ways. No clock chooses between them."""
    first: dict[tuple[object, ...], str] = {}
    for row in sorted(rows, key=lambda row: row.job_id):
        first.setdefault((*_key(row), row.seed), row.job_id)
    is_first = [first[*_key(row), row.seed] == row.job_id for row in rows]
    once, again = ([row for row, found in zip(rows, is_first, strict=True) if found == wanted] for wanted in (True, False))
    return once, again


def _folds_of(own: Sequence[Row], folds: Iterable[Row]) -> tuple[list[Row], list[LeftOut]]:
    """Good folds of the fine-tunes whose own rows are given, the newest of each, and those of the same protocol that went wrong."""
    by_seed = {(row.protocol, *_key(row), row.seed): row for row in own}
    protocols = {row.protocol for row in own}
    used: dict[tuple[object, ...], Row] = {}
    unused: list[LeftOut] = []
    for row in folds:
        main = by_seed.get(key := (row.protocol, *_key(row), row.seed))
        if row.status != Status.ok.value and row.protocol in protocols:  # it may not know all that its candidate's key asks for
            why = say("fold {fold} was not measured ({status}: {error})", fold=row.fold, status=row.status, error=row.error)
            unused.append(LeftOut(row, why))
        elif row.status == Status.ok.value and main is not None and row.lr == main.lr:
            used[*key, row.fold] = row
    return list(used.values()), unused


def _difference(row: Row, ranked: Protocol, held: Sequence[Protocol]) -> str:
    """Which values of the two protocols differ, in words."""
    own = next(each for each in held if each.name == row.protocol)
    return own.difference(ranked) or say("protocol {name} instead of {other}", name=own.name, other=ranked.name)


def _bare(rows: Sequence[Row], folds: Sequence[Row] = ()) -> list[Candidate]:
    """The candidates before anything that they say was read."""
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    of_folds: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for each, into in ((rows, groups), (folds, of_folds)):
        for row in each:
            into[_key(row)].append(row)
    ordered = [sorted(group, key=lambda row: row.seed) for group in groups.values()]
    names = labels([group[0] for group in ordered])
    return [
        Candidate(label, line, tuple(group), Said.nothing(), None, folds=tuple(of_folds[_key(group[0])]))
        for (label, line), group in zip(names, ordered, strict=True)
    ]


def _with_twins(compared: Sequence[Candidate], bare: Sequence[Candidate]) -> list[Candidate]:
    """Some candidates and those that ended in the same models."""
    kept = {row.job_id for each in compared for row in (*each.rows, *each.twins)}
    return [each for each in bare if each.row.job_id in kept]


def _candidates(
    study: Study, bare: Sequence[Candidate], folds: Sequence[Row] = (), *, keeps_probabilities: bool
) -> tuple[list[Candidate], dict[str, Any]]:
    """The candidates with what they say, and what a pool says of the images that they were measured on."""
    reader = Reader(study, keeps_probabilities=keeps_probabilities)
    candidates = [reader.filled(each) for each in bare]
    everyone = Everyone.of(reader.first("oof"), reader.val, [study.val_predictions(row.job_id) for row in folds])
    with_folds = [_with_folds(study, everyone, candidate, keeps_probabilities=keeps_probabilities) for candidate in candidates]
    images = {"labels_N": reader.val.labels_N, "everyone_M": everyone.labels_M}
    return with_folds, images | {"groups_N": reader.val.groups_N, "everyone_groups_M": everyone.groups_M}


def _with_folds(study: Study, everyone: Everyone, candidate: Candidate, *, keeps_probabilities: bool) -> Candidate:
    """The candidate with what its folds say."""
    own = candidate.folds
    if not own:
        return candidate
    parts = {seed: [(row, study.val_predictions(row.job_id)) for row in own if row.seed == seed] for seed in {row.seed for row in own}}
    seeds = [((row, study.val_predictions(row.job_id)), parts.get(row.seed, [])) for row in candidate.rows]
    return replace(candidate, cross_fitted=CrossFitted.of(everyone, seeds, keeps_probabilities=keeps_probabilities))


def _merged(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Candidates that ended in the same model are one; the most frozen, which is the cheapest to train, stands for the others."""
    groups: dict[object, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.label if None in candidate.models else (candidate.features_key, candidate.models)].append(candidate)
    return tuple(_representative(sorted(group, key=lambda each: -(each.row.num_frozen_blocks or 0))) for group in groups.values())


def _representative(group: Sequence[Candidate]) -> Candidate:
    first, *others = group
    if not others:
        return first
    same = ", ".join(each.label.removeprefix(f"{_backbone(each.row)} · ") for each in others)
    return replace(first, label=f"{first.label} (= {same})", twins=tuple(row for each in others for row in each.rows))


class Reader:
    """Predictions of a study, and that all of a kind are about the same images."""

    def __init__(self, study: Study, *, keeps_probabilities: bool) -> None:
        self._study, self._keeps_probabilities = study, keeps_probabilities
        self._first: dict[str, tuple[Row, Predictions]] = {}

    def filled(self, candidate: Candidate) -> Candidate:
        """The candidate with what it says. Raises TableError: its predictions cannot be read, or are about other images."""
        val, out_of_fold = self._of(candidate.rows)
        return replace(candidate, val=val, out_of_fold=out_of_fold)

    def _of(self, rows: Sequence[Row]) -> tuple[Said, Said | None]:
        """What the seeds of one candidate say of val, and out of fold; None where one of them was not judged so."""
        found = [self._study.predictions(row.job_id) for row in rows]
        out_of_fold = [each for _, each in found if each is not None]
        val = self._said("val", rows, [each for each, _ in found])
        return val, self._said("oof", rows, out_of_fold) if len(out_of_fold) == len(rows) else None

    def _said(self, kind: str, rows: Sequence[Row], found: Sequence[Predictions]) -> Said:
        for row, each in zip(rows, found, strict=True):
            _require_same_images(row, each, *self._first.setdefault(kind, (row, each)))
        return Said.of(rows, found, keeps_probabilities=self._keeps_probabilities)

    def first(self, kind: str) -> Predictions | None:
        """Of the images that all of a kind are about; None where there is none."""
        return self._first[kind][1] if kind in self._first else None

    @property
    def val(self) -> Predictions:
        return self._first["val"][1]


def _require_same_images(row: Row, found: Predictions, first_row: Row, first: Predictions) -> None:
    same = found.ids_N == first.ids_N and np.array_equal(found.labels_N, first.labels_N)
    if not same or found.log_probs_NC.shape != first.log_probs_NC.shape:
        raise TableError(
            f"jobs {first_row.job_id} and {row.job_id}: their images, labels or classes differ though their protocol is the same; "
            f"delete rows/{row.job_id}.json and run the sweep again."
        )


def labels(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(label, line) of each candidate: backbone, depth and adapter, and whatever else is needed to tell its candidates apart."""
    extras = _extras(rows)
    names = []
    for row in rows:
        told = [text for name in extras[_backbone(row)] if (text := _setting(row, name))]
        adapter = [row.adapter] if row.adapter else []
        names.append((" · ".join([_backbone(row), row.freeze, *adapter, *told]), " · ".join([_backbone(row), *adapter, *told])))
    count = Counter(label for label, _ in names)
    return [
        (label, line) if count[label] == 1 else (f"{label} · {row.job_id}", f"{line} · {row.job_id}")
        for (label, line), row in zip(names, rows, strict=True)
    ]


def _extras(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Per backbone, the settings in which candidates of one depth and adapter differ; used for all of them, so that lines hold together."""
    depths: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        depths[_backbone(row), row.strategy].append(row)
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
    names = [
        name
        for name in dict.fromkeys(name for setting in settings for name in setting)
        if len({str(setting.get(name)) for setting in settings}) > 1
    ]
    if "recipe" in names:  # the name of a recipe stands for its settings, as long as no two share it
        short = [name for name in names if not name.startswith("recipe.")]
        if len({tuple(str(setting.get(name)) for name in short) for setting in settings}) == len(rows):
            return short
    return names


def _setting(row: Row, name: str) -> str:
    if name not in (own := _settings(row)):  # a setting that was added later, at its default
        return ""
    value = own[name]
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
