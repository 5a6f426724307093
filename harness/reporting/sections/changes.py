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
from harness.text.language import listed, say


def changes(ranking: Ranking) -> list[Block]:
    """Everything that flips the recommendation, and how firmly it stands otherwise."""
    decision = ranking.decision
    if len(ranking.entries) == 1 or decision is None:
        return [
            Paragraph(
                say(
                    "Nothing else was {measured}, so nothing is known about what would change the answer.",
                    measured=measured(ranking),
                )
            )
        ]
    found, choice = decision.sensitivity, decision.val_choice.label
    title = say(
        "What would change the choice of train and val ({label}):" if is_overturned(ranking) else "What would change the answer:",
        label=choice,
    )
    flips = [*(limit_sentence(limit) for limit in found.limits), *_metrics(choice, found.metrics), _half(found.half)]
    return [Paragraph(title), Bullets(flips)]


def limit_sentence(found: OtherLimit) -> str:
    """The nearest limit that flips the choice, and to whom."""
    limit = found.limit if found.is_tighter else math.ceil(100 * found.limit) / 100  # rounded down, it would not reach
    asked = f"rank.{found.key}={number(limit)}"
    if found.recommended is None:
        return say("A limit just below {limit} leaves nobody.", limit=asked)
    return say(
        "A limit just below {limit} leads to {label}." if found.is_tighter else "A limit of at least {limit} leads to {label}.",
        limit=asked,
        label=found.recommended,
    )


def _metrics(choice: str, found: tuple[OtherMetric, ...]) -> list[str]:
    """Metrics that lead elsewhere, one sentence each; those that do not, and those that have no value, in one."""
    other = [
        say("Ranked by {metric}: {label}.", metric=metric_name(each.metric), label=each.recommended)
        for each in found
        if each.recommended not in (None, choice)
    ]
    same = [metric_name(each.metric) for each in found if each.recommended == choice]
    undefined = [
        say("{metric} says nothing: {reason}.", metric=formats.sentence(metric_name(each.metric)), reason=each.undefined)
        for each in found
        if each.undefined
    ]
    return [*other, *([say("It stays the same ranked by {metrics}.", metrics=listed(same))] if same else []), *undefined]


def _half(found: FewerImages) -> str:
    """How often half the images would have said the same."""
    others = [say("{label} in {share}", label=label, share=formats.chance(share)) for label, share in found.others]
    return say(
        "With half the images ({images}), drawn {number} times, it stays the same in {share} of the draws; else {others}."
        if others
        else "With half the images ({images}), drawn {number} times, it stays the same in {share} of the draws.",
        images=formats.count(found.num_images),
        number=formats.count(found.num_draws),
        share=formats.chance(found.same_frac),
        others=say(", ").join(others),
    )
