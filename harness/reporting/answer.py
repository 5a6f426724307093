"""The answer in words, with its doubt: what to use, why, how sure, and what the test images say. Shared by the page and the terminal.

What is not certain is said in the same sentence as the recommendation: a tie, an overturned choice, a single run, no test images.
"""

from harness.reporting import formats
from harness.reporting.wording import METRIC_MEANINGS, METRIC_NAMES, depth
from harness.select.finalists import Outcome
from harness.select.ranking import Entry, Ranking
from harness.words import counted


def headline(ranking: Ranking) -> str:
    """The recommendation in one sentence, the doubt included."""
    chosen = ranking.recommended
    if not ranking.entries:
        return "No recommendation: no job has ended well."
    if chosen is None:
        return f"No recommendation: none of {counted(len(ranking.entries), 'candidate')} meets the limits."
    row = chosen.candidate.row
    weights = "random weights" if row.weights == "random" else f"weights {formats.plain(row.weights)}"
    used = f"{formats.one_line(row.backbone)} ({weights}), {depth(row)}"
    doubts = "; ".join([*_unconfirmed(ranking), *_one_run(chosen)])
    return f"{_claim(ranking, used)}{f'; {doubts}' if doubts else ''}."


def verdict(ranking: Ranking) -> str:
    """How sure the answer is, in a few words."""
    chosen = ranking.recommended
    if chosen is None:
        return "no answer"
    if len(ranking.eligible) == 1:
        return "not compared"
    if is_overturned(ranking):
        return "overturned on test"
    if len(ranking.tied) > 1:
        return "no clear winner"
    if _outcome(ranking) is not Outcome.confirmed:
        return "ahead on val, not confirmed on new images"
    return "ahead on this run" if len(chosen.candidate.rows) == 1 else "sure"


def is_clear(ranking: Ranking) -> bool:
    """Whether nothing was found that speaks against the recommendation: compared, ahead of all others, not contradicted by test."""
    chosen = ranking.recommended
    return chosen is not None and len(ranking.eligible) > 1 and len(ranking.tied) == 1 and _outcome(ranking) is Outcome.confirmed


def is_overturned(ranking: Ranking) -> bool:
    """Whether the test images took the recommendation from the candidate that val had chosen."""
    return _outcome(ranking) is Outcome.overturned


def why(ranking: Ranking) -> str:
    """Why this candidate."""
    chosen = ranking.recommended
    if chosen is None:
        return _why_none(ranking)
    metric, images = METRIC_NAMES[ranking.metric], f"{formats.count(len(ranking.labels_N))} val images"
    scored = f"{formats.score(ranking.metric, chosen.score)} {metric} on {images} ({METRIC_MEANINGS[ranking.metric]})"
    if is_overturned(ranking):
        return f"{overturned(ranking)} It has {scored}."
    if len(ranking.tied) > 1:
        return f"It is the cheapest of {len(ranking.tied)} candidates that cannot be told apart. It has {scored}."
    if len(ranking.eligible) > 1:
        return f"It is the best: {scored}."
    return f"It is the only candidate {'measured' if len(ranking.entries) == 1 else 'within the limits'}. It has {scored}."


def how_sure(ranking: Ranking) -> str:
    """How far the answer can be trusted, without statistics."""
    chosen = ranking.recommended
    if chosen is None:
        return "There is nothing to be sure of yet."
    sentences = [_comparison(ranking), separation(ranking), checked(ranking), _seeds(chosen), _stopped(ranking)]
    if chosen.interval.low == chosen.interval.high:
        sentences.append("Its score is the same in every resample, so its interval has no width and hides the doubt that remains.")
    return " ".join(sentence for sentence in sentences if sentence)


def separation(ranking: Ranking) -> str:
    """What it would take to tell the first two apart; empty where there is a clear winner."""
    found = ranking.separation
    if found is None:
        return ""
    if found.num_more is None:
        return f"{found.first} and {found.second}: {found.reason}"
    return f"About {formats.about(found.num_more)} more labelled val images would separate {found.first} and {found.second}."


def checked(ranking: Ranking) -> str:
    """What the test images say about the choice."""
    outcome = _outcome(ranking)
    if outcome is Outcome.no_test:
        return "No test images were there to check the choice on."
    if outcome is Outcome.undefined:
        return f"The test images cannot check the choice, as {METRIC_NAMES[ranking.metric]} has no value on them."
    if outcome is Outcome.overturned:
        return "The test images took part in this choice, so they cannot confirm it as well."
    return f"The test images do not contradict the choice{_fallen(ranking)}."


def overturned(ranking: Ranking) -> str:
    """How the recommendation went over to another candidate."""
    found = ranking.confirmed
    assert found is not None
    assert found.difference is not None
    size, ends = (
        formats.difference(ranking.metric, found.difference.value),
        formats.difference_range(ranking.metric, found.difference.interval),
    )
    confidence = formats.confidence(ranking.rank.confidence)
    return (
        f"Val alone would recommend {found.val_choice}. On test images that nothing was chosen on, {found.recommended} scores {size} better "
        f"({confidence} interval of the difference {ends}), so it takes its place."
    )


def test_score(ranking: Ranking) -> str:
    """The sealed test score, or why there is none and what the val score is worth."""
    test = ranking.test
    if test is None:
        return f"There is no test split, so the score on new images is unknown. {_corrected(ranking)}"
    images = f"{formats.count(test.num_images)} test images"
    if test.score is None or test.interval is None:
        return f"{METRIC_NAMES[ranking.metric].capitalize()} has no value on the {images}: {test.undefined}."
    confidence = formats.confidence(ranking.rank.confidence)
    how = "which it was chosen on, so that this is somewhat too good" if is_overturned(ranking) else "that nothing was chosen on"
    return (
        f"{formats.score(ranking.metric, test.score)} {METRIC_NAMES[ranking.metric]} on {images} {how}; "
        f"likely from {formats.score_range(ranking.metric, test.interval)} ({confidence} interval)."
    )


def damage(ranking: Ranking) -> str:
    """What cannot be used of the study, in one sentence or two; empty where everything can."""
    if not ranking.damaged:
        return ""
    number, first = len(ranking.damaged), ranking.damaged[0]
    files = (
        "1 file of this study cannot be used and is left out"
        if number == 1
        else f"{number} files of this study cannot be used and are left out"
    )
    more = "" if number == 1 else f" All {number} are listed in step 5."
    return formats.one_line(f"{files}: {first.name} {first.reason}; {first.remedy}.{more}")


def _why_none(ranking: Ranking) -> str:
    if not ranking.entries:
        if ranking.damaged and not ranking.failed:
            return "The predictions of the jobs that ended well cannot be used."
        return f"{len(ranking.failed)} failed; their reasons are listed in step 5."
    missing = [f"{entry.label} misses {' and '.join(breach.miss for breach in entry.breaches)}" for entry in ranking.nearest]
    return f"Nearest: {'; '.join(missing)}."


def _outcome(ranking: Ranking) -> Outcome | None:
    return None if ranking.confirmed is None else ranking.confirmed.outcome


def _claim(ranking: Ranking, used: str) -> str:
    """What is recommended and what it is: the best, the cheapest of several, or the only one."""
    if is_overturned(ranking):
        assert ranking.confirmed is not None
        return f"The test images overturned the choice on val: use {used}, instead of {ranking.confirmed.val_choice}"
    if len(ranking.eligible) == 1:
        return f"Use {used}: nothing else was {'measured' if len(ranking.entries) == 1 else 'within the limits'}"
    if len(ranking.tied) > 1:
        return f"No clear winner: of {len(ranking.tied)} that cannot be told apart, use the cheapest, {used}"
    return f"Use {used}: the best of {len(ranking.eligible)}"


def _unconfirmed(ranking: Ranking) -> list[str]:
    doubts = {Outcome.no_test: "no test images confirm it", Outcome.undefined: "the test images cannot confirm it"}
    outcome = _outcome(ranking)
    return [doubts[outcome]] if outcome in doubts else []


def _one_run(chosen: Entry) -> list[str]:
    return ["conditional on this run (one seed)"] if len(chosen.candidate.rows) == 1 else []


def _fallen(ranking: Ranking) -> str:
    """A fall from val to test that the choice of images does not explain."""
    found = next((each.drop for each in ranking.finalists if ranking.recommended and each.label == ranking.recommended.label), None)
    if found is None or not found.is_beyond_chance:
        return ""
    return f", but it scores {formats.difference(ranking.metric, found.value)} less on them than on val, more than chance explains"


def _corrected(ranking: Ranking) -> str:
    if ranking.corrected is None or ranking.recommended is None:
        return "The val score is somewhat too good, as winners were chosen on it."
    return (
        f"The val score is somewhat too good, as the winner was picked by it out of {len(ranking.eligible)}; "
        f"corrected for that, it is about {formats.score(ranking.metric, ranking.corrected)}."
    )


def _stopped(ranking: Ranking) -> str:
    """Candidates that a staged search gave up."""
    number = len(ranking.pruned)
    if not number:
        return ""
    jobs = "job was stopped early and is" if number == 1 else "jobs were stopped early and are"
    return f"{formats.count(number)} {jobs} not compared: the search gave up what looked worse after a few epochs."


def _comparison(ranking: Ranking) -> str:
    if len(ranking.entries) == 1:
        return "Nothing was compared: only one candidate was measured."
    if len(ranking.eligible) == 1:
        return f"Nothing was compared: the limits leave one of {len(ranking.entries)} candidates."
    images = f"{formats.count(len(ranking.labels_N))} val images"
    if len(ranking.tied) > 1:
        named = ", ".join(entry.label for entry in ranking.tied[:6])
        return f"These {len(ranking.tied)} cannot be told apart on {images}: {named}{_more(ranking)}."
    others = "the other" if len(ranking.eligible) == 2 else f"the other {len(ranking.eligible) - 1}"
    return f"{images} separate {ranking.tied[0].label} from {others} at {formats.confidence(ranking.rank.confidence)} confidence."


def _more(ranking: Ranking) -> str:
    hidden = len(ranking.tied) - 6
    return f" and {hidden} more" if hidden > 0 else ""


def _seeds(entry: Entry) -> str:
    num_seeds = len(entry.candidate.rows)
    if num_seeds == 1:
        return "This is conditional on this run (one seed): training again would move the scores somewhat."
    return f"Scores are means over {num_seeds} seeds."
