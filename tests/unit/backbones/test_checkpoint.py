"""Checkpoint files: formats, wrappings, and everything that is refused."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from harness.backbones.checkpoint import read_state_dict, rename_by_position, require_finite
from harness.backbones.integrity import sha256_of
from harness.errors import BackboneError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class _RunsCode:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "state_dict_ema", "model_state_dict", "net", "ema", "model state_dict"])
def test_usual_wrappings_are_removed(tmp_path: Path, wrapper: str) -> None:
    """A plain state dict and one under the keys of a training script, one in the other, give the same tensors."""
    content: object = TENSORS
    for key in reversed(wrapper.split()):
        content = {"epoch": 3, key: content}
    torch.save(content, tmp_path / "w.pth")
    state = read_state_dict(tmp_path / "w.pth")
    assert list(state) == list(TENSORS)
    assert all(torch.equal(state[name], tensor) for name, tensor in TENSORS.items())


def test_safetensors_are_known_by_content(tmp_path: Path) -> None:
    """The suffix does not decide how a file is read."""
    save_file(TENSORS, tmp_path / "w.bin")
    assert torch.equal(read_state_dict(tmp_path / "w.bin")["a.weight"], TENSORS["a.weight"])


@pytest.mark.parametrize("kind", ["archive", "legacy", "plain"])
def test_pickle_that_runs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A malicious pickle is refused with a reason, and what it wanted to do has not happened; read plainly, it does it."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, mark = tmp_path / "w.pth", tmp_path / "pwned"
    evil = {"a.weight": _RunsCode(mark)}
    if kind == "plain":
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=kind == "archive")
    with pytest.raises(BackboneError, match=r"refused: .*code could run"):
        read_state_dict(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes()) if kind == "plain" else torch.load(path, weights_only=False)
    assert mark.is_dir()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2], "a list"),
        ({"lr": 0.1, "epoch": 3}, "a dictionary of lr, epoch"),
        ({}, "an empty dictionary"),
        ({"model": {"a": torch.ones(1), "b": "text"}}, "a dictionary of model"),
    ],
)
def test_file_without_named_tensors_is_refused(tmp_path: Path, content: object, found: str) -> None:
    """Anything but tensors by name is an error that says what was found."""
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(BackboneError, match=f"holds no named tensors, but {found};"):
        read_state_dict(tmp_path / "w.pth")


def test_a_file_that_holds_itself_is_refused(tmp_path: Path) -> None:
    """No depth of keys within keys is too much."""
    content: dict[str, object] = {"epoch": 1}
    content["model"] = content
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(BackboneError, match="holds no named tensors"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_bytes_than_were_hashed_are_refused(tmp_path: Path, suffix: str) -> None:
    """Whoever knows what the file held gets tensors of those bytes or none."""
    path = tmp_path / f"w{suffix}"
    save_file(TENSORS, path) if suffix == ".safetensors" else torch.save(TENSORS, path)
    sha256 = sha256_of(path)
    assert read_state_dict(path, sha256).keys() == TENSORS.keys()
    changed = {name: tensor + 1 for name, tensor in TENSORS.items()}
    save_file(changed, path) if suffix == ".safetensors" else torch.save(changed, path)
    with pytest.raises(BackboneError, match=rf"holds other bytes than when it was chosen \(content hash .*, not {sha256[:8]}\); put the"):
        read_state_dict(path, sha256)
    path.write_bytes(b"")
    with pytest.raises(BackboneError, match="holds other bytes than when it was chosen"):
        read_state_dict(path, sha256)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_cut_file_is_refused(tmp_path: Path, suffix: str) -> None:
    """Half a file is reported as damaged."""
    path = tmp_path / f"w{suffix}"
    torch.save(TENSORS, path) if suffix == ".pth" else save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BackboneError, match="damaged"):
        read_state_dict(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=64))
def test_no_bytes_escape_as_another_error(tmp_path: Path, content: bytes) -> None:
    """Whatever a file holds, the user sees one line and never a traceback."""
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(BackboneError) as caught:
        read_state_dict(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)


def test_rename_by_position_checks_count_and_shapes(tmp_path: Path) -> None:
    """Names change only when every tensor has its counterpart's shape."""
    like = {"x.kernel": torch.empty(2, 3), "x.offset": torch.empty(2)}
    assert torch.equal(rename_by_position(TENSORS, like, tmp_path)["x.kernel"], TENSORS["a.weight"])
    with pytest.raises(BackboneError, match="2 tensors where the model has 1"):
        rename_by_position(TENSORS, {"x": torch.empty(2, 3)}, tmp_path)
    with pytest.raises(BackboneError, match=r"a\.weight has shape 2x3 where x\.kernel has 3x2"):
        rename_by_position(TENSORS, {**like, "x.kernel": torch.empty(3, 2)}, tmp_path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """What cannot be opened is an error on one line."""
    with pytest.raises(BackboneError, match=r"cannot be read \(Is a directory\)"):
        read_state_dict(tmp_path)


def test_large_is_not_infinite(tmp_path: Path) -> None:
    """Numbers whose sum has no room are finite all the same; one infinity among small ones is not."""
    require_finite(tmp_path, {"large": torch.full((10,), 3e38), "count": torch.ones((), dtype=torch.int64)})
    with pytest.raises(BackboneError, match="NaN or infinity in b, c; give another file"):
        require_finite(tmp_path, {"a": torch.ones(3), "b": torch.tensor([1.0, torch.inf]), "c": torch.tensor([torch.inf, -torch.inf])})
