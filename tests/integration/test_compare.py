"""From two sweeps to their comparison, through the command line."""

import pandas as pd

from tests.integration.commands import TINY, Command


def test_two_studies_side_by_side(run_sweep: Command, run_report: Command) -> None:
    """The same backbones on two data sets: one page of both, with every candidate that both have; an unknown study is an error."""
    options = (*TINY, "backbone=test_resnet,test_vit", "freeze=all")
    assert run_sweep(*options, "study=many").status == 0
    assert run_sweep(*options, "study=few", "data.max_images=40", "freeze=all,none").status == 0
    ended = run_report("study=many,few")
    assert ended.status == 0, ended.err
    folder = ended.results / "compare-many-few"
    frame = pd.read_csv(folder / "comparison.csv")
    assert sorted(zip(frame["backbone"], frame["study"], strict=True)) == [
        (backbone, study) for backbone in ("test_resnet", "test_vit") for study in ("few", "many")
    ]
    assert frame.groupby("study")["rank"].sum().tolist() == [3.0, 3.0]
    assert "has the lowest mean rank over many and few" in " ".join(ended.out.split())
    assert (folder / "index.html").exists()
    unknown = run_report("study=many,other")
    assert (unknown.status, "study=other: not in" in unknown.err) == (2, True)
