"""Step 3: what each candidate is, where its weights come from, and which ones the limits exclude."""

from harness.reporting import formats
from harness.reporting.document import Block, Column, Paragraph, Section, Table
from harness.reporting.sections.facts import MAX_LISTED, distinct, ranked_rows
from harness.select.prior import OwnRanks, prior
from harness.select.ranking import Ranking
from harness.study.row import Row
from harness.text.language import say, told


def build(ranking: Ranking, own: OwnRanks) -> Section:
    """One line per backbone and weights with what is known of it beforehand, then the excluded."""
    title = say("Understand the candidates")
    if not ranking.entries:
        return Section("candidates", title, [Paragraph(say("No candidate was measured."))])
    blocks: list[Block] = [_backbones(ranking, own), Paragraph(_beforehand(own)), *_excluded(ranking)]
    if all(entry.candidate.row.licence is None for entry in ranking.entries):
        blocks.append(Paragraph(say("No source of weights states a licence; check it before the weights are used in a product.")))
    return Section("candidates", title, blocks)


def _backbones(ranking: Ranking, own: OwnRanks) -> Table:
    columns = [
        *(Column(name) for name in (say("backbone"), say("family"))),
        *(Column(name, is_number=True) for name in (say("parameters"), "GMACs", say("input (pixels)"))),
        *(Column(name) for name in (say("weights"), say("found in"), say("licence"))),
        *(Column(name, is_number=True) for name in (say("published ImageNet top-1"), say("rank on other data sets"))),
    ]
    known = sorted([*ranked_rows(ranking), *ranking.pool.pruned], key=lambda row: row.backbone)
    return Table(say("Backbones and their weights"), columns, distinct(_line(row, own) for row in known)[:MAX_LISTED])


def _line(row: Row, own: OwnRanks) -> list[str]:
    name = formats.plain(row.backbone if row.model in (None, row.backbone) else f"{row.backbone} ({row.model})")
    size = [formats.millions(row.params_m), formats.gmacs(row.gmacs), formats.count(row.image_size)]
    origin = [formats.plain(row.weights), formats.plain(row.weights_source), formats.plain(row.licence)]
    return [name, formats.plain(row.family), *size, *origin, _published(row), _own_rank(row, own)]


def _published(row: Row) -> str:
    found = prior(row)
    if found is None:
        return formats.EMPTY
    score = formats.percent(found)
    return score if row.imagenet_top1_frac is not None else say("{score} (architecture)", score=score)


def _own_rank(row: Row, own: OwnRanks) -> str:
    found = own.of(row)
    return formats.EMPTY if found is None else f"{found.mean:.2f} ({formats.count(found.num_datasets)})"


def _beforehand(own: OwnRanks) -> str:
    """Where the two columns of prior knowledge come from."""
    published = say(
        "Published accuracy is from the table that ships with the harness (timm's validation results) or from torchvision; where weights are "
        "not listed there by name, it is the median of their architecture. It knows nothing of your images. Expected scores start from it."
    )
    ranks = say(
        "Rank on other data sets is the mean over the other studies in this results folder, in brackets how many data sets: 0 was the "
        "best backbone each time, 1 the worst."
    )
    unread = say(", ").join(formats.one_line(name) for name in own.unread)
    lacking = say("Studies that cannot be read are left out of it: {names}.", names=unread)
    return told(published, ranks if own.by_model else "", lacking if unread else "")


def _excluded(ranking: Ranking) -> list[Block]:
    missing = [entry for entry in ranking.entries if entry.breaches]
    if not missing:
        return []
    rows = [(entry.label, say("; ").join(entry.excluded)) for entry in missing[:MAX_LISTED]]
    return [Table(say("Excluded by the limits"), [Column(say("candidate"), is_name=True), Column(say("why"))], rows)]
