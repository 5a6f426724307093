"""Studies whose every right and wrong answer is planted: two classes in turn, nine to one for whatever is answered."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from harness.config import Metric, RankConfig
from harness.select.ranking import Ranking
from harness.study.row import Details
from harness.study.store import Predictions, Study
from tests.unit.reporting.fake_study import make_row, write_job

QUICK = RankConfig(metric=Metric.accuracy, num_resamples=300)


def planted(wrong: Iterable[int], num_images: int = 200, name: str = "", confidence: float = 0.9) -> Predictions:
    """Predictions that err on the images of these numbers."""
    labels_N = np.arange(num_images) % 2
    predicted_N = labels_N.copy()
    predicted_N[list(wrong)] = 1 - predicted_N[list(wrong)]
    log_probs_NC = np.full((num_images, 2), np.log(1 - confidence), dtype=np.float32)
    log_probs_NC[np.arange(num_images), predicted_N] = np.log(confidence)
    return Predictions(log_probs_NC, labels_N, [f"{name}{i}" for i in range(num_images)])


def add(study: Study, backbone: str, val: Predictions, test: Predictions | None = None, **changes: Any) -> None:
    """One job; the seed is part of its id."""
    profile = {"class_counts": {"train": {"a": 50, "b": 50}}}
    details = changes.pop("details", Details(class_names=["a", "b"], profile=profile))
    row = replace(make_row(f"{backbone}{changes.get('seed', 0)}", backbone), details=details, **changes)
    write_job(study, row, val, test)


def backbone(ranking: Ranking) -> str:
    """The recommended one."""
    assert ranking.recommended is not None
    return ranking.recommended.candidate.row.backbone
