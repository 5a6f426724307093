"""What a search knows of a backbone's speed before any model is timed."""

from dataclasses import replace

import pytest

from harness.search.work import forward_s_of, typical_forward_s
from tests.unit.reporting.fake_study import make_row


def test_a_probe_tells_how_long_an_image_takes() -> None:
    """Its pass over all images, whenever that was; nothing where there was no pass or no image."""
    probe = replace(make_row("p", n_train=30, n_val=20, n_test=None), features_s=5.0, throughput_ips=None)
    assert forward_s_of(probe) == pytest.approx(0.1)
    assert forward_s_of(replace(probe, features_s=0.0)) is None
    assert forward_s_of(replace(probe, n_train=None, n_val=None)) is None


def test_a_backbone_not_probed_yet_is_taken_for_a_typical_one() -> None:
    """The mean over the probes that there are; rows of trained candidates say something else, as their pass may have been shorter."""
    rows = [
        replace(make_row(backbone, backbone, freeze, n_train=30, n_val=20, n_test=0), features_s=features_s)
        for backbone, freeze, features_s in (("a", "all", 5.0), ("b", "all", 15.0), ("c", "none", 500.0))
    ]
    assert typical_forward_s(rows) == pytest.approx(0.2) != typical_forward_s([])
