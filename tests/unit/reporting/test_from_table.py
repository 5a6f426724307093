"""A table's ranking on the terminal and in its file: complete, and never taken for more than seeds can say."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from harness.config import Metric, RankConfig
from harness.reporting.from_table import COLUMNS, FILE, report_table
from harness.study.row import Row
from harness.study.table import to_frame
from tests.unit.reporting.fake_study import make_row

QUICK = RankConfig(metric=Metric.accuracy, num_resamples=200)


def reported(folder: Path, rows: list[Row], cfg: RankConfig = QUICK, width: int = 120) -> str:
    """What the terminal shows."""
    to_frame(rows).to_parquet(folder / "t.parquet")
    output = io.StringIO()
    report_table(folder / "t.parquet", cfg, Console(file=output, width=width))
    return output.getvalue()


def seeds(backbone: str, *scores: float) -> list[Row]:
    """One candidate with a row per score."""
    return [replace(make_row(f"{backbone}{seed}", backbone, seed=seed), val_accuracy=score) for seed, score in enumerate(scores)]


def test_file_has_every_candidate(tmp_path: Path) -> None:
    """One line per candidate of every protocol beside the table; what is unknown is an empty cell."""
    other = [replace(row, protocol="p0", job_id=f"x{row.job_id}") for row in seeds("squeezenet", 0.5)]
    reported(tmp_path, [*seeds("resnet50", 0.8, 0.82, 0.84), *other], replace(QUICK, max_params_m=10))
    frame = pd.read_csv(tmp_path / FILE)
    assert tuple(frame.columns) == COLUMNS
    lines: dict[str, dict[Any, Any]] = {record["backbone"]: record for record in frame.to_dict("records")}
    assert lines["resnet50"]["excluded"] == "parameters 23.5 million is above rank.max_params_m=10"
    assert pd.isna(lines["resnet50"]["rank"])
    assert lines["resnet50"]["seed_interval_low"] < lines["resnet50"]["score"] < lines["resnet50"]["seed_interval_high"]
    assert lines["squeezenet"]["rank"] == 1
    assert pd.isna(lines["squeezenet"]["seed_interval_low"])
    assert pd.isna(lines["squeezenet"]["seed_tied"])


def test_terminal_says_what_seeds_know(tmp_path: Path) -> None:
    """The recommendation comes with its odds, its price, and the doubt that the table cannot speak of; without seeds there is none."""
    text = " ".join(reported(tmp_path, [*seeds("resnet50", 0.8, 0.82, 0.84), *seeds("squeezenet", 0.5)]).split())
    assert "resnet50 · all is recommended: with above 99" in text
    assert "as far as seeds know. It has the highest expected score less the price of latency, 0.5" in text
    assert "nothing here says how far the val images can be trusted" in text
    assert "not compared" in text
    assert "No recommendation: no candidate within the limits has 3 seeds" in " ".join(reported(tmp_path, seeds("a", 0.5)).split())


def test_recommended_is_always_listed(tmp_path: Path) -> None:
    """Markup in names is printed, lines fit, and a recommendation below the first ten takes the last line."""
    rows = [row for place in range(14) for row in seeds(f"[b]n{place:02d}[/b]", 0.819, 0.82 - place / 10000, 0.821)]
    rows = [replace(row, latency_ms_p50=1.0 if "n12" in row.backbone else 50.0) for row in rows]
    text = reported(tmp_path, rows, width=80)
    assert all(len(line) <= 80 for line in text.splitlines()[:-1])
    listed = [line for line in text.splitlines() if line.endswith("recommended")]
    assert len(listed) == 1
    assert listed[0].startswith("13")
    assert "[b]n00[/b]" in text
    assert "n11" not in text
