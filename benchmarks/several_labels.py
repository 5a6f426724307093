"""`python -m benchmarks.several_labels`: several labels an image, from a table to a recommendation, held against scikit-learn and a direct computation.

Two sets: photographs of solar cells, which are poly- or monocrystalline and may have a defect, and shapes that are drawn or not, 20 kinds of them. Every
score of every row is computed again by scikit-learn from the stored predictions, the choice by a bootstrap of its own, and the decisions of every exported file.
Shapes: N images, C labels, R resamples.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image, ImageDraw
from sklearn import metrics

import harness
from harness.compute.runtime import resolve_runtime
from harness.config import Device, ElpvConfig, ElpvTask, Precision
from harness.data.sources import elpv
from harness.models.checked import decoded
from harness.models.exported import ONNX, TORCH
from harness.models.load_export import load_export
from harness.models.new_images import NewImage
from harness.models.onnx_runtime import OnnxModel
from harness.models.torch_file import load_torch
from harness.study.row import Row
from harness.study.store import Predictions, Study

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NUM_RESAMPLES, MAX_OFF = 400, 1e-6
POINTS_PER_DOUBLING = 0.5
"""What latency costs by default."""


def draw_shapes(folder: Path, num_images: int, num_labels: int, *, size: int = 48, separator: str = "|") -> Path:
    """Write pictures of noise with a small coloured shape for each label that they have, and the table of them."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(num_images):
        picture = Image.fromarray(rng.integers(60, 120, (size, size, 3), dtype=np.uint8))
        has = [label for label in range(num_labels) if rng.random() < 0.12 + 0.08 * (label % 4)]
        for label in has:
            _draw_shape(picture, label, num_labels, rng)
        picture.save(folder / "images" / f"{number:04d}.png")
        lines.append((f"images/{number:04d}.png", separator.join(f"shape {label:02d}" for label in has)))
    return _written(folder, lines)


def _draw_shape(picture: Image.Image, label: int, num_labels: int, rng: np.random.Generator) -> None:
    left, top = rng.integers(2, picture.width - 14, 2).tolist()
    colour = Image.new("HSV", (1, 1), (255 * label // num_labels, 255, 255)).convert("RGB").getpixel((0, 0))
    brush = ImageDraw.Draw(picture)
    (brush.ellipse if label % 2 else brush.rectangle)((left, top, left + 11, top + 11), fill=colour)


def from_elpv(folder: Path, num_images: int) -> Path:
    """Write a table of solar cells: `poly`, or `defect|mono`, for a random draw of them."""
    folder.mkdir(parents=True)
    defects, kinds = (elpv(ElpvConfig(name="elpv", source="elpv", task=task), folder, ()) for task in (ElpvTask.binary, ElpvTask.cell_type))
    pool, of_kind = defects.parts["pool"], kinds.parts["pool"]
    drawn = np.random.default_rng(0).permutation(len(pool.candidates))[:num_images]
    lines = []
    for place in drawn.tolist():
        labels = [*(["defect"] if pool.labels[place] else []), kinds.class_names[of_kind.labels[place]]]
        lines.append((str(pool.candidates[place].path), "|".join(labels)))
    return _written(folder, lines)


def _written(folder: Path, lines: Sequence[tuple[str, str]]) -> Path:
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *lines])
    return folder / "labels.csv"


def scikit_learns(log_probs_NC: npt.NDArray[np.floating], labels_NC: IntArray, thresholds_C: Sequence[float]) -> dict[str, float]:
    """Return every score by scikit-learn, under the names of the columns."""
    prob_NC = np.exp(log_probs_NC.astype(np.float64))
    called_NC = (prob_NC >= np.array(thresholds_C)).astype(np.int64)
    averages = {"macro": 0.0, "micro": 0.0, "weighted": 0.0, "samples": 1.0}
    f1 = {f"f1_{name}": metrics.f1_score(labels_NC, called_NC, average=name, zero_division=zero) for name, zero in averages.items()}
    losses = [metrics.log_loss(labels_NC[:, c], prob_NC[:, c], labels=[0, 1]) for c in range(labels_NC.shape[1])]
    return {
        **{name: float(value) for name, value in f1.items()},
        "mean_average_precision": float(metrics.average_precision_score(labels_NC, log_probs_NC, average="macro")),
        "precision_macro": float(metrics.precision_score(labels_NC, called_NC, average="macro", zero_division=np.nan)),
        "recall_macro": float(metrics.recall_score(labels_NC, called_NC, average="macro")),
        "subset_accuracy": float(metrics.accuracy_score(labels_NC, called_NC)),
        "log_loss": float(np.mean(losses)),
    }


def differences(study: Study) -> tuple[int, float]:
    """How many scores the rows of a study have, and how far the worst of them is from scikit-learn's."""
    found = []
    for row in study.rows():
        val, out_of_fold = study.predictions(row.job_id)
        found += [abs(stated - value) for stated, value in _pairs(row, "val", val)]
        found += [] if out_of_fold is None else [abs(stated - value) for stated, value in _pairs(row, "oof", out_of_fold)]
    return len(found), max(found)


def _pairs(row: Row, split: str, said: Predictions) -> list[tuple[float, float]]:
    values = scikit_learns(said.log_probs_NC, said.labels_N, row.details.thresholds)
    return [(stated, value) for name, value in values.items() if (stated := getattr(row, f"{split}_{name}", None)) is not None]


@dataclass(frozen=True, slots=True)
class Direct:
    """What a computation of its own recommends."""

    backbone: str
    freeze: str
    lead: float
    """Of its expected utility over the next one's."""


def recommend_directly(study: Study, score: Callable[[IntArray, npt.NDArray[np.floating]], float] | None = None) -> Direct:
    """Choose by the mean of scikit-learn's score over bootstrapped images, less the price of latency: no influence, no prior, no covariance.

    Heads are judged out of fold on train and val, fine-tunes on val; the same images are drawn for all, so that they compare on val alike.
    """
    score = score or (lambda labels_NC, log_probs_NC: float(metrics.average_precision_score(labels_NC, log_probs_NC, average="macro")))
    rows, rng = [row for row in study.rows() if row.fold is None], np.random.default_rng(1)
    said = [study.predictions(row.job_id) for row in rows]
    known = [out_of_fold or val for val, out_of_fold in said]
    utility = []
    for row, found in zip(rows, known, strict=True):
        draws = (rng.integers(0, len(found.labels_N), len(found.labels_N)) for _ in range(NUM_RESAMPLES))
        expected = np.mean(
            [score(found.labels_N[drawn], found.log_probs_NC[drawn]) for drawn in draws if found.labels_N[drawn].any(axis=0).all()]
        )
        utility.append(float(expected) - POINTS_PER_DOUBLING / 100 * np.log2(row.latency_ms_p50 or 1.0))
    order = np.argsort(utility)[::-1]
    best = rows[order[0]]
    others = [utility[k] for k in order if rows[k].model_blake2b != best.model_blake2b]
    return Direct(best.backbone, best.freeze, float(utility[order[0]] - others[0]) if others else float("inf"))


def decisions_changed(folder: Path, images: Sequence[Path], called: Sequence[str]) -> dict[str, int]:
    """How many images the programs of an exported folder call otherwise than was said before: file -> number.

    Args:
        folder: exported.
        images: files.
        called: labels of each with `|` between them, as predict writes them.
    """
    model = load_export(folder, resolve_runtime(Device.cpu, Precision.float32))
    programs: dict[str, Callable[[torch.Tensor], npt.NDArray[Any]]] = {
        ONNX: lambda images_BCHW: OnnxModel(folder / ONNX)(images_BCHW.numpy())[1],
        TORCH: lambda images_BCHW: load_torch(folder / TORCH)(images_BCHW)[1].numpy(),
    }
    batches = list(decoded(model, [NewImage(path.name, path) for path in images]))
    names = np.array(model.class_names, dtype=object)
    found = {}
    for name, program in programs.items():
        if (folder / name).exists():
            said = ["|".join(names[has == 1]) for batch in batches for has in program(batch.contiguous())]
            found[name] = sum(one != other for one, other in zip(said, called, strict=True))
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """A data set and what is swept over it."""

    table: Callable[[Path, int], Path]
    """Written into a folder, of so many images."""
    num_images: int
    options: Mapping[str, Any]


CASES: Mapping[str, Case] = {
    "elpv": Case(
        from_elpv,
        500,
        {
            "backbones": ["tf_efficientnet_lite0", "tf_efficientnet_lite2"],
            "freeze": ["all", 0.5],
            "data__image_size": 96,
            "train__lr_search": [1.0],
        },
    ),
    "shapes": Case(
        lambda folder, num_images: draw_shapes(folder, num_images, 20, size=64),
        600,
        {
            "backbones": ["tf_efficientnet_lite0", "tf_efficientnet_lite1"],
            "freeze": ["all"],
            "data__image_size": 64,
        },
    ),
}


def run(name: str, folder: Path, *, is_short: bool) -> bool:
    """Sweep one set and print what was found. Returns whether all of it agrees; a quarter of the images shows that it runs."""
    case = CASES[name]
    table = case.table(folder / name, case.num_images // 4 if is_short else case.num_images)
    options = {
        "data__label_separator": "|",
        "results_dir": folder / "results",
        "model__keep": "all",
        "evidence__minutes": 0,
        **case.options,
    }
    study = harness.sweep(table, study=name, **options)
    own = Study(study.path)
    number, worst = differences(own)
    direct, ranked = recommend_directly(own), study.rank().recommended
    exported = study.export(folder / "exported" / name)
    images = [table.parent / path for path in pd.read_csv(table)["path"]]
    answers = study.model(refit=False).predict(images)
    changed = decisions_changed(exported, images, answers["label"].fillna("").tolist())
    print(f"\n{name}: {number} scores of {len(own.rows())} jobs, at most {worst:.1e} from scikit-learn's")
    print(f"{name}: recommended {ranked}; directly {direct.backbone} {direct.freeze}, ahead by {100 * direct.lead:.1f} points")
    print(f"{name}: decisions changed of {len(images)} images: {changed}")
    return worst < MAX_OFF and not any(changed.values()) and str(ranked).startswith(f"{direct.backbone} ")


def main() -> int:
    """Console entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--short", action="store_true", help="a quarter of the images")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [run(name, Path(folder), is_short=args.short) for name in args.names]
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
