"""The answer in words: what to use, what choosing it may cost, and what is known of test; no doubt is left out, and none is made up."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from harness.config import Metric, RankConfig
from harness.reporting import answer
from harness.reporting.answer import checked, how_sure, in_full, is_safe, tied_set, verdict, why
from harness.reporting.document import Tone
from harness.reporting.formats import about, chance, odds, p_value, places
from harness.reporting.picks import picks
from harness.reporting.sections.decision import tone
from harness.reporting.sections.results import outcome
from harness.reporting.terminal import print_summary
from harness.select.decision import Ground, Pick, Terms
from harness.select.ranking import Ranking, rank
from harness.select.ranks import RankInterval
from harness.study.row import Details
from harness.study.store import IntArray, Predictions, Study
from tests.unit.reporting.fake_study import make_row, write_job
from tests.unit.select.planted import decision, recommending

CFG = RankConfig(metric=Metric.accuracy, num_resamples=300)
LABELS_N = np.arange(400) % 2


def split(num_wrong: int, start: int, num_images: int) -> Predictions:
    """Nine to one for the true class, but for some errors in a row."""
    predicted_N: IntArray = LABELS_N[:num_images].copy()
    predicted_N[start : start + num_wrong] = 1 - predicted_N[start : start + num_wrong]
    log_probs_NC = np.full((num_images, 2), np.log(0.1), dtype=np.float32)
    log_probs_NC[np.arange(num_images), predicted_N] = np.log(0.9)
    return Predictions(log_probs_NC, LABELS_N[:num_images], [str(i) for i in range(num_images)])


def add(
    study: Study, name: str, wrong: tuple[int, int], *, latency_ms: float = 10.0, num_test: int = 400, num_seeds: int = 1, **changes: Any
) -> None:
    """A candidate with so many errors on val and on test. Nothing is known of it beforehand."""
    details = Details(class_names=["a", "b"], profile={"class_counts": {"train": {"a": 50, "b": 50}}})
    for seed in range(num_seeds):
        row = make_row(f"{name}{seed}", name, "none", seed, latency_ms_p50=latency_ms, imagenet_top1_frac=None, gmacs=None, **changes)
        test = split(wrong[1], 3 * len(name), num_test) if num_test else None
        write_job(study, replace(row, details=details), split(wrong[0], 7 * len(name), 400), test)


def clear(folder: Path, num_test: int = 400, num_seeds: int = 1) -> Ranking:
    """One far ahead of the other."""
    study = Study(folder / "clear")
    add(study, "good", (20, 22), num_test=num_test, num_seeds=num_seeds)
    add(study, "poor", (120, 120), num_test=num_test, num_seeds=num_seeds)
    return rank(study, CFG)


def tied(folder: Path, num_test: int = 400, test_wrong: int = 34) -> Ranking:
    """Two of which neither can be excluded as best; the faster one is half a point worse, and recommended."""
    study = Study(folder / "tied")
    add(study, "slow", (30, 30), latency_ms=50.0, num_test=num_test)
    add(study, "faster", (32, test_wrong), latency_ms=10.0, num_test=num_test)
    return rank(study, CFG)


def summary(ranking: Ranking) -> str:
    """What the terminal shows, as one line."""
    output = io.StringIO()
    print_summary(ranking, Path("index.html"), Console(file=output, width=120))
    return plain(" ".join(output.getvalue().split()))


def plain(text: str) -> str:
    """With ordinary spaces."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_clear_winner_on_one_run(tmp_path: Path) -> None:
    """Ahead, not contradicted by test, one seed: the best with a high probability, conditional on this run."""
    ranking = clear(tmp_path)
    assert plain(in_full(ranking)) == (
        "Use good (weights a1_in1k), every layer trained: with above 99 % probability the best of 2; conditional on this run (one seed)."
    )
    assert (verdict(ranking), tone(ranking)) == ("clearly the best", Tone.plain)
    assert "The test images do not contradict the choice." in how_sure(ranking)
    assert "good · none is ahead of the other by more than chance explains" in tied_set(ranking)
    assert outcome(ranking).endswith("accuracy, and is ahead of the other by more than chance explains.")


def test_seeds_lift_the_condition(tmp_path: Path) -> None:
    """With three seeds nothing is conditional on a run."""
    ranking = clear(tmp_path, num_seeds=3)
    assert in_full(ranking).endswith("probability the best of 2.")
    assert "one seed" not in how_sure(ranking)
    assert "Scores are means over 3 seeds." in how_sure(ranking)


def test_no_test_images_is_part_of_the_in_full(tmp_path: Path) -> None:
    """Without a test split nothing is confirmed; instead of a test score there is the expected one, and the measured one is called biased."""
    ranking = clear(tmp_path, num_test=0)
    assert in_full(ranking).endswith("; no test images confirm it; conditional on this run (one seed).")
    assert verdict(ranking) == "clearly the best, not confirmed on new images"
    assert (is_safe(ranking), tone(ranking)) == (False, Tone.note)
    chosen = ranking.recommended
    assert chosen is not None
    lucky = recommending(ranking, replace(chosen, expected=0.9123, score=0.95))
    assert plain(answer.test_score(lucky)).endswith(
        "Train and val let one expect 91.2 % accuracy; the measured 95.0 % is optimistically biased, as the winner was picked by it."
    )
    unlucky = recommending(ranking, replace(chosen, expected=0.9623, score=0.95))
    assert "biased" not in answer.test_score(unlucky)


def test_several_that_may_be_best_are_no_alarm(tmp_path: Path) -> None:
    """A small loss at even odds is close to the best; who else may be best is a statement, with what it would take to tell."""
    ranking = tied(tmp_path)
    text = plain(in_full(ranking))
    assert text.startswith("Use faster (weights a1_in1k), every layer trained: with ")
    assert "% probability the best of 2, likely within " in text
    assert (verdict(ranking), tone(ranking)) == ("close to the best", Tone.plain)
    assert "2 candidates cannot be excluded as best (95 % confidence): slow · none, faster · none." in plain(how_sure(ranking))
    (separation,) = decision(ranking).separations
    assert separation.num_more is not None
    sentence = f"About {about(separation.num_more)} more labelled images would separate faster · none and slow · none."
    assert sentence in how_sure(ranking)
    assert "but one other cannot be excluded as best" in outcome(ranking)
    assert sentence in summary(ranking)
    assert text in summary(ranking)


def test_a_loss_above_a_point_is_a_doubt(tmp_path: Path) -> None:
    """What may cost more than a point is said so, and marked; a distance is no bound where being best is improbable."""
    ranking = tied(tmp_path)
    own = decision(ranking)
    risky = Pick(own.picks.recommended.position, 0.05, 0.021, 0.8, 0.9)
    found = replace(ranking, decision=replace(own, picks=replace(own.picks, recommended=risky)))
    assert "with 5 % probability the best of 2, expected to be 2.1 points behind the best" in plain(in_full(found))
    assert (verdict(found), tone(found)) == ("may cost more than a point", Tone.note)
    assert "it is more than a point behind the best with 80 % probability" in plain(how_sure(found))


def test_why_names_rule_and_price(tmp_path: Path) -> None:
    """The price that was used, a price of nothing, and latency free within a limit are three sentences."""
    study = Study(tmp_path / "tied")
    tied(tmp_path)
    asked = {"default": CFG, "free": replace(CFG, points_per_doubling=0.0), "limit": replace(CFG, max_latency_ms=60.0)}
    said = {name: plain(why(rank(study, cfg))) for name, cfg in asked.items()}
    assert (
        "the highest expected score less the price of latency, 0.5 points for every doubling (rank.points_per_doubling)." in said["default"]
    )
    assert "It has the highest expected score; latency has no price (rank.points_per_doubling=0)." in said["free"]
    assert "It has the highest expected score; within rank.max_latency_ms=60 latency is free." in said["limit"]


def test_the_guard_is_said(tmp_path: Path) -> None:
    """Where the highest utility was too risky, the reader is told that it was passed over, and that price alone would have taken it."""
    tied(tmp_path)
    ranking = rank(Study(tmp_path / "tied"), replace(CFG, points_per_doubling=0.0))
    own = decision(ranking)
    assert in_full(ranking).startswith("Use slow ")
    picked = replace(own.picks, ground=Ground.guard, terms=Terms(0.5), break_even_points=0.2)
    guarded = replace(ranking, decision=replace(own, picks=picked))
    assert plain(why(guarded)).startswith(
        "Another candidate has the highest expected score less the price of latency, 0.5 points for every doubling"
    )
    assert "with more than 30 % probability some other one is better than that by more than a point, latency charged" in plain(why(guarded))
    assert "by the price of latency alone it would be taken already" in picks(guarded)


def test_a_recommendation_outside_the_tied_set_is_said(tmp_path: Path) -> None:
    """A latency that is worth more than a certain lead recommends somebody who is surely not the best by score."""
    study = Study(tmp_path / "s")
    add(study, "good", (20, 20), latency_ms=900.0)
    add(study, "poor", (60, 60), latency_ms=1.0)
    ranking = rank(study, replace(CFG, points_per_doubling=20.0))
    moved = recommending(ranking, ranking.entry("poor · none"))
    assert tied_set(moved).endswith(" poor · none, which is recommended, is not among the best by score alone.")
    assert "not among" not in tied_set(recommending(ranking, ranking.entry("good · none")))


def test_unknown_latencies_are_said_where_they_count(tmp_path: Path) -> None:
    """How a candidate without a latency was charged; nothing where latency has no price."""
    study = Study(tmp_path / "s")
    add(study, "known", (30, 30))
    add(study, "unknown", (90, 90), latency_ms=None)  # type: ignore[arg-type]
    assert "1 candidate without a latency counts as twice as slow as the slowest." in why(rank(study, CFG))
    assert "without a latency" not in why(rank(study, replace(CFG, points_per_doubling=0.0)))


def test_no_honest_number_of_images_is_a_reason(tmp_path: Path) -> None:
    """Where no number of images would be honest, the reason is given instead."""
    ranking = tied(tmp_path)
    (separation,) = decision(ranking).separations
    found = replace(separation, first="faster · none", second="slow · none", num_more=None, reason="The two score the same.")
    changed = replace(ranking, decision=replace(decision(ranking), separations=(found,)))
    assert "faster · none and slow · none: The two score the same." in how_sure(changed)


def test_overturned_is_part_of_the_in_full(tmp_path: Path) -> None:
    """A lucky choice that test does not bear out is not crowned, and page and terminal say so first, with how sure that is."""
    ranking = tied(tmp_path, test_wrong=200)
    text = plain(in_full(ranking))
    assert text.startswith(
        "The test images overturned the choice of train and val: use slow (weights a1_in1k), every layer trained, instead of faster · none"
    )
    assert (verdict(ranking), tone(ranking), is_safe(ranking)) == ("overturned on test", Tone.warning, False)
    assert plain(why(ranking)).startswith(
        f"Train and val recommend faster · none. Together with its test score they are {plain(odds(ranking.finalists[0].prob_behind))} sure "
        "that another is better by more than a point after the price of latency, so the next by the same rule takes its place."
    )
    assert "nothing has checked this one" in how_sure(ranking)
    assert "sealed until it was recommended" in answer.test_score(ranking)
    assert "The test images overturned the choice of train and val" in summary(ranking)


def test_a_fall_beyond_chance_is_said(tmp_path: Path) -> None:
    """A choice that stands, but scores far less on test than before."""
    study = Study(tmp_path / "s")
    add(study, "good", (20, 60))
    add(study, "poor", (180, 180))
    ranking = rank(study, CFG)
    assert plain(checked(ranking)).startswith("The test images do not contradict the choice, but it scores 10.0 points less on them")


def test_a_choice_that_stands_but_is_doubted_is_not_called_confirmed(tmp_path: Path) -> None:
    """A test score far below, yet no veto: no reassuring word on page or badge."""
    ranking = tied(tmp_path, test_wrong=88)
    assert ranking.recommended is not None
    assert ranking.recommended.candidate.row.backbone == "faster"
    assert (verdict(ranking), tone(ranking), is_safe(ranking)) == ("doubted by test", Tone.note, False)
    assert checked(ranking).startswith("The test images speak against the choice: it scores ")
    assert checked(ranking).endswith("yet not surely enough to overturn it.")


def test_undefined_on_test_is_part_of_the_in_full(tmp_path: Path) -> None:
    """A metric without a value on test confirms nothing."""
    study = Study(tmp_path / "s")
    for name, wrong in (("good", 20), ("poor", 120)):
        add(study, name, (wrong, 1), num_test=1)
    ranking = rank(study, replace(CFG, metric=Metric.balanced_accuracy))
    assert "; the test images cannot confirm it; " in in_full(ranking)
    assert "has no value on them" in checked(ranking)


def test_a_what_if_question_says_that_nothing_was_opened(tmp_path: Path) -> None:
    """Sealed test predictions are no missing test split: headline, doubt and expected score say what stays closed."""
    clear(tmp_path)
    (tmp_path / "clear" / "opened.jsonl").unlink()
    ranking = rank(Study(tmp_path / "clear"), CFG, may_open=False)
    assert "; its test predictions stay sealed; " in in_full(ranking)
    assert "a what-if question leaves test predictions sealed" in checked(ranking)
    assert answer.test_score(ranking).startswith(
        "A what-if question leaves its test predictions sealed, so the score on new images is not known."
    )
    assert verdict(ranking) == "clearly the best, not confirmed on new images"


def test_one_candidate_is_no_best(tmp_path: Path) -> None:
    """Alone, a candidate is not called the best of anything."""
    study = Study(tmp_path / "s")
    add(study, "only", (20, 20))
    ranking = rank(study, CFG)
    assert in_full(ranking).startswith("Use only (weights a1_in1k), every layer trained: nothing else was measured;")
    assert verdict(ranking) == "not compared"
    assert "probability" not in in_full(ranking) + how_sure(ranking)


def test_log_loss_is_in_nats(tmp_path: Path) -> None:
    """Ranked by log loss, losses, margins and prices are in nats, and lower is better."""
    study = Study(tmp_path / "s")
    add(study, "slow", (30, 30), latency_ms=50.0)
    add(study, "faster", (32, 32), latency_ms=45.0)
    ranking = rank(study, replace(CFG, metric=Metric.log_loss))
    text = plain(f"{in_full(ranking)} {why(ranking)} {how_sure(ranking)}")
    assert "0.0050 nats for every doubling" in text
    assert "more than 0.010 nats behind the best" in text
    assert "point" not in text.replace("rank.points_per_doubling", "")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (about(7), "7"),
        (about(99), "99"),
        (about(101), "110"),
        (about(10_846), "11,000"),
        (places(RankInterval(2, 2)), "2"),
        (places(RankInterval(1, 4)), "1 to 4"),
        (places(None), "–"),
        (chance(0.0), "0 %"),
        (chance(0.004), "below 1 %"),
        (chance(0.996), "above 99 %"),
        (chance(1.0), "100 %"),
        (chance(0.256), "26 %"),
        (odds(0.0), "below 1 %"),
        (odds(1.0), "above 99 %"),
        (odds(0.5), "50 %"),
        (odds(None), "–"),
        (p_value(0.0004), "< 0.001"),
        (p_value(0.0496), "0.050"),
    ],
)
def test_formats_of_doubt(found: str, wanted: str) -> None:
    """Rounded numbers never claim more than is known: never and always only where it is so, and never of what comes from draws."""
    assert plain(found) == wanted
