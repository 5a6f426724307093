"""Kept models for tests of whoever reads them."""

from dataclasses import replace
from typing import Any

from harness.study.model_file import ModelHeader

_PREPROCESS = {"image_size": 32, "interpolation": "bilinear", "crop_frac": 1.0, "crop_mode": "center", "mean": [0.5] * 3, "std": [0.5] * 3}
_HEADER = ModelHeader(
    job_id="a",
    dataset="fake",
    model_blake2b="0" * 32,
    backbone="test_resnet",
    model="test_resnet",
    weights="random",
    weights_source="random",
    weights_sha256=None,
    weights_path=None,
    licence=None,
    seed=0,
    features="pooled",
    head="linear",
    head_hidden=256,
    freeze="all",
    num_unchanged_blocks=5,
    image_size=32,
    preprocess=_PREPROCESS,
    max_values={},
    class_names=["cat", "dog"],
    metric="accuracy",
    class_prior=[0.5, 0.5],
    temperature=1.0,
    trained_on="train",
    num_trained_on=100,
    harness_version="0.1.0",
    timm_version="1.0",
    torch_version="2.8",
)


def make_header(**changes: Any) -> ModelHeader:
    """Of a head on a frozen backbone with random weights, but for `changes`."""
    return replace(_HEADER, **changes)
