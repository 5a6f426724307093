"""Answers that would be true of something else: of other jobs, other machines, other versions, or of fewer images than they say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from PIL import Image

from tests.faults.box import Box, Ended
from tests.faults.catalog import Outcome, Seen, fault

ONE, TWO = ("backbone=test_resnet", "freeze=all", "train.epochs=1"), ("backbone=test_vit", "freeze=all", "train.epochs=2")
"""Two sweeps whose jobs do not compare."""


def _about(ended: Ended, backbone: str) -> str:
    """What the report says of protocols, if it recommends that backbone and no other."""
    used = ended.line("Use ", "nothing else was measured under the same terms")
    assert f"Use {backbone} " in used, used
    assert "It is the only candidate measured." not in ended.out
    return ended.line("This study holds 2 protocols", "Not shown: ", "protocol=")


@fault("report", "a sweep of one epoch, another of two into the same study, then the first again")
def a_report_about_other_jobs(box: Box) -> Seen:
    """another sweep has filled the same study on other terms"""
    box.sweep(*ONE)
    box.sweep(*TWO)
    said = _about(box.sweep(*ONE), "test_resnet")
    _about(box.report(), "test_resnet")
    own, other = (next(row for row in box.rows() if row.backbone == name).protocol for name in ("test_resnet", "test_vit"))
    _about(box.report(f"protocol={other[:6]}"), "test_vit")
    refused = box.report("protocol=nothing")
    assert refused.status == 2
    assert f"there are {own}" in refused.err or f", {own}" in refused.err
    return Seen(Outcome.left_out, said)


@fault("report", "the row of the other sweep is written by a clock that is a year ahead")
def a_clock_that_is_ahead(box: Box) -> Seen:
    """the clock of another machine is ahead"""
    box.sweep(*TWO)
    (row,) = box.rows()
    ahead = (datetime.now(UTC) + timedelta(days=365)).isoformat(timespec="milliseconds")
    box.study.write_row(replace(row, started_at=ahead))
    said = _about(box.sweep(*ONE), "test_resnet")
    _about(box.report(), "test_resnet")
    return Seen(Outcome.left_out, said)


@fault("report", "one of two seeds has a row of another torch")
def seeds_of_other_versions(box: Box) -> Seen:
    """seeds of one candidate were made by different versions"""
    box.sweep("backbone=test_resnet", "freeze=none", "seed=0,1")
    first, *_ = box.rows()
    box.study.write_row(replace(first, torch_version="2.0.0"))
    said = box.report().line("made by different versions")
    assert "test_resnet" in said, said
    assert "torch 2.0.0 and " in said, said
    return Seen(Outcome.recovered, said)


@fault("report", "digits with data.max_images=60")
def a_part_of_the_images(box: Box) -> Seen:
    """most images are left out by data.max_images"""
    box.sweep("backbone=test_resnet", "freeze=all")
    page = (box.study.report_dir / "report.md").read_text(encoding="utf-8").partition("## 1.")[0]
    said = next(line for line in page.splitlines() if "not drawn, as data.max" in line)
    assert "60 of 1,797 images are used" in said
    return Seen(Outcome.left_out, said)


@fault("report", "a timing of one of two models by another machine, a year ahead")
def times_of_another_machine(box: Box) -> Seen:
    """another machine has timed one of the models, later by its clock"""
    box.sweep("backbone=test_resnet,test_vit", "freeze=all")
    before = {row.backbone: (row.timed_on, row.latency_ms_p50) for row in box.rows()}
    timing = next(each for each in box.study.timings()[0] if each.latency_ms_p50 is not None)
    ahead = (datetime.now(UTC) + timedelta(days=365)).isoformat(timespec="milliseconds")
    box.study.write_timing(replace(timing, timed_on="elsewhere", timed_at=ahead, latency_ms_p50=0.001))
    assert {row.backbone: (row.timed_on, row.latency_ms_p50) for row in box.rows()} == before
    return Seen(Outcome.recovered, box.report().line("recommended"))


@fault("report", "two classes that a model tells apart without a mistake, 36 images")
def no_mistake_on_few_images(box: Box) -> Seen:
    """few images, all of them classified correctly"""
    for number in range(36):
        path = box.root / "photos" / ("red" if number % 2 else "blue") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 24), (200, number, 20) if number % 2 else (20, number, 200)).save(path)
    options = (
        "data=folder",
        f"data.root={box.root / 'photos'}",
        "study=few",
        "weights=pretrained",
        "backbone=tf_efficientnet_lite0",
        "data.image_size=64",
    )
    ended = box.sweep(*options, "freeze=all")
    assert ended.status == 0, ended.err
    said = ended.line("On new images: 100.0 %", "95 % interval")
    assert "from 100.0" not in said, said
    return Seen(Outcome.recovered, said)
