"""A comparison of studies as a table: one line for each candidate and study that has it."""

import pandas as pd

from harness.select.across import Cell, Compared, Comparison, RankedStudy


def comparison_frame(found: Comparison) -> pd.DataFrame:
    """Scores in the metric's own unit, probabilities as fractions; what is not known is an empty cell.

    The columns up to `left_out` are about a candidate in all studies, those from `study` on about one.
    """
    lines = [
        _averages(each) | _in_one(cell, study)
        for each in found.candidates
        for cell, study in zip(each.cells, found.studies, strict=True)
        if cell is not None
    ]
    return pd.DataFrame(lines).convert_dtypes(dtype_backend="numpy_nullable")


def _averages(each: Compared) -> dict[str, object]:
    row = next(cell for cell in each.cells if cell is not None).candidate.row
    return {
        "candidate": each.label,
        "backbone": row.backbone,
        "weights": row.weights,
        "freeze": row.freeze,
        "adapter": row.adapter,
        "mean_rank": each.mean_rank,
        "mean_rank_low": each.interval.low if each.interval else None,
        "mean_rank_high": each.interval.high if each.interval else None,
        "prob_lowest_mean_rank": each.prob_best,
        "left_out": each.left_out,
    }


def _in_one(cell: Cell, study: RankedStudy) -> dict[str, object]:
    return {
        "study": study.name,
        "dataset": study.row.dataset,
        "metric": study.metric.value,
        "expected": cell.expected,
        "expected_low": cell.interval.low,
        "expected_high": cell.interval.high,
        "rank": cell.mean_rank,
        "prob_best": cell.prob_best,
        "num_seeds": cell.candidate.num_seeds,
    }
