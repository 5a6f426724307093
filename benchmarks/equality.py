"""`python -m benchmarks.equality`: training from cached activations against training from images, for every family of the tutorials.

Networks with random weights on digits, the bundled ones on photographs of solar cells, each at a depth of its own beside the whole trunk.
Both ways in float32 without augmentation; the plain one keeps nothing and runs the frozen part again for every epoch.
"""

import argparse
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.kept import add_json, conclude
from benchmarks.side_by_side import describe_machine, machine_line, software
from benchmarks.sweeps import Swept, sweep
from harness.cli.command import quit_on_error

FAMILIES = (
    "alexnet",
    "vgg16",
    "resnet18",
    "resnet50",
    "inception",
    "densenet121",
    "mobilenetv2_050",
    "mobilenetv3_small_050",
    "squeezenet1_1",
    "efficientnet_b0",
    "vit_tiny_patch16_224",
)
SHORT_FAMILIES = ("resnet18", "vit_tiny_patch16_224")
BUNDLED = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
DEPTHS = "all,0.5,-1"
MAX_OFF, MIN_SAME_FRAC = 2e-3, 1.0
"""How far log-probabilities on val may differ after training, and the share of val images that must get the same class."""
_COMMON = ("precision=float32", "train.lr_search=[1]", "measure.warm_up_s=0", "measure.timing_s=0")


@dataclass(frozen=True, slots=True)
class Compared:
    """One job, trained both ways."""

    backbone: str
    freeze: str
    trained_from: str
    max_off: float
    """Largest difference of a log-probability on val (nats)."""
    same_frac: float
    """Val images that get the same class."""


def compare(folder: Path, backbone: str, options: tuple[str, ...]) -> list[Compared]:
    """Sweep twice, the second time with nothing kept."""
    both = (f"backbone={backbone}", f"freeze={DEPTHS}", *_COMMON, *options)
    kept = sweep(folder / "kept", *both)
    plain = sweep(folder / "plain", *both, "store.max_gib=0")
    return [_compared(kept, plain, row.job_id) for row in sorted(kept.rows, key=lambda row: row.freeze)]


def _compared(kept: Swept, plain: Swept, job_id: str) -> Compared:
    row = next(row for row in kept.rows if row.job_id == job_id)
    mine, theirs = (way.study.val_predictions(job_id).log_probs_NC for way in (kept, plain))
    same_frac = float((mine.argmax(axis=1) == theirs.argmax(axis=1)).mean())
    return Compared(row.backbone, row.freeze, row.trained_from or "", float(np.abs(mine - theirs).max()), same_frac)


def main() -> None:
    """Compare all, print the table, write `benchmarks/equality.json`; exit status 1 when some pair differs by more than is allowed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.equality", description="Cached activations against images: are predictions equal?"
    )
    parser.add_argument("--images", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="2 families, 1 epoch, whatever else is given; no file beside the module")
    add_json(parser)
    args = parser.parse_args()
    families, bundled, epochs = (SHORT_FAMILIES, BUNDLED[:1], 1) if args.short else (FAMILIES, BUNDLED, args.epochs)
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where))
        found: list[Compared] = []
        sizes = (f"data.max_images={args.images}", f"train.epochs={epochs}")
        for backbone in (*families, *bundled):
            data = ("data=elpv",) if backbone in bundled else ("data=digits", "weights=random")
            with tempfile.TemporaryDirectory() as folder:
                found += compare(Path(folder), backbone, (*data, *sizes))
            for each in [one for one in found if one.backbone == backbone]:
                print(
                    f"{each.max_off:9.1e} nats {each.same_frac:6.0%}  {backbone} freeze={each.freeze}, from {each.trained_from}", flush=True
                )
        figures = [
            Figure(max(each.max_off for each in found), "nats", "largest difference of a log-probability on val", at_most=MAX_OFF),
            Figure(min(each.same_frac for each in found), "", "of val images get the same class, at least", at_least=MIN_SAME_FRAC),
        ]
        record = {"machine": where, **software(), "jobs": [asdict(each) for each in found], "options": list(sizes)}
        conclude(figures, record, args, __file__)


if __name__ == "__main__":
    main()
