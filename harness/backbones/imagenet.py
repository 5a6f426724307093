"""Published ImageNet-1k accuracy, a prior that costs nothing: read by the weights step and by the listing.

`imagenet_top1.csv` was compiled from the validation results that timm publishes (results/results-imagenet.csv, as of
2026-08-08). Its columns: weights (`arch.tag`), image_size (pixels), top1_frac, top5_frac, params_m (millions).
Weights that were validated at several sizes have several lines; the smallest is the size they were trained at.
"""

import csv
from functools import cache
from importlib.resources import files


def published_top1(model: str, tag: str | None) -> float | None:
    """Top-1 accuracy (fraction) of exactly these weights at the size they were trained at; None where none is published."""
    return _table().get(f"{model}.{tag}")


@cache
def published_top1s(model: str) -> tuple[float, ...]:
    """Top-1 accuracy (fraction) of all published weights of one architecture."""
    return tuple(top1 for weights, top1 in _table().items() if weights.partition(".")[0] == model)


@cache
def _table() -> dict[str, float]:
    text = files("harness.backbones").joinpath("imagenet_top1.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    rows.sort(key=lambda row: int(row["image_size"]), reverse=True)
    return {row["weights"]: float(row["top1_frac"]) for row in rows}
