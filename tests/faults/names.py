"""Names that the command line's own grammar takes for something else."""

from contextlib import chdir

from tests.faults.box import Box
from tests.faults.catalog import Outcome, Seen, fault
from tests.faults.data import photos


@fault("names", "data.root=null study=1_1, data.root=2024_11_28 study=病理; folders of these very names")
def names_that_look_like_values(box: Box) -> Seen:
    """a folder or a study is called like a number, like nothing, or in another alphabet"""
    for root, study in (("null", "1_1"), ("2024_11_28", "病理")):
        photos(box.root / root, "cat", "dog")
        with chdir(box.root):
            ended = box.sweep(
                "data=folder", f"data.root={root}", "data.max_images=null", "backbone=test_resnet", "freeze=all", f"study={study}"
            )
        assert ended.status == 0, ended.err
        assert (box.results / study / "rows").is_dir()
    assert box.report("study=1_1").status == 0
    return Seen(Outcome.recovered, ended.line("Report: ", "病理"))


@fault("names", "data.root=/no,such: a comma in the name of one folder")
def a_comma_in_a_path(box: Box) -> Seen:
    """a path holds a comma"""
    with chdir(box.root):
        ended = box.sweep("data=folder", f"data.root={box.root}/no,such", "backbone=test_resnet", "freeze=all")
    assert ended.status == 2
    return Seen(Outcome.refused, ended.line("A comma separates values that are swept"))
