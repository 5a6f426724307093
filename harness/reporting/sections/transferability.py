"""Step 5: the transferability scores of each backbone, and the self-audit: how well choosing by each of them would have done in this study."""

from collections.abc import Mapping

from harness.reporting import formats
from harness.reporting.document import Block, Cell, Column, Paragraph, Table
from harness.reporting.sections.facts import MAX_LISTED, ranked_rows
from harness.select.audit import Audit, Choice, Line, backbone
from harness.select.ranking import Ranking
from harness.study.row import Row

NAMES: Mapping[str, str] = {
    "random": "random (expected)",
    "probe_accuracy": "linear probe, accuracy",
    "probe_log_loss": "linear probe, log loss",
    "knn_accuracy": "nearest neighbour",
    "logme": "LogME",
    "gbc": "GBC",
    "leep": "LEEP",
    "h_score": "H-score",
    "prior": "published ImageNet accuracy",
    "log_params": "number of parameters",
    "own_rank": "rank on other data sets",
    "probe_and_prior": "probe and published accuracy",
    "one_epoch": "val after one epoch",
}
"""Scores and rules for people."""

_SENTENCE: Mapping[str, str] = {
    "random": "at random",
    "prior": "by published accuracy",
    "probe_accuracy": "by the linear probe",
    "one_epoch": "by val after one epoch",
}
"""Whose loss the sentence states: the rules that people follow."""

_WORDS = {3: "three"}

FEW_BACKBONES = 10
"""Below this many, one backbone moves every figure of the audit by a lot."""


def scores(ranking: Ranking) -> list[Block]:
    """The scores from cached features, one line per backbone; nothing where none was computed."""
    known = [row for row in [*ranked_rows(ranking), *ranking.pool.pruned] if row.transferability_s is not None]
    rows = list({backbone(row): row for row in reversed(known)}.values())
    if not rows:
        return []
    names = ("probe accuracy", "probe log loss (nats)", "nearest neighbour", "LogME", "GBC", "LEEP", "H-score", "time")
    columns = [Column("backbone", is_name=True), *(Column(name, is_number=True) for name in names)]
    is_staged = any(row.rung is not None for row in known)
    staged = " The staged search chose by the probe and the published accuracy." if is_staged else ""
    text = (
        "Scores of each backbone as it was loaded, no layer of it trained. Higher is better but for the log loss. The probe is the head of the "
        f"frozen backbone, which the ranking judges as a candidate; nothing is ranked by the other scores.{staged}"
    )
    ordered = sorted(rows, key=lambda row: (-(row.probe_accuracy or 0.0), row.backbone))
    return [Table("Transferability scores", columns, [_score_line(row) for row in ordered[:MAX_LISTED]]), Paragraph(text)]


def self_audit(found: Audit) -> list[Block]:
    """How well each cheap score would have chosen, judged by the fine-tunes; a sentence where there are too few."""
    if not found.lines:
        return [Paragraph(f"No audit of the cheap scores: {found.reason}")] if found.reason else []
    numbers = max((line.choices for line in found.lines), key=len)
    columns = [Column("chosen by", is_name=True), Column("backbones", is_number=True), Column("weighted tau", is_number=True)]
    for choice in numbers:
        names = _choice_names(choice.num_taken)
        columns += [Column(name, is_number=True) for name in names]
    rows = [_audit_line(found, line, [choice.num_taken for choice in numbers]) for line in found.lines]
    return [
        Paragraph(audit_sentence(found)),
        Table("What cheap scores would have chosen, judged by the fine-tunes of this study", columns, rows),
        Paragraph(_how_audited(found)),
    ]


def audit_sentence(found: Audit) -> str:
    """What following the usual rules would have cost, in one sentence, and how far that carries."""
    lines = {line.name: line for line in found.lines}
    taken = max(choice.num_taken for line in found.lines for choice in line.choices)
    losses = [_loss(found, lines[name], choice) for name in _SENTENCE for choice in lines[name].choices if choice.num_taken == taken]
    first = "only the first backbone" if taken == 1 else f"only the first {_WORDS[taken]} backbones"
    caveat = (
        f" With {found.num_backbones} backbones these figures are hints: one more could turn them."
        if found.num_backbones < FEW_BACKBONES
        else ""
    )
    return f"Fine-tuning {first} would have lost, against the best: {', '.join(losses)}.{caveat}"


def _loss(found: Audit, line: Line, choice: Choice) -> str:
    among = "" if line.num_backbones == found.num_backbones else f" (among the {line.num_backbones} that have one)"
    return f"{_SENTENCE[line.name]} {formats.difference(found.metric, choice.regret)}{among}"


def _score_line(row: Row) -> list[Cell]:
    shares = [formats.percent(row.probe_accuracy), formats.nats(row.probe_log_loss), formats.percent(row.knn_accuracy)]
    others = [formats.decimals(value) for value in (row.logme, row.gbc, row.leep, row.h_score)]
    return [formats.plain(row.backbone), *shares, *others, formats.duration(row.transferability_s)]


def _choice_names(num_taken: int) -> tuple[str, str, str]:
    if num_taken == 1:
        return "first is the best", "lost by the first", "time for the first"
    number = _WORDS[num_taken]
    return f"of the best {number}", f"lost by the first {number}", f"time for the first {number}"


def _audit_line(found: Audit, line: Line, numbers: list[int]) -> list[Cell]:
    choices = {choice.num_taken: choice for choice in line.choices}
    cells = [cell for number in numbers for cell in _choice_cells(found, choices.get(number))]
    return [NAMES[line.name], formats.count(line.num_backbones), formats.correlation(line.tau), *cells]


def _choice_cells(found: Audit, choice: Choice | None) -> list[str]:
    if choice is None:
        return [formats.EMPTY] * 3
    share = "" if choice.cost_frac is None else f" ({formats.chance(choice.cost_frac)})"
    return [formats.chance(choice.recall), formats.difference(found.metric, choice.regret), f"{formats.duration(choice.cost_s)}{share}"]


def _how_audited(found: Audit) -> str:
    untuned = (
        f" Nothing is known of {found.num_untuned} more {'backbone' if found.num_untuned == 1 else 'backbones'} that had no fine-tune to the end."
        if found.num_untuned
        else ""
    )
    return (
        "The truth is the val score of each backbone's best fine-tuned candidate. Weighted tau is 1 for the same order and -1 for the "
        "opposite one, the best counting most; a random order has 0 on average, by symmetry. Times are those of the score for all backbones "
        "(features included, all scores of the features together) and of fine-tuning those chosen, in brackets as a share of the "
        f"{formats.duration(found.grid_s)} that all of it took. Equal scores count as the mean over all ways to break the tie.{untuned}"
    )
