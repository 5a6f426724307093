"""Kept models that find no room, are damaged, lost, half written, or whose base weights are others by now."""

import os
import signal
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits

from harness.study.models import Models
from tests.faults.box import Box, quality, wait_for
from tests.faults.catalog import Outcome, Seen, fault
from tests.faults.disks import tmpfs

_ONE = ("backbone=test_resnet", "freeze=none", "train.head_init=random", "model.keep=all")


def _new_images(box: Box) -> Path:
    folder = box.root / "new"
    folder.mkdir()
    for number, values in enumerate(load_digits().images[:5]):
        Image.fromarray((values * 15).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def _plain(words: str, box: Box) -> str:
    return words.replace(str(box.root), "")


@fault("model", "results on a real tmpfs of 32 MiB")
def no_room(box: Box) -> Seen:
    """the disk has no room for models"""
    with tmpfs(box.results, "32m"):
        ended = box.sweep(*_ONE)
        assert ended.status == 0, ended.err
        (row,) = box.rows()
        assert (row.status, Models(box.study).job_ids()) == ("ok", [])
        assert "free some space" in row.details.model_note
        assert ended.line("models: at most", "MiB are free there, and what finds no room is not kept")
        refused = box.predict(f"images={_new_images(box)}")
        assert refused.status == 2
    return Seen(Outcome.left_out, _plain(refused.line("there is no such model (when its job was done: ", "free some space"), box))


@fault("model", "one bit of a kept model is flipped")
def changed_byte(box: Box) -> Seen:
    """a byte of a kept model has changed"""
    box.sweep(*_ONE)
    (row,) = before = box.rows()
    path = Models(box.study).path(row.job_id)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused = box.predict(f"images={_new_images(box)}")
    shown = refused.line(f"{path}: is not as it was written")
    assert (refused.status, box.verify().status) == (2, 3)
    assert box.verify().line(str(path), "is not as it was written")
    assert box.sweep(*_ONE).status == 0
    assert quality(box.rows()) == quality(before)
    assert (box.verify().status, box.predict(f"images={box.root / 'new'}").status) == (0, 0)
    return Seen(Outcome.recovered, _plain(shown, box))


@fault("model", "the sweep and its job are killed (SIGKILL) while the file is written")
def killed_while_writing(box: Box) -> Seen:
    """a sweep is killed while it writes a model"""
    options = ("backbone=resnet50", "freeze=none", "train.head_init=random", "model.keep=all")
    undisturbed = Box(box.root / "undisturbed")
    assert undisturbed.sweep(*options).status == 0
    models = Models(box.study)
    sweep = box.start(*options)
    try:
        wait_for(lambda: bool(list(models.folder.glob(".*"))) or sweep.poll() is not None)
    finally:
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.communicate()
    assert (models.job_ids(), box.rows(), len(list(models.folder.glob(".*")))) == ([], [], 1)
    assert box.sweep(*options).status == 0
    assert quality(box.rows()) == quality(undisturbed.rows())
    assert box.verify().status == 0
    return Seen(Outcome.resumed, "nothing; half a file has no name that anybody reads")


@fault("model", "the checkpoint that the sweep was given is replaced by other weights of the same shapes")
def other_base(box: Box) -> Seen:
    """the base weights of a kept model are others by now"""
    own = box.root / "own.pth"
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_resnet").state_dict(), own)
        if seed == 0:
            assert box.sweep("backbone=test_resnet", "freeze=all", f"weights={own}").status == 0
    refused = box.predict(f"images={_new_images(box)}")
    assert refused.status == 2
    return Seen(Outcome.refused, _plain(refused.line("holds other weights (sha256"), box))


@fault("model", "the checkpoint that the sweep was given is deleted")
def no_base(box: Box) -> Seen:
    """the base weights of a kept model are gone"""
    own = box.root / "own.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), own)
    assert box.sweep("backbone=test_resnet", "freeze=all", f"weights={own}").status == 0
    own.unlink()
    refused = box.predict(f"images={_new_images(box)}")
    assert refused.status == 2
    return Seen(Outcome.refused, _plain(refused.line("The model needs them below the blocks that it was trained in"), box))
