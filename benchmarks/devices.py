"""`python -m benchmarks.devices`: whether an accelerator gives the answers of the processor and repeats them, and how much faster it is.

Every network is swept with `device=cpu`, and twice with the accelerator; nothing is shared.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.figures import Figure
from benchmarks.kept import add_json, conclude
from benchmarks.precision import pairs_of
from benchmarks.side_by_side import describe_machine, machine_line, software
from benchmarks.sweeps import sweep
from harness.backbones.weights import BUNDLES
from harness.cli.command import quit_on_error

BACKBONES = ("tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224")
DEPTHS = "all,0.5,none"
MAX_OFF = 0.01
"""How far a log-probability may be off with the head alone (nats). Where layers train, hundreds of steps magnify what rounding began: no limit."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One job on both devices."""

    backbone: str
    freeze: str
    device: str
    num_changed: int
    """Val images that the devices call different classes."""
    num_images: int
    off: float
    """Largest difference of the log-probability of an image's own class (nats)."""
    is_repeated: bool
    """Whether the accelerator came to the same log-probabilities, to the bit, when it ran the job again."""
    accelerator_s: float
    processor_s: float
    """Training (seconds)."""
    peak_mem_mib: float | None
    """On the accelerator."""

    def __str__(self) -> str:
        answers = (
            f"{self.num_changed:4d} of {self.num_images} decisions {self.off:9.2g} nats {'same' if self.is_repeated else 'other'} again"
        )
        return f"{answers}  training {self.accelerator_s:5.1f} s for {self.processor_s:6.1f} s  {self.backbone} freeze={self.freeze}"


def compare(folder: Path, device: str, backbone: str, options: Sequence[str]) -> list[Compared]:
    """Sweep three times."""
    both = (f"backbone={backbone}", *options)
    mine, again, processor = (
        sweep(folder / name, *both, f"device={name.partition('-')[0]}") for name in (device, f"{device}-again", "cpu")
    )
    repeated = {row.freeze: changed == 0 and off == 0 for row, _, (changed, off) in pairs_of(mine, again)}
    return [
        Compared(
            backbone,
            row.freeze,
            device,
            changed,
            row.n_val or 0,
            off,
            repeated[row.freeze],
            row.train_s or 0.0,
            other.train_s or 0.0,
            row.peak_mem_mib,
        )
        for row, other, (changed, off) in pairs_of(mine, processor)
    ]


def main() -> None:
    """Compare all and print the table; exit status 1 when a pair differs by more than is allowed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.devices", description="An accelerator against the processor: equal answers?"
    )
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, default=96, help="side of the input (pixels)")
    parser.add_argument("--depths", default=DEPTHS, help=f"freeze depths; {DEPTHS} if not given")
    parser.add_argument("--backbones", default=",".join(BACKBONES), help="those that are not bundled have random weights")
    parser.add_argument("--short", action="store_true", help=f"{BACKBONES[0]}, its head alone; no file beside the module")
    parser.add_argument("overrides", nargs="*", help="of every sweep, such as data=elpv; without: digits")
    add_json(parser)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
    if device is None:
        print("skipped: this machine has no accelerator")
        return
    backbones, depths = ([BACKBONES[0]], "all") if args.short else (args.backbones.split(","), args.depths)
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where))
        sizes = (f"freeze={depths}", f"data.max_images={args.images}", f"data.image_size={args.size}")
        found: list[Compared] = []
        for backbone in backbones:
            weights = "pretrained" if backbone in BUNDLES else "random"
            with tempfile.TemporaryDirectory() as folder:
                pairs = compare(Path(folder), device, backbone, [f"weights={weights}", *sizes, *(args.overrides or ["data=digits"])])
            print(*pairs, sep="\n", flush=True)
            found += pairs
        figures = _figures(found)
        record = {"machine": where, **software(), "jobs": [asdict(each) for each in found], "options": [*sizes, *args.overrides]}
        conclude(figures, record, args, __file__)


def _figures(found: Sequence[Compared]) -> list[Figure]:
    heads = [each for each in found if each.freeze == "all"]
    figures = [Figure(max(each.off for each in heads), "nats", "largest change, head alone", at_most=MAX_OFF)] if heads else []
    times = sum(each.processor_s for each in found) / sum(each.accelerator_s for each in found)
    repeated = sum(each.is_repeated for each in found) / len(found)
    return [*figures, Figure(repeated, "", "of jobs repeat to the bit", at_least=1.0), Figure(times, "x", "as fast in training")]


if __name__ == "__main__":
    main()
