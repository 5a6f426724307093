"""The first screen: few words, and none of them false where the answer is no good one."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from harness.config import RankConfig
from harness.reporting import first_screen, formats
from harness.select.comparison import Interval
from harness.select.ranking import Ranking, rank
from tests.unit.reporting.fake_study import NETS, Net, write_study

QUICK = RankConfig(num_resamples=200)


def ranked(root: Path, skills: tuple[float, ...], cfg: RankConfig = QUICK, **options: Any) -> Ranking:
    """Backbones that are right on such shares of the images."""
    nets = {f"backbone{place}": Net("made up", 5 + place, 0.5 + place, 10 + 2 * place, 12, skill) for place, skill in enumerate(skills)}
    with patch.dict(NETS, nets):
        made: dict[str, Any] = {"backbones": tuple(nets), "depths": ("all",), "class_names": ("sound", "cracked"), "num_val": 200}
        return rank(write_study(root, **(made | options)), cfg)


def test_a_clear_winner_is_used(tmp_path: Path) -> None:
    """What, how, how good on new images with both ends, in fourteen words at most; a card each for quality, cost and confidence."""
    found = ranked(tmp_path / "s", (0.55, 0.6, 0.9))
    said = first_screen.headline(found).replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith("Use backbone2, backbone frozen. ")
    assert said.endswith(" on new images.")
    assert len(first_screen.headline(found).split()) <= first_screen.MAX_WORDS
    quality, cost, confidence = first_screen.cards(found)
    assert not [*quality.alarms, *cost.alarms, *confidence.alarms]
    assert any(line.startswith("Without looking at an image: 50.0") for line in quality.lines)
    assert confidence.figure == "above 99\N{NO-BREAK SPACE}%"


def test_what_guesses_is_not_recommended_with_confidence(tmp_path: Path) -> None:
    """Where chance explains the whole lead over guessing, headline, verdict, tone and an alarm say so."""
    found = ranked(tmp_path / "s", (0.5, 0.5, 0.5))
    assert first_screen.headline(found).startswith("Nothing beats guessing yet. Best: ")
    assert len(first_screen.headline(found).split()) <= first_screen.MAX_WORDS
    assert (first_screen.verdict(found), first_screen.tone(found).value) == ("no better than guessing", "warning")
    assert first_screen.cards(found)[0].alarms == ["Chance explains all of its lead over guessing."]


def test_untested_the_interval_is_that_of_what_is_expected(tmp_path: Path) -> None:
    """Without test images the ends are those of the posterior of the true score, and never beyond what a score can be."""
    found = ranked(tmp_path / "s", (0.97, 0.99), num_val=60, num_test=0)
    assert found.what_if is not None
    assert found.decision is not None
    place = next(k for k, position in enumerate(found.what_if.positions) if found.entry_of(position) is found.recommended)
    draws_R = found.what_if.draws.value_RD[:, found.what_if.distinct_C[place]]
    ends = Interval(*np.clip(np.quantile(draws_R, [0.025, 0.975]), 0.0, 1.0).tolist())
    quality = first_screen.cards(found)[0]
    assert quality.lines[0] == f"95\N{NO-BREAK SPACE}% interval {formats.score_range(found.metric, ends)}"
    assert quality.figure == formats.score(found.metric, found.decision.recommended.expected)
    assert first_screen.headline(found).endswith(" expected, untested.")


def test_classes_that_are_never_found_are_named(tmp_path: Path) -> None:
    """Zero recall is an alarm; of many classes a few are named and the others counted."""
    found = ranked(tmp_path / "s", (0.75,), class_names=[f"species {place}" for place in range(200)], num_val=400)
    (alarm,) = first_screen.cards(found)[0].alarms
    assert alarm.startswith("Never found on test: “species ")
    assert alarm.count("“") == first_screen.MAX_MISSED
    assert " more." in alarm


@pytest.mark.parametrize(
    ("cfg", "wanted"), [(RankConfig(max_latency_ms=0.1), "no candidate meets the limits"), (None, "no job has ended well")]
)
def test_no_answer_says_what_to_do(tmp_path: Path, cfg: RankConfig | None, wanted: str) -> None:
    """Limits that nobody meets, and jobs that all failed: no card, and the next step."""
    found = ranked(tmp_path / "s", (0.8, 0.9), cfg) if cfg else rank(write_study(tmp_path / "s", backbones=()), QUICK)
    assert first_screen.headline(found) == f"No recommendation: {wanted}."
    assert first_screen.cards(found) == []
    assert ("Relax a limit" if cfg else "retry=failed") in first_screen.reason(found)


def test_what_is_left_out_is_counted_in_a_line(tmp_path: Path) -> None:
    """Images, failed jobs; nothing where the answer rests on everything."""
    found = ranked(tmp_path / "s", (0.8, 0.9))
    assert first_screen.left_out(found) == "Left out: 3 of 1,103 images, 2 failed jobs."
