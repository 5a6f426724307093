"""Expected improvement of further training: which trial is trained next, and when the search may stop.

Asked by `staged` before every step. Pure functions of joint draws of the true scores; R draws, K trials, D of them complete. Scores are fractions.

The best of what is complete is what a search can recommend. Until everything is complete the best of all may be another; what that is worth in
expectation is the loss of stopping here. It is made up of what each trial adds to the best so far (its expected improvement).

Source: Jones, Schonlau and Welch, Efficient global optimization of expensive black-box functions, 1998 (expected improvement); Nemhauser, Wolsey
and Fisher, An analysis of approximations for maximizing submodular set functions, 1978 (taking one after the other).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ALLOWED_LOSS = 0.005
"""Half a point: a search without a budget stops when further training would gain less."""


def best_of(draws_RK: FloatArray, complete: Sequence[int]) -> FloatArray:
    """Score of the best of those that are complete, shape R; minus infinity where none is."""
    return draws_RK[:, list(complete)].max(axis=1) if len(complete) else np.full(len(draws_RK), -np.inf)


def loss_of_stopping(draws_RK: FloatArray, complete: Sequence[int], ahead: Sequence[int]) -> float:
    """Expected score of the best of all less that of the best that is complete."""
    best_R = best_of(draws_RK, complete)
    return float((np.maximum(best_R, best_of(draws_RK, ahead)) - best_R).mean())


def in_order(draws_RK: FloatArray, complete: Sequence[int], ahead: Sequence[int]) -> list[int]:
    """Return the trials that are left, the highest expected improvement first; of equals the first in the list.

    Not by improvement per second: that spends a short time on many small models (on simulated tables of 20 candidates a regret of 0.40 instead of
    0.24 points at a fifth of the grid's time).
    """
    return [ahead[place] for place in np.argsort(-_gains(draws_RK, best_of(draws_RK, complete), ahead), kind="stable")]


def expected_to_run(draws_RK: FloatArray, complete: Sequence[int], ahead: Sequence[int]) -> list[int]:
    """Return the trials to train, in order, until stopping costs no more than `ALLOWED_LOSS`, if every score turned out as good as the draws have it."""
    best_R, taken, left = best_of(draws_RK, complete), list[int](), list(ahead)
    while left and float(np.maximum(best_of(draws_RK, left) - best_R, 0.0).mean()) > ALLOWED_LOSS:
        taken.append(left.pop(int(_gains(draws_RK, best_R, left).argmax())))
        best_R = np.maximum(best_R, draws_RK[:, taken[-1]])
    return taken


def _gains(draws_RK: FloatArray, best_R: FloatArray, ahead: Sequence[int]) -> FloatArray:
    """Expected improvement over the best; where there is none yet, the expected score above the lowest."""
    if not np.isfinite(best_R).all():
        best_R = draws_RK.min(axis=1)
    return np.array([float(np.maximum(draws_RK[:, k] - best_R, 0.0).mean()) for k in ahead])
