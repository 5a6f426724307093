"""Step 5: what the search did: which jobs it stopped early, and which learning rate each candidate ended with."""

from harness.reporting import formats
from harness.reporting.document import Block, Cell, Column, Paragraph, Table, Tone
from harness.reporting.sections.facts import MAX_LISTED, marked
from harness.reporting.wording import METRIC_NAMES
from harness.select.ranking import Entry, Ranking
from harness.study.row import Row


def stopped(ranking: Ranking) -> list[Block]:
    """Jobs that a staged search gave up, with the rung they reached; nothing where there are none."""
    if not ranking.pruned:
        return []
    columns = [
        *(Column(name) for name in ("backbone", "freeze")),
        *(Column(name, is_number=True) for name in ("seed", "last rung", "epochs trained", f"val {METRIC_NAMES[ranking.metric]} then")),
    ]
    rows = [_stopped_line(ranking, row) for row in ranking.pruned[:MAX_LISTED]]
    hidden = len(ranking.pruned) - MAX_LISTED
    more = f" {hidden} more are in results.csv." if hidden > 0 else ""
    text = (
        "The staged search stopped these jobs so that better ones could train for longer. Their scores are of a shorter training, so they are "
        f"not ranked: one of them may have ended better than it began.{more}"
    )
    return [Table("Stopped early by the staged search", columns, rows), Paragraph(text)]


def learning_rates(ranking: Ranking) -> list[Block]:
    """What was tried and kept, and a warning where the kept one lies on the edge; nothing where nothing was tried."""
    tried = [entry for entry in ranking.entries if any(row.lrs_tried for row in entry.candidate.rows)]
    if not tried:
        return []
    columns = [
        Column("candidate"),
        *(Column(name, is_number=True) for name in ("learning rates tried", "kept")),
        Column("on the edge"),
    ]
    shown = tried[:MAX_LISTED]
    rows: list[list[Cell]] = [[entry.label, _tried(entry), _kept(entry), _edge_word(entry)] for entry in shown]
    return [Table("Learning rates", columns, rows, marked(ranking, shown)), *_edge(tried)]


def _stopped_line(ranking: Ranking, row: Row) -> list[Cell]:
    epochs = formats.EMPTY if row.epochs_trained is None else f"{formats.count(row.epochs_trained)} of {formats.count(row.epochs)}"
    then = formats.score(ranking.metric, getattr(row, f"val_{ranking.metric.value}", None))
    return [*(formats.plain(value) for value in (row.backbone, row.freeze, row.seed, row.rung)), epochs, then]


def _tried(entry: Entry) -> str:
    return formats.rates(sorted({float(rate) for row in entry.candidate.rows if row.lrs_tried for rate in row.lrs_tried.split()}))


def _kept(entry: Entry) -> str:
    return formats.rates(row.lr for row in entry.candidate.rows if row.lr is not None)


def _edge_word(entry: Entry) -> str:
    return "yes" if _is_on_edge(entry) else "no"


def _is_on_edge(entry: Entry) -> bool:
    return any(row.lr_on_edge is True for row in entry.candidate.rows)


def _edge(tried: list[Entry]) -> list[Block]:
    """Candidates whose best learning rate may lie outside what was tried."""
    on_edge = [entry.label for entry in tried if _is_on_edge(entry)]
    if not on_edge:
        return []
    named = ", ".join(on_edge[:6]) + (f" and {len(on_edge) - 6} more" if len(on_edge) > 6 else "")
    text = f"The best of the tried learning rates is the lowest or the highest of them, so one further out may be better still: {named}."
    return [Paragraph(f"{text} Widen train.lr_search to find out.", Tone.note)]
