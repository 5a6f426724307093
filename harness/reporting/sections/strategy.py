"""Step 4: how the models were adapted: splits, preprocessing, recipe, and what each freeze depth leaves trainable."""

from harness.reporting import formats
from harness.reporting.document import Block, Column, Paragraph, Section, Table, Tone
from harness.reporting.sections.facts import MAX_LISTED, distinct, pairs, profile, ranked_rows
from harness.select.ranking import Entry, Ranking

TITLE = "Choose the transfer strategy"


def build(ranking: Ranking) -> Section:
    """Splits, preprocessing, recipe, freeze depths."""
    blocks: list[Block] = []
    origin = profile(ranking).get("split_origin")
    if origin:
        blocks.append(pairs("Splits", ("split", "where it comes from"), origin.items()))
    blocks.append(
        Paragraph(
            "Epochs, rates and the recommendation are chosen on train and val. Test predictions stay sealed for all but the recommended.",
            Tone.note,
        )
    )
    if any(row.details.protocol.get("image_weights") for row in ranked_rows(ranking)):
        blocks.append(
            Paragraph(
                "Images count in training by their weights, which multiply the loss of each, of closed-form heads too. Scores, intervals and the "
                "ranking count each image once.",
                Tone.note,
            )
        )
    if ranking.entries:
        blocks += [_transforms(ranking), *_recipes(ranking), _depths(ranking), *_frozen_doubt(ranking)]
    return Section("strategy", TITLE, blocks)


def _transforms(ranking: Ranking) -> Table:
    rows = []
    for entry in sorted(ranking.entries, key=lambda entry: entry.candidate.row.backbone):
        row = entry.candidate.row
        used = row.details.transforms
        rows.append([formats.plain(row.backbone), formats.plain(used.get("train")), formats.plain(used.get("eval"))])
    columns = [Column("backbone", is_name=True), Column("training images"), Column("val and test images")]
    return Table("Preprocessing, as each model's weights expect it", columns, distinct(rows)[:MAX_LISTED])


def _recipes(ranking: Ranking) -> list[Table]:
    """One column per recipe, one line per setting."""
    recipes = {row.recipe_hash: row.details.recipe for row in ranked_rows(ranking) if row.details.recipe}
    settings = list(dict.fromkeys(name for recipe in recipes.values() for name in recipe))
    shown = list(recipes.values())[:6]
    if not shown:
        return []
    columns = [Column("setting"), *(Column(f"recipe {formats.plain(recipe.get('name'))}") for recipe in shown)]
    rows = [[name, *(formats.plain(recipe.get(name)) for recipe in shown)] for name in settings if name != "name"]
    return [Table("Training recipe", columns, rows)]


def _depths(ranking: Ranking) -> Table:
    columns = [
        Column("candidate", is_name=True),
        Column("last frozen block"),
        *(Column(name, is_number=True) for name in ("blocks frozen", "trainable parameters", "frozen share of multiply-adds")),
        Column("frozen part unchanged"),
        Column("backbone in the end"),
    ]
    ordered = sorted(ranking.entries, key=lambda entry: (entry.candidate.line, entry.candidate.row.num_frozen_blocks or 0))
    rows = []
    for entry in ordered[:MAX_LISTED]:
        row = entry.candidate.row
        blocks = formats.EMPTY if row.num_blocks is None else f"{formats.count(row.num_frozen_blocks)} of {formats.count(row.num_blocks)}"
        boundary = formats.plain(row.boundary) if row.boundary else "none"
        sizes = [formats.millions(row.trainable_params_m), formats.percent(row.frozen_macs_frac)]
        rows.append([entry.label, boundary, blocks, *sizes, _frozen(entry), _outcome(entry)])
    return Table("Freeze depths", columns, rows)


def _frozen(entry: Entry) -> str:
    checks = {row.frozen_ok for row in entry.candidate.rows}
    return "NO" if False in checks else "unknown" if None in checks else "yes, bit for bit"


def _outcome(entry: Entry) -> str:
    """Whether training changed the backbone."""
    trained = [row.is_trained for row in entry.candidate.rows]
    if None in trained:
        return "unknown"
    if all(trained):
        return "trained"
    return f"trained in {sum(map(bool, trained))} of {len(trained)} runs" if any(trained) else "as loaded"


def _frozen_doubt(ranking: Ranking) -> list[Block]:
    changed = [entry.label for entry in ranking.entries if _frozen(entry) == "NO"]
    if not changed:
        return []
    return [Paragraph(f"The frozen part changed in training: {', '.join(changed)}. Do not trust these results.", Tone.warning)]
