"""The picks and the grounds in words: what a faster one saves and loses, how everybody was judged, and where fine-tuning did not help."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.config import Metric, RankConfig
from harness.reporting.answer import in_full
from harness.reporting.build import describe
from harness.reporting.document import Table
from harness.reporting.grounds import fine_tuning, judged_on, rests_on
from harness.reporting.picks import picks, table
from harness.reporting.render import to_markdown
from harness.reporting.wording import depth
from harness.select.candidates import Candidate
from harness.select.prior import OwnRanks
from harness.select.ranking import Ranking, rank
from harness.study.row import Row
from harness.study.store import Predictions, Study
from tests.unit.reporting.fake_study import make_row, write_job, write_study
from tests.unit.reporting.test_answer import CFG, add, plain
from tests.unit.select.planted import decision

QUICK = RankConfig(num_resamples=200)


def report(study: Study, cfg: RankConfig = QUICK) -> str:
    """The report as Markdown, without pictures."""
    return plain(to_markdown(describe(rank(study, cfg), {}, OwnRanks({}))))


def judged(ranking: Ranking) -> dict[str, str]:
    """What each freeze depth was judged on."""
    found = judged_on(ranking, ranking.entries)
    return {entry.candidate.row.freeze: text for entry, text in zip(ranking.entries, found, strict=True)}


def three(folder: Path, **changes: float) -> Ranking:
    """The best is slow, another is faster and worse, a third is the fastest and the worst."""
    study = Study(folder / "three")
    for name, num_wrong, latency_ms in (("best", 20, 40.0), ("middle", 44, 10.0), ("fast", 100, 9.0)):
        add(study, name, (num_wrong, num_wrong), latency_ms=latency_ms, num_test=0)
    return rank(study, replace(CFG, **changes))  # type: ignore[arg-type]


def test_each_pick_has_its_price_and_its_loss(tmp_path: Path) -> None:
    """What is saved, what is lost in expected score, and from which price on it would win."""
    ranking = three(tmp_path)
    assert decision(ranking).budget.label == "middle · none"
    made = decision(ranking).picks
    lost = 100 * (made.budget.expected_loss - made.recommended.expected_loss)
    assert plain(picks(ranking)).startswith(
        f"Budget pick: middle · none takes 10.0 ms instead of 40.0 ms and is expected to score {lost:.1f} points worse; "
        f"from {made.break_even_points:.2g} points for every doubling of latency on it would win (now 0.5 points). "
        "Fastest pick: fast · none takes 9.00 ms instead of 40.0 ms and is expected to score "
    )
    found, _ = table(ranking)
    assert isinstance(found, Table)
    assert [row[0] for row in found.rows] == ["recommended", "budget", "fastest"]
    assert found.rows[1][1] == "middle · none"
    assert found.rows[1][4] == f"{100 * made.budget.expected_loss:.1f}"


def test_the_break_even_price_is_one(tmp_path: Path) -> None:
    """Just below it nothing changes; just above it the budget pick has the higher utility."""
    ranking = three(tmp_path)
    price = decision(ranking).picks.break_even_points
    below, above = (three(tmp_path, points_per_doubling=price * factor) for factor in (0.99, 1.01))
    assert decision(below).picks.recommended.utility > decision(below).picks.budget.utility
    assert decision(above).recommended.label == "middle · none"


def test_all_picks_in_one_sentence(tmp_path: Path) -> None:
    """Where nobody is faster there is nothing to weigh; without any latency, and without others, there is nothing to pick."""
    study = Study(tmp_path / "one")
    add(study, "best", (20, 20), latency_ms=9.0)
    add(study, "slow", (60, 60), latency_ms=40.0)
    assert picks(rank(study, CFG)) == "The recommended is the budget pick and the fastest pick as well: no candidate is faster."
    alone = Study(tmp_path / "alone")
    add(alone, "best", (20, 20))
    assert picks(rank(alone, CFG)) == "There is no other candidate to pick."
    unknown = Study(tmp_path / "unknown")
    for name in ("one", "other"):
        add(unknown, name, (len(name), 20), latency_ms=None)  # type: ignore[arg-type]
    assert picks(rank(unknown, CFG)) == "No latency is known, so there is no budget pick and no fastest pick."


def test_budget_and_fastest_may_be_one(tmp_path: Path) -> None:
    """One sentence for one candidate."""
    study = Study(tmp_path / "s")
    add(study, "best", (20, 20), latency_ms=40.0)
    add(study, "fast", (44, 44), latency_ms=10.0)
    assert plain(picks(rank(study, CFG))).startswith("Budget and fastest pick: fast · none takes 10.0 ms instead of 40.0 ms")
    assert "Fastest pick:" not in picks(rank(study, CFG))


def test_what_the_comparison_rests_on(tmp_path: Path) -> None:
    """Heads out of fold on train and val, fine-tunes adjusted on val, and the rest on val as it is; each as far as it is there."""
    study = write_study(tmp_path / "both", backbones=("resnet50",), num_val=100, num_test=0)
    ranking = rank(study, QUICK)
    assert judged(ranking) == {
        "all": "out of fold",
        "0.5": "val, adjusted",
        "none": "val, adjusted",
    }
    assert rests_on(ranking) == (
        "The comparison rests on 400 labelled images of train and val. Heads on frozen backbones are judged out of fold on all of them: each "
        "image by a head that never saw it. Fine-tunes are judged on the 100 val images, adjusted by how lucky the head of the same backbone "
        "was with these."
    )
    heads = rank(write_study(tmp_path / "heads", depths=("all",), num_val=100, num_test=0), QUICK)
    assert "Fine-tunes" not in rests_on(heads)
    tuned = rank(write_study(tmp_path / "tuned", depths=("none",), num_val=100, num_test=0), QUICK)
    assert rests_on(tuned) == "The comparison rests on 100 labelled val images, which every candidate was judged on."
    for row in write_study(tmp_path / "mixed", backbones=("resnet50", "squeezenet"), num_val=100, num_test=0).rows():
        if (row.backbone, row.freeze) == ("squeezenet", "all"):
            Study(tmp_path / "mixed").row_path(row.job_id).unlink()
    assert "Those of backbones without such a head are judged on these as they are." in rests_on(rank(Study(tmp_path / "mixed"), QUICK))


def test_what_a_cross_fitted_fine_tune_rests_on(tmp_path: Path) -> None:
    """The folds that are done, where the score is; in the sentence, how many fine-tunes have some; and what they took."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), num_val=100, num_test=0)
    rows = {row.freeze: row for row in study.rows() if row.status == "ok"}
    for number in (0, 1):
        add_fold(study, rows["none"], rows["all"], number)
    ranking = rank(study, QUICK)
    assert judged(ranking) == {
        "all": "out of fold",
        "0.5": "val, adjusted",
        "none": "2 of 5 folds of train and val",
    }
    assert (
        "1 fine-tune that may be the best is cross-fitted as well: images of the folds done are predicted by a model trained on the other folds. "
        "Other fine-tunes are judged on the 100 val images, adjusted"
    ) in rests_on(ranking)
    assert "Cross-fitting fine-tunes took 60.0 s more, 2 folds." in report(study)
    assert {row.fold for row in study.rows()} == {None, 0, 1}


def add_fold(study: Study, own: Row, head: Row, number: int) -> None:
    """Every fifth image of train and val, as the head sees them."""
    everyone = study.out_of_fold(head.job_id)
    assert everyone is not None
    part = np.arange(len(everyone.ids_N)) % 5 == number
    ids = [name for name, is_in in zip(everyone.ids_N, part, strict=True) if is_in]
    row = replace(own, job_id=f"fold{number}", fold=number, oof_folds=5, total_s=30.0)
    write_job(study, row, Predictions(everyone.log_probs_NC[part], everyone.labels_N[part], ids))


def test_fine_tuning_that_changed_nothing_is_said(tmp_path: Path) -> None:
    """Depths that ended as the loaded backbone are one candidate, named where fine-tuning did not help, and nowhere called trained."""
    study = write_study(tmp_path / "s", backbones=("resnet50", "densenet121"), as_loaded=("resnet50",), num_val=100, num_test=50)
    ranking = rank(study, QUICK)
    assert "resnet50 · all (= 0.5, none)" in {entry.label for entry in ranking.entries}
    assert fine_tuning(ranking) == (
        "Fine-tuning did not help 1 of 2 backbones. resnet50: with freeze=0.5 and none the backbone was kept as loaded."
    )
    text = report(study)
    assert "Fine-tuning did not help 1 of 2 backbones." in text
    (line,) = [line for line in text.splitlines() if line.startswith("| resnet50 · all (= 0.5, none) | layer3 |")]
    assert line.endswith("| as loaded |")
    everywhere = write_study(
        tmp_path / "all", backbones=("resnet50", "densenet121"), as_loaded=("resnet50", "densenet121"), num_val=100, num_test=0
    )
    assert fine_tuning(rank(everywhere, QUICK)).startswith("Fine-tuning did not help any of 2 backbones.")


def test_fine_tuning_that_is_behind_the_frozen_backbone_is_said(tmp_path: Path) -> None:
    """The expected scores decide, in the direction of the metric; where it helped everywhere there is no sentence."""
    study = write_study(tmp_path / "s", backbones=("densenet121",), num_val=300, num_test=0, failed=False)
    ranking = rank(study, QUICK)
    assert fine_tuning(ranking) == ""
    turned = {"densenet121 · all": 0.90, "densenet121 · 0.5": 0.87, "densenet121 · none": 0.86}
    worse = replace(ranking, entries=tuple(replace(entry, expected=turned[entry.label]) for entry in ranking.entries))
    assert plain(fine_tuning(worse)) == (
        "Fine-tuning did not help. densenet121: freeze=0.5 is expected to score 3.0 points worse than the frozen backbone."
    )
    assert fine_tuning(replace(worse, metric=Metric.log_loss)) == ""  # lower is better there


def candidate(freeze: str, *trained: bool, **changes: object) -> Candidate:
    """One candidate, its seeds trained or not."""
    rows = [make_row(f"j{seed}", "resnet50", freeze, seed, is_trained=each, **changes) for seed, each in enumerate(trained)]
    return Candidate("x", "x", tuple(rows), None, None, ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (candidate("all", False), "its whole backbone frozen, only the new classifier trained"),
        (candidate("none", True), "every layer trained"),
        (candidate("none", False), "every layer free, kept as loaded"),
        (candidate("none", True, False), "every layer free, trained in 1 of 2 runs, else kept as loaded"),
        (candidate("0.5", True), "the first 8 of its 17 blocks frozen"),
        (candidate("0.5", False), "the first 8 of its 17 blocks frozen, the rest kept as loaded"),
        (candidate("all", True, release="0.5", num_frozen_blocks=8), "trained in two phases, first with freeze=all, then with freeze=0.5"),
        (
            candidate("all", False, release="0.5", num_frozen_blocks=8),
            "two phases, freeze=all and then freeze=0.5, the backbone kept as loaded",
        ),
        (candidate("all", True, adapter="lora", num_frozen_blocks=17), "updates of low rank trained in its frozen backbone"),
        (candidate("all", False, adapter="bias", num_frozen_blocks=17), "the biases free in its frozen backbone, kept as loaded"),
        (
            candidate("0.5", True, adapter="norm"),
            "the scales and shifts of normalisation layers trained in the first 8 of its 17 blocks, otherwise frozen, and every layer behind them",
        ),
        (candidate("1.0", False, num_frozen_blocks=17), "its whole backbone frozen, only the new classifier trained"),
    ],
)
def test_depths_in_words(found: Candidate, wanted: str) -> None:
    """No backbone that is as it was loaded is called trained."""
    assert depth(found) == wanted


def test_an_untrained_fine_tune_is_not_called_trained_in_the_in_full(tmp_path: Path) -> None:
    """The words of the headline follow what was kept, not what was asked for."""
    study = Study(tmp_path / "s")
    add(study, "kept", (10, 10), is_trained=False)
    add(study, "tuned", (90, 90))
    text = in_full(rank(study, CFG))
    assert "every layer free, kept as loaded" in text
    assert "every layer trained" not in text
