"""How often the nearest other images know an image's class: the votes behind `transferability.knn_accuracy`.

Shapes: N images, D features, C classes, B images of a block.
"""

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, UndefinedMetricError
from harness.measure.labelled import Labelled

Float64Array = npt.NDArray[np.float64]

METRICS = ("cosine", "euclidean")

_BLOCK_BYTES = 32 * 2**20
_TIE_FRAC = 1e-12
"""Squared distances that differ by a smaller share than this are equal; those of duplicates are, but for rounding."""


def leave_one_out(data: Labelled, k: int, metric: str) -> float:
    """See `transferability.knn_accuracy`. Never holds more than a block of the N x N distances."""
    num_images = len(data.labels_N)
    if k < 1 or metric not in METRICS:
        raise ConfigError(f"k={k}, metric={metric!r}: give a number of neighbours from 1, and a metric among {', '.join(METRICS)}.")
    if k >= num_images:
        raise UndefinedMetricError(f"an image has {num_images - 1} others, and {k} neighbours were asked for.")
    points_ND = _points(data.values_ND, metric)
    squares_N = np.einsum("nd,nd->n", points_ND, points_ND)
    block = max(1, _BLOCK_BYTES // (8 * num_images))
    hits = 0.0
    for start in range(0, num_images, block):
        rows_B = np.arange(start, min(start + block, num_images))
        distances_BN = (-2 * points_ND[rows_B]) @ points_ND.T
        distances_BN += squares_N
        distances_BN += squares_N[rows_B, None]
        distances_BN[rows_B - start, rows_B] = np.inf
        votes_BC = _votes(distances_BN, squares_N[rows_B], data, k)
        wins_BC = votes_BC > votes_BC.max(axis=1, keepdims=True) - 1e-9
        hits += float((wins_BC[rows_B - start, data.labels_N[rows_B]] / wins_BC.sum(axis=1)).sum())
    return hits / num_images


def _points(values_ND: Float64Array, metric: str) -> Float64Array:
    """Points whose Euclidean distances order images as the metric does, around the origin, where rounding is least."""
    if metric == "cosine":
        lengths_N = np.sqrt((values_ND**2).sum(axis=1))
        num_zero = int((lengths_N == 0).sum())
        if num_zero:
            raise UndefinedMetricError(f"{num_zero} images have zeros for all features, and so no angle to others.")
        values_ND = values_ND / lengths_N[:, None]
    centred_ND: Float64Array = values_ND - values_ND.mean(axis=0)
    return centred_ND


def _votes(distances_BN: Float64Array, squares_B: Float64Array, data: Labelled, k: int) -> Float64Array:
    """Votes for each class, k in all for each image of the block; images as far as the k-th share the votes that nearer ones leave."""
    num_rows, num_classes = len(distances_BN), len(data.counts_C)
    last_B = np.partition(distances_BN, k - 1, axis=1)[:, k - 1]
    slack_B = _TIE_FRAC * (squares_B + np.abs(last_B))
    rows, others = np.nonzero(distances_BN <= (last_B + slack_B)[:, None])
    is_nearer = distances_BN[rows, others] < (last_B - slack_B)[rows]
    num_nearer_B, num_tied_B = (np.bincount(rows[which], minlength=num_rows) for which in (is_nearer, ~is_nearer))
    weights = np.where(is_nearer, 1.0, ((k - num_nearer_B) / num_tied_B)[rows])
    cells = rows * num_classes + data.labels_N[others]
    return np.bincount(cells, weights, num_rows * num_classes).reshape(num_rows, num_classes).astype(np.float64)
