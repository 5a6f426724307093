"""Studies whose every right and wrong answer is planted: two classes in turn, nine to one for whatever is answered."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.config import Metric, RankConfig
from harness.measure.quality import quality
from harness.select.ranking import Decision, Entry, Ranking
from harness.status import Status
from harness.study.row import Details, Row
from harness.study.store import Predictions, Study

QUICK = RankConfig(metric=Metric.accuracy, num_resamples=300)
FROZEN = {"all": 10, "0.5": 5, "none": 0}
"""Freeze depth -> frozen blocks of ten."""


def make_details(num_classes: int = 2, **changes: Any) -> Details:
    """Classes `a`, `b`, ... with 50 train images each, whose shares the loss taught."""
    names = [chr(ord("a") + number) for number in range(num_classes)]
    given = {
        "class_names": names,
        "profile": {"class_counts": {"train": dict.fromkeys(names, 50)}},
        "class_prior": [1 / num_classes] * num_classes,
    }
    return Details(**(given | changes))


def make_row(job_id: str, backbone: str = "resnet50", freeze: str = "all", seed: int = 0, **changes: Any) -> Row:
    """A good row without predictions; any column may be replaced. Networks cost the same unless they are told not to."""
    row = Row(
        job_id=job_id,
        status=Status.ok.value,
        study="planted",
        protocol="p1",
        backbone=backbone,
        model=backbone,
        family=backbone,
        weights="a1_in1k",
        weights_source="cache",
        weights_sha256=f"sha-{backbone}",
        freeze=freeze,
        num_frozen_blocks=FROZEN.get(freeze, 5),
        num_blocks=10,
        recipe="short",
        recipe_hash="r1",
        seed=seed,
        dataset="planted",
        data_fingerprint="f1",
        image_size=224,
        precision="float32",
        device="cpu",
        num_threads=2,
        params_m=10.0,
        gmacs=1.0,
        latency_ms_p50=20.0,
        latency_ms_low=19.6,
        latency_ms_high=20.6,
        peak_mem_mib=600.0,
        weights_mib=40.0,
        features_s=6.0,
        train_s=60.0 if freeze == "all" else 600.0,
        total_s=700.0,
        started_at=f"2025-03-01T10:00:{len(job_id) % 60:02d}+00:00",
        harness_version="0.1.0",
        host="bench",
        details=make_details(),
    )
    return replace(row, **changes)


def write_job(study: Study, row: Row, val: Predictions, test: Predictions | None = None, out_of_fold: Predictions | None = None) -> Row:
    """A row with the metrics of its predictions, and the predictions."""
    columns = {f"val_{name}": value for name, value in quality(val.log_probs_NC, val.labels_N)[0].items()}
    study.write_predictions(row.job_id, val, test, out_of_fold)
    written = replace(row, **columns, n_val=len(val.labels_N), n_test=0 if test is None else len(test.labels_N))  # type: ignore[arg-type]
    study.write_row(written)
    return written


def planted(wrong: Iterable[int], num_images: int = 200, name: str = "", confidence: float = 0.9) -> Predictions:
    """Predictions that err on the images of these numbers."""
    labels_N = np.arange(num_images) % 2
    predicted_N = labels_N.copy()
    predicted_N[list(wrong)] = 1 - predicted_N[list(wrong)]
    log_probs_NC = np.full((num_images, 2), np.log(1 - confidence), dtype=np.float32)
    log_probs_NC[np.arange(num_images), predicted_N] = np.log(confidence)
    return Predictions(log_probs_NC, labels_N, [f"{name}{i}" for i in range(num_images)])


def add(
    study: Study, backbone: str, val: Predictions, test: Predictions | None = None, out_of_fold: Predictions | None = None, **changes: Any
) -> Row:
    """One job; its depth and seed are part of its id."""
    freeze, seed = changes.get("freeze", "all"), changes.get("seed", 0)
    job_id = f"{backbone}{'' if freeze == 'all' else freeze}{seed}"
    return write_job(study, make_row(**({"job_id": job_id, "backbone": backbone} | changes)), val, test, out_of_fold)


def imbalanced(study: Study, backbone: str, skill: float = 0.8, num_val: int = 140, num_test: int = 0, **changes: Any) -> Row:
    """One job of three classes, four to two to one, whose probabilities lean to the large class; the same errors for the same name and seed."""
    share_C = np.array([4, 2, 1]) / 7
    rng = np.random.default_rng([*backbone.encode(), changes.get("seed", 0)])
    splits = [_leaning(rng, share_C, skill, size, kind) for size, kind in ((num_val, "v"), (num_test, "t"))]
    profile = {"class_counts": {"train": {"a": 400, "b": 200, "c": 100}}}
    details = make_details(3, class_prior=share_C.tolist(), profile=profile)
    return add(study, backbone, splits[0], splits[1] if num_test else None, details=details, **changes)


def _leaning(rng: np.random.Generator, share_C: npt.NDArray[np.float64], skill: float, num_images: int, kind: str) -> Predictions:
    """About `skill` of the images are recognised; of the others the probabilities are little more than the class shares."""
    labels_N = np.repeat(np.arange(3), [num_images - 3 * (num_images // 7), 2 * (num_images // 7), num_images // 7])
    logits_NC = np.log(share_C) + rng.normal(0, 0.5, (num_images, 3))
    logits_NC[np.arange(num_images), labels_N] += np.where(rng.random(num_images) < skill, 2.0, 0.0)
    log_probs_NC = logits_NC - np.log(np.exp(logits_NC).sum(axis=1, keepdims=True))
    return Predictions(log_probs_NC.astype(np.float32), labels_N, [f"{kind}{i}" for i in range(num_images)])


def backbone(ranking: Ranking) -> str:
    """The recommended one."""
    assert ranking.recommended is not None
    return ranking.recommended.candidate.row.backbone


def decision(ranking: Ranking) -> Decision:
    """Of a ranking that recommends somebody."""
    assert ranking.decision is not None
    return ranking.decision


def num_opened(ranking: Ranking) -> int:
    """Jobs whose test predictions were ever opened."""
    opening = decision(ranking).opening
    assert opening is not None
    return opening.num_opened


def recommending(ranking: Ranking, entry: Entry) -> Ranking:
    """The same, as if that candidate were recommended."""
    return replace(ranking, decision=replace(decision(ranking), recommended=entry))
