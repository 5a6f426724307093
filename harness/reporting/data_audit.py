"""What is wrong with single images: near copies, labels in doubt, images unlike the others; for step 1 of the report, and as a table to act on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.reporting import formats
from harness.reporting.document import Block, Column, Paragraph, Table, Tone
from harness.reporting.sections.facts import known_rows, split_name
from harness.select.ranking import Ranking
from harness.select.suspects import SUSPECT, suspect_labels
from harness.study.findings import NEAR_COPY, Finding, Findings
from harness.study.store import Study
from harness.text.counts import counted
from harness.text.language import noted, say, told
from harness.text.untrusted import encodable

COLUMNS = ("path", "split", "problem", "label", "suggested_label", "score", "other_path", "other_split")
"""Of `audit.csv`."""
FILE = "audit.csv"
_PROBLEMS = {
    NEAR_COPY: noted("near copy"),
    SUSPECT: noted("suspect label"),
    "dark": noted("dark"),
    "blank": noted("blank"),
    "blurred": noted("blurred"),
    "odd size": noted("odd size"),
}
"""As findings have it -> what a reader calls it."""
_SHOWN = 8
"""Lines of a table; the file has them all."""


@dataclass(frozen=True, slots=True)
class DataAudit:
    """Of the images that a ranking is about."""

    looked_at: Findings | None
    """What the sweep found; None: no job had features of all images, or an earlier version swept."""
    findings: Sequence[Finding]
    """Near copies, then labels, then the rest, the worst of each first."""


def audit_images(study: Study, ranking: Ranking) -> DataAudit:
    """Put together what the sweep found and what predictions say."""
    fingerprint = next((row.data_fingerprint for row in known_rows(ranking) if row.data_fingerprint), None)
    looked_at = None if fingerprint is None else study.findings(fingerprint)
    found = () if looked_at is None else looked_at.findings
    copies, others = ([each for each in found if (each.problem == NEAR_COPY) == wanted] for wanted in (True, False))
    return DataAudit(looked_at, [*copies, *suspect_labels(study, ranking), *others])


def audit_frame(found: DataAudit) -> pd.DataFrame:
    """The table of all findings; an image that has two problems is in it twice."""
    cells = {
        name: [encodable(value) if isinstance(value := getattr(each, name), str) else value for each in found.findings] for name in COLUMNS
    }
    return pd.DataFrame(cells, columns=list(COLUMNS)).round({"score": 4})


def leaks(found: DataAudit) -> str:
    """How many images of val and test have a near copy in what models were trained on or chosen by; empty where none has."""
    if found.looked_at is None:
        return ""
    said = [
        say(
            "{number} of {total} {split} images have a near copy in {other}",
            number=f"{count:,}",
            total=f"{found.looked_at.num_images[split]:,}",
            split=split_name(split),
            other=split_name(other),
        )
        for split, others in found.looked_at.copied.items()
        for other, count in others.items()
        if count
    ]
    return say("{copies}: scores on them may be optimistically biased.", copies=say("; ").join(said)) if said else ""


def problem_name(problem: str) -> str:
    """What a reader calls a problem."""
    return say(_PROBLEMS[problem]) if problem in _PROBLEMS else problem


def blocks(found: DataAudit) -> list[Block]:
    """Sentences and tables for step 1."""
    if not found.findings:
        return [Paragraph(say("Near copies, labels in doubt, images unlike the others: none found."))] if found.looked_at else []
    parts: list[Block] = []
    if text := leaks(found):
        parts.append(Paragraph(told(text, _remedy()), Tone.warning))
    if found.looked_at and not found.looked_at.is_complete:
        alike = say("So many images are alike that not all pairs of them were looked at: there are more near copies than these.")
        parts.append(Paragraph(alike))
    parts += _copies([each for each in found.findings if each.problem == NEAR_COPY])
    parts += _suspects([each for each in found.findings if each.problem == SUSPECT])
    parts += _odd([each for each in found.findings if each.problem not in (NEAR_COPY, SUSPECT)])
    counts = Counter(each.problem for each in found.findings)
    listing = say(
        "{file} beside this page lists all of them ({counts}); data.drop=THAT.csv leaves out the images that such a file names.",
        file=FILE,
        counts=say(", ").join(f"{problem_name(problem)} {count:,}" for problem, count in counts.items()),
    )
    return [*parts, Paragraph(listing)]


def _remedy() -> str:
    return say(
        "If such images belong together, as those of one patient or one part do, name what they belong to in a table and split by it: "
        "data.group=COLUMN. If they are copies, leave them out: look through {file}, keep the lines of what is to go in a file elsewhere, "
        "and sweep again with data.drop=THAT.csv.",
        file=FILE,
    )


def _copies(found: Sequence[Finding]) -> list[Block]:
    names = (say("image"), say("split"), say("is a near copy of"), say("in"))
    columns = [*map(Column, names), Column(say("cosine"), is_number=True)]
    rows = [
        [
            _name(each.path),
            split_name(each.split),
            _name(each.other_path or ""),
            split_name(each.other_split or ""),
            formats.decimals(each.score),
        ]
        for each in found
    ]
    return _table(say("Near copies: leaving out {images} leaves none", images=counted(len(found), "image")), columns, rows)


def _suspects(found: Sequence[Finding]) -> list[Block]:
    names = (say("image"), say("split"), say("label"), say("more probable"))
    columns = [*map(Column, names), Column(say("margin"), is_number=True)]
    rows = [
        [
            _name(each.path),
            split_name(each.split),
            formats.one_line(each.label),
            formats.one_line(each.suggested_label or ""),
            formats.decimals(each.score),
        ]
        for each in found
    ]
    table = _table(say("Labels in doubt: {images}, the most doubtful first", images=counted(len(found), "image")), columns, rows)
    warning = say(
        "Models that never saw these images say otherwise. Some are wrong labels, some are hard images: look at them. Leaving hard ones out makes "
        "every score optimistically biased."
    )
    return [*table, Paragraph(warning)] if table else []


def _odd(found: Sequence[Finding]) -> list[Block]:
    columns = [*map(Column, (say("image"), say("split"), say("problem"))), Column(say("measured"), is_number=True)]
    rows = [[_name(each.path), split_name(each.split), problem_name(each.problem), f"{each.score:g}"] for each in found]
    return _table(say("Images unlike the others"), columns, rows)


def _table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[Block]:
    hidden = len(rows) - _SHOWN
    more = [[say("{number} more", number=f"{hidden:,}"), *[""] * (len(columns) - 1)]] if hidden > 0 else []
    return [Table(title, columns, [*rows[:_SHOWN], *more])] if rows else []


def _name(path: str) -> str:
    return formats.one_line(path)
