"""Labels that are probably wrong, by confident learning: an image whose probability of another class is what images of that class usually have.

Probabilities have to be of models that never saw the image. Shapes: N images, C classes.

Source: Northcutt et al., Journal of Artificial Intelligence Research 2021.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image whose label is in doubt."""

    place: int
    suggested: int
    """Class that is more probable than the given one."""
    margin: float
    """Probability of the suggested class less that of the given one, in (0, 1]."""


def suspects(probs_NC: FloatArray, labels_N: IntArray) -> list[Suspect]:
    """The worst first.

    The threshold of a class is the mean probability that its own images have of it. An image is suspect if another class than its own reaches its
    threshold and is the most probable of all.

    Args:
        probs_NC: out of fold; rows sum to 1.
        labels_N: as given, in [0, C).
    """
    places_N = np.arange(len(labels_N))
    given_N = probs_NC[places_N, labels_N]
    counts_C = np.bincount(labels_N, minlength=probs_NC.shape[1])
    sums_C = np.bincount(labels_N, given_N, minlength=probs_NC.shape[1])
    thresholds_C = np.divide(sums_C, counts_C, out=np.full(len(counts_C), np.inf), where=counts_C > 0)
    best_N = probs_NC.argmax(axis=1)
    margins_N = probs_NC[places_N, best_N] - given_N
    is_suspect_N = (best_N != labels_N) & (probs_NC[places_N, best_N] >= thresholds_C[best_N]) & (margins_N > 0)
    order = sorted(np.flatnonzero(is_suspect_N).tolist(), key=lambda place: (-margins_N[place], place))
    return [Suspect(place, int(best_N[place]), float(margins_N[place])) for place in order]
