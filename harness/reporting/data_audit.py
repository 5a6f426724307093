"""What is wrong with single images: near copies, labels in doubt, images unlike the others; for step 1 of the report, and as a table to act on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.reporting import formats
from harness.reporting.document import Block, Column, Paragraph, Table, Tone
from harness.reporting.sections.facts import known_rows
from harness.select.ranking import Ranking
from harness.select.suspects import SUSPECT, suspect_labels
from harness.study.findings import NEAR_COPY, Finding, Findings
from harness.study.store import Study
from harness.text.counts import counted
from harness.text.untrusted import encodable

COLUMNS = ("path", "split", "problem", "label", "suggested_label", "score", "other_path", "other_split")
"""Of `audit.csv`."""
FILE = "audit.csv"
_REMEDY = (
    "If such images belong together, as those of one patient or one part do, name what they belong to in a table and split by it: data.group=COLUMN. "
    f"If they are copies, leave them out: look through {FILE}, keep the lines of what is to go in a file elsewhere, and sweep again with data.drop=THAT.csv."
)
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
        f"{count:,} of {found.looked_at.num_images[split]:,} {split} images have a near copy in {other}"
        for split, others in found.looked_at.copied.items()
        for other, count in others.items()
        if count
    ]
    return f"{'; '.join(said)}: scores on them may be optimistically biased." if said else ""


def blocks(found: DataAudit) -> list[Block]:
    """Sentences and tables for step 1."""
    if not found.findings:
        return [Paragraph("Near copies, labels in doubt, images unlike the others: none found.")] if found.looked_at else []
    parts: list[Block] = []
    if text := leaks(found):
        parts.append(Paragraph(f"{text} {_REMEDY}", Tone.warning))
    if found.looked_at and not found.looked_at.is_complete:
        parts.append(
            Paragraph("So many images are alike that not all pairs of them were looked at: there are more near copies than these.")
        )
    parts += _copies([each for each in found.findings if each.problem == NEAR_COPY])
    parts += _suspects([each for each in found.findings if each.problem == SUSPECT])
    parts += _odd([each for each in found.findings if each.problem not in (NEAR_COPY, SUSPECT)])
    counts = ", ".join(f"{name} {count:,}" for name, count in Counter(each.problem for each in found.findings).items())
    return [
        *parts,
        Paragraph(
            f"{FILE} beside this page lists all of them ({counts}); data.drop=THAT.csv leaves out the images that such a file names."
        ),
    ]


def _copies(found: Sequence[Finding]) -> list[Block]:
    columns = [Column("image"), Column("split"), Column("is a near copy of"), Column("in"), Column("cosine", is_number=True)]
    rows = [
        [_name(each.path), each.split, _name(each.other_path or ""), each.other_split or "", formats.decimals(each.score)] for each in found
    ]
    return _table(f"Near copies: leaving out {counted(len(found), 'image')} leaves none", columns, rows)


def _suspects(found: Sequence[Finding]) -> list[Block]:
    columns = [Column("image"), Column("split"), Column("label"), Column("more probable"), Column("margin", is_number=True)]
    rows = [
        [
            _name(each.path),
            each.split,
            formats.one_line(each.label),
            formats.one_line(each.suggested_label or ""),
            formats.decimals(each.score),
        ]
        for each in found
    ]
    table = _table(f"Labels in doubt: {counted(len(found), 'image')}, the most doubtful first", columns, rows)
    warning = (
        "Models that never saw these images say otherwise. Some are wrong labels, some are hard images: look at them. Leaving hard ones out makes "
        "every score optimistically biased."
    )
    return [*table, Paragraph(warning)] if table else []


def _odd(found: Sequence[Finding]) -> list[Block]:
    columns = [Column("image"), Column("split"), Column("problem"), Column("measured", is_number=True)]
    return _table("Images unlike the others", columns, [[_name(each.path), each.split, each.problem, f"{each.score:g}"] for each in found])


def _table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[Block]:
    hidden = len(rows) - _SHOWN
    more = [[f"{hidden:,} more", *[""] * (len(columns) - 1)]] if hidden > 0 else []
    return [Table(title, columns, [*rows[:_SHOWN], *more])] if rows else []


def _name(path: str) -> str:
    return formats.one_line(path)
