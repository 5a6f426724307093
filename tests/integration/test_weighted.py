"""A study of weighted images: what the row and the report say, and that other sources of images are refused."""

from pathlib import Path

import pandas as pd

from benchmarks.several_labels import draw_shapes
from harness.study.store import Study
from tests.integration.commands import QUICK, Command

SWEEP = (*QUICK, "weights=random", "backbone=test_resnet", "freeze=all,none", "data.image_size=32", "train.epochs=1")
"""A head and a fine-tune."""


def test_weights_are_swept_and_reported(run_sweep: Command, tmp_path: Path) -> None:
    """Several labels and weights, from a head and a fine-tune to the report's words; the protocol says so."""
    table = draw_shapes(tmp_path / "shapes", 60, 2)
    frame = pd.read_csv(table)
    frame.assign(trust=[0, 1, 2, 3] * (len(frame) // 4)).to_csv(table, index=False)
    data = ("data=table", f"data.root={table}", "data.label_separator='|'")
    swept = run_sweep(*SWEEP, *data, "data.weight=trust", "study=weighted")
    assert swept.status == 0, swept.err
    page = (swept.results / "weighted" / "report" / "report.md").read_text(encoding="utf-8")
    assert "Train images count by 'trust', from" in page
    assert "Scores, intervals and the ranking count each image once" in page
    rows = Study(swept.results / "weighted").rows()
    assert {row.details.protocol.get("image_weights") for row in rows} == {True}
    assert len(rows) == 2
    refused = run_sweep(*SWEEP, "data=hf", "data.id=x", "data.weight=trust")
    assert (refused.status, "data.weight: not taken by this source of images, only by data=table." in refused.err) == (2, True)
