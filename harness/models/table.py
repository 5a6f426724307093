"""What a model says of new images as a table, and how good that is where their labels are known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from harness.config import Metric, RankMetric
from harness.errors import ConfigError
from harness.files import atomic_write
from harness.models.judged import Judged, score
from harness.models.model import Model, Predicted
from harness.models.new_images import Listed
from harness.study.table import to_csv
from harness.text.metric_spec import MetricSpec

_SUFFIXES = (".csv", ".parquet")


def to_frame(model: Model, listed: Listed, predicted: Predicted, metric: RankMetric | None = None) -> pd.DataFrame:
    """One line for each image that could be read.

    `path`, `label` (the class that it is called), `margin` (how much likelier the likeliest class is than the second, in [0, 1]), `given_label`
    where one was given, then `prob_<class>`: calibrated probabilities that sum to one. Images are called as the model decides, by a metric with
    costs as these ask.
    """
    by_costs = isinstance(metric, MetricSpec) and metric.costs is not None
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
    number = {name: c for c, name in enumerate(model.class_names)}
    given = [number.get(str(listed.labels[place]), -1) for place in predicted.places_N]
    known_N = np.flatnonzero(np.array(given, dtype=np.int64) >= 0)
    if not len(known_N):
        return None
    groups_N = None if listed.groups is None else np.unique([listed.groups[predicted.places_N[n]] for n in known_N], return_inverse=True)[1]
    by = metric or Metric(model.header.metric)
    return score(model.objective, by, predicted.log_probs_NC[known_N], np.array(given)[known_N], groups_N)


def counts(frame: pd.DataFrame, class_names: Sequence[str]) -> dict[str, int]:
    """Class -> images that are called so, in the order of the classes."""
    found = frame["label"].value_counts()
    return {name: int(found.get(name, 0)) for name in class_names}
