"""The answer in words, with its uncertainty: what to use, why, how sure, and what the test images say. Shared by the page and the terminal.

Several candidates that cannot be excluded as best are no alarm: what choosing one of them may cost is what matters, and is said with it.
"""

from harness.reporting import formats
from harness.reporting.picks import MARGIN, at_stake, margin, priced, seen, surpassed
from harness.reporting.scope import measured
from harness.reporting.wording import depth, metric_meaning, metric_name
from harness.select.decision import MAX_PROB_BEHIND, Ground, Picks
from harness.select.finalists import Outcome
from harness.select.metric import is_higher_better
from harness.select.ranking import Decision, Entry, Ranking
from harness.select.sample_size import Separation
from harness.text.counts import counted
from harness.text.language import noted, say, told

MAX_NAMED = 6
"""Candidates that a sentence names."""
_DOUBTFUL = 0.5
"""From this probability of being behind the best on, its test score included, a choice that stands is not called confirmed."""


def in_full(ranking: Ranking) -> str:
    """The recommendation in one sentence, what it may cost included."""
    decision = ranking.decision
    if not ranking.entries:
        return say("No recommendation: no job has ended well.")
    if decision is None:
        return say("No recommendation: none of {candidates} meets the limits.", candidates=counted(len(ranking.entries), "candidate"))
    chosen = decision.recommended
    row = chosen.candidate.row
    weights = say("random weights") if row.weights == "random" else say("weights {name}", name=formats.plain(row.weights))
    used = say("{backbone} ({weights}), {depth}", backbone=formats.one_line(row.backbone), weights=weights, depth=depth(chosen.candidate))
    return say("{clauses}.", clauses=say("; ").join([_claim(ranking, decision, used), *_unconfirmed(ranking), *_one_run(chosen)]))


def verdict(ranking: Ranking) -> str:
    """How sure the answer is, in a few words."""
    decision = ranking.decision
    if decision is None:
        return say("no answer")
    if len(ranking.eligible) == 1:
        return say("not compared")
    if is_overturned(ranking):
        return say("overturned on test")
    if is_doubted(ranking):
        return say("doubted by test")
    if decision.picks.recommended.expected_loss > MARGIN:
        return say("may cost more than {margin}", margin=margin(ranking.metric))
    words = say("clearly the best" if len(ranking.tied) == 1 and decision.recommended.tied else "close to the best")
    return say("{words}, not confirmed on new images", words=words) if ranking.outcome is not Outcome.confirmed else words


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
        only = say("It is the only candidate {which}.", which=_among(ranking))
        return told(only, _scored(ranking, chosen))
    return told(_ground(ranking, decision), _unknown_latencies(ranking, decision.picks), _scored(ranking, chosen))


def how_sure(ranking: Ranking) -> str:
    """How far the answer can be trusted, without statistics."""
    decision = ranking.decision
    if decision is None:
        return say("There is nothing to be sure of yet.")
    sentences = [_odds(ranking, decision), tied_set(ranking), separation(ranking), checked(ranking)]
    return told(*sentences, _seeds(decision.recommended), _stopped(ranking))


def tied_set(ranking: Ranking) -> str:
    """Who may be the best, as a statement with the confidence of the study."""
    if len(ranking.entries) == 1:
        return say("Nothing was compared: only one candidate was {measured}.", measured=measured(ranking))
    if len(ranking.eligible) == 1:
        return say("Nothing was compared: the limits leave one of {number} candidates.", number=len(ranking.entries))
    return told(_ahead(ranking) if len(ranking.tied) == 1 else _tied(ranking), _not_among(ranking))


def _ahead(ranking: Ranking) -> str:
    number = len(ranking.eligible) - 1
    return say(
        "{label} is ahead of the other by more than chance explains ({confidence} confidence)."
        if number == 1
        else "{label} is ahead of all {number} others by more than chance explains ({confidence} confidence).",
        label=ranking.tied[0].label,
        number=number,
        confidence=formats.confidence(ranking.rank.confidence),
    )


def _tied(ranking: Ranking) -> str:
    return say(
        "{number} candidates cannot be excluded as best ({confidence} confidence): {names}.",
        number=len(ranking.tied),
        confidence=formats.confidence(ranking.rank.confidence),
        names=formats.some([entry.label for entry in ranking.tied], MAX_NAMED),
    )


def separation(ranking: Ranking) -> str:
    """What it would take to tell two candidates apart; empty where nobody else may be the best."""
    return told(*map(_separated, ranking.decision.separations)) if ranking.decision else ""


def _separated(found: Separation) -> str:
    if found.num_more is None:
        return say("{first} and {second}: {reason}", first=found.first, second=found.second, reason=found.reason)
    if found.num_more == 1:
        return say("About 1 more labelled image would separate {first} and {second}.", first=found.first, second=found.second)
    return say(
        "About {number} more labelled images would separate {first} and {second}.",
        number=formats.about(found.num_more),
        first=found.first,
        second=found.second,
    )


def checked(ranking: Ranking) -> str:
    """What the test images say about the choice."""
    if ranking.outcome is Outcome.no_test:
        return say("No test images were there to check the choice on.")
    if ranking.outcome is Outcome.sealed:
        return say("Nothing has checked the choice on test: a what-if question leaves test predictions sealed.")
    if ranking.outcome is Outcome.undefined:
        return say("The test images cannot check the choice, as {metric} has no value on them.", metric=metric_name(ranking.metric))
    if ranking.outcome is Outcome.overturned:
        return say("The test images took the recommendation from another candidate; nothing has checked this one.")
    fallen = _fallen(ranking)
    if is_doubted(ranking):
        return say(
            "The test images speak against the choice: {fall}, yet not surely enough to overturn it."
            if fallen
            else "The test images speak against the choice, yet not surely enough to overturn it.",
            fall=fallen,
        )
    return say(
        "The test images do not contradict the choice, but {fall}." if fallen else "The test images do not contradict the choice.",
        fall=fallen,
    )


def overturned(ranking: Ranking) -> str:
    """How the recommendation went over to another candidate."""
    first = ranking.finalists[0]
    return say(
        "Train and val recommend {label}. Together with its test score they are {odds} sure that {event}, so the next by the same rule takes its place.",
        label=first.label,
        odds=formats.odds(first.prob_behind),
        event=surpassed(ranking),
    )


def test_score(ranking: Ranking) -> str:
    """The sealed test score, or why there is none and what is expected instead."""
    test, metric = ranking.test, metric_name(ranking.metric)
    if test is None:
        unknown = say(
            "There is no test split, so the score on new images is not known."
            if ranking.outcome is Outcome.no_test
            else "A what-if question leaves its test predictions sealed, so the score on new images is not known."
        )
        return told(unknown, _expected(ranking))
    images = counted(test.num_images, "test image")
    if test.score is None or test.interval is None:
        return say(
            "{metric} has no value on the {images}: {reason}.", metric=formats.sentence(metric), images=images, reason=test.undefined
        )
    return say(
        "{score} {metric} on {images}, sealed until it was recommended; likely from {ends} ({confidence} interval).",
        score=formats.score(ranking.metric, test.score),
        metric=metric,
        images=images,
        ends=formats.score_range(ranking.metric, test.interval),
        confidence=formats.confidence(ranking.rank.confidence),
    )


def damage(ranking: Ranking) -> str:
    """What cannot be used of the study, in one sentence or two; empty where everything can."""
    if not ranking.pool.damaged:
        return ""
    number, first = len(ranking.pool.damaged), ranking.pool.damaged[0]
    text = say(
        "1 file of this study cannot be used and is left out: {name} {reason}; {remedy}."
        if number == 1
        else "{number} files of this study cannot be used and are left out: {name} {reason}; {remedy}. All {number} are listed in step 5.",
        number=number,
        name=first.name,
        reason=first.reason,
        remedy=first.remedy,
    )
    return formats.one_line(text)


def is_doubted(ranking: Ranking) -> bool:
    """Whether its test score speaks against a choice that stands."""
    return (_after_test(ranking) or 0.0) > _DOUBTFUL


def _why_none(ranking: Ranking) -> str:
    if not ranking.entries:
        if ranking.pool.damaged and not ranking.pool.failed:
            return say("The predictions of the jobs that ended well cannot be used.")
        return say("{number} failed; their reasons are listed in step 5.", number=len(ranking.pool.failed))
    missing = [
        say("{label} misses {limits}", label=entry.label, limits=say(" and ").join(breach.miss for breach in entry.breaches))
        for entry in ranking.nearest
    ]
    return say("Nearest: {candidates}.", candidates=say("; ").join(missing))


def _claim(ranking: Ranking, decision: Decision, used: str) -> str:
    """What is recommended and what is at stake."""
    if len(ranking.eligible) == 1:
        stake = say("nothing else was {which}", which=_among(ranking))
    else:
        stake = at_stake(ranking.metric, decision.picks.recommended, len(ranking.eligible))
    if not is_overturned(ranking):
        return say("Use {candidate}: {stake}", candidate=used, stake=stake)
    return say(
        "The test images overturned the choice of train and val: use {candidate}, instead of {first}: {stake}",
        candidate=used,
        first=decision.val_choice.label,
        stake=stake,
    )


def _among(ranking: Ranking) -> str:
    """What only one candidate is."""
    return measured(ranking) if len(ranking.entries) == 1 else say("within the limits")


def _ground(ranking: Ranking, decision: Decision) -> str:
    """The rule, and what it came to."""
    price, ground = priced(ranking.metric, decision.picks, ranking.rank), decision.picks.ground
    if ground is Ground.test:
        return told(overturned(ranking), say("Of the others it has {price}.", price=price))
    if ground is Ground.guard:
        return say(
            "Another candidate has {price}, but with more than {chance} probability some other one is better than that by more than {margin}, latency "
            "charged. Of those for which this is less likely, the recommended is first by the same rule.",
            price=price,
            chance=formats.chance(MAX_PROB_BEHIND),
            margin=margin(ranking.metric),
        )
    return say("It has {price}.", price=price)


def _unknown_latencies(ranking: Ranking, picks: Picks) -> str:
    """How candidates without a latency were charged."""
    if not picks.num_unknown or not picks.terms.points_per_doubling:
        return ""
    if picks.num_unknown == len(ranking.eligible):
        return say("No latency is known, so none was charged.")
    if picks.num_unknown == 1:
        return say("1 candidate without a latency counts as twice as slow as the slowest.")
    return say("{number} candidates without a latency count as twice as slow as the slowest.", number=picks.num_unknown)


def _scored(ranking: Ranking, chosen: Entry) -> str:
    metric = ranking.metric
    return say(
        "It scores {score} {metric} ({meaning}); {expected} is expected by everything that was measured on train and val and known before.",
        score=formats.score(metric, chosen.score),
        metric=metric_name(metric),
        meaning=metric_meaning(metric),
        expected=formats.score(metric, chosen.expected),
    )


def _odds(ranking: Ranking, decision: Decision) -> str:
    """How probably the choice is a bad one."""
    if len(ranking.eligible) == 1:
        return ""
    behind = say(
        "By {seen}, it is more than {margin} behind the best with {odds} probability.",
        seen=seen(ranking),
        margin=margin(ranking.metric),
        odds=formats.odds(decision.picks.recommended.prob_behind),
    )
    after = _after_test(ranking)
    if after is None:
        return behind
    own = say("With its own test score, {odds} is the probability that {event}.", odds=formats.odds(after), event=surpassed(ranking))
    return told(behind, own)


def _after_test(ranking: Ranking) -> float | None:
    """That another has a point more in utility, by the test score of a choice that stands too; None where none had a say."""
    return ranking.finalists[0].prob_behind if ranking.outcome is Outcome.confirmed else None


def _not_among(ranking: Ranking) -> str:
    chosen = ranking.recommended
    if chosen is None or chosen.tied:
        return ""
    return say("{label}, which is recommended, is not among the best by score alone.", label=chosen.label)


def _unconfirmed(ranking: Ranking) -> list[str]:
    doubts = {
        Outcome.no_test: noted("no test images confirm it"),
        Outcome.undefined: noted("the test images cannot confirm it"),
        Outcome.sealed: noted("its test predictions stay sealed"),
    }
    return [say(doubts[ranking.outcome])] if ranking.outcome in doubts else []


def _one_run(chosen: Entry) -> list[str]:
    return [say("conditional on this run (one seed)")] if len(chosen.candidate.rows) == 1 else []


def _fallen(ranking: Ranking) -> str:
    """A fall to test that the choice of images does not explain."""
    found = next((each.drop for each in ranking.finalists if ranking.recommended and each.label == ranking.recommended.label), None)
    if found is None or not found.is_beyond_chance:
        return ""
    return say(
        "it scores {difference} less on them than before, more than chance explains",
        difference=formats.difference(ranking.metric, found.value),
    )


def _expected(ranking: Ranking) -> str:
    """What train and val promise, next to the measured score where that promises more."""
    chosen, metric = ranking.recommended, ranking.metric
    if chosen is None:
        return ""
    ahead = (chosen.score - chosen.expected) * (1 if is_higher_better(metric) else -1)
    return say(
        "Train and val let one expect {expected} {metric}."
        if len(ranking.eligible) == 1 or ahead <= 0
        else "Train and val let one expect {expected} {metric}; the measured {score} is optimistically biased, as the winner was picked by it.",
        expected=formats.score(metric, chosen.expected),
        metric=metric_name(metric),
        score=formats.score(metric, chosen.score),
    )


def _stopped(ranking: Ranking) -> str:
    """Candidates that a staged search did not train to the end."""
    number = len(ranking.pool.pruned)
    if not number:
        return ""
    return say(
        "{number} job is not compared: the search did not train it to the end, for lack of time or of promise (step 5 has the reasons)."
        if number == 1
        else "{number} jobs are not compared: the search did not train them to the end, for lack of time or of promise (step 5 has the reasons).",
        number=formats.count(number),
    )


def _seeds(entry: Entry) -> str:
    num_seeds = len(entry.candidate.rows)
    if num_seeds == 1:
        return say("This is conditional on this run (one seed): training again would move the scores somewhat.")
    return say("Scores are means over {number} seeds.", number=num_seeds)
