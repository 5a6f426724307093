"""Step 5: the transferability scores of each backbone, and the self-audit: how well choosing by each of them would have done in this study."""

from collections.abc import Mapping

from harness.reporting import formats
from harness.reporting.document import Block, Cell, Column, Paragraph, Table
from harness.reporting.sections.facts import MAX_LISTED, ranked_rows
from harness.select.audit import Audit, Choice, Line, backbone
from harness.select.ranking import Ranking
from harness.study.row import Row
from harness.text.counts import counted
from harness.text.language import noted, say, told

NAMES: Mapping[str, str] = {
    "random": noted("random (expected)"),
    "probe_accuracy": noted("linear probe, accuracy"),
    "probe_log_loss": noted("linear probe, log loss"),
    "knn_accuracy": noted("nearest neighbour"),
    "logme": "LogME",
    "gbc": "GBC",
    "leep": "LEEP",
    "h_score": "H-score",
    "prior": noted("published ImageNet accuracy"),
    "log_params": noted("number of parameters"),
    "own_rank": noted("rank on other data sets"),
    "probe_and_prior": noted("probe and published accuracy"),
    "one_epoch": noted("val after one epoch"),
}
"""Scores and rules for people."""

_SENTENCE: Mapping[str, str] = {
    "random": noted("at random"),
    "prior": noted("by published accuracy"),
    "probe_accuracy": noted("by the linear probe"),
    "one_epoch": noted("by val after one epoch"),
}
"""Whose loss the sentence states: the rules that people follow."""

_WORDS = {3: noted("three")}

FEW_BACKBONES = 10
"""Below this many, one backbone moves every figure of the audit by a lot."""


def scores(ranking: Ranking) -> list[Block]:
    """The scores from cached features, one line per backbone; nothing where none was computed."""
    known = [row for row in [*ranked_rows(ranking), *ranking.pool.pruned] if row.transferability_s is not None]
    rows = list({backbone(row): row for row in reversed(known)}.values())
    if not rows:
        return []
    probe = (say("probe accuracy"), say("probe log loss (nats)"), say("nearest neighbour"))
    names = (*probe, "LogME", "GBC", "LEEP", "H-score", say("time"))
    columns = [Column(say("backbone"), is_name=True), *(Column(name, is_number=True) for name in names)]
    text = say(
        "Scores of each backbone as it was loaded, no layer of it trained. Higher is better but for the log loss. The probe is the head of the "
        "frozen backbone, which the ranking judges as a candidate; nothing is ranked by the other scores."
    )
    is_staged = any(row.rung is not None for row in known)
    staged = say("The staged search chose by the probe and the published accuracy.") if is_staged else ""
    ordered = sorted(rows, key=lambda row: (-(row.probe_accuracy or 0.0), row.backbone))
    lines = [_score_line(row) for row in ordered[:MAX_LISTED]]
    return [Table(say("Transferability scores"), columns, lines), Paragraph(told(text, staged))]


def self_audit(found: Audit) -> list[Block]:
    """How well each cheap score would have chosen, judged by the fine-tunes; a sentence where there are too few."""
    if not found.lines:
        return [Paragraph(say("No audit of the cheap scores: {reason}", reason=found.reason))] if found.reason else []
    numbers = max((line.choices for line in found.lines), key=len)
    columns = [
        Column(say("chosen by"), is_name=True),
        Column(say("backbones"), is_number=True),
        Column(say("weighted tau"), is_number=True),
    ]
    for choice in numbers:
        names = _choice_names(choice.num_taken)
        columns += [Column(name, is_number=True) for name in names]
    rows = [_audit_line(found, line, [choice.num_taken for choice in numbers]) for line in found.lines]
    return [
        Paragraph(audit_sentence(found)),
        Table(say("What cheap scores would have chosen, judged by the fine-tunes of this study"), columns, rows),
        Paragraph(_how_audited(found)),
    ]


def audit_sentence(found: Audit) -> str:
    """What following the usual rules would have cost, in one sentence, and how far that carries."""
    lines = {line.name: line for line in found.lines}
    taken = max(choice.num_taken for line in found.lines for choice in line.choices)
    losses = [_loss(found, lines[name], choice) for name in _SENTENCE for choice in lines[name].choices if choice.num_taken == taken]
    lost = say(
        "Fine-tuning only the first backbone would have lost, against the best: {losses}."
        if taken == 1
        else "Fine-tuning only the first {number} backbones would have lost, against the best: {losses}.",
        number=_number(taken),
        losses=say(", ").join(losses),
    )
    caveat = say("With {number} backbones these figures are hints: one more could turn them.", number=found.num_backbones)
    return told(lost, caveat if found.num_backbones < FEW_BACKBONES else "")


def _number(taken: int) -> str:
    return say(_WORDS[taken]) if taken in _WORDS else str(taken)


def _loss(found: Audit, line: Line, choice: Choice) -> str:
    return say(
        "{rule} {loss}" if line.num_backbones == found.num_backbones else "{rule} {loss} (among the {number} that have one)",
        rule=say(_SENTENCE[line.name]),
        loss=formats.difference(found.metric, choice.regret),
        number=line.num_backbones,
    )


def _score_line(row: Row) -> list[Cell]:
    shares = [formats.percent(row.probe_accuracy), formats.nats(row.probe_log_loss), formats.percent(row.knn_accuracy)]
    others = [formats.decimals(value) for value in (row.logme, row.gbc, row.leep, row.h_score)]
    return [formats.plain(row.backbone), *shares, *others, formats.duration(row.transferability_s)]


def _choice_names(num_taken: int) -> tuple[str, str, str]:
    if num_taken == 1:
        return say("first is the best"), say("lost by the first"), say("time for the first")
    number = _number(num_taken)
    return (
        say("of the best {number}", number=number),
        say("lost by the first {number}", number=number),
        say("time for the first {number}", number=number),
    )


def _audit_line(found: Audit, line: Line, numbers: list[int]) -> list[Cell]:
    choices = {choice.num_taken: choice for choice in line.choices}
    cells = [cell for number in numbers for cell in _choice_cells(found, choices.get(number))]
    return [say(NAMES[line.name]), formats.count(line.num_backbones), formats.correlation(line.tau), *cells]


def _choice_cells(found: Audit, choice: Choice | None) -> list[str]:
    if choice is None:
        return [formats.EMPTY] * 3
    share = "" if choice.cost_frac is None else f" ({formats.chance(choice.cost_frac)})"
    return [formats.chance(choice.recall), formats.difference(found.metric, choice.regret), f"{formats.duration(choice.cost_s)}{share}"]


def _how_audited(found: Audit) -> str:
    how = say(
        "The truth is the val score of each backbone's best fine-tuned candidate. Weighted tau is 1 for the same order and -1 for the "
        "opposite one, the best counting most; a random order has 0 on average, by symmetry. Times are those of the score for all backbones "
        "(features included, all scores of the features together) and of fine-tuning those chosen, in brackets as a share of the "
        "{time} that all of it took. Equal scores count as the mean over all ways to break the tie.",
        time=formats.duration(found.grid_s),
    )
    others = counted(found.num_untuned, "more backbone")
    untuned = say("Nothing is known of {backbones} that had no fine-tune to the end.", backbones=others)
    return told(how, untuned if found.num_untuned else "")
