"""How much images count in training: weights as they are given, and as a share of their mean. Shapes: N images."""

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def weight_in(cell: str) -> float | None:
    """The weight that a cell holds; None: it is no finite number of 0 or more."""
    try:
        found = float(cell)
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def mean_weight(train_N: FloatArray) -> float:
    """The mean of the train images that count, so that an image of weight 0 is as good as not there; 1 where none counts.

    It does not depend on the order of the images.
    """
    counted_N = train_N[train_N > 0]
    if not len(counted_N):
        return 1.0
    largest = float(counted_N.max())  # of which all are a part, as a sum of weights may be beyond what a number can be
    return largest * (math.fsum((counted_N / largest).tolist()) / len(counted_N))
