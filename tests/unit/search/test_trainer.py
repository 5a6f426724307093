"""What a search knows of a backbone's speed before any model is timed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config import RankConfig
from harness.search.belief import Beliefs
from harness.search.runner import Sweep
from harness.search.trainer import JobTrainer, _forward_s
from harness.select.prior import OwnRanks
from harness.study.store import Study
from tests.unit.reporting.fake_study import make_row


def test_a_probe_tells_how_long_an_image_takes() -> None:
    """Its pass over all images, whenever that was; nothing where there was no pass or no image."""
    probe = replace(make_row("p", n_train=30, n_val=20, n_test=None), features_s=5.0, throughput_ips=None)
    assert _forward_s(probe) == pytest.approx(0.1)
    assert _forward_s(replace(probe, features_s=0.0)) is None
    assert _forward_s(replace(probe, n_train=None, n_val=None)) is None


def test_a_backbone_not_probed_yet_is_taken_for_a_typical_one() -> None:
    """The mean over the probes that there are; rows of trained candidates say something else, as their pass may have been shorter."""
    nothing: dict[str, Any] = {}
    trainer = JobTrainer(nothing, Sweep([]), Beliefs(Study(Path("nowhere")), RankConfig(), OwnRanks({}), nothing, nothing), None)
    first_guess_s = trainer._typical_forward_s()
    for backbone, freeze, features_s in (("a", "all", 5.0), ("b", "all", 15.0), ("c", "none", 500.0)):
        row = make_row(backbone, backbone, freeze, n_train=30, n_val=20, n_test=0)
        trainer.beliefs.measured(f"{backbone} {freeze}", [replace(row, features_s=features_s)])
    assert trainer._typical_forward_s() == pytest.approx(0.2) != first_guess_s
