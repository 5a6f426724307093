"""The Pareto front of quality and latency: candidates that no other one beats on both."""

import numpy as np
import numpy.typing as npt


def pareto_front(
    quality_K: npt.NDArray[np.float64],
    latency_ms_K: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """Which candidates are on the front, shape K. Higher quality and lower latency are better.

    A candidate is off the front if another is at least as good on both axes and better on one. An infinite or NaN
    latency is unknown, and such a candidate is never on the front.
    """
    on_front = np.zeros(len(quality_K), dtype=np.bool_)
    known = np.flatnonzero(np.isfinite(latency_ms_K))
    best_quality, best_latency_ms = -np.inf, np.nan
    for k in known[np.lexsort((-quality_K[known], latency_ms_K[known]))]:  # fastest first, best first where equally fast
        is_equal = quality_K[k] == best_quality and latency_ms_K[k] == best_latency_ms
        if quality_K[k] > best_quality:
            best_quality, best_latency_ms = quality_K[k], latency_ms_K[k]
            on_front[k] = True
        on_front[k] |= is_equal
    return on_front
