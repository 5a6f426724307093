"""Step 5: whether stated probabilities can be believed, before and after they were calibrated."""

from harness.reporting import formats
from harness.reporting.document import Block, Cell, Column, Paragraph, Table
from harness.reporting.sections.facts import MAX_LISTED, marked
from harness.select.ranking import Entry, Ranking
from harness.text.language import say


def table(ranking: Ranking) -> list[Block]:
    """Temperature, log loss and calibration error of each candidate on val; nothing where no temperature is known."""
    known = [entry for entry in ranking.entries if entry.candidate.mean("temperature") is not None][:MAX_LISTED]
    if not known:
        return []
    names = (
        say("temperature"),
        say("log loss before (nats)"),
        say("log loss after (nats)"),
        say("calibration error before"),
        say("calibration error after"),
    )
    columns = [Column(say("candidate"), is_name=True), *(Column(name, is_number=True) for name in names)]
    text = say(
        "The logits of each model are divided by its temperature, which brings its probabilities closer to how often they are right; the "
        "calibration error is how far apart the two are. No image of val is judged at a temperature that it helped to choose."
    )
    return [Table(say("Calibration on val"), columns, [_line(entry) for entry in known], marked(ranking, known)), Paragraph(text)]


def _line(entry: Entry) -> list[Cell]:
    mean = entry.candidate.mean
    losses = [formats.nats(mean(name)) for name in ("raw_val_log_loss", "val_log_loss")]
    errors = [formats.percent(mean(name)) for name in ("raw_val_ece", "val_ece")]
    return [entry.label, formats.factor(mean("temperature")), *losses, *errors]
