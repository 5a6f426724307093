"""What a search believes of trials, some of which never ran or ran shortly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import RankConfig
from harness.search.belief import GAIN_POINTS, Beliefs, Gain
from harness.select.prior import OwnRanks
from harness.status import Status
from harness.study.row import Row
from tests.unit.reporting.fake_study import make_row, write_study

BACKBONES = ("resnet50", "mobilenetv3", "squeezenet")
DEPTHS = ("all", "0.5", "none")


@pytest.fixture
def believed(tmp_path: Path) -> Beliefs:
    """Three backbones at three depths, all of them on disk and nothing measured yet as far as the search knows."""
    study = write_study(tmp_path / "study", backbones=BACKBONES, depths=DEPTHS, failed=False)
    before = {f"{b} {d}": replace(make_row("-", b, d), num_blocks=None, gmacs=None) for b in BACKBONES for d in DEPTHS}
    return Beliefs(study, RankConfig(max_params_m=10), OwnRanks({}), before, {name: name.split()[0] for name in before})


def row_of(believed: Beliefs, name: str) -> Row:
    """The row on disk."""
    return next(row for row in believed.study.rows() if f"{row.backbone} {row.freeze}" == name)


def test_probes_tell_of_depths_that_never_ran(believed: Beliefs) -> None:
    """After the probes every trial has a belief: depths follow their backbone, and are less sure than it."""
    names = list(believed.before)
    for backbone in BACKBONES:
        believed.measured(f"{backbone} all", [row_of(believed, f"{backbone} all")])
    found = believed.of(names)
    mean, sd = dict(zip(names, found.mean_K, strict=True)), dict(zip(names, found.sd_K, strict=True))
    assert np.isfinite(found.mean_K).all()
    for depth in DEPTHS:
        assert mean[f"squeezenet {depth}"] < min(mean[f"resnet50 {depth}"], mean[f"mobilenetv3 {depth}"])
    assert all(sd[f"{b} none"] > sd[f"{b} all"] for b in BACKBONES)


def test_a_short_training_is_believed_less_than_a_whole_one(believed: Beliefs) -> None:
    """The same score is worth less after a short training, and counts as if the whole one would add a little."""
    for backbone in BACKBONES:
        believed.measured(f"{backbone} all", [row_of(believed, f"{backbone} all")])
    whole = row_of(believed, "resnet50 0.5")
    believed.measured("resnet50 0.5", [replace(whole, status=Status.pruned.value)])
    early = believed.of(["resnet50 0.5"]).sd_K[0]
    believed.measured("resnet50 0.5", [whole])
    assert believed.short["resnet50 0.5"][0].status == Status.pruned.value
    assert believed.of(["resnet50 0.5"]).sd_K[0] < early


def test_limits_of_the_backbone_exclude_all_its_depths(believed: Beliefs) -> None:
    """What its probe tells of parameters rules out depths that never ran; before the probe nothing does."""
    assert believed.excluded("resnet50 none") == []
    for backbone in BACKBONES:
        believed.measured(f"{backbone} all", [row_of(believed, f"{backbone} all")])
    assert believed.excluded("resnet50 none") == ["parameters 23.5 million is above rank.max_params_m=10"]
    assert believed.excluded("squeezenet none") == []


@given(st.lists(st.floats(-5, 5), max_size=20))
def test_what_more_training_adds_is_learnt_from_those_that_had_both(gains: list[float]) -> None:
    """From the prior towards the mean of what was seen; one more of the kind makes it surer."""
    found = Gain.seen(gains)
    low, high = sorted([GAIN_POINTS, float(np.mean(gains)) if gains else GAIN_POINTS])
    assert low - 1e-9 <= found.mean <= high + 1e-9
    assert Gain.seen([*gains, found.mean]).sd < found.sd
