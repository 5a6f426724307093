"""What a model says of new images as a table, and how good that is where their labels are known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.config import SEPARATOR, Metric, RankMetric
from harness.data.table import labels_in
from harness.errors import ConfigError
from harness.files import atomic_write
from harness.models.judged import Judged, score
from harness.models.model import Model, Predicted
from harness.models.new_images import Listed
from harness.study.table import to_csv
from harness.text.metric_spec import MetricSpec

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_SUFFIXES = (".csv", ".parquet")


def to_frame(model: Model, listed: Listed, predicted: Predicted, metric: RankMetric | None = None) -> pd.DataFrame:
    """One line for each image that could be read.

    `path`, `label` (the class that it is called), `margin` (how much likelier the likeliest class is than the second, in [0, 1]), `given_label`
    where one was given, then `prob_<class>`: calibrated probabilities that sum to one. Images are called as the model decides, by a metric with
    costs as these ask. Where an image may have several labels, `label` has all that are called, with `SEPARATOR` between them, `margin` is how far the
    probability nearest to its threshold is from it, and probabilities are each of its own label.
    """
    by_costs = isinstance(metric, MetricSpec) and metric.costs is not None
    if model.header.thresholds:
        return _of_labels(model, listed, predicted)
    decided_N = model.objective.decide(predicted.log_probs_NC, metric) if by_costs and metric else model.decide(predicted.log_probs_NC)
    probs_NC = np.exp(predicted.log_probs_NC.astype(np.float64))
    top_N2 = np.sort(probs_NC, axis=1)[:, -2:]
    given = [listed.labels[place] for place in predicted.places_N]
    return pd.DataFrame(
        {
            "path": [listed.images[place].id for place in predicted.places_N],
            "label": [model.class_names[number] for number in decided_N],
            "margin": (top_N2[:, 1] - top_N2[:, 0]).round(6),
        }
        | ({"given_label": given} if any(given) else {})
        | {f"prob_{name}": probs_NC[:, number].round(6) for number, name in enumerate(model.class_names)}
    )


def _of_labels(model: Model, listed: Listed, predicted: Predicted) -> pd.DataFrame:
    decided_NC, probs_NC = model.decide(predicted.log_probs_NC), np.exp(predicted.log_probs_NC.astype(np.float64))
    names = np.array(model.class_names, dtype=object)
    given = [listed.labels[place] for place in predicted.places_N]
    return pd.DataFrame(
        {
            "path": [listed.images[place].id for place in predicted.places_N],
            "label": [SEPARATOR.join(names[called == 1]) for called in decided_NC],
            "margin": np.abs(probs_NC - np.array(model.header.thresholds)).min(axis=1).round(6),
        }
        | ({"given_label": given} if any(given) else {})
        | {f"prob_{name}": probs_NC[:, number].round(6) for number, name in enumerate(model.class_names)}
    )


def write(frame: pd.DataFrame, path: Path) -> None:
    """A CSV or a Parquet file, by the suffix. Raises StoreError when the disk does not take it."""
    with atomic_write(path) as temporary:
        if path.suffix.lower() == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            temporary.write_text(to_csv(frame), encoding="utf-8", newline="")


def require_suffix(path: Path) -> None:
    """Before anything is predicted. Raises ConfigError."""
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"to={path}: predictions are written as {' or '.join(_SUFFIXES)}; give a name that ends so.")


def judge(model: Model, listed: Listed, predicted: Predicted, metric: RankMetric | None = None) -> Judged | None:
    """The metric, of None the study's, on the images whose given label is one of its classes; None where none is."""
    given_N, is_known_N = _given(model, [listed.labels[place] for place in predicted.places_N], listed.separator)
    known_N = np.flatnonzero(is_known_N)
    if not len(known_N):
        return None
    groups_N = None if listed.groups is None else np.unique([listed.groups[predicted.places_N[n]] for n in known_N], return_inverse=True)[1]
    by = metric or Metric(model.header.metric)
    return score(model.objective, by, predicted.log_probs_NC[known_N], given_N[known_N], groups_N)


def _given(model: Model, given: Sequence[str | None], separator: str) -> tuple[IntArray, BoolArray]:
    """Labels as an array, and of which images they are known: all that are given have to be the model's, and of several nothing may mean none."""
    number = {name: c for c, name in enumerate(model.class_names)}
    if not model.header.thresholds:
        found_N = np.array([number.get(str(each), -1) for each in given], dtype=np.int64)
        return found_N, np.asarray(found_N >= 0)
    parts = [labels_in(each or "", separator) for each in given]
    found_NC = np.array([[int(name in own) for name in model.class_names] for own in parts], dtype=np.int64)
    is_any = any(map(bool, parts))
    return found_NC, np.array([is_any and all(name in number for name in own) for own in parts], dtype=np.bool_)


def counts(frame: pd.DataFrame, class_names: Sequence[str], *, is_several: bool = False) -> dict[str, int]:
    """Class -> images that are called so, in the order of the classes."""
    called = frame["label"].str.split(SEPARATOR, regex=False).explode() if is_several else frame["label"]
    found = called.value_counts()
    return {name: int(found.get(name, 0)) for name in class_names}
