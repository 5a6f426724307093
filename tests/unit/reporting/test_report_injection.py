"""A study whose every word is hostile: the page, the Markdown, the tables and the terminal show it and nothing of it acts."""

import base64
import hashlib
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from harness.config import RankConfig
from harness.reporting.build import build_report
from harness.reporting.document import Bullets, Card, Column, Command, Document, Fact, Leaderboard, Paragraph, Section, Table, Tone, Value
from harness.reporting.render import inert, to_html, to_markdown
from harness.reporting.terminal import print_summary
from harness.study.row import Row
from harness.study.store import Study
from harness.text.language import say, speaking
from harness.text.untrusted import visible
from tests.unit.reporting.fake_study import write_study
from tests.unit.reporting.test_report_build import Page

EVIL = "\"'><img src=x onerror=alert(1)><script src=//a.example></script>[red]:bomb:\x1b[2J\x07\r\n\u202e\udcff${7*7}{{7*7}}</style></svg>"
"""Ends attributes, elements and strings; markup of rich and jinja; moves the cursor, turns the direction, is no UTF-8."""

FORMULA = '=HYPERLINK("http://a.example","b")'
QUICK = RankConfig(num_resamples=200)

KEPT = {
    "job_id",
    "status",
    "study",
    "protocol",
    "freeze",
    "release",
    "started_at",
    "primary_metric",
    "latency_key",
    "timed_at",
    "lrs_tried",
}
"""Columns whose text is made by the harness alone and is read by it."""


def _words(name: str) -> str:
    return f"{FORMULA if name in ('weights', 'host', 'licence') else ''}{name}{EVIL}"


def hostile(row: Row, by_column: Callable[[str], str] = _words) -> Row:
    """Every column of text and every string of the details replaced; backbones stay apart."""
    texts = [field.name for field in fields(Row) if isinstance(getattr(row, field.name), str) and field.name not in KEPT]
    changes: dict[str, Any] = {name: by_column(name) for name in texts}
    changes["backbone"] = f"{row.backbone}{by_column('backbone')}"
    details = row.details
    profile = json.loads(json.dumps(details.profile))
    if profile:
        profile |= {
            "root": EVIL,
            "source": EVIL,
            "notes": [EVIL],
            "unreadable": [EVIL],
            "modes": {EVIL: 3},
            "split_origin": {"train": EVIL},
        }
    changes["details"] = replace(
        details,
        profile=profile,
        command=[f"data.root={EVIL}", f"backbone={row.backbone}"],
        machine={**details.machine, "cpu_name": EVIL, "device_name": EVIL},
        transforms={"train": EVIL, "eval": EVIL},
        recipe={**details.recipe, EVIL: EVIL},
        undefined={"val_top5_accuracy": EVIL},
    )
    return replace(row, **changes)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Every word of every row hostile, class names too; the report is built."""
    names = [f"{number}{EVIL}" for number in range(4)]
    study = write_study(tmp_path_factory.mktemp("evil") / "fake", class_names=names, depths=("all", "none"), num_val=120, num_test=60)
    for row in study.rows():
        study.write_row(hostile(row))
    build_report(study, QUICK)
    return study


@pytest.fixture(scope="module")
def html(study: Study) -> str:
    """The page."""
    return (study.report_dir / "index.html").read_text(encoding="utf-8")


def test_the_words_are_there_as_text(html: str) -> None:
    """The test would prove nothing if the hostile words never reached the page."""
    text = Page(html).text
    for column in ("backbone", "error", "licence"):
        assert f"{column}\"'><img src=x onerror=alert(1)>" in text, column
    assert "3\"'><img src=x onerror=alert(1)>" in text
    assert "\\x1b[2J" in text
    assert "\\udcff" in text
    assert "${7*7}{{7*7}}" in text


def test_the_page_loads_and_runs_nothing(html: str) -> None:
    """Parsed as a browser would: no element that acts but the page's own script, no handler, no address but places on the page, the files beside
    it and pictures inside it.
    """
    page = Page(html)
    assert html.count("<script>") == 1
    assert page.elements["script"] == 1 + html.count('<script type="application/json"')
    for element in (
        "img",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "form",
        "foreignobject",
        "video",
        "audio",
        "source",
    ):
        assert page.elements[element] == 0, element
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    references = [
        value for name, value in page.attributes if name.rpartition(":")[2] in ("href", "src", "srcset", "action", "data", "poster")
    ]
    assert all(
        re.fullmatch(r"#[\w.-]+|ranking\.csv|\.\./results\.csv|report\.md|data:image/png;base64,[A-Za-z0-9+/=\s]+", value)
        for value in references
    )
    styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", html, flags=re.DOTALL))
    styles += " ".join(value for name, value in page.attributes if name == "style")
    assert "@import" not in styles
    assert "expression(" not in styles
    assert all(target.startswith(("#", "data:")) for target in re.findall(r"url\(\s*['\"]?([^)'\"]*)", styles))
    assert all(value.startswith("#") for _, value in page.attributes for value in re.findall(r"url\(\s*['\"]?([^)'\"]*)", value))


def test_the_policy_forbids_what_the_page_does_not_need(html: str) -> None:
    """Even if a hole were found, the browser is told to load nothing and to run the page's own script only, which is named by its hash."""
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert rules == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "script-src": f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert html.index("Content-Security-Policy") < html.index("<style")
    assert html.index("Content-Security-Policy") < html.index("<title")


def test_a_page_in_another_language_is_as_inert(study: Study, tmp_path: Path) -> None:
    """Words go into the places of a translated sentence letter by letter: neither markup nor places of their own are read in them."""
    with speaking("zh"):
        build_report(study, QUICK, into=tmp_path)
        assert (
            say("Never found on {split}: {classes}.", split="{classes}", classes="{split.__class__}")
            == "在{classes}上从未识别出：{split.__class__}。"
        )
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    page = Page(html)
    assert 'lang="zh"' in html
    assert page.elements["img"] == page.elements["iframe"] == 0
    assert page.elements["script"] == 1 + html.count('<script type="application/json"')
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<" not in re.sub(r"^```.*?^```", "", (tmp_path / "report.md").read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_nothing_hidden_is_on_the_page(study: Study, html: str) -> None:
    """No control or direction character is in any file of the report."""
    files = [path for path in study.report_dir.rglob("*") if path.suffix in (".html", ".md", ".svg")]
    assert len(files) > 5
    for path in files:
        found = set(re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", path.read_text(encoding="utf-8")))
        assert not found, path.name


def test_pictures_hold_shapes_and_text_only(study: Study) -> None:
    """No element of theirs could be a link or a script, and text is text."""
    for path in (study.report_dir / "plots").glob("*.svg"):
        tags = {element.tag.split("}")[-1] for element in ET.parse(path).iter()}
        assert tags <= {
            "svg",
            "defs",
            "style",
            "g",
            "path",
            "text",
            "tspan",
            "use",
            "clipPath",
            "rect",
            "image",
            "metadata",
            "RDF",
            "Work",
            "type",
            "format",
        }, path.name


def test_markdown_is_inert(study: Study) -> None:
    """No raw tag, no link and no picture of others, no broken table."""
    markdown = re.sub(r"^```.*?^```", "", (study.report_dir / "report.md").read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert "<" not in markdown
    assert not re.search(r"://|www\.", markdown)
    assert all(target.startswith("plots/") for target in re.findall(r"(?<!\\)\]\(([^)]*)\)", markdown))
    for block in re.findall(r"(?:^\|.*\|\n)+", markdown, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_tables_hold_no_formula(study: Study) -> None:
    """In both CSV files no cell begins like a formula unless it is a number."""
    for path in (study.root / "results.csv", study.report_dir / "ranking.csv"):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        starts = [cell for name in frame for cell in frame[name] if re.match(r"[=+@\t\r]|-(?!\d|\.\d)", cell)]
        assert not starts, path.name
    weights = pd.read_csv(study.root / "results.csv", dtype=str)["weights"]
    assert weights.str.startswith("'=HYPERLINK(").all()


def test_the_terminal_shows_letters(study: Study) -> None:
    """No control character but line ends reaches a terminal that has no colours, and no markup or emoji is read."""
    out = io.StringIO()
    console = Console(file=out, width=200, color_system=None, force_terminal=False, highlight=False)
    print_summary(build_report(study, QUICK), study.report_dir / f"{EVIL}.html", console)
    text = out.getvalue()
    text.encode("utf-8")
    assert visible(text) == text
    assert "[red]:bomb:" in text.replace("\n", "")
    assert "\\x1b[2J" in text.replace("\n", "")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("www.a.example", "www&#46;a.example"),
        ("WWW.a", "WWW&#46;a"),
        ("---", r"\---"),
        ("===", r"\==="),
        ("awww.b", "awww.b"),
        ("-1", "-1"),
    ],
)
def test_inert_links_and_rules(given: str, wanted: str) -> None:
    """What renderers make links or lines of without being asked."""
    assert inert(given) == wanted


def test_any_string_of_a_document_is_text() -> None:
    """Whatever a section puts into whichever place, the border escapes it."""
    table = Table(EVIL, [], [])
    section = Section("one", EVIL, [Paragraph(EVIL, Tone.warning), Bullets([EVIL]), table])
    board = Leaderboard(Table(EVIL, [Column(EVIL)], [[Value(EVIL, 1.0)]]), 1, [EVIL], [(EVIL, "a")])
    document = Document(
        EVIL,
        EVIL,
        Tone.plain,
        EVIL,
        [Command(EVIL, "next")],
        [Paragraph(EVIL), board],
        [section],
        reason=EVIL,
        cards=[Card(EVIL, EVIL, EVIL, [EVIL], [EVIL])],
        picks=[table],
        left_out=EVIL,
        facts=[Fact("q", EVIL)],
        what_if={"limits": [{"name": EVIL, "unit": EVIL}], "loss": {"unit": EVIL}, "num_left_out": 0, "more": [EVIL, "</script>"]},
    )
    page = Page(to_html(document))
    assert (page.elements["img"], page.elements["script"]) == (0, 2)
    assert "\x1b" not in to_html(document)
    to_html(document).encode("utf-8")
    assert "<" not in to_markdown(document)


def test_a_matplotlibrc_in_the_current_folder_changes_nothing(tmp_path: Path) -> None:
    """A file of that name beside the images must not decide how pictures are made: TeX would run on class names."""
    import subprocess
    import sys

    code = "from harness.reporting.plots.style import themed; import matplotlib as m\nwith themed(): print(m.rcParams['text.usetex'], m.rcParams['lines.linewidth'])"
    seen = []
    for text in ("", "text.usetex: True\nlines.linewidth: 77\nsvg.fonttype: none\n"):
        (tmp_path / "matplotlibrc").write_text(text, encoding="utf-8")
        seen.append(subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert seen[0] == seen[1] == "False 1.5\n"
