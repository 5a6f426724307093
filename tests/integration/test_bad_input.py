"""Bad input: one clear line, the documented exit status, nothing lost."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.commands import TINY, Command

NASTY = ["plain", "two words", "größe 数", "<script>alert(1)</script>", "quote\"s and 'more'", "line\nbreak"]


def _images(folder: Path, num_images: int, shade: int) -> None:
    folder.mkdir(parents=True)
    for number in range(num_images):
        pixels = np.random.default_rng(shade * 1000 + number).integers(0, 60, (24, 24, 3)) + shade
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backbone=resnet5"], "did you mean resnet50"),
        (["backbone=nothing_like_*"], "nothing_like_*"),
        (["backbone=test_resnet", "freeze=half"], "give all, none, a fraction"),
        (["backbone=test_resnet", "data=cifar"], "did you mean 'cifar10'"),
        (["backbone=test_resnet", "trian.epochs=1"], "trian.epochs"),
        (["backbone=test_resnet", "train.epoch=1"], "did you mean 'train.epochs'"),
        (["backbone=test_resnet", "+train.epoch=1"], "train.epoch: unknown key; did you mean 'train.epochs'"),
        (["backbone=test_resnet", "+train.epochs=1"], "+train.epochs: the key is there already; give train.epochs=... without the +."),
        (["backbone=test_resnet", "train.epochs=-1"], "train.epochs=-1"),
        (["backbone=test_resnet", "train.epochs=many"], "train.epochs=many: not allowed; train.epochs takes a whole number, or null."),
        (["backbone=test_resnet", "train.epochs=1.5"], "train.epochs=1.5: not allowed; train.epochs takes a whole number, or null."),
        (["backbone=test_resnet", "train.batch_size=null"], "train.batch_size=null: not allowed; train.batch_size takes a whole number."),
        (["backbone=test_resnet", "train.lr_search=3"], "train.lr_search=3: not allowed; train.lr_search takes a list of numbers, such as"),
        (["backbone=test_resnet", "train.lr_search=[a,b]"], "train.lr_search=[a,b]: not allowed; train.lr_search takes a list of numbers"),
        (["backbone=test_resnet", "train.class_weights=x"], "train.class_weights=x: not allowed; train.class_weights takes true or false."),
        (["backbone=test_resnet", "job.memory_gib=4GB"], "job.memory_gib=4GB: not allowed; job.memory_gib takes a number, or null."),
        (["backbone=test_resnet", "train=null"], "train=null: not allowed; there is "),
        (
            ["backbone=test_resnet", "job=3"],
            "job takes keys of its own: timeout_minutes, stall_minutes, memory_gib, snapshot_minutes, price_per_hour.",
        ),
        (["backbone=test_resnet,test_vit", "freeze=all,none", "train.epoch=9"], "train.epoch: unknown key; did you mean 'train.epochs'?"),
        (
            ["backbone=test_resnet,test_vit", "device=gpu", "seed=0,1"],
            "device=gpu: not allowed; give one of auto, cpu, cuda, mps, or cuda:INDEX such as cuda:1.",
        ),
        (["backbone=test_resnet,test_vit", "data=foldr"], "data=foldr: unknown; did you mean 'folder'?"),
        (
            ["backbone=test_resnet", "device=gpu"],
            "device=gpu: not allowed; give one of auto, cpu, cuda, mps, or cuda:INDEX such as cuda:1.",
        ),
        (
            ["backbone=test_resnet", "device=cpu,gpu"],
            "device=gpu: not allowed; give one of auto, cpu, cuda, mps, or cuda:INDEX such as cuda:1.",
        ),
        (
            ["backbone=test_resnet", "precision=half"],
            "precision=half: not allowed; precision takes one of auto, float32, tf32, bfloat16, float16, mixed.",
        ),
        (
            ["backbone=test_resnet", "device=cpu", "precision=tf32"],
            "precision=tf32: only cuda has it, and this is cpu; give precision=float32 or auto.",
        ),
        (
            ["backbone=test_resnet", "device=cpu", "precision=float16"],
            "precision=float16: only cuda has it, and this is cpu; give precision=float32 or auto.",
        ),
        (["backbone=test_resnet", "device=cuda:99"], "device=cuda:99: not on this machine; give "),
        (["backbone=test_resnet", "retry=fail"], "retry=fail: not allowed; retry takes one of none, failed."),
        (["backbone=test_resnet", "retry=true"], "retry=true: not allowed; retry takes one of none, failed."),
        (["backbone=test_resnet", "train.augment=x"], "train.augment takes one of none, flip, light, strong, pad_crop."),
        (
            ["backbone=test_resnet", "data=elpv", "data.task=x"],
            "data.task=x: not allowed; data.task takes one of binary, levels, cell_type.",
        ),
        (["backbone=test_resnet", "study=${nothing}"], "study: not allowed (Interpolation key 'nothing' not found); give ${...}"),
        (["backbone=test_resnet", "study=<b>"], "study='<b>': not allowed; give one folder name"),
        (["backbone=test_resnet", "study==1+1"], "study='=1+1': not allowed; give one folder name"),
        (
            ["backbone=test_resnet", "train.epochs=<b>"],
            """train.epochs=<b>: cannot be read; for this very text type 'train.epochs="<b>"',""",
        ),
        (["backbone=test_resnet", "study"], "study: is no option; give key=value."),
        (["backbone=test_resnet", "hydra/launcher=x"], "hydra/launcher=x: unknown; there is basic, joblib"),
        (["backbone=test_resnet", "seed=-1"], "seed=-1: not allowed; give a whole number from 0"),
        (["backbone=test_resnet", "seed=99999999999999999999"], "seed=99999999999999999999"),
        (["backbone=test_resnet", "train.lr=inf"], "train.lr=inf"),
        (["backbone=test_resnet", "measure.timing_s=inf"], "measure.timing_s=inf"),
        (["backbone=test_resnet", "job.timeout_minutes=nan"], "job.timeout_minutes=nan"),
        (["backbone=test_resnet", "weights=/no/such/file.pth"], "/no/such/file.pth"),
        (["backbone=test_resnet", "data=folder"], "data.root"),
        (["backbone=test_resnet", "data=folder", "data.root=/no/such/folder"], "/no/such/folder"),
        (["backbone=test_resnet", "study=../outside"], "study='../outside'"),
        (["backbone=test_resnet", "study=-rf"], "study='-rf': not allowed; give one folder name"),
        ([], "backbone"),
    ],
)
def test_a_wrong_word_is_told_before_anything_runs(run_sweep: Command, arguments: list[str], said: str) -> None:
    """Exit status 2, one line that names it and the way out, no study folder."""
    ended = run_sweep(*TINY, *arguments)
    assert ended.status == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith("error: ")
    assert not ended.study().root.exists()


def test_a_cache_that_cannot_be_written_leaves_no_study(run_sweep: Command, tmp_path: Path) -> None:
    """Refused before the first job, and nothing is there that the next command would take for a study."""
    (tmp_path / "cache").touch()
    ended = run_sweep(*TINY, "backbone=test_resnet")
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended.err
    assert f"{tmp_path / 'cache'}: cannot be written" in ended.err
    assert not ended.study().root.exists()


def test_every_mistake_of_a_sweep_is_reported_at_once(run_sweep: Command) -> None:
    """Two wrong names, two lines; the good one between them does not run."""
    ended = run_sweep(*TINY, "backbone=resnet5,test_resnet,vgg61", "freeze=all")
    assert ended.status == 2
    assert "resnet50" in ended.err
    assert "vgg16" in ended.err
    assert ended.rows() == []


def test_an_empty_root(run_sweep: Command, tmp_path: Path) -> None:
    """A folder without images says so."""
    (tmp_path / "empty").mkdir()
    ended = run_sweep("weights=random", "backbone=test_resnet", "data=folder", f"data.root={tmp_path / 'empty'}")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert str(tmp_path / "empty") in ended.err


def test_a_single_class_and_a_class_too_small(run_sweep: Command, tmp_path: Path) -> None:
    """One class cannot be classified; a class with one image cannot be in three splits."""
    _images(tmp_path / "one" / "only", 5, 10)
    ended = run_sweep("weights=random", "backbone=test_resnet", "data=folder", f"data.root={tmp_path / 'one'}")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    _images(tmp_path / "few" / "many", 8, 10)
    _images(tmp_path / "few" / "rare", 1, 90)
    ended = run_sweep("weights=random", "backbone=test_resnet", "data=folder", f"data.root={tmp_path / 'few'}")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "rare" in ended.err


def test_unreadable_files_and_nasty_class_names_do_not_stop_a_sweep(run_sweep: Command, tmp_path: Path) -> None:
    """Broken files are listed and left out; class names are shown as text and never become markup."""
    root = tmp_path / "photos"
    for shade, name in enumerate(name.replace("/", "∕") for name in NASTY):
        _images(root / name, 6, shade * 30)
    (root / "plain" / "broken.png").write_bytes(b"not a picture")
    (root / "plain" / "empty.jpg").write_bytes(b"")
    ended = run_sweep(*TINY, "backbone=test_resnet", "data=folder", f"data.root={root}", "freeze=all")
    assert ended.status == 0, ended.err
    (row,) = ended.rows("folder")
    assert row.details.profile["num_unreadable"] == 2
    assert "broken.png" in " ".join(row.details.profile["unreadable"])
    html = (ended.study("folder").report_dir / "index.html").read_text(encoding="utf-8")
    markdown = (ended.study("folder").report_dir / "report.md").read_text(encoding="utf-8")
    assert "<script>alert" not in html.lower()
    assert "<script" not in markdown.lower()
    assert "broken.png" in html
    assert "größe 数" in html


def test_a_key_that_nobody_reads_is_refused_by_the_report(run_report: Command) -> None:
    """A limit that is misspelt behind a `+` would otherwise be ignored, and what breaks it recommended."""
    ended = run_report("+rank.max_latency=5")
    assert ended.status == 2
    assert "rank.max_latency: unknown key; did you mean 'rank.max_latency_ms'" in ended.err
