"""The report's files: the same content twice, six steps, untrusted names inert, and something useful in every situation."""

import itertools
import re
import shlex
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from harness.config import Metric, RankConfig
from harness.errors import TableError
from harness.reporting.build import build_report
from harness.reporting.document import Code, Command, Document, Paragraph, Section, Table, Tone
from harness.reporting.first_screen import MAX_WORDS
from harness.reporting.next_steps import next_steps
from harness.reporting.render import inert, to_html, to_markdown
from harness.select.ranking import rank
from harness.study.store import Study
from harness.text.commands import runnable
from tests.unit.reporting.fake_study import NASTY_NAMES, make_row, write_study

pytestmark = pytest.mark.slow

QUICK = RankConfig(num_resamples=200)
STEPS = [
    "Define the task, profile the data",
    "Assess the resources",
    "Understand the candidates",
    "Choose the transfer strategy",
    "Test and compare",
    "Decide and validate",
]
PICTURES = {"candidates", "quality-latency", "freeze-depth", "class-f1", "confusion", "learning-curves", "cost"}


class Page(HTMLParser):
    """What a browser would make of a page: elements, attributes, text outside styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.text += " "
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self._inside and "svg" not in self._inside:
            self.text += data


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study with nasty names whose report is built."""
    study = write_study(tmp_path_factory.mktemp("build") / "fake", num_val=200, num_test=120)
    build_report(study, QUICK)
    return study


@pytest.fixture(scope="module")
def html(study: Study) -> str:
    """The page."""
    return (study.report_dir / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def markdown(study: Study) -> str:
    """The same in Markdown."""
    return (study.report_dir / "report.md").read_text(encoding="utf-8")


def build(study: Study, cfg: RankConfig = QUICK) -> str:
    """Build a report and return its Markdown."""
    build_report(study, cfg)
    return (study.report_dir / "report.md").read_text(encoding="utf-8")


def test_files_are_there(study: Study) -> None:
    """Page, Markdown, ranking, refreshed table and every picture twice; no temporary file is left."""
    found = {str(path.relative_to(study.root)) for path in study.root.rglob("*") if path.is_file()}
    wanted = {"report/index.html", "report/report.md", "report/ranking.csv", "results.csv", "results.parquet"}
    wanted |= {f"report/plots/{name}.{suffix}" for name in PICTURES for suffix in ("svg", "png")}
    assert wanted <= found
    assert not [name for name in found if Path(name).name.startswith(".")]
    assert len(pd.read_csv(study.root / "results.csv")) == 17
    assert len(pd.read_csv(study.report_dir / "ranking.csv")) == 15


def test_six_steps_in_both(html: str, markdown: str) -> None:
    """The six steps are the sections of both files, in order."""
    assert re.findall(r"^## \d\. (.*)$", markdown, flags=re.MULTILINE) == STEPS
    assert [re.sub(r"<.*?>|\d", "", title).strip() for title in re.findall(r"<h2><span>(.*?)</h2>", html)] == STEPS


def test_both_say_the_same(html: str, markdown: str) -> None:
    """Every number of one file is in the other, as often, but for rows that the reader has to ask for and what the script works with."""
    assert 'data-first="10"' in html
    (body,) = re.findall(r"data-leaderboard.*?<tbody>\n(.*?)</tbody>", html, flags=re.DOTALL)
    for left_out in (
        *body.splitlines()[10:],
        *re.findall(r'<section id="what-if".*?</section>|<script.*?</script>|<svg.*?</svg>', html, flags=re.DOTALL),
        *re.findall(r'<span class="quiet">.*?</span>', html),
    ):
        html = html.replace(left_out, "")
    seen = Page(html).text.replace("\N{NO-BREAK SPACE}", " ")
    plain = re.sub(r"\]\(plots/.*\)$|^No font installed here .*$|^\d+ more candidates are in step 5.$", "", markdown, flags=re.MULTILINE)
    number = re.compile(r"\d[\d.,]*\d|\d")
    assert Counter(number.findall(seen)) == Counter(number.findall(plain))


def test_page_stands_alone(html: str) -> None:
    """No script but its own, no event handler, nothing loaded; the policy forbids it as well; pictures are inside and share no id."""
    page = Page(html)
    assert html.count("<script>") == 1
    assert page.elements["script"] == 1 + html.count('<script type="application/json"')
    assert page.elements["link"] == page.elements["iframe"] == page.elements["img"] == 0
    assert page.elements["svg"] >= len(PICTURES)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    references = [value for name, value in page.attributes if name in ("href", "src", "xlink:href")]
    beside = ["ranking.csv", "../results.csv", "report.md"]
    outer = [value for value in references if not value.startswith("#") and value not in beside]
    assert all(value.startswith("data:image/png;base64,") for value in outer)
    assert ("http-equiv", "Content-Security-Policy") in page.attributes
    assert "default-src 'none'" in html
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in references if value.startswith("#")} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)


def test_nasty_names_are_text_in_html(html: str) -> None:
    """Class names, paths and errors appear letter by letter and add no element."""
    page = Page(html)
    assert page.elements["b"] == 0
    for name in NASTY_NAMES:
        assert name.replace("\n", "\\n") in page.text
    assert "zwei\\nzeilen/<b>x</b>.jpg: truncated" in page.text


def test_nasty_names_are_inert_in_markdown(markdown: str) -> None:
    """No raw tag, no cell broken by a pipe or a line break, no code or mathematics opened."""
    assert "<" not in re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    for name in ("&lt;script&gt;alert(1)&lt;/script&gt;", r"a\|b", r"zwei\nzeilen", r"größe \$x_1\$ 猫"):
        assert f"| {name} |" in markdown
    for block in re.findall(r"(?:^\|.*\|\n)+", markdown, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_first_screen_answers(markdown: str) -> None:
    """Before the leaderboard, in few words: what, how good on new images, why, what it costs, how sure, the picks, what is next, what is left out."""
    first = markdown[: markdown.index("**Leaderboard**")].replace("\N{NO-BREAK SPACE}", " ")
    headline = re.findall(r"^\*\*(Use .*?)\*\*", first, flags=re.MULTILINE)[0]
    assert len(headline.split()) <= MAX_WORDS + headline.count(" %")
    assert re.fullmatch(r"Use \S+, [^.]+\. \d+ % balanced accuracy \(\d+–\d+ %\) on new images\.", headline)
    assert re.findall(r"^\*\*(Quality|Cost|Confidence): ", first, flags=re.MULTILINE) == ["Quality", "Cost", "Confidence"]
    assert "balanced accuracy on 120 new images" in first
    assert re.search(r"- Weakest class on test: “.*”, recall \d", first)
    assert re.search(r"- Expected loss against the best: \d\.\d points", first)
    assert "cannot be excluded as best" in first
    assert "Budget pick: " in first
    assert re.search(r"```sh\n\S*python\S* -m harness\.sweep backbone=", first)
    assert "'data.root=/data/my images'" in first
    assert "- One seed: " in first
    assert "Left out: " in first
    assert "- **Data left out:**" in first


OTHER_WORDS = (
    *("open places", "told apart", "too good", "labelled right", "labels right", "solved head", "kept rows", "kept features", "looks"),
    *("cheapest of", "trunk", "entrant", "contender"),
)


def test_the_words_are_the_fields_own(markdown: str) -> None:
    """A reader who knows timm, scikit-learn and fastai needs no glossary: none of the harness's own words is left on the page."""
    assert [word for word in OTHER_WORDS if re.search(rf"\b{word}\b", markdown, flags=re.IGNORECASE)] == []


def test_ranking_csv_says_what_the_page_says(study: Study, markdown: str) -> None:
    """Expected scores, probabilities and losses are columns; exactly one line is recommended, one the budget and one the fastest pick."""
    frame = pd.read_csv(study.report_dir / "ranking.csv")
    assert [int(frame[name].sum()) for name in ("recommended", "budget_pick", "fastest_pick")] == [1, 1, 1]
    chosen = frame[frame["recommended"]].iloc[0]
    assert f"| **{100 * chosen['expected']:.1f} %** | **{100 * chosen['prob_best']:.0f} %** |" in markdown.replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert frame["prob_best"].sum() == pytest.approx(1, abs=0.01)
    assert (frame["expected_loss"] >= 0).all()
    assert frame["expected_loss"].idxmin() == frame["expected"].idxmax()
    assert set(frame[frame["freeze"] == "all"]["is_trained"]) == {False}
    assert frame["oof_accuracy"].notna().equals(frame["freeze"] == "all")


def test_calibration_is_shown_before_and_after(study: Study, markdown: str) -> None:
    """Temperature, log loss and calibration error of each candidate, in step 5."""
    row = next(row for row in study.rows() if (row.backbone, row.freeze) == ("squeezenet", "0.5"))
    assert row.raw_val_log_loss is not None
    assert row.val_log_loss is not None
    line = f"| squeezenet · 0.5 | 1.30 | {row.raw_val_log_loss:.3f} | {row.val_log_loss:.3f} |"
    assert line in markdown[markdown.index("**Calibration on val**") :]


def test_failures_are_listed(html: str) -> None:
    """Failed jobs keep their status and reason."""
    assert "out of memory at batch 32" in html
    assert ">oom<" in html


def test_pictures_are_well_formed(study: Study) -> None:
    """Each SVG parses, holds no script, and names no class as markup."""
    for path in (study.report_dir / "plots").glob("*.svg"):
        tags = {element.tag.split("}")[-1] for element in ET.parse(path).iter()}
        assert "path" in tags
        assert not tags & {"script", "foreignObject"}


def test_same_study_same_report(study: Study, markdown: str, html: str) -> None:
    """A second report of the same rows is the same, byte for byte."""
    assert build(study) == markdown
    assert (study.report_dir / "index.html").read_text(encoding="utf-8") == html


def test_no_candidate_within_limits(tmp_path: Path) -> None:
    """The report says so, names the nearest three and by how much they miss, and opens nothing."""
    study = write_study(tmp_path / "s", depths=("all",), num_val=100, num_test=50)
    markdown = build(study, replace(QUICK, max_latency_ms=5.0))
    assert "none of 5 candidates meets the limits" in markdown
    assert "**Nearest to the limits**" in markdown
    assert "squeezenet · all misses latency by 3.1 ms" in markdown
    assert study.opened() == set()


def test_one_candidate_is_not_a_comparison(tmp_path: Path) -> None:
    """A single candidate is reported as such, never as a winner."""
    markdown = build(write_study(tmp_path / "s", backbones=("resnet50",), depths=("all",), num_val=80, num_test=40, failed=False))
    assert "Nothing was compared: only one candidate was measured." in markdown
    assert "(not compared)" in markdown
    assert "No job failed." in markdown


def test_without_test_split(tmp_path: Path) -> None:
    """No test split: said on the first screen, and the confusion matrix is labelled as val."""
    markdown = build(write_study(tmp_path / "s", backbones=("resnet50", "squeezenet"), depths=("all",), num_val=100, num_test=0))
    assert "**No test images were there to check the choice on.**" in markdown[: markdown.index("**Leaderboard**")]
    assert "expected, untested" in markdown[: markdown.index("**Leaderboard**")]
    assert "Split: val." in markdown


def test_only_failures_still_report(tmp_path: Path) -> None:
    """Rows but none good: a report that lists what went wrong."""
    study = write_study(tmp_path / "s", backbones=())
    markdown = build(study)
    assert "no job has ended well" in markdown
    assert "out of memory at batch 32" in markdown
    assert re.findall(r"^## \d\. (.*)$", markdown, flags=re.MULTILINE) == STEPS


def test_no_rows_is_an_error(tmp_path: Path) -> None:
    """Nothing to report: one line, and no report folder appears."""
    study = Study(tmp_path / "s")
    with pytest.raises(TableError, match="holds no rows"):
        build_report(study, QUICK)
    assert not study.root.exists()


def test_other_protocols_are_listed(tmp_path: Path) -> None:
    """A row of another protocol is not ranked, and the difference is named."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all",), num_val=80, num_test=0)
    (row,) = [row for row in study.rows() if row.status == "ok"]
    details = replace(row.details, protocol={"data_fingerprint": "f0", "epochs": 3})
    study.write_predictions("older", study.val_predictions(row.job_id), None)
    study.write_row(replace(row, job_id="older", protocol="p0", started_at="2024-01-01T00:00:00+00:00", details=details))
    assert "Job older (resnet50, freeze=all): data_fingerprint is f0 instead of f1." in build(study)


def test_overfitting_is_said(tmp_path: Path) -> None:
    """A large lead of train over val is flagged in words, a small one is not."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all", "none"), num_val=300, num_test=0)
    for row in study.rows():
        if row.status == "ok" and row.val_accuracy is not None:
            study.write_row(replace(row, train_accuracy=min(row.val_accuracy + (0.15 if row.freeze == "none" else 0.02), 1.0)))
    markdown = build(study)
    assert "so they over-fit: resnet50 · none." in markdown


def test_changed_frozen_part_is_a_warning(tmp_path: Path) -> None:
    """A row whose frozen part moved is never shown as if nothing was wrong."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all",), num_val=80, num_test=0)
    (row,) = [row for row in study.rows() if row.status == "ok"]
    study.write_row(replace(row, frozen_ok=False))
    assert "Do not trust these results." in build(study)


def test_log_loss_report(tmp_path: Path) -> None:
    """Ranked by log loss, scores and differences are in nats."""
    study = write_study(tmp_path / "s", depths=("all",), num_val=120, num_test=60)
    markdown = build(study, replace(QUICK, metric=Metric.log_loss))
    assert re.search(r"It scores \d\.\d{3} nats log loss", markdown)
    assert "recommended scores better by (nats)" in markdown
    assert "expected loss (nats)" in markdown


def test_many_classes_and_candidates(tmp_path: Path) -> None:
    """Sixty classes and a column of candidates draw and print without a warning; what is left out is counted."""
    names = [f"class number {i} with a rather long name" for i in range(60)]
    markdown = build(write_study(tmp_path / "s", class_names=names, num_val=240, num_test=120))
    assert "10 more classes" in markdown
    assert "30 easier classes left out" in markdown
    assert "5 more candidates are in step 5." in markdown


def test_empty_cells_are_dashes(tmp_path: Path) -> None:
    """A row without costs, licence or curve is shown with empty cells."""
    study = write_study(tmp_path / "s", backbones=("resnet50", "squeezenet"), depths=("all",), num_val=80, num_test=0, failed=False)
    empty = (
        "latency_ms_p50",
        "params_m",
        "weights_mib",
        "train_s",
        "features_s",
        "throughput_ips",
        "licence",
        "imagenet_top1_frac",
        "num_blocks",
    )
    for row in study.rows():
        study.write_row(replace(row, **dict.fromkeys(empty), details=replace(row.details, curve=[])))  # type: ignore[arg-type]
    markdown = build(study)
    assert "None" not in markdown
    assert "nan" not in markdown
    assert "check it before the weights are used" in markdown
    assert "freeze-depth" not in markdown


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a|b", r"a\|b"),
        ("a_b.c", "a_b.c"),
        ("_a_ *b* `c` [d](e)", r"\_a\_ \*b\* \`c\` \[d\](e)"),
        ("<i>&amp;", "&lt;i&gt;&amp;amp;"),
        ("x\ny\tz\x1b", r"x\ny\tz\x1b"),
        ("https://a.example", "https&colon;//a.example"),
        ("a\\|b", r"a\\\|b"),
        ("\u202etxt", r"\u202etxt"),
        ("## a", r"\## a"),
        ("1. a", r"1\. a"),
        ("- a", r"\- a"),
        ("-0.4 to +2", "-0.4 to +2"),
    ],
)
def test_inert(given: str, wanted: str) -> None:
    """Markup characters are shown, not read."""
    assert inert(given) == wanted


def test_code_cannot_leave_its_fence() -> None:
    """A command with a fence of its own stays inside a longer one, and inside its element in HTML."""
    code = Code("run 'a\n```\n<b>'")
    section = Section("one", "One", [code, Paragraph("p", Tone.warning), Table("t", [], [])])
    document = Document("t", "v", Tone.plain, "h", [Command("next", code.text)], [], [section])
    assert to_markdown(document).count("````sh\nrun 'a\n```\n<b>'\n````") == 2
    assert Page(to_html(document)).elements["b"] == 0


def test_command_is_one_shell_word_each() -> None:
    """Overrides with spaces or quotes are quoted for the shell."""
    from harness.reporting.wording import command

    row = make_row("j")
    assert command(row).endswith("'data.root=/data/my images'")


def test_unsteady_timing_is_said_where_the_latency_is(tmp_path: Path) -> None:
    """A latency taken on a busy machine is marked in every table, and what the mark means stands below; only then."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all", "none"), num_val=60, num_test=0)
    assert "≈" not in build(study)
    for row in study.rows():
        study.write_row(replace(row, latency_steady=False))
    text = build(study)
    assert "The machine was busy while it was timed" in text
    assert text.count("≈ 41.2") >= 5  # leaderboard, cost, front; two candidates
    assert text.count("harness.retime") == 2


def test_next_steps_are_commands_for_this_study(tmp_path: Path) -> None:
    """On page, in Markdown and on the terminal: use it, hand it on, and settle the tie where there is one, with seeds that nobody has run."""
    study = write_study(tmp_path / "s", backbones=("resnet50", "densenet121"), depths=("all", "none"), seeds=(0, 3), num_val=60, num_test=0)
    ranking = rank(study, RankConfig(), may_open=False, by="test")
    use, hand_on, settle = next_steps(ranking)
    assert use.text == f"python -m harness.predict study=s results_dir={tmp_path} images=FOLDER"
    assert hand_on.text == f"python -m harness.export study=s results_dir={tmp_path}"
    tied = {(entry.candidate.row.backbone, entry.candidate.row.freeze) for entry in ranking.tied}
    assert len(tied) > 1
    parts = shlex.split(settle.text)
    assert parts[:3] == ["python", "-m", "harness.sweep"]
    swept = dict(part.split("=", 1) for part in parts[3:])
    assert swept["seed"] == "4,5"
    assert tied <= set(itertools.product(swept["backbone"].split(","), swept["freeze"].split(",")))
    page = build(study)
    assert all(runnable(step.text) in page for step in (use, hand_on, settle))


def test_a_clear_winner_leaves_no_tie_to_settle(tmp_path: Path) -> None:
    """And without a recommendation there is nothing to use."""
    clear = write_study(
        tmp_path / "s", backbones=("vit_small_patch16_224.augreg_in21k_ft_in1k", "squeezenet"), depths=("all",), num_val=600
    )
    ranking = rank(clear, RankConfig(), may_open=False, by="test")
    assert len(ranking.tied) == 1
    assert [step.purpose for step in next_steps(ranking)] == ["Use it on new images", "Hand the model on"]
    assert next_steps(rank(clear, RankConfig(max_params_m=0.001), may_open=False, by="test")) == []
