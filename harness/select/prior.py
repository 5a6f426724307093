"""What is known of a backbone before it has seen an image of this data set: published accuracy, size, and how it did on other data sets.

Input of the staged search and of the self-audit; the report shows it. Rows in, plain numbers out.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from harness.backbones.imagenet import published_top1, published_top1s
from harness.config import Metric
from harness.errors import StoreError
from harness.files import is_folder, listed
from harness.select.candidates import CANDIDATE
from harness.status import Status
from harness.study.row import Row
from harness.study.store import Study

Unit = TypeVar("Unit", bound=Hashable)

ModelKey = tuple[str, str | None]
"""Architecture and tag of its weights: what carries over from one data set to another."""


@dataclass(frozen=True, slots=True)
class OwnRank:
    """Where one model stood on other data sets."""

    mean: float
    """Mean over data sets; 0 is the best backbone of each, 1 the worst."""
    num_datasets: int


@dataclass(frozen=True, slots=True)
class OwnRanks:
    """The harness's own experience: every model of the other studies in a results folder."""

    by_model: Mapping[ModelKey, OwnRank]
    unread: tuple[str, ...] = ()
    """Studies whose rows cannot be read."""

    def of(self, row: Row) -> OwnRank | None:
        """None when no other data set has this model."""
        return self.by_model.get(model_key(row))


def model_key(row: Row) -> ModelKey:
    """What a row's backbone is called in every study."""
    return (row.model, row.weights)


def prior(row: Row) -> float | None:
    """Published ImageNet-1k top-1 accuracy (fraction) of a row's weights; None for random ones and where nothing was published.

    Weights that no table lists by name, such as a file or a package's, have the figure of their architecture: the median
    over its published weights.
    """
    if row.imagenet_top1_frac is not None:
        return row.imagenet_top1_frac
    return weights_prior(row.model, row.weights)


def weights_prior(model: str, weights: str | None) -> float | None:
    """The same for an architecture and the tag of its weights, before any row exists."""
    if weights is None or weights == "random":
        return None
    exact, known = published_top1(model, weights), sorted(published_top1s(model))
    if exact is not None or not known:
        return exact
    return (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2


def log_params(row: Row) -> float | None:
    """Natural logarithm of the number of parameters, head included."""
    return None if row.params_m is None else math.log(1e6 * row.params_m)


def own_ranks(study: Study) -> OwnRanks:
    """Mean rank of each model over the studies beside this one, those of this study's own data set left out."""
    here = study.rows()
    found: list[Row] = []
    unread: list[str] = []
    for path in listed(study.root.parent, ""):
        if path.name == study.root.name or not is_folder(path / "rows"):
            continue
        rows = _whole(Study(path))
        if rows is None:
            unread.append(path.name)
        else:
            found += rows
    return OwnRanks(mean_ranks(found, here), tuple(unread))


def _whole(study: Study) -> list[Row] | None:
    """All rows of a study; None when some cannot be used, as the rank of a model then depends on which."""
    try:
        files, damaged = study.row_files()
    except StoreError:
        return None
    return None if damaged else [file.row for file in files]


def mean_ranks(rows: Iterable[Row], here: Sequence[Row] = ()) -> dict[ModelKey, OwnRank]:
    """Mean normalised rank of each model over data sets.

    Within the good rows of one protocol a model counts by its best candidate, a candidate by its mean over seeds, in
    the metric that the data call for. Several protocols of one data set are averaged first, so that it counts once.

    Args:
        rows: of any studies.
        here: rows whose data sets are left out, whether they go by the same name or have the same images.
    """
    names, images = {row.dataset for row in here}, {row.data_fingerprint for row in here} - {None}
    by_protocol: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.status == Status.ok.value and row.fold is None and row.dataset not in names and row.data_fingerprint not in images:
            by_protocol[row.dataset, row.protocol].append(row)
    by_dataset: dict[ModelKey, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (dataset, _), group in by_protocol.items():
        for name, place in _places(best_scores(group, model_key, _primary)).items():
            by_dataset[name][dataset].append(place)
    return {name: OwnRank(fmean(map(fmean, places.values())), len(places)) for name, places in by_dataset.items()}


def best_scores(rows: Iterable[Row], unit: Callable[[Row], Unit], score: Callable[[Row], float | None]) -> dict[Unit, float]:
    """Of each unit the best candidate by its mean over seeds; higher is better. Rows without a score do not count."""
    seeds: dict[tuple[object, ...], list[float]] = defaultdict(list)
    units: dict[tuple[object, ...], Unit] = {}
    for row in rows:
        if (value := score(row)) is not None:
            candidate = tuple(getattr(row, name) for name in CANDIDATE)
            seeds[candidate].append(value)
            units[candidate] = unit(row)
    best: dict[Unit, float] = {}
    for candidate, values in seeds.items():
        best[units[candidate]] = max(best.get(units[candidate], -math.inf), fmean(values))
    return best


def _primary(row: Row) -> float | None:
    """Val score in the metric that the data call for."""
    value: float | None = getattr(row, f"val_{row.primary_metric or Metric.accuracy.value}")
    return value


def _places(scores: Mapping[ModelKey, float]) -> dict[ModelKey, float]:
    """Normalised ranks, equal scores sharing theirs; a model that had no rival has no rank."""
    values = list(scores.values())
    if len(values) < 2:
        return {}
    better = {score: sum(value > score for value in values) for score in set(values)}
    return {name: (better[score] + (values.count(score) - 1) / 2) / (len(values) - 1) for name, score in scores.items()}
