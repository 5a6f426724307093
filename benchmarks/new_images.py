"""`python -m benchmarks.new_images study=demo`: whether the recommended model does on images that its study left out as the report promised.

`data.max_images` leaves images out. They are as new to the study as any, and labelled: `python -m harness.predict` is asked about all of
them, and its score is held against the interval of the test score that the report states.
"""

import argparse
import csv
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.kept import add_json, keep
from benchmarks.sweeps import sweep
from harness import predict
from harness.cli.again import config_of
from harness.compute.runtime import resolve_runtime
from harness.config import Device, Precision, PredictConfig
from harness.data.dataset import Dataset
from harness.data.images import FileImage
from harness.data.load import load_dataset
from harness.models.choose import choose, ranked
from harness.models.load import load_model
from harness.models.new_images import list_images
from harness.models.table import judge
from harness.reporting.answer import test_score
from harness.study.models import Models
from harness.study.row import Row
from harness.study.store import find_study


def main() -> int:
    """Predict the images that a study left out. Returns 1 when their score lies outside the stated interval."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.new_images", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--study", default="demo")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--short", action="store_true", help="of a small sweep of its own")
    add_json(parser)
    args = parser.parse_args()
    if not args.short:
        return judge_study(args.study, args.results, args)
    with tempfile.TemporaryDirectory() as folder:
        options = ("backbone=tf_efficientnet_lite0", "freeze=all", "data=elpv", "data.max_images=200", "data.image_size=64")
        swept = sweep(Path(folder), *options, study="short")
        return judge_study("short", swept.study.root.parent, args)


def judge_study(name: str, results: Path, args: argparse.Namespace) -> int:
    """Hold the score on the images that a study left out against the interval that it states. Returns 1 when it lies outside."""
    study = find_study(results, name)
    ranking = ranked(study)
    chosen = choose(ranking, None)
    if ranking.test is None or ranking.test.interval is None:
        sys.exit("the study states no test score")
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "left_out.csv")
        print(f"{write_left_out(chosen.rows[0], images)} images of {chosen.rows[0].dataset} were left out of the study")
        predict.run(PredictConfig(name, str(results), images=str(images), to=str(Path(folder, "said.csv")), refit=False))
        file = chosen.model(Models(study), refitted=False)
        listed = list_images(str(images), file.header.max_values, file.header.class_names)
        model = load_model(file, resolve_runtime(Device.auto, Precision.float32))
        found = judge(model, listed, model.predict(listed.images))
    assert found is not None
    assert found.score is not None
    stated = ranking.test.interval
    is_inside = stated.low <= found.score <= stated.high
    print(f"stated: {test_score(ranking)}")
    print(
        f"{found.score:.3f} on {found.num_images} new images is {'inside' if is_inside else 'OUTSIDE'} [{stated.low:.3f}, {stated.high:.3f}]"
    )
    keep({"study": name, "score": found.score, "num_images": found.num_images, "low": stated.low, "high": stated.high}, args, __file__)
    return 0 if is_inside else 1


def write_left_out(row: Row, path: Path) -> int:
    """A CSV of path and label of the images that a job's study did not draw; how many they are."""
    config = config_of(row.details.command)
    used = {image.id for _, image in _images(load_dataset(config.data, Path(config.cache_dir), Path(config.results_dir)))}
    whole = load_dataset(replace(config.data, max_images=None), Path(config.cache_dir), Path(config.results_dir))
    left_out = [(label, image) for label, image in _images(whole) if image.id not in used]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label"])
        table.writerows([str(image.path), whole.class_names[label]] for label, image in left_out)
    return len(left_out)


def _images(dataset: Dataset) -> list[tuple[int, FileImage]]:
    splits = (dataset.train, dataset.val, dataset.test)
    found = [(int(label), image) for split in splits for label, image in zip(split.labels, split.images, strict=True)]
    return [(label, image) for label, image in found if isinstance(image, FileImage)]


if __name__ == "__main__":
    sys.exit(main())
