"""Step 3: what each candidate is, where its weights come from, and which ones the limits exclude."""

from harness.reporting import formats
from harness.reporting.document import Block, Column, Paragraph, Section, Table
from harness.reporting.sections.facts import MAX_LISTED, distinct, ranked_rows
from harness.select.prior import OwnRanks, prior
from harness.select.ranking import Ranking
from harness.study.row import Row

TITLE = "Understand the candidates"


def build(ranking: Ranking, own: OwnRanks) -> Section:
    """One line per backbone and weights with what is known of it beforehand, then the excluded."""
    if not ranking.entries:
        return Section("candidates", TITLE, [Paragraph("No candidate was measured.")])
    blocks: list[Block] = [_backbones(ranking, own), Paragraph(_beforehand(own)), *_excluded(ranking)]
    if all(entry.candidate.row.licence is None for entry in ranking.entries):
        blocks.append(Paragraph("No source of weights states a licence; check it before the weights are used in a product."))
    return Section("candidates", TITLE, blocks)


def _backbones(ranking: Ranking, own: OwnRanks) -> Table:
    columns = [
        *(Column(name) for name in ("backbone", "family")),
        *(Column(name, is_number=True) for name in ("parameters", "GMACs", "input (pixels)")),
        *(Column(name) for name in ("weights", "found in", "licence")),
        *(Column(name, is_number=True) for name in ("published ImageNet top-1", "rank on other data sets")),
    ]
    known = sorted([*ranked_rows(ranking), *ranking.pool.pruned], key=lambda row: row.backbone)
    return Table("Backbones and their weights", columns, distinct(_line(row, own) for row in known)[:MAX_LISTED])


def _line(row: Row, own: OwnRanks) -> list[str]:
    name = formats.plain(row.backbone if row.model in (None, row.backbone) else f"{row.backbone} ({row.model})")
    size = [formats.millions(row.params_m), formats.gmacs(row.gmacs), formats.count(row.image_size)]
    origin = [formats.plain(row.weights), formats.plain(row.weights_source), formats.plain(row.licence)]
    return [name, formats.plain(row.family), *size, *origin, _published(row), _own_rank(row, own)]


def _published(row: Row) -> str:
    found = prior(row)
    if found is None:
        return formats.EMPTY
    return f"{formats.percent(found)}{'' if row.imagenet_top1_frac is not None else ' (architecture)'}"


def _own_rank(row: Row, own: OwnRanks) -> str:
    found = own.of(row)
    return formats.EMPTY if found is None else f"{found.mean:.2f} ({formats.count(found.num_datasets)})"


def _beforehand(own: OwnRanks) -> str:
    """Where the two columns of prior knowledge come from."""
    text = (
        "Published accuracy is from the table that ships with the harness (timm's validation results) or from torchvision; where weights are "
        "not listed there by name, it is the median of their architecture. It knows nothing of your images. Expected scores start from it."
    )
    if own.by_model:
        text += (
            " Rank on other data sets is the mean over the other studies in this results folder, in brackets how many data sets: 0 was the "
            "best backbone each time, 1 the worst."
        )
    if own.unread:
        text += f" Studies that cannot be read are left out of it: {', '.join(formats.one_line(name) for name in own.unread)}."
    return text


def _excluded(ranking: Ranking) -> list[Block]:
    missing = [entry for entry in ranking.entries if entry.breaches]
    if not missing:
        return []
    rows = [(entry.label, "; ".join(entry.excluded)) for entry in missing[:MAX_LISTED]]
    return [Table("Excluded by the limits", [Column("candidate", is_name=True), Column("why")], rows)]
