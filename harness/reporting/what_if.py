"""What the page decides anew with, as plain JSON: the belief of the ranking, its terms, and words for each candidate."""

import base64
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.reporting import formats
from harness.reporting.picks import unit
from harness.reporting.wording import latency
from harness.select.decision import DEFAULT_POINTS_PER_DOUBLING, MARGIN_POINTS, MAX_PROB_BEHIND, UNKNOWN_DOUBLINGS
from harness.select.posterior import POINT
from harness.select.ranking import Ranking
from harness.select.rule import LATENCY_TIE_FRAC
from harness.select.scores import SAME
from harness.text.commands import runnable
from harness.text.language import noted, say

SLIDERS = {
    "max_latency_ms": (noted("Latency at most"), "ms"),
    "max_params_m": (noted("Parameters at most"), noted("million")),
    "max_weights_mib": (noted("Size on disk at most"), "MiB"),
}
"""Limits of `rank` -> what they are called, and their unit."""
CHANGED = (*SLIDERS, "points_per_doubling")
"""Settings that the page itself can change."""


def build(ranking: Ranking, asked: Sequence[str] = ()) -> dict[str, object] | None:
    """Everything but test: no score on test images is in it. None where there is nothing to choose between.

    Args:
        ranking: with a belief.
        asked: overrides of the report command that ask this ranking, but for the limits and the price that the page changes.
    """
    found = ranking.what_if
    if found is None:
        return None
    entries = [ranking.entry_of(k) for k in found.positions]
    return {
        "command": runnable(" ".join([ranking.command("report"), *asked])),
        "limits": [
            {"key": key, "name": say(name), "unit": say(unit_name), "given": getattr(ranking.rank, key)}
            for key, (name, unit_name) in SLIDERS.items()
        ],
        "price": ranking.rank.points_per_doubling,
        "terms": {
            "default_price": DEFAULT_POINTS_PER_DOUBLING,
            "point": POINT,
            "margin": MARGIN_POINTS * POINT,
            "max_prob_behind": MAX_PROB_BEHIND,
            "tie_frac": LATENCY_TIE_FRAC,
            "unknown_doublings": UNKNOWN_DOUBLINGS,
            "same": SAME,
        },
        "loss": formats.loss_format(ranking.metric) | {"unit": unit(ranking.metric)},
        "num_left_out": found.num_left_out,
        "candidates": [
            {
                "label": entry.label,
                "latency_ms": option.latency_ms,
                "train_cost": option.train_cost,
                "limited": list(limited.values()),
                "mean": float(mean),
                "column": int(column),
                "words": [
                    formats.score(ranking.metric, entry.expected),
                    latency(entry.cost),
                    formats.millions(entry.cost.params_m),
                    formats.mib(entry.cost.weights_mib),
                ],
            }
            for entry, option, limited, mean, column in zip(
                entries, found.options, found.limited, found.mean_C, found.distinct_C, strict=True
            )
        ],
        "draws": {
            "num_pairs": found.draws.num_pairs_G.tolist(),
            "centre": _packed(found.draws.centre_GD.astype("<f8")),
            "step": _packed(found.draws.step_GD.astype("<f8")),
            "steps": _packed(found.draws.steps_PD),
        },
    }


def _packed(values: npt.NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
