"""A plausible study without any training: real rows, simulated log-probabilities whose errors are correlated between candidates.

Frozen backbones have a head that was judged out of fold on train and val as well, as in a real sweep.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import Metric
from harness.measure.epoch import Epoch
from harness.measure.quality import decide, primary_metric, quality
from harness.status import Status
from harness.study.row import COLUMNS, Details, Row
from harness.study.store import FloatArray, IntArray, Predictions, Study

NASTY_NAMES = ("<script>alert(1)</script>", "a|b", 'O\'Neil "x"', "zwei\nzeilen", "größe $x_1$ 猫")


@dataclass(frozen=True, slots=True)
class Net:
    """What a backbone is like."""

    family: str
    params_m: float
    gmacs: float
    latency_ms: float
    num_blocks: int
    skill: float
    """Share of images that it classifies correctly with everything frozen."""


NETS = {
    "resnet50": Net("resnet", 23.5, 4.1, 41.2, 17, 0.80),
    "densenet121": Net("densenet", 7.0, 2.8, 63.9, 15, 0.82),
    "mobilenetv3": Net("mobilenet", 4.2, 0.22, 9.7, 16, 0.79),
    "vit_small_patch16_224.augreg_in21k_ft_in1k": Net("vision transformer", 21.7, 4.3, 38.5, 13, 0.84),
    "squeezenet": Net("squeezenet", 0.74, 0.35, 8.1, 9, 0.62),
}
DEPTHS = {"all": (1.0, 0.0), "0.5": (0.5, 0.035), "none": (0.0, 0.02)}
"""Freeze depth -> frozen share, and what it adds to the skill."""
TEMPERATURE = 1.3
OUT_OF_FOLD = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "log_loss")


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """One split: labels, and how hard each image is, in [0, 1]."""

    labels_N: IntArray
    difficulty_N: FloatArray


def log_probs(labels_N: IntArray, num_classes: int, skill: float, difficulty_N: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Log-probabilities of which about `skill` are right; the same hard images are hard for every candidate."""
    is_right_N = difficulty_N + rng.normal(0, 0.08, len(labels_N)) < skill
    wrong_N = (labels_N + rng.integers(1, num_classes, len(labels_N))) % num_classes
    logits_NC = rng.normal(0, 0.7, (len(labels_N), num_classes))
    logits_NC[np.arange(len(labels_N)), np.where(is_right_N, labels_N, wrong_N)] += 3.5
    return np.asarray(logits_NC - np.log(np.exp(logits_NC).sum(axis=1, keepdims=True)), dtype=np.float32)


def make_row(job_id: str, backbone: str = "resnet50", freeze: str = "all", seed: int = 0, **changes: Any) -> Row:
    """A good row without predictions; `details` and any column may be replaced."""
    net = NETS.get(backbone, Net("other", 10.0, 1.0, 20.0, 10, 0.7))
    frozen_frac = DEPTHS.get(freeze, (0.5, 0.0))[0]
    row = Row(
        job_id=job_id,
        status=Status.ok.value,
        study="fake",
        protocol="p1",
        backbone=backbone,
        model=backbone,
        family=net.family,
        weights="a1_in1k",
        weights_source="cache",
        weights_sha256=f"sha-{backbone}",
        licence="apache-2.0",
        imagenet_top1_frac=0.7 + 0.1 * net.skill,
        freeze=freeze,
        boundary="layer3" if frozen_frac else None,
        num_frozen_blocks=round(frozen_frac * net.num_blocks),
        num_blocks=net.num_blocks,
        frozen_ok=True,
        recipe="short",
        recipe_hash="r1",
        seed=seed,
        dataset="fake",
        data_fingerprint="f1",
        image_size=224,
        epochs=3,
        epochs_trained=3,
        chosen_epoch=2,
        is_trained=freeze != "all",
        model_blake2b=f"model-{job_id}",
        temperature=TEMPERATURE,
        lr=3e-4,
        lrs_tried=None if freeze == "all" else "0.0001 0.0003 0.0009",
        lr_on_edge=None if freeze == "all" else False,
        batch_size=32,
        augment="none",
        precision="float32",
        device="cpu",
        num_threads=2,
        params_m=net.params_m,
        trainable_params_m=0.01 if freeze == "all" else net.params_m * (1.2 - frozen_frac) / 1.2,
        gmacs=net.gmacs,
        frozen_macs_frac=0.99 * frozen_frac,
        **_transferability(net),
        latency_ms_p50=net.latency_ms,
        latency_ms_min=0.99 * net.latency_ms,
        latency_ms_low=0.98 * net.latency_ms,
        latency_ms_high=1.03 * net.latency_ms,
        latency_ms_p95=1.2 * net.latency_ms,
        latency_steady=True,
        throughput_ips=1500 / net.latency_ms,
        peak_mem_mib=600 + 40 * net.params_m,
        weights_mib=3.82 * net.params_m,
        features_s=3.1 * net.latency_ms / 10,
        train_s=90 * (1.3 - frozen_frac) * net.gmacs,
        total_s=110 * (1.3 - frozen_frac) * net.gmacs + 20,
        started_at=f"2025-03-01T10:00:{len(job_id) % 60:02d}+00:00",
        harness_version="0.1.0",
        torch_version="2.8.0",
        timm_version="1.0.20",
        host="bench",
        details=Details(
            command=[f"backbone={backbone}", f"freeze={freeze}", f"seed={seed}", "data=folder", "data.root=/data/my images"],
            lr_losses={} if freeze == "all" else {"0.0001": 1.32 - net.skill, "0.0003": 1.3 - net.skill, "0.0009": None},
        ),
    )
    return replace(row, **changes)


def _transferability(net: Net) -> dict[str, Any]:
    """Cheap scores that follow the skill, each with an error of its own."""
    wobble = (net.params_m % 1) - 0.5
    return {
        "probe_accuracy": net.skill - 0.03 * wobble,
        "probe_log_loss": 1.3 - net.skill + 0.1 * wobble,
        "probe_strength": 0.1,
        "knn_accuracy": net.skill - 0.11 + 0.05 * wobble,
        "logme": -0.2 + 0.1 * net.skill,
        "gbc": -3 + net.skill,
        "leep": -2.2 + net.skill - 0.4 * wobble,
        "h_score": 3 * net.skill,
        "transferability_s": 0.4 + 0.05 * net.gmacs,
    }


def write_study(
    root: Path,
    *,
    class_names: Sequence[str] = NASTY_NAMES,
    backbones: Sequence[str] = tuple(NETS),
    depths: Sequence[str] = tuple(DEPTHS),
    seeds: Sequence[int] = (0,),
    num_val: int = 400,
    num_test: int = 300,
    failed: bool = True,
    as_loaded: Sequence[str] = (),
) -> Study:
    """Write a study with one row per backbone, depth and seed, imbalanced classes, sealed test predictions and two failed jobs.

    Fine-tunes of the backbones in `as_loaded` end as the very model that freeze=all gives.
    """
    study, rng = Study(root), np.random.default_rng(7)
    share_C = np.linspace(4, 1, len(class_names)) / np.linspace(4, 1, len(class_names)).sum()
    sizes = {"train": 3 * num_val, "val": num_val, "test": num_test}
    splits = {name: Simulated(_labels(size, share_C), np.asarray(rng.random(size), dtype=np.float32)) for name, size in sizes.items()}
    details = _details(class_names, {name: split.labels_N for name, split in splits.items()})
    for backbone in backbones:
        for freeze in depths:
            for seed in seeds:
                _write_job(study, make_row(_job_id(backbone, freeze, seed), backbone, freeze, seed), details, splits, rng)
    for backbone in as_loaded:
        _make_one(study, [row for row in study.rows() if row.backbone == backbone])
    if failed:
        _write_failed(study)
    return study


def write_job(study: Study, row: Row, val: Predictions, test: Predictions | None = None, out_of_fold: Predictions | None = None) -> None:
    """A row with the metrics of its predictions, and the predictions."""
    row = _with_prior(row, val.log_probs_NC.shape[1])
    values, undefined = _quality(row, val)
    raw, _ = _quality(row, _before_calibration(row, val))
    columns: dict[str, Any] = {f"val_{name}": value for name, value in values.items()}
    columns |= {f"raw_val_{name}": raw[name] for name in ("log_loss", "ece")}
    if out_of_fold is not None:
        found, _ = _quality(row, out_of_fold)
        columns |= {f"oof_{name}": found[name] for name in OUT_OF_FOLD} | {"oof_folds": 5}
    details = replace(row.details, undefined={f"val_{name}": reason for name, reason in undefined.items()})
    study.write_predictions(row.job_id, val, test, out_of_fold)
    study.write_row(replace(row, **columns, n_val=len(val.labels_N), n_test=0 if test is None else len(test.labels_N), details=details))


def _with_prior(row: Row, num_classes: int) -> Row:
    """Class shares as train has them, equal ones where the row does not say."""
    counts = row.details.profile.get("class_counts", {}).get("train", {})
    counts_C = np.array([counts.get(name, 0) for name in row.details.class_names] if sum(counts.values()) else np.ones(num_classes))
    prior = row.details.class_prior or (np.maximum(counts_C, 1) / np.maximum(counts_C, 1).sum()).tolist()
    return replace(row, primary_metric=row.primary_metric or Metric.accuracy.value, details=replace(row.details, class_prior=prior))


def _quality(row: Row, found: Predictions) -> tuple[dict[str, float | None], dict[str, str]]:
    predicted_N = decide(found.log_probs_NC, Metric(str(row.primary_metric)), np.array(row.details.class_prior))
    return quality(found.log_probs_NC, found.labels_N, predicted_N)


def _before_calibration(row: Row, found: Predictions) -> Predictions:
    """The same at temperature 1."""
    logits_NC = found.log_probs_NC.astype(np.float64) * (row.temperature or 1.0)
    logits_NC -= np.log(np.exp(logits_NC).sum(axis=1, keepdims=True))
    return replace(found, log_probs_NC=logits_NC.astype(np.float32))


def _make_one(study: Study, rows: Sequence[Row]) -> None:
    """Give every depth the model and the predictions of the frozen one with its seed."""
    frozen = {row.seed: row for row in rows if row.freeze == "all"}
    for row in rows:
        first = frozen[row.seed]
        if row is first:
            continue
        log_probs = study.predictions_path(first.job_id).read_bytes()
        study.predictions_path(row.job_id).write_bytes(log_probs)
        same = {name: getattr(first, name) for name in COLUMNS if name.startswith(("val_", "raw_val_", "oof_")) or name == "model_blake2b"}
        study.write_row(replace(row, **same, is_trained=False, chosen_epoch=0))


def prune(study: Study, row: Row, rung: int, epochs_trained: int) -> None:
    """Turn a good row into one that a staged search did not train to the end."""
    reason = "only trained shortly: it needs about 9 s, and 2 s were left."
    study.write_row(replace(row, status=Status.pruned.value, rung=rung, epochs_trained=epochs_trained, error=reason))


def write_folds(study: Study, row: Row, folds: Sequence[int], num_folds: int) -> None:
    """Some folds of a fine-tune: images of train and val dealt out in turn, each predicted somewhat better than by the head of its backbone."""
    rng = np.random.default_rng(11)
    head = next(other for other in study.rows() if other.backbone == row.backbone and other.freeze == "all")
    known = study.out_of_fold(head.job_id)
    assert known is not None
    for fold in folds:
        images = np.arange(fold, len(known.labels_N), num_folds)
        labels_N = known.labels_N[images]
        logits_NC = known.log_probs_NC[images] + rng.normal(0, 0.8, (len(images), known.log_probs_NC.shape[1]))
        logits_NC[np.arange(len(images)), labels_N] += 0.4
        log_probs_NC = (logits_NC - np.log(np.exp(logits_NC).sum(axis=1, keepdims=True))).astype(np.float32)
        found = Predictions(log_probs_NC, labels_N, [known.ids_N[image] for image in images])
        name = _job_id(row.job_id, fold)
        write_job(study, replace(row, job_id=name, model_blake2b=f"model-{name}", fold=fold, oof_folds=num_folds, total_s=30.0), found)


def _job_id(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _labels(num_images: int, share_C: FloatArray) -> IntArray:
    if num_images == 0:
        return np.empty(0, dtype=np.int64)
    counts_C = np.maximum((num_images * share_C).astype(np.int64), 1)
    counts_C[0] += num_images - counts_C.sum()
    return np.repeat(np.arange(len(share_C)), counts_C)


def _details(class_names: Sequence[str], splits: dict[str, IntArray]) -> Details:
    counts = {
        split: dict(zip(class_names, np.bincount(labels_N, minlength=len(class_names)).tolist(), strict=True))
        for split, labels_N in splits.items()
    }
    num_used = sum(len(labels_N) for labels_N in splits.values())
    train = list(counts["train"].values())
    return Details(
        class_names=list(class_names),
        profile={
            "source": "folder",
            "root": "/data/my images",
            "num_found": num_used + 3,
            "num_used": num_used,
            "class_counts": counts,
            "imbalance_ratio": max(train) / min(train),
            "split_origin": {"train": "official", "val": "carved from train, 20 %, stratified", "test": "official"},
            "widths": {"min": 120, "median": 300, "max": 640},
            "heights": {"min": 96, "median": 300, "max": 480},
            "modes": {"RGB": num_used - 11, "L": 11},
            "num_unreadable": 2,
            "unreadable": ["zwei\nzeilen/<b>x</b>.jpg: truncated", "b.png: not an image"],
            "num_duplicates_within": 4,
            "num_duplicates_across": 1,
            "num_label_conflicts": 0,
            "notes": ["1 image was left out of train, because an equal one is in test."],
        },
        machine={
            "device_name": None,
            "cpu_name": "Example CPU 9000",
            "num_cores": 8,
            "num_threads": 2,
            "memory_gib": 31.2,
            "accelerator_memory_gib": None,
        },
        protocol={"data_fingerprint": "f1", "epochs": 3},
        recipe={"name": "short", "epochs": 3, "lr": 0.0003, "batch_size": 32, "augment": "none"},
        transforms={"train": "resize to 224, bicubic; no augmentation", "eval": "resize to 256, bicubic; crop 224"},
    )


def _write_job(study: Study, row: Row, details: Details, splits: dict[str, Simulated], rng: np.random.Generator) -> None:
    skill = NETS[row.backbone].skill + DEPTHS[row.freeze][1]
    num_classes = len(details.class_names)
    lead = {"train": 0.12 if row.freeze == "none" else 0.01}
    made = {
        name: Predictions(
            log_probs(split.labels_N, num_classes, skill + lead.get(name, 0.0), split.difficulty_N, rng),
            split.labels_N,
            [f"{name}/{i}.png" for i in range(len(split.labels_N))],
        )
        for name, split in splits.items()
    }
    prior_C = np.bincount(made["train"].labels_N, minlength=num_classes) / len(made["train"].labels_N)
    row = replace(
        row,
        n_train=len(made["train"].labels_N),
        num_classes=num_classes,
        primary_metric=primary_metric(list(details.profile["class_counts"]["train"].values())).value,
        details=replace(
            details,
            curve=_curve(skill, row.freeze),
            command=row.details.command,
            lr_losses=row.details.lr_losses,
            class_prior=prior_C.tolist(),
        ),
    )
    train, _ = _quality(row, made["train"])
    row = replace(row, train_accuracy=train["accuracy"], train_log_loss=train["log_loss"])
    out_of_fold = _out_of_fold(splits, num_classes, skill, rng) if row.freeze == "all" else None
    write_job(study, row, made["val"], made["test"] if len(made["test"].labels_N) else None, out_of_fold)


def _out_of_fold(splits: dict[str, Simulated], num_classes: int, skill: float, rng: np.random.Generator) -> Predictions:
    """Of the images of train, then of val."""
    labels_M, difficulty_M = (
        np.concatenate([getattr(splits[name], field) for name in ("train", "val")]) for field in ("labels_N", "difficulty_N")
    )
    ids = [f"{name}/{i}.png" for name in ("train", "val") for i in range(len(splits[name].labels_N))]
    return Predictions(log_probs(labels_M, num_classes, skill, difficulty_M, rng), labels_M, ids)


def _curve(skill: float, freeze: str) -> list[Epoch]:
    points = []
    for epoch in range(4):
        over = 0.05 * epoch if freeze == "none" else 0.0
        train = None if epoch == 0 else (0.9 / epoch, min(skill - 0.05 + 0.03 * epoch + over, 0.99))
        points.append(
            Epoch(
                epoch=epoch,
                phase=1,
                lr=None if epoch == 0 else 3e-4,
                train_loss=train[0] if train else None,
                train_accuracy=train[1] if train else None,
                val_loss=0.9 / (epoch + 1) + 3 * over,
                val_accuracy=skill - 0.03 + 0.012 * epoch,
                val_score=skill - 0.03 + 0.012 * epoch,
            )
        )
    return points


def _write_failed(study: Study) -> None:
    for backbone, status, error in (
        ("alexnet", "failed", "weights cannot be had: <b>no route</b> to the hub | give weights=FILE"),
        ("vgg16", "oom", "out of memory at batch 32; give train.batch_size=16"),
    ):
        row = make_row(f"fail{backbone}", backbone, "none", status=status, error=error, latency_ms_p50=None, total_s=12.5)
        study.write_row(row)
