"""`python -m benchmarks.table`: what ranking costs at scale, a table of a million rows and a study of a thousand candidates, against limits.

Everything is simulated with a fixed seed in a temporary folder, and the time of simulating is not counted. Each side runs in a process
of its own, whose peak memory is the kernel's high-water mark of that process.
Shapes: M rows, K candidates, N val images, C classes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.kept import add_json, keep
from harness.config import Metric, RankConfig
from harness.data.profile import Profile
from harness.jobs.provenance import machine, versions
from harness.status import Status
from harness.study.row import COLUMNS, Details, Row
from harness.study.store import Predictions, Study
from harness.study.table import to_frame

NUM_PROTOCOLS, NUM_SEEDS, NUM_CLASSES, NUM_VAL = 5, 100, 10, 1000
DEPTHS = ("all", "0.75", "0.5", "0.25", "none")
RECIPES = ("short", "long")
LIMITS = {"table_s": 60.0, "table_peak_mib": 4096.0, "tied_set_s": 30.0}
"""What this benchmark must show on two cores."""

PROFILE = Profile(
    source="simulated",
    root=None,
    num_found=4000 + 2 * NUM_VAL,
    num_used=4000 + 2 * NUM_VAL,
    class_counts={
        split: {f"class {c}": size // NUM_CLASSES for c in range(NUM_CLASSES)}
        for split, size in (("train", 4000), ("val", NUM_VAL), ("test", NUM_VAL))
    },
    imbalance_ratio=1.0,
    split_origin={"train": "official", "val": "official", "test": "official"},
)

Found = dict[str, float]


def candidate_row(number: int, rng: np.random.Generator) -> Row:
    """A good row of a plausible candidate; ten candidates share a backbone."""
    backbone, setting = divmod(number, len(DEPTHS) * len(RECIPES))
    depth, recipe = DEPTHS[setting % len(DEPTHS)], RECIPES[setting // len(DEPTHS)]
    size = np.random.default_rng(backbone).lognormal(2.5, 0.8)  # depths and recipes of one backbone are the same network
    return Row(
        job_id=f"{number:016x}",
        status=Status.ok.value,
        study="simulated",
        protocol="protocol0",
        backbone=f"backbone_{backbone:04d}",
        model=f"backbone_{backbone:04d}",
        family="simulated",
        weights="in1k",
        weights_source="cache",
        weights_sha256=f"{backbone:064x}",
        licence="apache-2.0",
        imagenet_top1_frac=0.76,
        freeze=depth,
        boundary="blocks.3",
        num_frozen_blocks=4,
        num_blocks=8,
        frozen_ok=True,
        recipe=recipe,
        recipe_hash=f"hash-{recipe}",
        seed=0,
        dataset="simulated",
        data_fingerprint="f" * 64,
        n_train=4000,
        n_val=NUM_VAL,
        n_test=NUM_VAL,
        num_classes=NUM_CLASSES,
        image_size=224,
        epochs=3,
        chosen_epoch=2,
        lr=1e-4,
        batch_size=32,
        augment="none",
        batch_norm="fixed",
        precision="float32",
        train_precision="float32",
        device="cpu",
        num_threads=2,
        params_m=size,
        trainable_params_m=size / 2,
        gmacs=size / 6,
        frozen_macs_frac=0.5,
        primary_metric=Metric.accuracy.value,
        latency_ms_p50=2 * size * rng.normal(1, 0.02),
        latency_ms_p95=2.4 * size,
        latency_steady=True,
        throughput_ips=900 / size,
        peak_mem_mib=500 + 20 * size,
        weights_mib=3.8 * size,
        features_s=0.4 * size,
        train_s=3 * size,
        total_s=4 * size,
        started_at="2025-01-01T00:00:00+00:00",
        harness_version="0.1.0",
        torch_version="2.8.0",
        timm_version="1.0.20",
        host="host",
        git="0123456789ab",
        details=Details(
            class_names=[f"class {c}" for c in range(NUM_CLASSES)],
            class_prior=[1 / NUM_CLASSES] * NUM_CLASSES,
            profile=asdict(PROFILE),
            recipe={"name": recipe},
        ),
    )


def write_table(path: Path, num_rows: int) -> None:
    """A table of every candidate under five protocols with a hundred seeds each, in random order of time, one row group a protocol."""
    rng = np.random.default_rng(0)
    num_candidates = num_rows // (NUM_PROTOCOLS * NUM_SEEDS)
    base = pa.Table.from_pandas(to_frame(candidate_row(number, rng) for number in range(num_candidates)), preserve_index=False)
    skill_K = rng.uniform(0.6, 0.9, num_candidates)
    writer = None
    for protocol in range(NUM_PROTOCOLS):
        chunk = _protocol(base, protocol, skill_K, rng)
        writer = writer or pq.ParquetWriter(path, chunk.schema)
        writer.write_table(chunk)
    assert writer is not None
    writer.close()


def _protocol(base: pa.Table, protocol: int, skill_K: Any, rng: np.random.Generator) -> pa.Table:
    """The rows of one protocol: what differs between seeds and protocols is drawn, all else is the candidate's."""
    which_M = rng.permutation(np.repeat(np.arange(base.num_rows), NUM_SEEDS))
    count = len(which_M)
    order = np.argsort(which_M, kind="stable")
    seed_M = np.empty(count, dtype=np.int64)
    seed_M[order] = np.tile(np.arange(NUM_SEEDS), base.num_rows)
    score_M = np.clip(skill_K[which_M] + rng.normal(0, 0.01, count), 0, 1)
    changes: dict[str, Any] = {
        "job_id": [f"{protocol:02x}{number:014x}" for number in range(count)],
        "protocol": [f"protocol{protocol}"] * count,
        "seed": seed_M,
        "started_at": np.datetime_as_string(np.datetime64("2025-01-01T00:00:00") + protocol * count + np.arange(count)),
        "val_log_loss": 1 - score_M,
        "last_val_log_loss": 1 - score_M,
        "train_log_loss": 0.9 - score_M,
        **{name: score_M for name in COLUMNS if name.startswith("val_") and name != "val_log_loss"},
        **{name: np.minimum(score_M + 0.05, 1) for name in ("train_accuracy", "last_val_accuracy")},
    }
    rows = base.take(which_M)
    for name, values in changes.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows


def write_study(study: Study, num_candidates: int) -> None:
    """One row and one file of predictions per candidate, whose errors fall on the same hard images."""
    rng = np.random.default_rng(0)
    labels_N = np.repeat(np.arange(NUM_CLASSES), NUM_VAL // NUM_CLASSES)
    difficulty_N = rng.random(NUM_VAL)
    for number in range(num_candidates):
        row = candidate_row(number, rng)
        log_probs_NC = _log_probs(labels_N, difficulty_N, rng.uniform(0.6, 0.9), rng)
        predictions = Predictions(log_probs_NC, labels_N, [f"val/{image:05d}.jpg" for image in range(NUM_VAL)])
        study.write_predictions(row.job_id, predictions, predictions)
        study.write_row(row)


def _log_probs(labels_N: Any, difficulty_N: Any, skill: float, rng: np.random.Generator) -> Any:
    is_right_N = difficulty_N + rng.normal(0, 0.08, len(labels_N)) < skill
    said_N = np.where(is_right_N, labels_N, (labels_N + 1) % NUM_CLASSES)
    logits_NC = rng.normal(0, 0.7, (len(labels_N), NUM_CLASSES))
    logits_NC[np.arange(len(labels_N)), said_N] += 3.5
    return (logits_NC - np.log(np.exp(logits_NC).sum(axis=1, keepdims=True))).astype(np.float32)


def time_table(path: Path) -> Found:
    """Load a table and rank it, as a user's call does: all protocols, the leaders printed, the ranking written."""
    from harness.reporting.from_table import report_table

    rankings, found = _timed("table", lambda: report_table(path, RankConfig()))
    return found | {"table_candidates": sum(len(ranking.entries) for ranking in rankings)}


def time_study(path: Path) -> Found:
    """Rank a study from its folder; then again only the draws and the tied set, on what was loaded; then the whole report."""
    from harness.reporting.build import build_report
    from harness.select.candidates import load_pool
    from harness.select.comparison import Runs, bootstrap, scores, tied_set
    from harness.select.ranking import rank

    cfg, study = RankConfig(), Study(path)
    _, ranked = _timed("rank_study", lambda: rank(study, cfg))
    pool = load_pool(study)
    predicted_JN = np.concatenate([candidate.val.predicted_SN for candidate in pool.candidates])
    true_log_prob_JN = np.concatenate([candidate.val.true_log_prob_SN for candidate in pool.candidates])
    runs = Runs(predicted_JN, true_log_prob_JN, pool.labels_N, len(pool.class_names))

    def tie() -> int:
        draws_RK = bootstrap(runs, Metric.accuracy, cfg.num_resamples, [1] * len(pool.candidates))
        return int(tied_set(scores(runs, Metric.accuracy), draws_RK, cfg.confidence).sum())

    num_tied, tied = _timed("tied_set", tie)
    _, reported = _timed("report", lambda: build_report(study, cfg))
    return ranked | tied | reported | {"study_candidates": len(pool.candidates), "study_tied": num_tied}


def _timed(name: str, call: Callable[[], Any]) -> tuple[Any, Found]:
    """Wall and user seconds of a call, and the process's peak memory (MiB) after it."""
    started, user_s = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    result = call()
    wall_s, user_s = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_utime - user_s
    return result, {f"{name}_s": wall_s, f"{name}_user_s": user_s, f"{name}_peak_mib": _peak_mib()}


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


_SIDES: dict[str, Callable[[Path], Found]] = {"table": time_table, "study": time_study}


def in_child(side: str, path: Path) -> Found:
    """One side in a fresh process; its last line of output is what it found."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.table", "--side", side, str(path)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(num_rows: int, num_candidates: int) -> Found:
    """Simulate both inputs and time both sides."""
    with tempfile.TemporaryDirectory() as folder:
        table, study = Path(folder) / "results.parquet", Study(Path(folder) / "study")
        write_table(table, num_rows)
        write_study(study, num_candidates)
        sizes = {"table_rows": float(num_rows), "table_file_mib": table.stat().st_size / 2**20}
        return sizes | in_child("table", table) | in_child("study", study.root)


def show(found: Found, where: dict[str, Any]) -> str:
    """A line per figure, its limit beside it where there is one."""
    lines = {
        "table_s": ("s", f"load and rank {found['table_rows']:,.0f} rows, {found['table_candidates']:,.0f} candidates"),
        "table_peak_mib": ("MiB", "peak memory of that process"),
        "tied_set_s": ("s", f"draws and tied set, {found['study_candidates']:,.0f} candidates, {NUM_VAL:,} predictions each"),
        "rank_study_s": ("s", "rank that study from its folder"),
        "report_s": ("s", "rank it and write its whole report"),
    }
    table = [f"{where['cpu_name']}, {where['num_cores']} cores", f"{'found':>9} {'limit':>9} {'user':>9}"]
    for key, (unit, text) in lines.items():
        limit = f"{LIMITS[key]:9,.0f}" if key in LIMITS else f"{'':9}"
        user = f"{found[key.removesuffix('_s') + '_user_s']:9.2f}" if unit == "s" else f"{'':9}"
        table.append(f"{found[key]:9,.2f} {limit} {user} {unit:3}  {text}")
    return "\n".join(table)


def main(argv: Sequence[str] | None = None) -> None:
    """Run both sides and print the table; the full form writes `benchmarks/table.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description="Time loading and ranking at scale.")
    parser.add_argument("--short", action="store_true", help="100,000 rows and 300 candidates instead of 1,000,000 and 1,000")
    parser.add_argument("--side", nargs=2, metavar=("NAME", "PATH"), help=argparse.SUPPRESS)
    add_json(parser)
    arguments = parser.parse_args(argv)
    if arguments.side:
        print(json.dumps(_SIDES[arguments.side[0]](Path(arguments.side[1]))))
        return
    found, where = measure(*((100_000, 300) if arguments.short else (1_000_000, 1_000))), machine()
    print(show(found, where))
    keep({"machine": where, **versions(), "limits": LIMITS, "found": found}, arguments, __file__)


if __name__ == "__main__":
    main()
