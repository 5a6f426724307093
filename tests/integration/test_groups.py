"""A study of images that belong together: what the report and predict say of it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.patients import near_copy
from tests.integration.commands import QUICK, Command
from tests.integration.test_predict import Predict, run_predict

__all__ = ["run_predict"]
SWEEP = (*QUICK, "weights=random", "backbone=test_resnet", "freeze=all", "data.image_size=32", "study=scans", "data.group=patient")


def _plant(folder: Path) -> Path:
    """Six near copies each of forty noisy pictures; ill is brighter in most of them."""
    rng, lines = np.random.default_rng(0), []
    for patient in range(40):
        base_HW = rng.normal(100 + 40 * (patient % 2) * (rng.random() < 0.8), 40, (48, 48)).clip(0, 255).astype(np.uint8)
        for copy in range(6):
            path = folder / f"{patient}-{copy}.png"
            near_copy(Image.fromarray(base_HW), rng).save(path)
            lines.append((path.name, ("healthy", "ill")[patient % 2], f"p{patient}"))
    table = folder / "scans.csv"
    pd.DataFrame(lines, columns=["path", "label", "patient"]).to_csv(table, index=False)
    return table


def test_groups_are_swept_reported_and_predicted(run_sweep: Command, run_predict: Predict, tmp_path: Path) -> None:
    """The report says that groups are drawn anew; intervals of predict are wider where images are said to belong together."""
    table = _plant(tmp_path)
    swept = run_sweep(*SWEEP, f"data.root={table}")
    assert swept.status == 0, swept.err
    page = (swept.results / "scans" / "report" / "report.md").read_text(encoding="utf-8")
    assert "Whole groups of images, not single ones, were drawn again" in page
    assert "Images with one value of 'patient' belong together and are in one split" in page
    widths = []
    for options in ((), ("group=patient",)):
        said = run_predict("study=scans", f"images={table}", *options)
        assert said.status == 0, said.err
        low, high = re.search(r"from ([\d.]+) to ([\d.]+)", said.out).groups()  # type: ignore[union-attr]
        widths.append(float(high) - float(low))
    assert widths[1] > 1.5 * widths[0]
