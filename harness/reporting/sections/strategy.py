"""Step 4: how the models were adapted: splits, preprocessing, recipe, and what each freeze depth leaves trainable."""

from harness.reporting import formats
from harness.reporting.document import Block, Column, Paragraph, Section, Table, Tone
from harness.reporting.sections.facts import MAX_LISTED, distinct, pairs, profile, ranked_rows, split_name
from harness.select.ranking import Entry, Ranking
from harness.study.row import Row
from harness.text.language import say


def build(ranking: Ranking) -> Section:
    """Splits, preprocessing, recipe, freeze depths."""
    blocks: list[Block] = []
    origin = profile(ranking).get("split_origin")
    if origin:
        origins = [(split_name(split), where) for split, where in origin.items()]
        blocks.append(pairs(say("Splits"), (say("split"), say("where it comes from")), origins))
    sealed = say(
        "Epochs, rates and the recommendation are chosen on train and val. Test predictions stay sealed for all but the recommended."
    )
    blocks.append(Paragraph(sealed, Tone.note))
    if any(row.details.protocol.get("image_weights") for row in ranked_rows(ranking)):
        weighted = say(
            "Images count in training by their weights, which multiply the loss of each, of closed-form heads too. Scores, intervals and the "
            "ranking count each image once."
        )
        blocks.append(Paragraph(weighted, Tone.note))
    if ranking.entries:
        blocks += [_transforms(ranking), *_recipes(ranking), _depths(ranking), *_frozen_doubt(ranking)]
    return Section("strategy", say("Choose the transfer strategy"), blocks)


def _transforms(ranking: Ranking) -> Table:
    rows = []
    for entry in sorted(ranking.entries, key=lambda entry: entry.candidate.row.backbone):
        row = entry.candidate.row
        used = row.details.transforms
        rows.append([formats.plain(row.backbone), formats.plain(used.get("train")), formats.plain(used.get("eval"))])
    columns = [Column(say("backbone"), is_name=True), Column(say("training images")), Column(say("val and test images"))]
    return Table(say("Preprocessing, as each model's weights expect it"), columns, distinct(rows)[:MAX_LISTED])


def _recipes(ranking: Ranking) -> list[Table]:
    """One column per recipe, one line per setting."""
    recipes = {row.recipe_hash: row.details.recipe for row in ranked_rows(ranking) if row.details.recipe}
    settings = list(dict.fromkeys(name for recipe in recipes.values() for name in recipe))
    shown = list(recipes.values())[:6]
    if not shown:
        return []
    columns = [Column(say("setting")), *(Column(say("recipe {name}", name=formats.plain(recipe.get("name")))) for recipe in shown)]
    rows = [[name, *(formats.plain(recipe.get(name)) for recipe in shown)] for name in settings if name != "name"]
    return [Table(say("Training recipe"), columns, rows)]


def _depths(ranking: Ranking) -> Table:
    numbers = (say("blocks frozen"), say("trainable parameters"), say("frozen share of multiply-adds"))
    columns = [
        Column(say("candidate"), is_name=True),
        Column(say("last frozen block")),
        *(Column(name, is_number=True) for name in numbers),
        Column(say("frozen part unchanged")),
        Column(say("backbone in the end")),
    ]
    ordered = sorted(ranking.entries, key=lambda entry: (entry.candidate.line, entry.candidate.row.num_frozen_blocks or 0))
    rows = []
    for entry in ordered[:MAX_LISTED]:
        row = entry.candidate.row
        boundary = formats.plain(row.boundary) if row.boundary else say("none")
        sizes = [formats.millions(row.trainable_params_m), formats.percent(row.frozen_macs_frac)]
        rows.append([entry.label, boundary, _blocks(row), *sizes, _frozen(entry), _outcome(entry)])
    return Table(say("Freeze depths"), columns, rows)


def _blocks(row: Row) -> str:
    if row.num_blocks is None:
        return formats.EMPTY
    return say("{part} of {whole}", part=formats.count(row.num_frozen_blocks), whole=formats.count(row.num_blocks))


def _frozen(entry: Entry) -> str:
    if _has_changed(entry):
        return say("NO")
    return say("unknown" if None in {row.frozen_ok for row in entry.candidate.rows} else "yes, bit for bit")


def _has_changed(entry: Entry) -> bool:
    """Whether training changed what was frozen, in any seed."""
    return False in {row.frozen_ok for row in entry.candidate.rows}


def _outcome(entry: Entry) -> str:
    """Whether training changed the backbone."""
    trained = [row.is_trained for row in entry.candidate.rows]
    if None in trained:
        return say("unknown")
    if all(trained):
        return say("trained")
    if any(trained):
        return say("trained in {number} of {total} runs", number=sum(map(bool, trained)), total=len(trained))
    return say("as loaded")


def _frozen_doubt(ranking: Ranking) -> list[Block]:
    changed = [entry.label for entry in ranking.entries if _has_changed(entry)]
    if not changed:
        return []
    text = say("The frozen part changed in training: {labels}. Do not trust these results.", labels=say(", ").join(changed))
    return [Paragraph(text, Tone.warning)]
