"""The ranking as a table: one line per candidate, for a reader that is a program."""

from dataclasses import asdict, fields

import pandas as pd

from harness.select.candidates import Cost
from harness.select.ranking import Entry, Ranking

METRICS = (
    "val_accuracy",
    "val_balanced_accuracy",
    "val_precision_macro",
    "val_recall_macro",
    "val_f1_macro",
    "val_f1_weighted",
    "val_log_loss",
    "val_ece",
    "train_accuracy",
)

COLUMNS: tuple[str, ...] = (
    *("rank", "label", "metric", "score", "interval_low", "interval_high", "tied", "recommended", "on_front", "excluded", "num_seeds"),
    *("backbone", "weights", "freeze", "image_size", "recipe"),
    *METRICS,
    *(field.name for field in fields(Cost)),
    "job_ids",
)


def ranking_frame(ranking: Ranking) -> pd.DataFrame:
    """Columns in the order of `COLUMNS`; fractions, not percent; the rank of an excluded candidate is empty."""
    records = [_record(ranking, entry) for entry in ranking.entries]
    return pd.DataFrame(records, columns=list(COLUMNS)).convert_dtypes(dtype_backend="numpy_nullable")


def _record(ranking: Ranking, entry: Entry) -> dict[str, object]:
    row = entry.candidate.row
    return {
        "rank": entry.rank,
        "label": entry.label,
        "metric": ranking.metric.value,
        "score": entry.score,
        "interval_low": entry.interval.low,
        "interval_high": entry.interval.high,
        "tied": entry.tied,
        "recommended": entry is ranking.recommended,
        "on_front": entry.on_front,
        "excluded": "; ".join(entry.excluded),
        "num_seeds": len(entry.candidate.rows),
        **{name: getattr(row, name) for name in ("backbone", "weights", "freeze", "image_size", "recipe")},
        **{name: entry.candidate.mean(name) for name in METRICS},
        **asdict(entry.cost),
        "job_ids": " ".join(row.job_id for row in entry.candidate.rows),
    }
