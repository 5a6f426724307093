"""The three picks in words: what each may cost, what a faster one saves, and the price of latency at which it would win.

Probabilities and losses are those of the decision: of train and val, and after an overturn of the test score that led to it.
"""

from harness.config import RankConfig, RankMetric
from harness.reporting import formats
from harness.reporting.document import Block, Column, Paragraph, Table
from harness.reporting.wording import latency, metric_name
from harness.select.decision import MARGIN_POINTS, Pick, Picks
from harness.select.finalists import Outcome
from harness.select.limits import number
from harness.select.posterior import POINT
from harness.select.ranking import Decision, Entry, Ranking
from harness.text.language import say, told

MARGIN = MARGIN_POINTS * POINT
"""What is too much to be behind the best, in the metric's unit."""
_SMALL_PROB = 0.1
"""Below this probability of being best, the expected loss is a distance rather than a bound."""


def at_stake(metric: RankMetric, pick: Pick, num_candidates: int) -> str:
    """How probably it is the best, and what choosing it may cost: `with 41 % probability the best of 9, likely within 0.4 points of the best`."""
    best = say("with {odds} probability the best of {number}", odds=formats.odds(pick.prob_best), number=num_candidates)
    loss = formats.difference(metric, pick.expected_loss)
    if loss == formats.difference(metric, 0.0):
        return best
    if pick.prob_best < _SMALL_PROB:
        return say("{best}, expected to be {loss} behind the best", best=best, loss=loss)
    return say("{best}, likely within {loss} of the best", best=best, loss=loss)


def margin(metric: RankMetric) -> str:
    """What is too much to be behind the best."""
    return say("a point") if formats.is_fraction(metric) else formats.difference(metric, MARGIN)


def priced(metric: RankMetric, picks: Picks, cfg: RankConfig) -> str:
    """What is highest in the recommended, with the price of latency that was used."""
    price = picks.terms.points_per_doubling
    if price:
        return say(
            "the highest expected score less the price of latency, {price} for every doubling (rank.points_per_doubling)",
            price=points(metric, price),
        )
    if cfg.points_per_doubling is None and cfg.max_latency_ms is not None:
        return say(
            "the highest expected score; within rank.max_latency_ms={limit} latency is free",
            limit=number(cfg.max_latency_ms),
        )
    return say("the highest expected score; latency has no price (rank.points_per_doubling=0)")


def surpassed(ranking: Ranking) -> str:
    """What test must make nearly sure of for a choice to fall: points given up knowingly for latency are no reason."""
    is_charged = ranking.decision is not None and ranking.decision.picks.terms.points_per_doubling > 0
    return say(
        "another is better by more than {margin} after the price of latency" if is_charged else "another is better by more than {margin}",
        margin=margin(ranking.metric),
    )


def knows_test(ranking: Ranking) -> bool:
    """Whether the figures of the decision know a test score, which those of the ranking do not: one that overturned another choice."""
    return ranking.outcome is Outcome.overturned


def seen(ranking: Ranking) -> str:
    """What the figures of the decision know."""
    return say("train, val and the test score that overturned the first choice" if knows_test(ranking) else "train and val")


def picks(ranking: Ranking) -> str:
    """The budget pick and the fastest pick, what they lose and what they save."""
    decision = ranking.decision
    if decision is None:
        return say("There is nothing to pick from.")
    chosen, budget, fastest = decision.recommended, decision.budget, decision.fastest
    if len(ranking.eligible) == 1:
        return say("There is no other candidate to pick.")
    if decision.picks.num_unknown == len(ranking.eligible):
        return say("No latency is known, so there is no budget pick and no fastest pick.")
    if budget is chosen and fastest is chosen:
        return say("The recommended is the budget pick and the fastest pick as well: no candidate is faster.")
    sentences = []
    if budget is not chosen:
        sentences.append(
            say(
                "Budget and fastest pick: {trade}; {price}." if fastest is budget else "Budget pick: {trade}; {price}.",
                trade=_traded(ranking.metric, decision, budget, decision.picks.budget),
                price=_break_even(ranking.metric, decision.picks),
            )
        )
    if fastest is not budget and fastest is not chosen:
        sentences.append(say("Fastest pick: {trade}.", trade=_traded(ranking.metric, decision, fastest, decision.picks.fastest)))
    if fastest is chosen:
        sentences.append(say("The recommended is the fastest pick as well."))
    return told(*sentences)


def table(ranking: Ranking) -> list[Block]:
    """The picks side by side; nothing where there is nothing to pick from."""
    decision = ranking.decision
    if decision is None or len(ranking.eligible) == 1:
        return []
    names = (
        say("latency"),
        say("probability of being best"),
        say("expected loss ({unit})", unit=unit(ranking.metric)),
        say("more than {margin} behind", margin=margin(ranking.metric)),
    )
    columns = [Column(say("pick")), Column(say("candidate"), is_name=True), *(Column(name, is_number=True) for name in names)]
    made = decision.picks
    rows = [
        [say("recommended"), *_line(ranking, decision.recommended, made.recommended)],
        [say("budget"), *_line(ranking, decision.budget, made.budget)],
        [say("fastest"), *_line(ranking, decision.fastest, made.fastest)],
    ]
    return [Table(say("Picks"), columns, rows, frozenset({0})), Paragraph(picks(ranking))]


def against(ranking: Ranking) -> str:
    """What the probabilities and losses of picks rest on, and what they compare with."""
    return say(
        "Probabilities and losses are those of {seen}, against the best of all candidates within the limits, whoever that is.",
        seen=seen(ranking),
    )


def unit(metric: RankMetric) -> str:
    """What differences of scores are in."""
    return formats.unit_name(metric) or metric_name(metric)


def _line(ranking: Ranking, entry: Entry, pick: Pick) -> list[str]:
    loss = formats.loss(ranking.metric, pick.expected_loss)
    return [entry.label, latency(entry.cost), formats.odds(pick.prob_best), loss, formats.odds(pick.prob_behind)]


def _traded(metric: RankMetric, decision: Decision, entry: Entry, pick: Pick) -> str:
    """What is gained and lost against the recommended."""
    lost = pick.expected_loss - decision.picks.recommended.expected_loss
    size, latencies = formats.difference(metric, lost), (latency(entry.cost), latency(decision.recommended.cost))
    if size == formats.difference(metric, 0.0):
        worse = say("expected to score the same")
    else:
        worse = say("expected to score {size} worse" if lost > 0 else "expected to score {size} better", size=size)
    return say(
        "{label} takes {latency} instead of {other} and is {worse}",
        label=entry.label,
        latency=latencies[0],
        other=latencies[1],
        worse=worse,
    )


def _break_even(metric: RankMetric, picks: Picks) -> str:
    """From which price on the budget pick has the higher utility."""
    found, now = picks.break_even_points, picks.terms.points_per_doubling
    if found <= now:
        return say("by the price of latency alone it would be taken already")
    return say(
        "from {price} for every doubling of latency on it would win (now {now})", price=points(metric, found), now=points(metric, now)
    )


def points(metric: RankMetric, price: float) -> str:
    """A price, given in points, in the metric's unit."""
    if not formats.is_fraction(metric):
        return formats.price(metric, price * POINT)
    return say("{number}\N{NO-BREAK SPACE}points", number=f"{price:.2g}")
