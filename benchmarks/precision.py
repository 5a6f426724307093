"""`python -m benchmarks.precision`: does `precision=auto` give the answers of float32? Decisions and log-probabilities on val, job by job.

The bundled networks with their weights and a few families with random ones, on digits, photographs of solar cells and drawn pictures.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.drawn import draw_folder
from benchmarks.figures import Figure
from benchmarks.kept import add_json, conclude
from benchmarks.side_by_side import describe_machine, machine_line, software
from benchmarks.sweeps import Swept, sweep
from harness.backbones.weights import BUNDLES
from harness.cli.command import quit_on_error
from harness.study.row import Row

BUNDLED = tuple(BUNDLES)
RANDOM = ("resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224")
DATA = ("digits", "elpv", "drawn")
DEPTHS = "all,none"
MAX_CHANGED_FRAC, MAX_OFF = 0.0, 0.2
"""Share of decisions on val that may change, and how far a log-probability of an image's own class may be off (nats)."""
_COMMON = ("measure.warm_up_s=0", "measure.timing_s=0")


@dataclass(frozen=True, slots=True)
class Compared:
    """One job under both settings."""

    data: str
    backbone: str
    freeze: str
    mode: str
    """In which `auto` computed what it kept."""
    num_changed: int
    """Val images that are called another class."""
    num_images: int
    off: float
    """Largest difference of the log-probability of an image's own class (nats)."""
    auto_accuracy: float
    float32_accuracy: float

    def __str__(self) -> str:
        accuracy = f"accuracy {self.auto_accuracy:.3f}, in float32 {self.float32_accuracy:.3f}"
        job = f"{self.data} {self.backbone} freeze={self.freeze} ({self.mode})"
        return f"{self.num_changed:4d} of {self.num_images} decisions  {self.off:9.2g} nats  {accuracy}  {job}"


def compare(folder: Path, data: str, backbone: str, options: tuple[str, ...]) -> list[Compared]:
    """Sweep twice, with nothing shared."""
    both = (f"backbone={backbone}", *_COMMON, *options)
    auto, exact = (sweep(folder / name, *both, f"precision={name}") for name in ("auto", "float32"))
    found = []
    for row, other, (changed, off) in pairs_of(auto, exact):
        scores = (_accuracy(row), _accuracy(other))
        found.append(Compared(data, backbone, row.freeze, row.activations_mode or "", changed, row.n_val or 0, off, *scores))
    return found


def pairs_of(one: Swept, other: Swept) -> Iterator[tuple[Row, Row, tuple[int, float]]]:
    """The rows of each depth, how many val images they call another class, and how far the log-probability of an image's class is off (nats)."""
    for mine in sorted(one.rows, key=lambda row: row.freeze):
        theirs = next(row for row in other.rows if row.freeze == mine.freeze)
        log_probs_NC, labels_N = one.study.val_predictions(mine.job_id).log_probs_NC, one.study.val_predictions(mine.job_id).labels_N
        others_NC = other.study.val_predictions(theirs.job_id).log_probs_NC
        off_N = np.abs(log_probs_NC - others_NC)[np.arange(len(labels_N)), labels_N]
        yield mine, theirs, (int((log_probs_NC.argmax(axis=1) != others_NC.argmax(axis=1)).sum()), float(off_N.max()))


def _accuracy(row: Row) -> float:
    return float("nan") if row.val_accuracy is None else row.val_accuracy


def _data_options(data: str, folder: Path, num_images: int) -> tuple[str, ...]:
    if data != "drawn":
        return (f"data={data}",)
    return ("data=folder", f"data.root={draw_folder(folder / 'drawn', num_images)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description="precision=auto against float32: equal answers?")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, default=64, help="side of the input (pixels)")
    parser.add_argument("--depths", default=DEPTHS, help=f"freeze depths; {DEPTHS} if not given")
    parser.add_argument("--data", default=",".join(DATA), help=f"some of {', '.join(DATA)}")
    parser.add_argument("--backbones", default=",".join((*BUNDLED, *RANDOM)), help="those that are not bundled have random weights")
    parser.add_argument("--short", action="store_true", help=f"{BUNDLED[0]} on digits, its head alone; no file beside the module")
    add_json(parser)
    return parser


def main() -> None:
    """Compare all, print the table, write `benchmarks/precision.json`; exit status 1 when some pair differs by more than is allowed."""
    args = _parser().parse_args()
    backbones, data, depths = args.backbones.split(","), args.data.split(","), args.depths
    if args.short:
        backbones, data, depths = [BUNDLED[0]], ["digits"], "all"
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where))
        found: list[Compared] = []
        sizes = (f"freeze={depths}", f"data.max_images={args.images}", f"data.image_size={args.size}")
        for name in data:
            for backbone in backbones:
                weights = "pretrained" if backbone in BUNDLED else "random"
                with tempfile.TemporaryDirectory() as folder:
                    options = (*_data_options(name, Path(folder), args.images), f"weights={weights}", *sizes)
                    pairs = compare(Path(folder), name, backbone, options)
                print(*pairs, sep="\n", flush=True)
                found += pairs
        figures = [
            Figure(
                max(each.num_changed / each.num_images for each in found), "", "of decisions changed, at most", at_most=MAX_CHANGED_FRAC
            ),
            Figure(max(each.off for each in found), "nats", "largest change of a log-probability", at_most=MAX_OFF),
        ]
        record = {"machine": where, **software(), "jobs": [asdict(each) for each in found], "options": list(sizes)}
        conclude(figures, record, args, __file__)


if __name__ == "__main__":
    main()
