"""Step 5: what the search did: which jobs it stopped early, and which learning rate each candidate ended with."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.reporting import formats
from harness.reporting.document import Block, Cell, Column, Paragraph, Table, Tone
from harness.reporting.sections.facts import MAX_LISTED, some
from harness.reporting.wording import metric_name
from harness.select.ranking import Entry, Ranking
from harness.study.row import Row
from harness.text.language import say, told


def stopped(ranking: Ranking) -> list[Block]:
    """Jobs that a staged search did not train to the end, with the reason of each; nothing where there are none."""
    if not ranking.pool.pruned:
        return []
    columns = [
        *(Column(name) for name in (say("backbone"), say("freeze"))),
        *(
            Column(name, is_number=True)
            for name in (say("seed"), say("epochs trained"), say("val {metric} then", metric=metric_name(ranking.metric)))
        ),
        Column(say("why no further")),
    ]
    rows = [_stopped_line(ranking, row) for row in ranking.pool.pruned[:MAX_LISTED]]
    hidden = len(ranking.pool.pruned) - MAX_LISTED
    text = say(
        "The staged search did not train these jobs to the end. Where there is a score it is of a short training, so they are not ranked: one of "
        "them may have ended better than it began."
    )
    more = say("{number} more are in results.csv.", number=hidden) if hidden > 0 else ""
    return [Table(say("Not trained to the end by the staged search"), columns, rows), Paragraph(told(text, more))]


def learning_rates(ranking: Ranking) -> list[Block]:
    """What was tried and kept, and a warning where the kept one lies on the edge; nothing where nothing was tried."""
    tried = [run for entry in ranking.entries for run in _runs(entry) if any(row.lrs_tried for row in run.rows)]
    if not tried:
        return []
    columns = [
        Column(say("candidate"), is_name=True),
        *(Column(name, is_number=True) for name in (say("learning rates tried"), say("log loss of each (nats)"), say("kept"))),
        Column(say("on the edge")),
    ]
    shown = tried[:MAX_LISTED]
    rows: list[list[Cell]] = [[run.label, _tried(run), _losses(run), _kept(run), _edge_word(run)] for run in shown]
    places = frozenset(place for place, run in enumerate(shown) if ranking.recommended and run.label == ranking.recommended.label)
    return [Table(say("Learning rates"), columns, rows, places), *_edge(tried)]


@dataclass(frozen=True, slots=True)
class _Run:
    """What was trained under one label: a candidate, or another depth of it that ended in the same model."""

    label: str
    rows: Sequence[Row]


def _runs(entry: Entry) -> list[_Run]:
    twins: dict[str, list[Row]] = defaultdict(list)
    for row in entry.candidate.twins:
        twins[row.strategy].append(row)
    others = [_Run(f"{formats.one_line(entry.candidate.line)}, freeze={freeze}", rows) for freeze, rows in twins.items()]
    return [_Run(entry.label, entry.candidate.rows), *others]


def _stopped_line(ranking: Ranking, row: Row) -> list[Cell]:
    epochs = formats.EMPTY
    if row.epochs_trained is not None:
        epochs = say("{part} of {whole}", part=formats.count(row.epochs_trained), whole=formats.count(row.epochs))
    then = formats.score(ranking.metric, getattr(row, f"val_{ranking.metric.value}", None))
    return [*(formats.plain(value) for value in (row.backbone, row.strategy, row.seed)), epochs, then, formats.plain(row.error)]


def _tried(run: _Run) -> str:
    return formats.rates(sorted({float(rate) for row in run.rows if row.lrs_tried for rate in row.lrs_tried.split()}))


def _losses(run: _Run) -> str:
    """On val, of the first seed, in the order of the rates: what the kept one was chosen by."""
    losses = run.rows[0].details.lr_losses
    ordered = [losses[rate] for rate in sorted(losses, key=float)]
    return say(", ").join(say("diverged") if value is None else formats.nats(value) for value in ordered) or formats.EMPTY


def _kept(run: _Run) -> str:
    return formats.rates(row.lr for row in run.rows if row.lr is not None)


def _edge_word(run: _Run) -> str:
    return say("yes" if _is_on_edge(run) else "no")


def _is_on_edge(run: _Run) -> bool:
    return any(row.lr_on_edge is True for row in run.rows)


def _edge(tried: Sequence[_Run]) -> list[Block]:
    """Candidates whose best learning rate may lie outside what was tried."""
    on_edge = [run.label for run in tried if _is_on_edge(run)]
    if not on_edge:
        return []
    text = say(
        "The best of the tried learning rates is the lowest or the highest of them, so one further out may be better still: {names}. "
        "Widen train.lr_search to find out.",
        names=some(on_edge),
    )
    return [Paragraph(text, Tone.note)]
