"""The report in other languages: what a reader sees is in the one that was asked for, and what programs read is English."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.call import composed
from harness.config import Language, RankConfig, ReportConfig
from harness.errors import ConfigError
from harness.reporting.build import build_report
from harness.reporting.live import describe
from harness.reporting.render import to_html
from harness.reporting.stage import Stage, at_the_end
from harness.reporting.studies import list_studies
from harness.reporting.terminal import print_summary
from harness.select.ranking import rank
from harness.study.store import Study
from harness.text.language import speaking
from tests.unit.reporting.fake_study import write_study

CLASSES = ("one", "two", "three")
ENGLISH_WORDS = re.compile(r"\b[a-z]+(?: [a-z]+){3,}\b")
"""Four lower-case words in a row."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Failed jobs, a fine-tune that was kept as loaded, and test images."""
    root = tmp_path_factory.mktemp("results") / "s"
    return write_study(root, class_names=CLASSES, backbones=("resnet50", "squeezenet"), num_val=60, num_test=30, as_loaded=("resnet50",))


@pytest.mark.parametrize(
    "options", [{}, {"points_per_doubling": 3.0}, {"max_latency_ms": 10.0}, {"max_params_m": 0.1}, {"metric": "recall:two"}]
)
def test_no_english_sentence_is_in_a_chinese_summary(study: Study, options: dict[str, object]) -> None:
    """Whatever is asked; names, numbers and commands stay as they are."""
    output = io.StringIO()
    with speaking("zh"):
        ranking = rank(study, RankConfig(num_resamples=200, **options), may_open=not options)  # type: ignore[arg-type]
        print_summary(ranking, Path("index.html"), Console(file=output, width=1000))
    lines = [line for line in output.getvalue().splitlines() if "-m harness." not in line]
    assert len(lines) > 5
    assert [found for line in lines for found in ENGLISH_WORDS.findall(line)] == []


def test_what_programs_read_is_english(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of a report are the same in every language; its list of studies speaks another one, if asked to."""
    monkeypatch.setattr("harness.reporting.build.draw", lambda *_: {})
    pages, tables = {}, {}
    for each in Language:
        with speaking(each.value):
            build_report(study, RankConfig(num_resamples=200, max_params_m=1.0), may_open=False)
        pages[each] = (study.report_dir / "index.html").read_text(encoding="utf-8")
        tables[each] = [path.read_bytes() for path in sorted(study.report_dir.glob("*.[cj]s*"))]
    assert tables[Language.zh] == tables[Language.en]
    assert "parameters 23.5 million is above rank.max_params_m=1" in (study.report_dir / "ranking.csv").read_text(encoding="utf-8")
    assert '<html lang="zh">' in pages[Language.zh]
    assert "Use squeezenet" in pages[Language.en]
    for language, said in (("en", "Use squeezenet"), ("zh", "使用 squeezenet")):
        with speaking(language):
            list_studies(study.root.parent, pytest.fail)
        page = (study.root.parent / "index.html").read_text(encoding="utf-8")
        assert f'<html lang="{language}">' in page
        assert said in page


def test_the_page_of_a_running_sweep_is_in_its_language(study: Study) -> None:
    """What the sweep does now included."""
    with speaking("zh"):
        stage = Stage(num_jobs=5, num_done=2, num_failed=1, left_s=300.0, doing=at_the_end())
        page = to_html(describe("s", stage, rank(study, RankConfig(num_resamples=200), may_open=False), "python -m harness.report"))
    text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert ENGLISH_WORDS.findall(text) == []
    assert "扫描仍在运行：共 5 个任务，已完成 2 个；大约还需 5 min。" in text


def test_a_language_that_there_is_not_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(ConfigError, match=r"report\.language=xx: .*en, zh"):
        composed("report", ReportConfig, {"report.language": "xx"})
