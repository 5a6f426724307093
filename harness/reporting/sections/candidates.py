"""Step 3: what each candidate is, where its weights come from, and which ones the limits exclude."""

from harness.reporting import formats
from harness.reporting.document import Block, Column, Paragraph, Section, Table
from harness.reporting.sections.facts import MAX_LISTED, distinct
from harness.select.ranking import Ranking

TITLE = "Understand the candidates"


def build(ranking: Ranking) -> Section:
    """One line per backbone and weights, then the excluded."""
    if not ranking.entries:
        return Section("candidates", TITLE, [Paragraph("No candidate was measured.")])
    blocks: list[Block] = [_backbones(ranking), *_excluded(ranking)]
    if all(entry.candidate.row.licence is None for entry in ranking.entries):
        blocks.append(Paragraph("No source of weights states a licence; check it before the weights are used in a product."))
    return Section("candidates", TITLE, blocks)


def _backbones(ranking: Ranking) -> Table:
    columns = [
        *(Column(name) for name in ("backbone", "family")),
        *(Column(name, is_number=True) for name in ("parameters", "GMACs", "input (pixels)")),
        *(Column(name) for name in ("weights", "found in", "licence")),
        Column("published ImageNet top-1", is_number=True),
    ]
    rows = []
    for entry in sorted(ranking.entries, key=lambda entry: entry.candidate.row.backbone):
        row = entry.candidate.row
        name = formats.plain(row.backbone if row.model in (None, row.backbone) else f"{row.backbone} ({row.model})")
        size = [formats.millions(row.params_m), formats.gmacs(row.gmacs), formats.count(row.image_size)]
        origin = [formats.plain(row.weights), formats.plain(row.weights_source), formats.plain(row.licence)]
        rows.append([name, formats.plain(row.family), *size, *origin, formats.percent(row.imagenet_top1_frac)])
    return Table("Backbones and their weights", columns, distinct(rows)[:MAX_LISTED])


def _excluded(ranking: Ranking) -> list[Block]:
    missing = [entry for entry in ranking.entries if entry.breaches]
    if not missing:
        return []
    rows = [(entry.label, "; ".join(entry.excluded)) for entry in missing[:MAX_LISTED]]
    return [Table("Excluded by the limits", [Column("candidate"), Column("why")], rows)]
