"""The ranking as a table: one line per candidate, for a reader that is a program."""

from dataclasses import asdict, fields

import pandas as pd

from harness.select.candidates import Cost
from harness.select.pairs import Pair
from harness.select.ranking import Entry, Ranking
from harness.select.scores import unit
from harness.text.untrusted import encodable

METRICS = (
    "val_accuracy",
    "val_balanced_accuracy",
    "val_precision_macro",
    "val_recall_macro",
    "val_f1_macro",
    "val_f1_weighted",
    "val_log_loss",
    "val_ece",
    "raw_val_log_loss",
    "raw_val_ece",
    "temperature",
    "oof_accuracy",
    "oof_balanced_accuracy",
    "oof_f1_macro",
    "oof_f1_weighted",
    "oof_log_loss",
    "train_accuracy",
    *(f"{split}_{name}" for split in ("val", "oof") for name in ("mean_average_precision", "f1_micro", "f1_samples", "subset_accuracy")),
)

COLUMNS: tuple[str, ...] = (
    *("rank", "rank_low", "rank_high", "label", "metric", "score", "interval_low", "interval_high", "tied", "recommended"),
    *("expected", "prob_best", "expected_loss", "budget_pick", "fastest_pick"),
    *("on_front", "front_prob", "dominated_by", "excluded", "num_seeds", "is_trained", "same_as"),
    *("behind", "behind_low", "behind_high", "verdict", "mcnemar_p", "mcnemar_p_holm"),
    *("finalist", "prob_behind", "test_score", "test_low", "test_high", "test_drop", "test_drop_low", "test_drop_high"),
    *("backbone", "weights", "freeze", "adapter", "image_size", "recipe"),
    *METRICS,
    *(field.name for field in fields(Cost)),
    "job_ids",
)

_DIFFERENCES = frozenset({"expected_loss", "behind", "behind_low", "behind_high", "test_drop", "test_drop_low", "test_drop_high"})


def ranking_frame(ranking: Ranking) -> pd.DataFrame:
    """Columns in the order of `COLUMNS`; fractions, not percent; the rank of an excluded candidate is empty.

    `expected`, `prob_best` and `expected_loss` are those of train and val; `prob_behind` knows the test score as well. `same_as` are other freeze
    depths that ended in the same model. `behind`, `verdict` and the p-values compare the recommended with the line's candidate. `test_*` are filled for finalists.
    """
    pairs = _pairs(ranking)
    records = [_record(ranking, entry) | _against(entry, pairs.get(entry.label)) | _on_test(ranking, entry) for entry in ranking.entries]
    records = [{name: _in_own_numbers(ranking, name, cell) for name, cell in record.items()} for record in records]
    written = [{name: encodable(cell) if isinstance(cell, str) else cell for name, cell in record.items()} for record in records]
    return pd.DataFrame(written, columns=list(COLUMNS)).convert_dtypes(dtype_backend="numpy_nullable")


def _in_own_numbers(ranking: Ranking, name: str, cell: object) -> object:
    """Differences of costs are in costs as well."""
    return cell * unit(ranking.metric) if name in _DIFFERENCES and isinstance(cell, float) else cell


def _record(ranking: Ranking, entry: Entry) -> dict[str, object]:
    row, places, decision = entry.candidate.row, entry.rank_interval, ranking.decision
    return {
        "rank": entry.rank,
        "rank_low": places.low if places else None,
        "rank_high": places.high if places else None,
        "label": entry.label,
        "metric": ranking.metric.value,
        "score": entry.score,
        "interval_low": entry.interval.low,
        "interval_high": entry.interval.high,
        "tied": entry.tied,
        "recommended": entry is ranking.recommended,
        "expected": entry.expected,
        "prob_best": entry.prob_best,
        "expected_loss": entry.expected_loss,
        "budget_pick": decision is not None and entry is decision.budget,
        "fastest_pick": decision is not None and entry is decision.fastest,
        "on_front": entry.on_front,
        "front_prob": entry.front_prob,
        "dominated_by": entry.dominated_by,
        "excluded": "; ".join(entry.excluded),
        "num_seeds": len(entry.candidate.rows),
        "is_trained": _is_trained(entry),
        "same_as": " ".join(dict.fromkeys(row.freeze for row in entry.candidate.twins)),
        **{name: getattr(row, name) for name in ("backbone", "weights", "freeze", "adapter", "image_size", "recipe")},
        **{name: entry.candidate.mean(name) for name in METRICS},
        **asdict(entry.cost),
        "job_ids": " ".join(row.job_id for row in entry.candidate.rows),
    }


def _is_trained(entry: Entry) -> bool | None:
    """Whether training changed the backbone for every seed; None where a row does not say."""
    found = [row.is_trained for row in entry.candidate.rows]
    return None if None in found else all(found)


def _against(entry: Entry, pair: Pair | None) -> dict[str, object]:
    behind = entry.behind
    return {
        "behind": behind.value if behind else None,
        "behind_low": behind.interval.low if behind else None,
        "behind_high": behind.interval.high if behind else None,
        "verdict": pair.verdict.value if pair else None,
        "mcnemar_p": pair.mcnemar.p if pair else None,
        "mcnemar_p_holm": pair.mcnemar.p_holm if pair else None,
    }


def _pairs(ranking: Ranking) -> dict[str, Pair]:
    """Of the recommended against each other candidate, by its label."""
    decision = ranking.decision
    return {pair.second: pair for pair in decision.pairs if pair.first == decision.recommended.label} if decision else {}


def _on_test(ranking: Ranking, entry: Entry) -> dict[str, object]:
    finalist = next((finalist for finalist in ranking.finalists if finalist.label == entry.label), None)
    spread, drop = (finalist.test.interval, finalist.drop) if finalist else (None, None)
    return {
        "finalist": finalist is not None,
        "prob_behind": finalist.prob_behind if finalist else None,
        "test_score": finalist.test.score if finalist else None,
        "test_low": spread.low if spread else None,
        "test_high": spread.high if spread else None,
        "test_drop": drop.value if drop else None,
        "test_drop_low": drop.interval.low if drop else None,
        "test_drop_high": drop.interval.high if drop else None,
    }
