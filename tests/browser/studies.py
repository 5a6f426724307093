"""Studies whose pages look as different as pages get, made without training."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console

from harness.config import RankConfig
from harness.reporting.across import report_comparison
from harness.reporting.build import build_report, write_text
from harness.reporting.live import describe
from harness.reporting.render import to_html
from harness.reporting.stage import Stage
from harness.reporting.studies import list_studies
from harness.select.ranking import rank
from harness.study.store import Study
from harness.study.thumbnails import Pair, Thumbnails
from harness.text.language import speaking
from tests.unit.reporting.fake_study import NETS, Net, write_study
from tests.unit.reporting.test_gallery import webp
from tests.unit.reporting.test_report_injection import EVIL, hostile

QUICK = RankConfig(num_resamples=200)
_TWO = ("resnet50", "densenet121")


def _nets(skills: Sequence[float]) -> dict[str, Net]:
    return {f"backbone{place:02}": Net("made up", 5 + place, 0.5 + place, 10 + 2 * place, 12, skill) for place, skill in enumerate(skills)}


def _report(root: Path, cfg: RankConfig = QUICK, *, nets: dict[str, Net] | None = None, is_hostile: bool = False, **options: Any) -> Path:
    """A study with its report but no pictures, which take longer than all the rest."""
    with patch.dict(NETS, nets or {}):
        chosen: dict[str, Any] = {"backbones": tuple(nets or _TWO), "class_names": ("sound", "cracked"), "num_val": 200}
        study = write_study(root, **(chosen | options))
    for row in study.rows() if is_hostile else ():
        study.write_row(hostile(row))
    with patch("harness.reporting.build.draw", return_value={}):
        build_report(study, cfg)
    return root


def _ordinary(root: Path) -> Path:
    """Everything that a report can have: plots, and pictures of images."""
    study = write_study(root, class_names=("sound", "cracked", "stained"))
    pictures = {f"{split}/{number}.png": webp() for split in ("val", "train") for number in range(1200)}
    study.write_thumbnails("p1", Thumbnails(pictures=pictures, augment="flip", pairs=(Pair("train/0.png", webp(), webp()),)))
    build_report(study, QUICK)
    return root


def _comparison(root: Path) -> Path:
    studies: list[Study] = [write_study(root / name, backbones=_TWO, num_val=100, num_test=50) for name in ("cells", "weeds")]
    report_comparison(studies, QUICK, console=Console(quiet=True))
    return root / "compare-cells-weeds"


def _still_running(root: Path) -> Path:
    """As the sweep writes it midway; it does not load itself again within a test."""
    study = write_study(root, backbones=_TWO, num_val=100, num_test=50)
    stage = Stage(num_jobs=24, num_done=8, num_failed=2, left_s=90, doing="resnet50 trains, all layers")
    page = describe(study.name, stage, rank(study, QUICK, may_open=False), study.report_command)
    write_text(root / "index.html", to_html(page, refresh_s=3600))
    return root


def _list_of_studies(root: Path) -> Path:
    """One with a report, one without."""
    _report(root / "cells")
    write_study(root / "weeds", backbones=_TWO, num_val=100, num_test=50)
    list_studies(root, print)
    return root


def _in_chinese(root: Path) -> Path:
    """Class names too."""
    with speaking("zh"):
        return _report(root, class_names=("猫", "狗和它的朋友们在公园里玩耍", "鳥"))


PAGES: dict[str, Callable[[Path], Path]] = {
    "ordinary": _ordinary,
    "clear winner": lambda root: _report(root, nets=_nets((0.55, 0.6, 0.9)), depths=("all",)),
    "at chance": lambda root: _report(root, nets=_nets((0.5, 0.5, 0.5)), depths=("all",)),
    "60 candidates": lambda root: _report(root, nets=_nets([0.6 + place / 80 for place in range(20)]), num_val=100, num_test=50),
    "200 classes": lambda root: _report(root, depths=("all",), class_names=[f"species {place}" for place in range(200)], num_val=400),
    "in Chinese": _in_chinese,
    "hostile": lambda root: _report(root, is_hostile=True, class_names=[f"{place}{EVIL}" for place in range(3)], num_val=120),
    "nobody within limits": lambda root: _report(root, RankConfig(num_resamples=200, max_latency_ms=0.1)),
    "comparison": _comparison,
    "still running": _still_running,
    "list of studies": _list_of_studies,
}
"""What each writes under the folder given, and returns where its page is."""
