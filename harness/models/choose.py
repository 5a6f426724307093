"""Which candidate's model is meant: the recommended, or the one that was named."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.config import RankConfig
from harness.errors import TableError
from harness.reporting.question import ask
from harness.select.candidates import Candidate
from harness.select.ranking import Ranking, rank
from harness.study.model_file import ModelFile
from harness.study.models import Models
from harness.study.row import Row
from harness.study.store import Study


def ranked(study: Study, protocol: str | None = None) -> Ranking:
    """The study ranked by the settings of its last sweep; no test predictions are opened that were not open before."""
    question = ask(study, RankConfig(), set(), protocol)
    return rank(study, question.cfg, protocol=question.protocol, may_open=False, by="models")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A candidate and the rows whose models stand for it, the ones that were named first."""

    label: str
    rows: Sequence[Row]

    def kept(self, models: Models) -> Row:
        """The first row whose model is there, or the first row of all: asking for its model then says what to do."""
        return next((row for row in self.rows if models.has(row.job_id)), self.rows[0])

    def model(self, models: Models, *, refitted: bool | None) -> ModelFile:
        """The model that stands for it.

        Args:
            models: of the study.
            refitted: whether it is that of `harness refit`; None: where there is one.

        Raises:
            TableError: there is none, or it is damaged; the message says what to do.
        """
        if refitted is None:
            refitted = any(models.refitted.has(row.job_id) for row in self.rows)
        kept = models.refitted if refitted else models
        return kept.read(self.kept(kept).job_id)


def choose(ranking: Ranking, named: str | None) -> Chosen:
    """The recommended, or a candidate by its label (`resnet50 · 0.5`, also written `resnet50 0.5`) or the id of a job of it.

    Raises:
        TableError: nothing is recommended, or no candidate is so named.
    """
    if named is None:
        if ranking.recommended is None:
            raise TableError(f"nothing is recommended, as nobody is within the limits; name one with candidate=...: {_known(ranking)}.")
        return _chosen(ranking.recommended.candidate)
    for entry in ranking.entries:
        own = [row for row in _rows(entry.candidate) if named == row.job_id or _plain(named) == _plain(f"{row.backbone} {row.strategy}")]
        if own or _plain(named) == _plain(entry.label):
            return _chosen(entry.candidate, own)
    names = [f"{row.backbone} {row.strategy}" for entry in ranking.entries for row in _rows(entry.candidate)]
    near = difflib.get_close_matches(named, names, n=1)
    raise TableError(f"candidate={named}: no such candidate{f'; did you mean {near[0]!r}?' if near else '.'} There are {_known(ranking)}.")


def recommended_row(ranking: Ranking, study: Study) -> Row | None:
    """The row that stands for the recommended candidate, one with a model if there is any; None where nothing is recommended."""
    return choose(ranking, None).kept(Models(study)) if ranking.recommended else None


def _chosen(candidate: Candidate, first: Sequence[Row] = ()) -> Chosen:
    ids = {row.job_id for row in first}
    return Chosen(candidate.label, [*first, *(row for row in _rows(candidate) if row.job_id not in ids)])


def _rows(candidate: Candidate) -> list[Row]:
    """Of its seeds, then of depths that ended in the same network, which may have another temperature."""
    return [*candidate.rows, *candidate.twins]


def _plain(name: str) -> str:
    """Without case, and with one space for whatever stands between words."""
    return re.sub(r"[^\w.@-]+", " ", name.casefold()).strip()


def _known(ranking: Ranking) -> str:
    return ", ".join(repr(entry.label) for entry in ranking.entries[:10]) + (", ..." if len(ranking.entries) > 10 else "")
