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


@fault("names", "backbone=vit_b_16")
def another_library_s_name(box: Box) -> Seen:
    """a backbone is spelt as another library spells it"""
    ended = box.sweep("backbone=vit_b_16", "freeze=all")
    assert ended.status == 2
    return Seen(Outcome.refused, ended.line("vit_b_16", "give backbone=vit_base_patch16_224"))


@fault("names", "backbone=hf-hub:timm/test_resnet.r160_in1k, and timm/test_resnet")
def names_of_the_hub(box: Box) -> Seen:
    """a backbone is given by its address on the hub"""
    ended = box.sweep("backbone=hf-hub:timm/test_resnet.r160_in1k,timm/test_vit", "freeze=all")
    assert ended.status == 0, ended.err
    assert sorted(row.model for row in box.rows()) == ["test_resnet", "test_vit"]
    return Seen(Outcome.recovered, ended.line("[1/2]"))


@fault("names", "train.epoch=3, device=gpu, rank.max_latency_ms=-1")
def keys_and_values_that_are_wrong(box: Box) -> Seen:
    """a key is misspelt or a value is none of its"""
    said = []
    for option, words in (
        ("train.epoch=3", "did you mean"),
        ("device=gpu", "one of auto"),
        ("rank.max_latency_ms=-1", "a positive number"),
    ):
        ended = box.sweep("backbone=test_resnet", "freeze=all", option)
        assert ended.status == 2
        said.append(ended.line(option.partition("=")[0], words))
    assert not box.study.root.exists()
    return Seen(Outcome.refused, said[0])
