"""`python -m benchmarks.export_families`: every family by its plain name, random weights, swept and exported: each file has to decide as the model does.

Hand-written digits, as small as each architecture takes them. Fails where a decision changes, or where a format is missing that should be there.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.kept import add_json, keep
from harness.backbones.catalog import ALIASES, TORCHVISION_FAMILIES
from harness.jobs.provenance import machine, versions

SIZES = {"inception": 75, "dinov2": 28, "swin": 224}
"""Side of the input (pixels), where it is not the usual one."""
SIZE, SHORT = 64, ("alexnet", "squeezenet", "resnet", "vit")
NUM_IMAGES = 60
_AGREEMENT = re.compile(r"^  (\S+): largest difference of a probability (\S+), ([\d,]+) decisions? changed$", re.MULTILINE)
_LEFT_OUT = re.compile(r"^No (\w+): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Exported:
    """One family."""

    family: str
    model: str
    image_size: int
    files: list[str]
    largest: float
    """Difference of a probability, over all files."""
    num_changed: int
    left_out: dict[str, str]
    export_s: float
    status: int
    error: str

    @property
    def is_good(self) -> bool:
        """Torchvision's models lack timm's format, all others nothing."""
        allowed = {"timm"} if self.model in TORCHVISION_FAMILIES else set()
        return self.status == 0 and self.num_changed == 0 and set(self.left_out) == allowed


def exported(family: str, results: Path) -> Exported:
    """Sweep one family and export it."""
    size, where = SIZES.get(family, SIZE), f"results_dir={results}"
    data = ["data=digits", f"data.max_images={NUM_IMAGES}", f"data.image_size={size}", f"study={family}"]
    quick = [
        "weights=random",
        "freeze=all",
        "train.epochs=1",
        "measure.timing_s=0",
        "measure.warm_up_s=0",
        "evidence.minutes=0",
        "store.max_gib=0",
    ]
    swept = _ran("harness.sweep", f"backbone={family}", *data, *quick, where)
    started = time.perf_counter()
    done = _ran("harness.export", f"study={family}", where) if swept.returncode == 0 else swept
    found = _AGREEMENT.findall(done.stdout)
    return Exported(
        family=family,
        model=ALIASES[family],
        image_size=size,
        files=[name for name, _, _ in found],
        largest=max((float(value) for _, value, _ in found), default=float("nan")),
        num_changed=sum(int(number.replace(",", "")) for _, _, number in found),
        left_out=dict(_LEFT_OUT.findall(done.stdout)),
        export_s=time.perf_counter() - started,
        status=done.returncode,
        error=done.stderr.strip(),
    )


def _ran(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)


def line(found: Exported) -> str:
    """As a line of the table."""
    left_out = "".join(f"; no {name}: {reason}" for name, reason in found.left_out.items())
    said = found.error.splitlines()[-1] if found.error else f"{', '.join(found.files)}{left_out}"
    return f"| {found.family} | {found.model} | {found.image_size} | {found.largest:.1e} | {found.num_changed} | {found.export_s:.0f} s | {said} |"


def main() -> None:
    """Print a line for each family; exit status 1 where one is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export_families", description="Export every family of backbones.")
    parser.add_argument("--short", action="store_true", help=f"only {', '.join(SHORT)}")
    add_json(parser)
    args = parser.parse_args()
    found = []
    print(
        "| family | model | pixels | largest difference of a probability | decisions changed | export | files |\n|---|---|--:|--:|--:|--:|---|"
    )
    for family in SHORT if args.short else ALIASES:
        with tempfile.TemporaryDirectory() as folder:
            found.append(exported(family, Path(folder)))
        print(line(found[-1]), flush=True)
    keep({"families": [asdict(each) for each in found], "machine": machine(), "versions": versions()}, args, __file__)
    if not all(each.is_good for each in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
