"""`python -m benchmarks.patients`: how much a random split claims where images belong together, and what `data.group` says instead.

A planted set: solar cells play patients, and each is shown several times, shifted a little and in another light. In a random split a patient is
in train and in val at once; the task of each image is that of its cell, so that a model which knows the patient knows the answer.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.kept import add_json, keep
from benchmarks.sweeps import sweep
from harness.config import ElpvConfig
from harness.data.images import FileImage
from harness.data.load import load_dataset
from harness.models.choose import ranked

LEAST_CLAIM = 0.20
"""By which a random split is to be above one by groups."""


def main() -> int:
    """Plant the set and sweep it twice. Returns 1 when the random split does not claim at least 20 points more."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.patients", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--patients", type=int, default=150)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--short", action="store_true", help="60 patients")
    add_json(parser)
    args = parser.parse_args()
    scores = {}
    with tempfile.TemporaryDirectory() as folder:
        table = plant(Path(folder), 60 if args.short else args.patients, args.copies)
        for name, options in (("random", ()), ("grouped", ("data.group=patient",))):
            scores[name] = claimed(Path(folder), name, table, *options)
    gap = scores["random"] - scores["grouped"]
    print(f"the random split claims {100 * gap:.1f} points more")
    keep({"patients": args.patients, "copies": args.copies, **scores}, args, __file__)
    return 0 if gap >= LEAST_CLAIM else 1


def plant(folder: Path, patients: int, copies: int, seed: int = 0) -> Path:
    """A table of near copies of as many solar cells: path, label and patient. The label is drawn for a patient, and says nothing of others."""
    rng = np.random.default_rng(seed)
    cells = load_dataset(ElpvConfig(name="elpv", source="elpv", max_images=max(patients * 2, 100)), folder / "cache").train.images
    lines = []
    for patient in range(patients):
        cell = cells[patient]
        assert isinstance(cell, FileImage)
        picture, label = Image.open(cell.path).convert("L").resize((112, 112)), ("healthy", "ill")[patient % 2]
        for copy in range(copies):
            path = folder / "images" / f"{patient}-{copy}.png"
            path.parent.mkdir(exist_ok=True)
            near_copy(picture, rng).save(path)
            lines.append((str(path), label, f"patient {patient}"))
    table = folder / "patients.csv"
    pd.DataFrame(lines, columns=["path", "label", "patient"]).to_csv(table, index=False)
    return table


def near_copy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The middle of a picture, moved by up to three pixels, a tenth lighter or darker, with a little noise."""
    left, top = rng.integers(5, 12, size=2)
    width, height = picture.size
    pixels_HW = np.asarray(picture.crop((left, top, left + width - 16, top + height - 16)), dtype=np.float64)
    return Image.fromarray((pixels_HW * rng.uniform(0.9, 1.1) + rng.normal(0, 2, pixels_HW.shape)).clip(0, 255).astype(np.uint8))


def claimed(folder: Path, name: str, table: Path, *options: str) -> float:
    """Sweep, print what the report claims, and return the recommended candidate's score."""
    swept = sweep(folder, "backbone=tf_efficientnet_lite0", "freeze=all", "data.image_size=96", f"data.root={table}", *options, study=name)
    ranking = ranked(swept.study)
    best = ranking.best
    assert best is not None
    assert best.interval is not None
    test = "" if ranking.test is None else f", {ranking.test.score:.3f} on test"
    print(f"{name}: {ranking.metric.value} {best.score:.3f} [{best.interval.low:.3f}, {best.interval.high:.3f}]{test}", flush=True)
    return best.score


if __name__ == "__main__":
    raise SystemExit(main())
