"""What the report says of the search and of the cheap scores: jobs stopped early, learning rates, priors, transferability scores, the self-audit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from harness.config import Metric, RankConfig
from harness.reporting.build import describe
from harness.reporting.plots.candidates import BELOW, MAX_LINES, intervals
from harness.reporting.plots.style import BLUE, ORANGE, themed
from harness.reporting.render import to_markdown
from harness.reporting.sections.changes import limit_sentence
from harness.reporting.sections.transferability import audit_sentence
from harness.select.audit import Audit, Choice, Line
from harness.select.prior import own_ranks
from harness.select.ranking import Ranking, rank
from harness.select.sensitivity import OtherLimit
from harness.study.store import Study
from tests.unit.reporting.fake_study import make_row, prune, write_study
from tests.unit.select.planted import recommending

QUICK = RankConfig(num_resamples=200)
THREE = ("resnet50", "densenet121", "mobilenetv3")


def build(study: Study, cfg: RankConfig = QUICK) -> str:
    """The report as Markdown, without pictures."""
    return to_markdown(describe(rank(study, cfg), {}, own_ranks(study))).replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    """Fifteen candidates, three of them outside a limit, several tied."""
    study = write_study(tmp_path_factory.mktemp("search") / "s", num_val=150, num_test=100)
    return rank(study, replace(QUICK, max_params_m=22.0))


def test_jobs_stopped_early_are_listed_and_counted(tmp_path: Path) -> None:
    """They are on the first screen, in the time spent and in a table with the reason of each; not among the failures, not ranked."""
    study = write_study(tmp_path / "s", backbones=THREE, num_val=80, num_test=0, failed=False)
    for row in study.rows():
        if row.backbone == "mobilenetv3" and row.freeze != "all":
            prune(study, row, rung=1, epochs_trained=1)
    markdown = build(study)
    assert "2 jobs stopped early" in markdown[: markdown.index("**Leaderboard**")]
    assert "2 jobs are not compared: the search did not train them to the end" in markdown
    assert "9 jobs (2 not trained to the end) took" in markdown
    assert "| mobilenetv3 | none | 0 | 1 of 3 |" in markdown
    assert "only trained shortly: it needs about 9 s, and 2 s were left." in markdown
    assert "No job failed." in markdown
    assert "mobilenetv3 · none" not in markdown[: markdown.index("Not trained to the end by")]


def test_a_learning_rate_on_the_edge_is_a_warning(tmp_path: Path) -> None:
    """Who ended on the edge of what was tried is named; without such a row there is no warning, without a search no table."""
    study = write_study(tmp_path / "s", backbones=THREE[:1], num_val=60, num_test=0)
    assert "Widen train.lr_search" not in build(study)
    for row in study.rows():
        if row.freeze == "none" and row.status == "ok":
            study.write_row(replace(row, lr=9e-4, lr_on_edge=True))
    markdown = build(study)
    assert "so one further out may be better still: resnet50 · none. Widen train.lr\\_search" in markdown.replace(
        "lr_search", "lr\\_search"
    )
    assert "| resnet50 · none | 0.0001, 0.0003, 0.0009 | 0.520, 0.500, diverged | 0.0009 | yes |" in markdown
    for row in study.rows():
        study.write_row(replace(row, lrs_tried=None))
    assert "**Learning rates**" not in build(study)


def test_priors_are_shown_before_any_result(tmp_path: Path) -> None:
    """Published figures, that of an architecture marked as such, none for random weights; ranks elsewhere; unreadable studies named."""
    study = write_study(tmp_path / "here", backbones=THREE, depths=("all",), num_val=60, num_test=0)
    for row in study.rows():
        if row.backbone == "densenet121":
            study.write_row(replace(row, imagenet_top1_frac=None))
        if row.backbone == "mobilenetv3":
            study.write_row(replace(row, weights="random", imagenet_top1_frac=None))
    for name, score in (("resnet50", 0.9), ("densenet121", 0.8)):
        row = make_row(name, name, dataset="elsewhere", data_fingerprint="f9", val_accuracy=score)
        Study(tmp_path / "other").write_row(row)
        Study(tmp_path / "broken").write_row(row)
    next((tmp_path / "broken" / "rows").glob("*.json")).write_text("{", encoding="utf-8")
    markdown = build(study)
    lines = {line.split("|")[1].strip(): line for line in markdown.splitlines() if "| 224 |" in line}
    assert lines["resnet50"].endswith("| 78.0 % | 0.00 (1) |")
    assert lines["densenet121"].endswith("(architecture) | 1.00 (1) |")
    assert lines["mobilenetv3"].endswith("| – | – |")
    assert "Studies that cannot be read are left out of it: broken." in markdown


def test_other_terms_are_on_the_first_screen(tmp_path: Path) -> None:
    """Rows of another protocol are refused with the difference named, before the leaderboard; older twins of a row are no such thing."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all",), num_val=60, num_test=0)
    (row,) = [row for row in study.rows() if row.status == "ok"]
    study.write_predictions("twin", study.val_predictions(row.job_id), None)
    study.write_row(replace(row, job_id="twin", started_at="2024-01-01T00:00:00+00:00"))
    assert "Not compared" not in build(study)
    details = replace(row.details, protocol={"data_fingerprint": "f1", "epochs": 9})
    study.write_predictions("older", study.val_predictions(row.job_id), None)
    study.write_row(replace(row, job_id="older", protocol="p0", started_at="2024-01-01T00:00:00+00:00", details=details))
    markdown = build(study)
    first = markdown[: markdown.index("**Leaderboard**")]
    assert "**Not compared:** This study holds 2 protocols, and jobs of several cannot be ranked together." in first
    assert "Not shown: epochs is 9 instead of 3 (1 job: " in first


def test_too_few_fine_tunes_are_no_audit(tmp_path: Path) -> None:
    """With two backbones the report says why it does not judge the cheap scores; with heads alone too."""
    markdown = build(write_study(tmp_path / "two", backbones=THREE[:2], num_val=60, num_test=0))
    assert "No audit of the cheap scores: Only 2 backbones have a fine-tune that ended well" in markdown
    markdown = build(write_study(tmp_path / "heads", backbones=THREE, depths=("all",), num_val=60, num_test=0))
    assert "No audit of the cheap scores: No backbone has a fine-tune" in markdown


def test_cheap_scores_are_diagnostics_unless_staged(tmp_path: Path) -> None:
    """In a grid nothing is chosen by them, the probe apart, which is a candidate; a staged search says what it chose by."""
    study = write_study(tmp_path / "s", backbones=THREE[:2], num_val=60, num_test=0)
    assert "nothing is ranked by the other scores." in build(study)
    assert "The staged search chose" not in build(study)
    for row in study.rows():
        study.write_row(replace(row, rung=2))
    assert "The staged search chose by the probe and the published accuracy." in build(study)
    for row in study.rows():
        study.write_row(replace(row, transferability_s=None))
    assert "Transferability scores" not in build(study)


def test_audit_sentence() -> None:
    """The rules that people follow, by what they lose; a score that not all have is marked; few backbones are hints only."""
    lines = dict.fromkeys(("random", "probe_accuracy", "one_epoch", "logme"), (12, 0.01)) | {"prior": (9, 0.023)}
    found = tuple(
        Line(name, number, 0.5, (Choice(1, 0.5, 0.1, 1.0, 0.1), Choice(3, 0.5, loss, 1.0, 0.1))) for name, (number, loss) in lines.items()
    )
    text = audit_sentence(Audit(Metric.accuracy, 12, 0, 10.0, found, None)).replace("\N{NO-BREAK SPACE}", " ")
    assert text == (
        "Fine-tuning only the first three backbones would have lost, against the best: at random 1.0 points, by published accuracy 2.3 points "
        "(among the 9 that have one), by the linear probe 1.0 points, by val after one epoch 1.0 points."
    )
    alone = tuple(replace(line, choices=line.choices[:1], num_backbones=3) for line in found)
    text = audit_sentence(Audit(Metric.accuracy, 3, 0, 10.0, alone, None)).replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("Fine-tuning only the first backbone would have lost, against the best: at random 10.0 points,")
    assert text.endswith("With 3 backbones these figures are hints: one more could turn them.")


def test_the_picture_marks_what_it_says(ranking: Ranking) -> None:
    """One line a candidate, a band for each tied one, blue for the recommended, a diamond for each finalist, hollow outside the limits."""
    with themed():
        figure = intervals(ranking)
    assert figure is not None
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert len(names) == len(ranking.entries)
    bands = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(bands) == len(ranking.tied) > 1
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_color() for line in dots].count(BLUE) == 1
    assert sum(line.get_markerfacecolor() == "white" for line in dots) == 3
    diamonds = [line for line in axes.lines if line.get_marker() == "D"]
    assert {line.get_color() for line in diamonds} == {ORANGE}
    places = {ranking.entries[round(float(np.asarray(line.get_ydata())[0]) - BELOW)].label: line for line in diamonds}
    for found in ranking.finalists:
        assert found.test.score is not None
        assert float(np.asarray(places[found.label].get_xdata())[0]) == pytest.approx(100 * found.test.score)


def test_the_picture_keeps_those_that_matter(ranking: Ranking) -> None:
    """Among more candidates than there is room for, the recommended and the finalists are shown wherever they stand."""
    last = ranking.entries[-4]
    many = recommending(replace(ranking, entries=(*ranking.entries[:3] * 10, *ranking.entries)), last)
    with themed():
        figure = intervals(many)
    assert figure is not None
    texts = figure.axes[0].get_yticklabels()
    assert len(texts) == MAX_LINES
    assert texts[-1].get_color() == BLUE


def test_a_looser_limit_is_never_rounded_down() -> None:
    """The printed limit reaches the candidate that it is said to lead to."""
    text = limit_sentence(OtherLimit("max_params_m", 23.5041, is_tighter=False, recommended="resnet50 · all"))
    assert text == "A limit of at least rank.max_params_m=23.51 leads to resnet50 · all."
    assert limit_sentence(OtherLimit("max_latency_ms", 9.7, is_tighter=True, recommended=None)) == (
        "A limit just below rank.max_latency_ms=9.7 leaves nobody."
    )
