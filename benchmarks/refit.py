"""`python -m benchmarks.refit`: what training again on train and val gains on test images that neither model has seen.

For each of several splits of the solar cells a bundled backbone is swept at two depths; the recommended candidate's model and its refit
are asked about the same test images. The harness itself never makes this comparison: in a study test stays sealed.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.kept import add_json, keep
from benchmarks.paired import Answers, difference, interval, score
from benchmarks.sweeps import sweep
from harness import refit
from harness.cli.again import config_of
from harness.compute.runtime import resolve_runtime
from harness.config import Device, Precision, RefitConfig
from harness.data.load import load_dataset
from harness.models.choose import choose, ranked
from harness.models.load import load_model
from harness.study.models import Models
from harness.study.store import Study


def main() -> None:
    """Sweep, refit, and print scores of both models split by split."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=int, default=96, help="side of the input (pixels)")
    parser.add_argument("--short", action="store_true", help="two splits of 150 images")
    add_json(parser)
    args = parser.parse_args()
    splits, images = (2, 150) if args.short else (args.splits, args.images)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for split_seed in range(splits):
            found.append(one_split(Path(folder), split_seed, images, args.size))
            before, after = (score(found[-1], name, is_balanced=True) for name in ("measured", "refitted"))
            print(
                f"split {split_seed}: balanced accuracy on {len(found[-1].labels_N)} test images {before:.3f}, refitted {after:.3f}",
                flush=True,
            )
    gain = difference(found, "refitted", "measured", is_balanced=True)
    low, high = interval(found, "refitted", "measured", is_balanced=True)
    print(f"mean gain of refitting: {100 * gain:+.1f} points [{100 * low:.1f}, {100 * high:.1f}] over {splits} splits")
    keep({"splits": splits, "images": images, "gain": gain, "low": low, "high": high}, args, __file__)


def one_split(folder: Path, split_seed: int, images: int, size: int) -> Answers:
    """What the recommended candidate of a split says of its test images, as it was measured and refitted."""
    study = f"split-{split_seed}"
    sweep(
        folder,
        "backbone=tf_efficientnet_lite0",
        "freeze=all,0.5",
        "data=elpv",
        f"data.max_images={images}",
        f"data.image_size={size}",
        f"data.split_seed={split_seed}",
        "evidence.minutes=0",
        "model.keep=all",
        study=study,
    )
    root = Study(folder / "results" / study)
    refit.run(RefitConfig(study=study, results_dir=str(root.root.parent)))
    chosen = choose(ranked(root), None)
    config = config_of(chosen.rows[0].details.command)
    test = load_dataset(config.data, Path(config.cache_dir), Path(config.results_dir)).test
    said = {}
    for name, is_refitted in (("measured", False), ("refitted", True)):
        model = load_model(chosen.model(Models(root), refitted=is_refitted), resolve_runtime(Device.cpu, Precision.float32))
        said[name] = model.decide(model.predict(test.images).log_probs_NC)
    return Answers([image.id for image in test.images], np.asarray(test.labels), said)


if __name__ == "__main__":
    main()
