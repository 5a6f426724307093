"""Step 6: what would change the answer: other limits, other metrics, fewer images."""

import math

from harness.reporting import formats
from harness.reporting.answer import is_overturned
from harness.reporting.document import Block, Bullets, Paragraph
from harness.reporting.scope import measured
from harness.reporting.wording import metric_name
from harness.select.limits import number
from harness.select.ranking import Ranking
from harness.select.sensitivity import FewerImages, OtherLimit, OtherMetric


def changes(ranking: Ranking) -> list[Block]:
    """Everything that flips the recommendation, and how firmly it stands otherwise."""
    decision = ranking.decision
    if len(ranking.entries) == 1 or decision is None:
        return [Paragraph(f"Nothing else was {measured(ranking)}, so nothing is known about what would change the answer.")]
    found, choice = decision.sensitivity, decision.val_choice.label
    whose = f"the choice of train and val ({choice})" if is_overturned(ranking) else "the answer"
    flips = [*(limit_sentence(limit) for limit in found.limits), *_metrics(choice, found.metrics), _half(found.half)]
    return [Paragraph(f"What would change {whose}:"), Bullets(flips)]


def limit_sentence(found: OtherLimit) -> str:
    """The nearest limit that flips the choice, and to whom."""
    limit = found.limit if found.is_tighter else math.ceil(100 * found.limit) / 100  # rounded down, it would not reach
    asked = f"rank.{found.key}={number(limit)}"
    if found.recommended is None:
        return f"A limit just below {asked} leaves nobody."
    return f"A limit {'just below' if found.is_tighter else 'of at least'} {asked} leads to {found.recommended}."


def _metrics(choice: str, found: tuple[OtherMetric, ...]) -> list[str]:
    """Metrics that lead elsewhere, one sentence each; those that do not, and those that have no value, in one."""
    other = [f"Ranked by {metric_name(each.metric)}: {each.recommended}." for each in found if each.recommended not in (None, choice)]
    same = [metric_name(each.metric) for each in found if each.recommended == choice]
    undefined = [f"{formats.sentence(metric_name(each.metric))} says nothing: {each.undefined}." for each in found if each.undefined]
    return [*other, *([f"It stays the same ranked by {_listed(same)}."] if same else []), *undefined]


def _half(found: FewerImages) -> str:
    """How often half the images would have said the same."""
    others = ", ".join(f"{label} in {formats.chance(share)}" for label, share in found.others)
    rest = f"; else {others}" if others else ""
    return (
        f"With half the images ({formats.count(found.num_images)}), drawn {formats.count(found.num_draws)} times, it stays the same in "
        f"{formats.chance(found.same_frac)} of the draws{rest}."
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
