"""Faults of checkpoint files. Those that would run code are shown to: a plain reading of the very same file leaves a mark."""

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.backbones.weights import find_weights
from harness.config import Features
from harness.errors import BackboneError
from harness.status import Status
from tests.faults.box import Box, after_first_row
from tests.faults.catalog import Outcome, Seen, fault
from tests.loopback import serving

NAME = "test_resnet"


class Evil:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def state() -> dict[str, Tensor]:
    """Weights that fit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        found: dict[str, Tensor] = timm.create_model(NAME).state_dict()
    return found


def _refused(box: Box, path: Path, said: str = "") -> Seen:
    """A file that must fill nothing: one line that names it and says this."""
    spec = resolve(NAME)
    try:
        load_backbone(spec, find_weights(spec, str(path)), image_size=32, features=Features.pooled, seed=0)
    except BackboneError as error:
        words = str(error)
        assert "\n" not in words
        assert words.startswith(f"weights={path}: ")
        assert said in words, words
        return Seen(Outcome.refused, words.replace(f"{box.root}/", ""))
    raise AssertionError(f"{path} was taken")


def _require_not_run(box: Box, read_plainly: Callable[[], object]) -> None:
    """What the file wanted to do has not happened; the same file, read plainly, does it."""
    mark = box.root / "marked"
    assert not mark.exists(), "code of the file has run"
    read_plainly()
    assert mark.is_dir(), "the file is harmless, so that nothing was shown"


def _refused_without_running(box: Box, path: Path, read_plainly: Callable[[], object]) -> Seen:
    seen = _refused(box, path)
    _require_not_run(box, read_plainly)
    return seen


def _evil(box: Box) -> dict[str, Evil]:
    return {"conv1.weight": Evil(box.root / "marked")}


def _unpickle_archive(path: Path) -> object:
    with zipfile.ZipFile(path) as archive:
        return pickle.loads(archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl"))))


@fault("weights", injected="a torch.save file whose pickle makes a folder when it is read")
def code_in_archive(box: Box) -> Seen:
    """a checkpoint that runs code"""
    path = box.root / "evil.pth"
    torch.save(_evil(box), path)
    return _refused_without_running(box, path, lambda: _unpickle_archive(path))


@fault("weights", injected="the same in the format of before torch 1.6")
def code_in_legacy_file(box: Box) -> Seen:
    """an old-format checkpoint that runs code"""
    path = box.root / "evil.pt"
    torch.save(_evil(box), path, _use_new_zipfile_serialization=False)

    def read_plainly() -> None:
        with path.open("rb") as file:
            for _ in range(4):  # magic number, version, machine, content
                pickle.load(file)

    return _refused_without_running(box, path, read_plainly)


@fault("weights", injected="pickle.dump of an object that makes a folder when it is read")
def code_in_plain_pickle(box: Box) -> Seen:
    """a plain pickle that runs code, with the suffix of weights"""
    path = box.root / "evil.bin"
    path.write_bytes(pickle.dumps(_evil(box)))
    return _refused_without_running(box, path, lambda: pickle.loads(path.read_bytes()))


@fault("weights", injected="an archive with the mark of TorchScript and a pickle that makes a folder")
def code_in_torchscript(box: Box) -> Seen:
    """a TorchScript archive in place of weights"""
    path = box.root / "evil.pt"
    torch.save(_evil(box), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("evil/constants.pkl", pickle.dumps(()))
    return _refused_without_running(box, path, lambda: _unpickle_archive(path))


@fault("weights", injected="numpy.savez of an object array whose pickle makes a folder")
def code_in_npz(box: Box) -> Seen:
    """a .npz with a pickled object array"""
    path = box.root / "evil.npz"
    np.savez(path, allow_pickle=True, weight=np.array([Evil(box.root / "marked")], dtype=object))
    return _refused_without_running(box, path, lambda: np.load(path, allow_pickle=True)["weight"])


@fault("weights", injected="a loopback hub whose only file is a pickle that makes a folder")
def code_from_the_hub(box: Box) -> Seen:
    """the hub serves weights that run code"""
    path = box.root / "evil.bin"
    torch.save(_evil(box), path)
    files = {f"/timm/{NAME}.r160_in1k/resolve/main/pytorch_model.bin": path.read_bytes()}
    with serving(files) as site:
        environment = {"HF_ENDPOINT": site.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(box.root / "hub")}
        ended = box.run(f"backbone={NAME}@pretrained", "freeze=all", "seed=0", env=environment)
    assert ended.status == 3, ended.err
    assert [row.status for row in box.rows()] == [Status.failed]
    _require_not_run(box, lambda: _unpickle_archive(path))
    return Seen(Outcome.row, ended.line("refused", "code could run").replace(f"{box.root}/", ""))


@fault("weights", injected="the same file, named on the command line of a sweep of two jobs")
def code_in_a_sweep(box: Box) -> Seen:
    """a sweep over a checkpoint that runs code"""
    path = box.root / "evil.pth"
    torch.save(_evil(box), path)
    ended = box.sweep(f"backbone={NAME}@{path}", "freeze=all,-1")
    assert ended.status == 2, ended.err
    assert not box.results.exists()
    _require_not_run(box, lambda: _unpickle_archive(path))
    return Seen(Outcome.refused, ended.line("refused", "code could run").replace(f"{box.root}/", ""))


@fault("weights", injected="one kernel of another shape in an otherwise right file")
def other_shape(box: Box) -> Seen:
    """a checkpoint with a tensor of another shape"""
    path = box.root / "w.safetensors"
    save_file(state() | {"layer1.0.conv1.weight": torch.ones(3, 3)}, path)
    return _refused(box, path, "has another shape or type for layer1.0.conv1.weight")


@fault("weights", injected="a file of another architecture, named on the command line of a sweep of two jobs")
def other_network(box: Box) -> Seen:
    """a checkpoint of another architecture"""
    path = box.root / "w.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    ended = box.sweep(f"backbone={NAME}", f"weights={path}", "freeze=all,-1")
    assert ended.status == 2, ended.err
    assert not box.results.exists()
    return Seen(Outcome.refused, ended.line("does not fit the backbone: lacks", "tensors are").replace(f"{box.root}/", ""))


@fault("weights", injected="model_state_dict of a compiled, data-parallel model with a projection head of two layers")
def wrapped(box: Box) -> Seen:
    """a checkpoint as training scripts wrap it"""
    path = box.root / "w.pth"
    trunk = {f"module._orig_mod.{name}": tensor for name, tensor in state().items() if not name.startswith("fc.")}
    head = {"module._orig_mod.head.0.weight": torch.ones(7, 3), "module._orig_mod.head.2.weight": torch.ones(2, 7)}
    torch.save({"epoch": 3, "model_state_dict": trunk | head}, path)
    ended = box.sweep(f"backbone={NAME}", f"weights={path}", "freeze=all")
    assert ended.status == 0, ended.err
    return Seen(Outcome.recovered, ended.line("[1/1]"))


@fault("weights", injected="another model of the same architecture takes the file's place after the first row; freeze=none,all, two seeds")
def replaced(box: Box) -> Seen:
    """a checkpoint is replaced during the sweep"""
    path, earlier = box.root / "w.safetensors", box.root / "earlier.safetensors"
    for file, sign in ((path, 1), (earlier, 1), (box.root / "new", -1)):
        save_file({name: sign * tensor for name, tensor in state().items()}, file)
    with after_first_row(lambda: (box.root / "new").replace(path)):
        ended = box.sweep(f"backbone={NAME}", f"weights={path}", "freeze=none,all", "seed=0,1")
    rows = box.rows()
    assert ended.status == 3, ended.err
    assert [row.status for row in rows] == [Status.ok, *[Status.failed] * 3], rows
    assert all("holds other bytes than when it was chosen" in (row.error or "") and row.val_accuracy is None for row in rows[1:])
    _require_own_file_safe(box, path, earlier)
    return Seen(Outcome.row, ended.line("[2/4]").replace(f"{box.root}/", ""))


def _require_own_file_safe(box: Box, path: Path, earlier: Path) -> None:
    """The check tells that the file is another one, and deletes nothing of the user's; with the earlier one back, all is good and goes on."""
    told = box.verify()
    line = told.line("w.safetensors: is not the file that job")
    assert "put the earlier file back" in line, line
    assert "delete" not in line, line
    earlier.replace(path)
    assert box.verify().status == 0
    ended = box.sweep(f"backbone={NAME}", f"weights={path}", "freeze=none,all", "seed=0,1", "retry=failed")
    assert ended.status == 0, ended.err


@fault("weights", injected="the right shapes, but whole numbers")
def integers(box: Box) -> Seen:
    """a checkpoint with integers where real numbers belong"""
    path = box.root / "w.safetensors"
    save_file({name: (100 * tensor).to(torch.int8) for name, tensor in state().items()}, path)
    return _refused(box, path, "has another shape or type for")


@fault("weights", injected="a file without one of the kernels")
def missing_tensor(box: Box) -> Seen:
    """a checkpoint that lacks a tensor"""
    path = box.root / "w.safetensors"
    save_file({name: tensor for name, tensor in state().items() if name != "layer1.0.conv1.weight"}, path)
    return _refused(box, path, "lacks layer1.0.conv1.weight")


@fault("weights", injected="one NaN in one kernel")
def not_a_number(box: Box) -> Seen:
    """a checkpoint with a NaN"""
    path, tensors = box.root / "w.pth", state()
    tensors["layer1.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    torch.save(tensors, path)
    return _refused(box, path, "NaN or infinity in layer1.0.conv1.weight")


@fault("weights", injected="a header length of 2^60 bytes")
def absurd_header(box: Box) -> Seen:
    """a safetensors file with an absurd header"""
    path = box.root / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + json.dumps({}).encode())
    return _refused(box, path)


@fault("weights", injected="the first half of a right file")
def cut_safetensors(box: Box) -> Seen:
    """a safetensors file cut short"""
    path = box.root / "w.safetensors"
    save_file(state(), path)
    os.truncate(path, path.stat().st_size // 2)
    return _refused(box, path, "damaged")


@fault("weights", injected="the first half of a right file")
def cut_archive(box: Box) -> Seen:
    """a torch.save file cut short"""
    path = box.root / "w.pth"
    torch.save(state(), path)
    os.truncate(path, path.stat().st_size // 2)
    return _refused(box, path, "damaged")


@fault("weights", injected="the path of a folder")
def folder(box: Box) -> Seen:
    """a folder in place of a checkpoint"""
    path = box.root / "w.pth"
    path.mkdir()
    return _refused(box, path, "a folder, not a file")


@fault("weights", injected="a file of no bytes")
def empty(box: Box) -> Seen:
    """an empty checkpoint"""
    path = box.root / "w.pth"
    path.touch()
    return _refused(box, path, "it is empty")


@fault("weights", injected="a text file, named on the command line of a sweep of two jobs")
def text(box: Box) -> Seen:
    """a text file in place of a checkpoint"""
    path = box.root / "w.pth"
    path.write_text("version https://git-lfs.github.com/spec/v1\nsize 94000000\n", encoding="utf-8")
    ended = box.sweep(f"backbone={NAME}", f"weights={path}", "freeze=all,-1")
    assert ended.status == 2, ended.err
    assert not box.results.exists()
    return Seen(Outcome.refused, ended.line("as no checkpoint does").replace(f"{box.root}/", ""))
