"""`sh benchmarks/on_gpu.sh`: everything that has to be seen on an accelerator, in parts that do not wait for each other's success.

Each part is a process of its own with a time limit, in a folder of its own. The file is written anew after each of them, so that whatever ends
the whole leaves what was found. It needs the packages of the extras demo, dev and gpu, and no network.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.kept import add_json, keep
from benchmarks.side_by_side import describe_machine, software
from harness.study.store import Study

BUDGET_S = 450
"""Of all parts together; one begins only while some of it is left."""
FAILED, TIMED_OUT, SKIPPED, OK = "failed", "timeout", "skipped", "ok"
COLUMNS = (
    *("backbone", "freeze", "seed", "status", "error", "device", "precision", "train_precision", "activations_mode", "activations_note"),
    *(
        "trained_from",
        "n_train",
        "epochs_trained",
        "batch_size",
        "micro_batch",
        "image_size",
        "num_activations_computed",
        "input_wait_frac",
    ),
    *("features_s", "train_s", "total_s", "energy_wh", "energy_of", "cost", "peak_mem_mib", "num_threads"),
    *("val_accuracy", "val_log_loss", "latency_ms_p50", "latency_ms_p95", "throughput_ips", "latency_ms_bfloat16"),
)
"""Of each row in the file."""
_PRECISIONS = {"cuda": "float32,tf32,bfloat16,float16,mixed", "cpu": "float32,bfloat16,mixed"}
_MODES = {"cuda": "auto,float32,tf32,bfloat16,float16", "cpu": "auto,float32,bfloat16"}
_TAIL = 2000
"""Characters of what a part printed last, of one that did not end well."""


@dataclass(frozen=True, slots=True)
class Part:
    """One command."""

    name: str
    about: str
    command: Sequence[str]
    """Behind `python -m`; `{folder}` is the part's own."""
    limit_s: float
    status: int = 0
    """That it ends with when all is well."""
    needs_accelerator: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


def parts(device: str, *, quick: bool) -> list[Part]:
    """All of them, what matters most first. Weights of networks other than lite0 to lite2 are random, which changes no time."""
    lite, deep = "tf_efficientnet_lite0", "tf_efficientnet_lite0" if quick else "resnet50"
    images, size = (60, 64) if quick else (800, 224)
    many = 120 if quick else 2600  # from 2,000 images on `auto` may go below float32
    one_rate = ("train.lr_search=[1]", f"train.epochs={1 if quick else 3}", "train.head_init=random")
    still = ("measure.warm_up_s=0", "measure.timing_s=0.1")
    epochs = ("train.epochs=1", "train.lr_search=[1]") if quick else ()

    def sweep(*overrides: str, images: int = images, size: int = size) -> list[str]:
        data = ["data=elpv", f"data.max_images={images}", f"data.image_size={size}", "evidence.minutes=0", "report.images=false"]
        return ["harness.sweep", "study=s", "results_dir={folder}", "cache_dir={folder}/cache", f"device={device}", *data, *overrides]

    fine_tunes = (f"backbone={deep}", f"weights={'pretrained' if deep == lite else 'random'}", "freeze=none", *one_rate, *still)
    return [
        Part("refused", "an index that is not there: one line, status 2", sweep(f"backbone={lite}", "freeze=all", "device=cuda:99"), 40, 2),
        Part(
            "index",
            "cuda:0 of an outer list, with a scaler where float16 is computed",
            sweep(f"backbone={lite}", "freeze=-1", "device=cuda:0", "precision=float16", *one_rate, *still),
            50,
            needs_accelerator=True,
            variables={"CUDA_VISIBLE_DEVICES": "0"},
        ),
        Part("precisions", "fine-tunes of all layers in each precision", sweep(*fine_tunes, f"precision={_PRECISIONS[device]}"), 110),
        Part("decoded", "training from images that other processes decode", sweep(*fine_tunes, "train.augment=light"), 50),
        Part("demo", "experiment=demo", ["harness.sweep", "experiment=demo", *sweep()[1:5], "evidence.minutes=0", *_small(quick)], 100),
        Part(
            "equality",
            "the same answers as on the processor, and again to the bit",
            ["benchmarks.devices", "--images", "200", "--size", "64", "--backbones", lite, "--depths", "all,none", "--json", "{folder}/d.json"],
            90,
            needs_accelerator=True,
        ),
        Part("modes", "features of one backbone in each form", sweep(f"backbone={lite}", "freeze=all", f"precision={_MODES[device]}", *still, images=many), 80),
        Part("heads", "twenty heads on cached features", sweep(f"backbone={lite}", "freeze=all", f"seed={','.join(map(str, range(20)))}", *one_rate, *still), 40),
        Part("depths", "five freeze depths of one backbone", sweep(f"backbone={lite}", "freeze=all,0.75,0.5,0.25,none", *epochs, *still), 80),
        Part(
            "latency",
            "models timed in turn",
            sweep(f"backbone={lite},resnet18,vit_tiny_patch16_224", "weights=random", "freeze=all", "measure.variants=[bfloat16]", images=60),
            60,
        ),
        Part("tests", "tests that need an accelerator", ["pytest", "-m", "gpu", "-p", "no:cacheprovider"], 90, needs_accelerator=True),
    ]  # fmt: skip


def _small(quick: bool) -> list[str]:
    small = ["backbone=tf_efficientnet_lite0", "freeze=all", "data.max_images=60", "data.image_size=64", "measure.timing_s=0.1"]
    return small if quick else []


def run(part: Part, folder: Path, limit_s: float) -> dict[str, Any]:
    """Run a part; whatever happens to it is in the record."""
    command = [sys.executable, "-m", *(word.replace("{folder}", str(folder)) for word in part.command)]
    started = time.perf_counter()
    with (folder / "said.txt").open("w+", encoding="utf-8") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=os.environ | part.variables, start_new_session=True)
        try:
            status: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.perf_counter() - started
    ended = TIMED_OUT if status is None else OK if status == part.status else FAILED
    record = {"status": ended, "exit_status": status, "seconds": round(seconds, 1), "limit_s": limit_s, "rows": rows(folder / "s")}
    text = (folder / "said.txt").read_text(encoding="utf-8", errors="replace").strip()
    last = {"said": text[-_TAIL:]} if ended != OK or part.status else {}
    other = {"figures": json.loads(path.read_text(encoding="utf-8"))} if (path := folder / "d.json").exists() else {}
    return record | last | other


def rows(study: Path) -> list[dict[str, Any]]:
    """`COLUMNS` of what a sweep has written so far, without the empty ones."""
    found = sorted(Study(study).rows(), key=lambda row: (row.freeze, row.precision or "", row.seed)) if study.exists() else []
    values = [{"asked": _asked(row.details.command)} | {name: getattr(row, name) for name in COLUMNS} for row in found]
    return [{name: value for name, value in each.items() if value is not None} for each in values]


def _asked(command: Sequence[str]) -> str | None:
    """The precision that was typed."""
    return next((word.partition("=")[2] for word in command if word.startswith("precision=")), None)


def main() -> int:
    """Run the parts and keep what they came to; exit status 1 when one did not end well."""
    parser = argparse.ArgumentParser(prog="sh benchmarks/on_gpu.sh", description="What only an accelerator can show, as one JSON file.")
    parser.add_argument("--device", choices=sorted(_PRECISIONS), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--short", action="store_true", help="a few small images: shows that it works, and no rate")
    parser.add_argument("--only", help=f"some parts: {','.join(part.name for part in parts('cuda', quick=False))}")
    add_json(parser)
    args = parser.parse_args()
    wanted = [part for part in parts(args.device, quick=args.short) if args.only is None or part.name in args.only.split(",")]
    started, found = time.monotonic(), dict[str, Any]()
    about = {"machine": describe_machine(), **software(), "device": args.device, "quick": args.short}
    with tempfile.TemporaryDirectory() as folder:
        for part in wanted:
            left_s = BUDGET_S - (time.monotonic() - started)
            if left_s < 5 or (part.needs_accelerator and args.device == "cpu"):
                found[part.name] = {"status": SKIPPED, "said": "no time is left" if left_s < 5 else "it needs an accelerator"}
            else:
                own = Path(folder) / part.name
                own.mkdir()
                found[part.name] = run(part, own, min(part.limit_s, left_s))
            print(f"{found[part.name]['status']:8} {found[part.name].get('seconds', 0):6.1f} s  {part.name}: {part.about}", flush=True)
            keep(about | {"seconds": round(time.monotonic() - started, 1), "parts": found}, args, __file__)
    return int(any(each["status"] in {FAILED, TIMED_OUT} for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
