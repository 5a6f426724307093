"""The answer in words: no doubt is left out of the headline, and none is made up."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from harness.config import Metric, RankConfig
from harness.reporting import answer
from harness.reporting.answer import checked, headline, how_sure, is_clear, verdict, why
from harness.reporting.document import Tone
from harness.reporting.formats import about, chance, p_value, places
from harness.reporting.sections.decision import tone
from harness.reporting.sections.results import outcome
from harness.reporting.terminal import print_summary
from harness.select.ranking import Ranking, rank
from harness.select.ranks import RankInterval
from harness.select.sample_size import Separation
from harness.study.row import Details
from harness.study.store import IntArray, Predictions, Study
from tests.unit.reporting.fake_study import make_row, write_job

CFG = RankConfig(metric=Metric.accuracy, num_resamples=300)
LABELS_N = np.arange(400) % 2


def split(num_wrong: int, start: int, num_images: int) -> Predictions:
    """Nine to one for the true class, but for some errors in a row."""
    predicted_N: IntArray = LABELS_N[:num_images].copy()
    predicted_N[start : start + num_wrong] = 1 - predicted_N[start : start + num_wrong]
    log_probs_NC = np.full((num_images, 2), np.log(0.1), dtype=np.float32)
    log_probs_NC[np.arange(num_images), predicted_N] = np.log(0.9)
    return Predictions(log_probs_NC, LABELS_N[:num_images], [str(i) for i in range(num_images)])


def add(study: Study, name: str, wrong: tuple[int, int], *, latency_ms: float = 10.0, num_test: int = 400, num_seeds: int = 1) -> None:
    """A candidate with so many errors on val and on test."""
    details = Details(class_names=["a", "b"], profile={"class_counts": {"train": {"a": 50, "b": 50}}})
    for seed in range(num_seeds):
        row = replace(make_row(f"{name}{seed}", name, "none", seed, latency_ms_p50=latency_ms), details=details)
        test = split(wrong[1], 3 * len(name), num_test) if num_test else None
        write_job(study, row, split(wrong[0], 7 * len(name), 400), test)


def clear(folder: Path, num_test: int = 400, num_seeds: int = 1) -> Ranking:
    """One far ahead of the other."""
    study = Study(folder / "clear")
    add(study, "good", (20, 22), num_test=num_test, num_seeds=num_seeds)
    add(study, "poor", (120, 120), num_test=num_test, num_seeds=num_seeds)
    return rank(study, CFG)


def tied(folder: Path, num_test: int = 400, test_wrong: int = 30) -> Ranking:
    """Two that val cannot tell apart; the faster one is val's choice."""
    study = Study(folder / "tied")
    add(study, "slow", (30, 30), latency_ms=50.0, num_test=num_test)
    add(study, "faster", (34, test_wrong), latency_ms=10.0, num_test=num_test)
    return rank(study, CFG)


def summary(ranking: Ranking) -> str:
    """What the terminal shows, as one line."""
    output = io.StringIO()
    print_summary(ranking, Path("index.html"), Console(file=output, width=120))
    return " ".join(output.getvalue().split())


def test_clear_winner_on_one_run(tmp_path: Path) -> None:
    """Ahead, not contradicted by test, one seed: said to be the best, conditional on this run."""
    ranking = clear(tmp_path)
    assert headline(ranking) == "Use good (weights a1_in1k), every layer trained: the best of 2; conditional on this run (one seed)."
    assert (verdict(ranking), tone(ranking)) == ("ahead on this run", Tone.plain)
    assert "The test images do not contradict the choice." in how_sure(ranking)
    assert outcome(ranking).endswith("accuracy, and is ahead of the other by more than chance explains.")


def test_clear_winner_over_seeds(tmp_path: Path) -> None:
    """With three seeds nothing is conditional on a run."""
    ranking = clear(tmp_path, num_seeds=3)
    assert headline(ranking) == "Use good (weights a1_in1k), every layer trained: the best of 2."
    assert verdict(ranking) == "sure"
    assert "one seed" not in how_sure(ranking)


def test_no_test_images_is_part_of_the_headline(tmp_path: Path) -> None:
    """Without a test split nothing is confirmed, and the val score is corrected for having been picked by."""
    ranking = clear(tmp_path, num_test=0)
    assert headline(ranking).endswith(": the best of 2; no test images confirm it; conditional on this run (one seed).")
    assert verdict(ranking) == "ahead on val, not confirmed on new images"
    assert (is_clear(ranking), tone(ranking)) == (False, Tone.note)
    assert ranking.corrected is not None
    assert ranking.corrected <= ranking.entries[0].score
    assert "corrected for that, it is about 91.2\N{NO-BREAK SPACE}%." in answer.test_score(replace(ranking, corrected=0.9123))


def test_ties_are_part_of_the_headline(tmp_path: Path) -> None:
    """No clear winner is the first thing said, with how many more images would tell, on the page and on the terminal."""
    ranking = tied(tmp_path)
    assert headline(ranking).startswith("No clear winner: of 2 that cannot be told apart, use the cheapest, faster (weights a1_in1k)")
    assert (verdict(ranking), tone(ranking)) == ("no clear winner", Tone.note)
    assert ranking.separation is not None
    assert ranking.separation.num_more is not None
    sentence = f"About {about(ranking.separation.num_more)} more labelled val images would separate faster · none and slow · none."
    assert sentence in how_sure(ranking)
    assert sentence in outcome(ranking)
    assert "but that may be luck: one other is as good" in outcome(ranking)
    assert sentence in summary(ranking)
    assert "No clear winner: of 2" in summary(ranking)


def test_no_honest_number_of_images_is_a_reason(tmp_path: Path) -> None:
    """Where no number of images would be honest, the reason is given instead."""
    ranking = tied(tmp_path)
    assert ranking.separation is not None
    found = Separation("faster · none", "slow · none", ranking.separation.difference, 400, None, "The two score the same.")
    assert "faster · none and slow · none: The two score the same." in how_sure(replace(ranking, separation=found))


def test_overturned_is_part_of_the_headline(tmp_path: Path) -> None:
    """A lucky choice of val that test does not bear out is not crowned, and page and terminal say so first."""
    ranking = tied(tmp_path, test_wrong=90)
    text = headline(ranking)
    assert text.startswith(
        "The test images overturned the choice on val: use slow (weights a1_in1k), every layer trained, instead of faster · none"
    )
    assert (verdict(ranking), tone(ranking), is_clear(ranking)) == ("overturned on test", Tone.warning, False)
    assert why(ranking).startswith(
        "Val alone would recommend faster · none. On test images that nothing was chosen on, slow · none scores 15.0"
    )
    assert "took part in this choice" in how_sure(ranking)
    assert "somewhat too good" in answer.test_score(ranking)
    assert "The test images overturned the choice on val" in summary(ranking)


def test_a_fall_beyond_chance_is_said(tmp_path: Path) -> None:
    """A choice that stands, but scores far less on test than on val."""
    study = Study(tmp_path / "s")
    add(study, "good", (20, 60))
    add(study, "poor", (180, 180))
    ranking = rank(study, CFG)
    assert checked(ranking).startswith(
        "The test images do not contradict the choice, but it scores 10.0\N{NO-BREAK SPACE}points less on them"
    )


def test_undefined_on_test_is_part_of_the_headline(tmp_path: Path) -> None:
    """A metric without a value on test confirms nothing."""
    study = Study(tmp_path / "s")
    for name, wrong in (("good", 20), ("poor", 120)):
        add(study, name, (wrong, 1), num_test=1)
    ranking = rank(study, replace(CFG, metric=Metric.balanced_accuracy))
    assert "; the test images cannot confirm it; " in headline(ranking)
    assert "has no value on them" in checked(ranking)


def test_one_candidate_is_no_best(tmp_path: Path) -> None:
    """Alone, a candidate is not called the best of anything."""
    study = Study(tmp_path / "s")
    add(study, "only", (20, 20))
    ranking = rank(study, CFG)
    assert headline(ranking).startswith("Use only (weights a1_in1k), every layer trained: nothing else was measured;")
    assert verdict(ranking) == "not compared"


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
        (p_value(0.0004), "< 0.001"),
        (p_value(0.0496), "0.050"),
    ],
)
def test_formats_of_doubt(found: str, wanted: str) -> None:
    """Rounded numbers never claim more than is known: never and always only where it is so."""
    assert found.replace("\N{NO-BREAK SPACE}", " ") == wanted
