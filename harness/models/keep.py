"""Which models stay in a study once it is ranked: those that may be recommended. Torch-free."""

from harness.select.ranking import Entry, Ranking
from harness.study.models import Models
from harness.study.row import Row
from harness.study.store import Study


def drop_models(study: Study, ranking: Ranking) -> None:
    """Delete the models of candidates that can be excluded as best. Heads stay: they are small, and cheap candidates are asked for later."""
    models = Models(study)
    for entry in ranking.entries:
        if not _may_be_used(ranking, entry):
            for row in (*entry.candidate.rows, *entry.candidate.twins):
                if not is_head_only(row):
                    models.drop(row.job_id)


def is_head_only(row: Row) -> bool:
    """Whether the kept model is a head on the backbone as it was loaded."""
    return row.num_frozen_blocks is not None and row.num_frozen_blocks == row.num_blocks


def _may_be_used(ranking: Ranking, entry: Entry) -> bool:
    decision = ranking.decision
    return entry.tied or (decision is not None and entry in (decision.recommended, decision.budget, decision.fastest, decision.val_choice))
