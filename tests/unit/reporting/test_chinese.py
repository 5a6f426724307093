"""The report in Chinese: page, pictures and charts have no English sentence left."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace

import pytest
from matplotlib.text import Text

from harness.config import RankConfig
from harness.reporting import gallery
from harness.reporting.build import describe
from harness.reporting.charts import charts
from harness.reporting.compose import _PLOTS
from harness.reporting.data_audit import DataAudit, audit_images
from harness.reporting.document import Code, Document
from harness.select.prior import own_ranks
from harness.select.ranking import Ranking, rank
from harness.study.findings import NEAR_COPY, Finding, Findings
from harness.study.store import Study
from harness.study.thumbnails import Pair, Thumbnails
from harness.text.language import speaking
from tests.unit.reporting.fake_study import prune, write_folds, write_study
from tests.unit.reporting.test_gallery import webp

ENGLISH = re.compile(r"[a-z]+(?:[ ,;:]+[a-z]+){3}")
"""A run of four words."""
MARKUP = ("svg", "webp", "anchor", "back")
"""Fields of a document that nobody reads."""


def texts(part: object) -> Iterator[str]:
    """Everything that a reader sees of a part of a document, but for commands."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping):
        yield from (text for each in part.values() for text in texts(each))
    elif isinstance(part, Sequence):
        yield from (text for each in part for text in texts(each))
    elif is_dataclass(part) and not isinstance(part, Code):
        yield from (text for field in fields(part) if field.name not in MARKUP for text in texts(getattr(part, field.name)))


def stored(study: Study, ranking: Ranking) -> list[str]:
    """What rows have in English, and the labels of candidates; the longest first."""
    rows = study.rows()
    kept = [*(row.error for row in rows), *(text for row in rows for text in texts([row.details.profile, row.details.transforms]))]
    found = {text for text in kept if text} | {entry.label for entry in ranking.entries}
    return sorted(found, key=len, reverse=True)


def english(shown: object, names: Sequence[str]) -> list[str]:
    """Texts with an English sentence, what the study stores apart."""
    left = []
    for text in texts(shown):
        rest = re.sub("`[^`]*`", "", text)
        for name in names:
            rest = rest.replace(name, "")
        left += [text] if ENGLISH.search(rest) else []
    return left


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """With failed jobs, one that was stopped early, folds, and thumbnails."""
    study = write_study(tmp_path_factory.mktemp("chinese") / "fake", backbones=("resnet50", "mobilenetv3", "squeezenet"), num_val=150)
    frozen, tuned = ([row for row in study.rows() if row.freeze == freeze] for freeze in ("all", "none"))
    prune(study, replace(frozen[0], job_id="pruned", seed=7), rung=0, epochs_trained=1)
    write_folds(study, next(row for row in tuned if row.backbone == "resnet50"), folds=(0, 1), num_folds=5)
    pictures = {f"{split}/{number}.png": webp() for split in ("val", "train") for number in range(150)}
    study.write_thumbnails("p1", Thumbnails(pictures=pictures, augment="flip", pairs=(Pair("train/0.png", webp(), webp()),)))
    return study


def audited(study: Study, ranking: Ranking) -> DataAudit:
    """With a finding of each kind."""
    findings = (
        Finding(path="val/1.png", split="val", problem=NEAR_COPY, label="a|b", score=0.99, other_path="train/1.png", other_split="train"),
        Finding(path="val/2.png", split="val", problem="odd size", label="a|b", score=9.0),
        Finding(path="train/3.png", split="train", problem="suspect label", label="a|b", score=0.9, suggested_label="zwei"),
    )
    found = audit_images(study, ranking)
    looked_at = Findings(num_images={"val": 150}, copied={"val": {"train": 1}}, backbone="resnet50", is_complete=False, findings=findings)
    return replace(found, looked_at=looked_at, findings=[*findings, *found.findings])


def document(study: Study) -> tuple[Ranking, Document]:
    """The whole report, its pictures left out."""
    ranking = rank(study, RankConfig(num_resamples=200))
    found = audited(study, ranking)
    shown = gallery.build(study, ranking, found, gallery.kept(study, ranking, found))
    return ranking, describe(ranking, {}, own_ranks(study), found, shown=shown)


def test_the_report_has_no_english_sentence(study: Study) -> None:
    """Whatever a reader sees but commands, and what the study stores in English."""
    with speaking("zh"):
        ranking, found = document(study)
    assert found.images is not None
    assert english(found, stored(study, ranking)) == []


def test_pictures_and_charts_have_no_english_sentence(study: Study) -> None:
    """Axes, legends and titles, and the words of each point."""
    with speaking("zh"):
        ranking = rank(study, RankConfig(num_resamples=200))
        figures = [figure for plot, _ in _PLOTS.values() if (figure := plot(ranking)) is not None]
        drawn = [text.get_text() for figure in figures for text in figure.findobj(Text) if isinstance(text, Text)]
        shown = charts(ranking)
    assert len(figures) == len(_PLOTS)
    assert any("冻结" in text for text in drawn)
    assert english([drawn, shown], stored(study, ranking)) == []
