"""The answer in words, with its uncertainty: what to use, why, how sure, and what the test images say. Shared by the page and the terminal.

Several candidates that cannot be excluded as best are no alarm: what choosing one of them may cost is what matters, and is said with it.
"""

from harness.reporting import formats
from harness.reporting.picks import MARGIN, at_stake, knows_test, margin, priced, surpassed
from harness.reporting.scope import measured
from harness.reporting.wording import depth, metric_meaning, metric_name
from harness.select.decision import MAX_PROB_BEHIND, Ground, Picks
from harness.select.finalists import Outcome
from harness.select.metric import is_higher_better
from harness.select.ranking import Decision, Entry, Ranking
from harness.select.sample_size import Separation
from harness.text.counts import counted

MAX_NAMED = 6
"""Candidates that a sentence names."""
_DOUBTFUL = 0.5
"""From this probability of being behind the best on, its test score included, a choice that stands is not called confirmed."""


def in_full(ranking: Ranking) -> str:
    """The recommendation in one sentence, what it may cost included."""
    decision = ranking.decision
    if not ranking.entries:
        return "No recommendation: no job has ended well."
    if decision is None:
        return f"No recommendation: none of {counted(len(ranking.entries), 'candidate')} meets the limits."
    chosen = decision.recommended
    row = chosen.candidate.row
    weights = "random weights" if row.weights == "random" else f"weights {formats.plain(row.weights)}"
    used = f"{formats.one_line(row.backbone)} ({weights}), {depth(chosen.candidate)}"
    return f"{_claim(ranking, decision, used)}{''.join(f'; {doubt}' for doubt in [*_unconfirmed(ranking), *_one_run(chosen)])}."


def verdict(ranking: Ranking) -> str:
    """How sure the answer is, in a few words."""
    decision = ranking.decision
    if decision is None:
        return "no answer"
    if len(ranking.eligible) == 1:
        return "not compared"
    if is_overturned(ranking):
        return "overturned on test"
    if is_doubted(ranking):
        return "doubted by test"
    if decision.picks.recommended.expected_loss > MARGIN:
        return f"may cost more than {margin(ranking.metric)}"
    words = "clearly the best" if len(ranking.tied) == 1 and decision.recommended.tied else "close to the best"
    return f"{words}, not confirmed on new images" if ranking.outcome is not Outcome.confirmed else words


def is_safe(ranking: Ranking) -> bool:
    """Whether little is at stake: compared, hardly behind the best whoever that is, not contradicted by test."""
    decision = ranking.decision
    is_compared = decision is not None and len(ranking.eligible) > 1 and ranking.outcome is Outcome.confirmed
    return is_compared and decision is not None and decision.picks.recommended.expected_loss <= MARGIN and not is_doubted(ranking)


def is_overturned(ranking: Ranking) -> bool:
    """Whether its test score took the recommendation from the candidate that train and val had chosen."""
    return ranking.outcome is Outcome.overturned


def why(ranking: Ranking) -> str:
    """Why this candidate."""
    decision = ranking.decision
    if decision is None:
        return _why_none(ranking)
    chosen = decision.recommended
    if len(ranking.eligible) == 1 and not is_overturned(ranking):
        return f"It is the only candidate {measured(ranking) if len(ranking.entries) == 1 else 'within the limits'}. {_scored(ranking, chosen)}"
    return f"{_ground(ranking, decision)}{_unknown_latencies(ranking, decision.picks)} {_scored(ranking, chosen)}"


def how_sure(ranking: Ranking) -> str:
    """How far the answer can be trusted, without statistics."""
    decision = ranking.decision
    if decision is None:
        return "There is nothing to be sure of yet."
    sentences = [_odds(ranking, decision), tied_set(ranking), separation(ranking), checked(ranking)]
    sentences += [_seeds(decision.recommended), _stopped(ranking)]
    return " ".join(sentence for sentence in sentences if sentence)


def tied_set(ranking: Ranking) -> str:
    """Who may be the best, as a statement with the confidence of the study."""
    if len(ranking.entries) == 1:
        return f"Nothing was compared: only one candidate was {measured(ranking)}."
    if len(ranking.eligible) == 1:
        return f"Nothing was compared: the limits leave one of {len(ranking.entries)} candidates."
    confidence, tied = formats.confidence(ranking.rank.confidence), ranking.tied
    if len(tied) == 1:
        others = "the other" if len(ranking.eligible) == 2 else f"all {len(ranking.eligible) - 1} others"
        return f"{tied[0].label} is ahead of {others} by more than chance explains ({confidence} confidence).{_not_among(ranking)}"
    named = ", ".join(entry.label for entry in tied[:MAX_NAMED])
    more = f" and {len(tied) - MAX_NAMED} more" if len(tied) > MAX_NAMED else ""
    return f"{len(tied)} candidates cannot be excluded as best ({confidence} confidence): {named}{more}.{_not_among(ranking)}"


def separation(ranking: Ranking) -> str:
    """What it would take to tell two candidates apart; empty where nobody else may be the best."""
    return " ".join(map(_separated, ranking.decision.separations)) if ranking.decision else ""


def _separated(found: Separation) -> str:
    if found.num_more is None:
        return f"{found.first} and {found.second}: {found.reason}"
    more = "About 1 more labelled image" if found.num_more == 1 else f"About {formats.about(found.num_more)} more labelled images"
    return f"{more} would separate {found.first} and {found.second}."


def checked(ranking: Ranking) -> str:
    """What the test images say about the choice."""
    if ranking.outcome is Outcome.no_test:
        return "No test images were there to check the choice on."
    if ranking.outcome is Outcome.sealed:
        return "Nothing has checked the choice on test: a what-if question leaves test predictions sealed."
    if ranking.outcome is Outcome.undefined:
        return f"The test images cannot check the choice, as {metric_name(ranking.metric)} has no value on them."
    if ranking.outcome is Outcome.overturned:
        return "The test images took the recommendation from another candidate; nothing has checked this one."
    fallen = _fallen(ranking)
    if is_doubted(ranking):
        how = f": {fallen}" if fallen else ""
        return f"The test images speak against the choice{how}, yet not surely enough to overturn it."
    return f"The test images do not contradict the choice{f', but {fallen}' if fallen else ''}."


def overturned(ranking: Ranking) -> str:
    """How the recommendation went over to another candidate."""
    first = ranking.finalists[0]
    return (
        f"Train and val recommend {first.label}. Together with its test score they are {formats.odds(first.prob_behind)} sure that "
        f"{surpassed(ranking)}, so the next by the same rule takes its place."
    )


def test_score(ranking: Ranking) -> str:
    """The sealed test score, or why there is none and what is expected instead."""
    test = ranking.test
    if test is None:
        reason = "There is no test split" if ranking.outcome is Outcome.no_test else "A what-if question leaves its test predictions sealed"
        return f"{reason}, so the score on new images is not known. {_expected(ranking)}"
    images = counted(test.num_images, "test image")
    if test.score is None or test.interval is None:
        return f"{formats.sentence(metric_name(ranking.metric))} has no value on the {images}: {test.undefined}."
    return (
        f"{formats.score(ranking.metric, test.score)} {metric_name(ranking.metric)} on {images}, sealed until it was recommended; likely from "
        f"{formats.score_range(ranking.metric, test.interval)} ({formats.confidence(ranking.rank.confidence)} interval)."
    )


def damage(ranking: Ranking) -> str:
    """What cannot be used of the study, in one sentence or two; empty where everything can."""
    if not ranking.pool.damaged:
        return ""
    number, first = len(ranking.pool.damaged), ranking.pool.damaged[0]
    files = (
        "1 file of this study cannot be used and is left out"
        if number == 1
        else f"{number} files of this study cannot be used and are left out"
    )
    more = "" if number == 1 else f" All {number} are listed in step 5."
    return formats.one_line(f"{files}: {first.name} {first.reason}; {first.remedy}.{more}")


def is_doubted(ranking: Ranking) -> bool:
    """Whether its test score speaks against a choice that stands."""
    return (_after_test(ranking) or 0.0) > _DOUBTFUL


def _why_none(ranking: Ranking) -> str:
    if not ranking.entries:
        if ranking.pool.damaged and not ranking.pool.failed:
            return "The predictions of the jobs that ended well cannot be used."
        return f"{len(ranking.pool.failed)} failed; their reasons are listed in step 5."
    missing = [f"{entry.label} misses {' and '.join(breach.miss for breach in entry.breaches)}" for entry in ranking.nearest]
    return f"Nearest: {'; '.join(missing)}."


def _claim(ranking: Ranking, decision: Decision, used: str) -> str:
    """What is recommended and what is at stake."""
    if is_overturned(ranking):
        used = f"The test images overturned the choice of train and val: use {used}, instead of {decision.val_choice.label}"
    else:
        used = f"Use {used}"
    if len(ranking.eligible) == 1:
        return f"{used}: nothing else was {measured(ranking) if len(ranking.entries) == 1 else 'within the limits'}"
    return f"{used}: {at_stake(ranking.metric, decision.picks.recommended, len(ranking.eligible))}"


def _ground(ranking: Ranking, decision: Decision) -> str:
    """The rule, and what it came to."""
    price, ground = priced(ranking.metric, decision.picks, ranking.rank), decision.picks.ground
    if ground is Ground.test:
        return f"{overturned(ranking)} Of the others it has {price}."
    if ground is Ground.guard:
        return (
            f"Another candidate has {price}, but with more than {formats.chance(MAX_PROB_BEHIND)} probability some other one is better than that by "
            f"more than {margin(ranking.metric)}, latency charged. Of those for which this is less likely, the recommended is first by the same rule."
        )
    return f"It has {price}."


def _unknown_latencies(ranking: Ranking, picks: Picks) -> str:
    """How candidates without a latency were charged."""
    if not picks.num_unknown or not picks.terms.points_per_doubling:
        return ""
    if picks.num_unknown == len(ranking.eligible):
        return " No latency is known, so none was charged."
    who = "1 candidate without a latency counts" if picks.num_unknown == 1 else f"{picks.num_unknown} candidates without a latency count"
    return f" {who} as twice as slow as the slowest."


def _scored(ranking: Ranking, chosen: Entry) -> str:
    metric = ranking.metric
    return (
        f"It scores {formats.score(metric, chosen.score)} {metric_name(metric)} ({metric_meaning(metric)}); {formats.score(metric, chosen.expected)} "
        "is expected by everything that was measured on train and val and known before."
    )


def _odds(ranking: Ranking, decision: Decision) -> str:
    """How probably the choice is a bad one."""
    if len(ranking.eligible) == 1:
        return ""
    seen = "train, val and the test score that overturned the first choice" if knows_test(ranking) else "train and val"
    text = f"By {seen}, it is more than {margin(ranking.metric)} behind the best with {formats.odds(decision.picks.recommended.prob_behind)} probability"
    after = _after_test(ranking)
    return (
        f"{text}."
        if after is None
        else f"{text}. With its own test score, {formats.odds(after)} is the probability that {surpassed(ranking)}."
    )


def _after_test(ranking: Ranking) -> float | None:
    """That another has a point more in utility, by the test score of a choice that stands too; None where none had a say."""
    return ranking.finalists[0].prob_behind if ranking.outcome is Outcome.confirmed else None


def _not_among(ranking: Ranking) -> str:
    chosen = ranking.recommended
    return "" if chosen is None or chosen.tied else f" {chosen.label}, which is recommended, is not among the best by score alone."


def _unconfirmed(ranking: Ranking) -> list[str]:
    doubts = {
        Outcome.no_test: "no test images confirm it",
        Outcome.undefined: "the test images cannot confirm it",
        Outcome.sealed: "its test predictions stay sealed",
    }
    return [doubts[ranking.outcome]] if ranking.outcome in doubts else []


def _one_run(chosen: Entry) -> list[str]:
    return ["conditional on this run (one seed)"] if len(chosen.candidate.rows) == 1 else []


def _fallen(ranking: Ranking) -> str:
    """A fall to test that the choice of images does not explain."""
    found = next((each.drop for each in ranking.finalists if ranking.recommended and each.label == ranking.recommended.label), None)
    if found is None or not found.is_beyond_chance:
        return ""
    return f"it scores {formats.difference(ranking.metric, found.value)} less on them than before, more than chance explains"


def _expected(ranking: Ranking) -> str:
    """What train and val promise, next to the measured score where that promises more."""
    chosen, metric = ranking.recommended, ranking.metric
    if chosen is None:
        return ""
    text = f"Train and val let one expect {formats.score(metric, chosen.expected)} {metric_name(metric)}"
    ahead = (chosen.score - chosen.expected) * (1 if is_higher_better(metric) else -1)
    if len(ranking.eligible) == 1 or ahead <= 0:
        return f"{text}."
    return f"{text}; the measured {formats.score(metric, chosen.score)} is optimistically biased, as the winner was picked by it."


def _stopped(ranking: Ranking) -> str:
    """Candidates that a staged search did not train to the end."""
    number = len(ranking.pool.pruned)
    if not number:
        return ""
    jobs = "job is not compared: the search did not train it" if number == 1 else "jobs are not compared: the search did not train them"
    return f"{formats.count(number)} {jobs} to the end, for lack of time or of promise (step 5 has the reasons)."


def _seeds(entry: Entry) -> str:
    num_seeds = len(entry.candidate.rows)
    if num_seeds == 1:
        return "This is conditional on this run (one seed): training again would move the scores somewhat."
    return f"Scores are means over {num_seeds} seeds."
