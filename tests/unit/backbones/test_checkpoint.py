"""Checkpoint files: formats, wrappings, and everything that is refused."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from harness.backbones.checkpoint import fits, read_state_dict, rename_by_position, require_finite, require_fit
from harness.errors import BackboneError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class _RunsCode:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_usual_wrappings_are_removed(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    """A plain state dict, one under a training script's key and one of a data-parallel run give the same tensors."""
    content: object = {prefix + name: tensor for name, tensor in TENSORS.items()}
    torch.save({"epoch": 3, wrapper: content} if wrapper else content, tmp_path / "w.pth")
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


@pytest.mark.parametrize("content", [[1, 2], {"lr": 0.1}, {}, {"model": {"a": torch.ones(1), "b": "text"}}])
def test_file_without_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    """Anything but tensors by name is an error."""
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(BackboneError, match="holds no named tensors"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_cut_file_is_refused(tmp_path: Path, suffix: str) -> None:
    """Half a file is reported as damaged."""
    path = tmp_path / f"w{suffix}"
    torch.save(TENSORS, path) if suffix == ".pth" else save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BackboneError, match="damaged"):
        read_state_dict(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    with pytest.raises(BackboneError, match="2 tensors where the network has 1"):
        rename_by_position(TENSORS, {"x": torch.empty(2, 3)}, tmp_path)
    with pytest.raises(BackboneError, match=r"a\.weight has shape 2x3 where x\.kernel has 3x2"):
        rename_by_position(TENSORS, {**like, "x.kernel": torch.empty(3, 2)}, tmp_path)


def test_misfit_names_three_tensors(tmp_path: Path) -> None:
    """The message names up to three tensors and counts the rest; the batch counter alone is no misfit."""
    require_fit(tmp_path, missing=["bn.num_batches_tracked"], unexpected=[], mismatched=[])
    with pytest.raises(BackboneError, match="lacks a, b, c and 2 more"):
        require_fit(tmp_path, missing=list("abcde"), unexpected=[], mismatched=[])


def test_names_in_a_file_cannot_break_the_line(tmp_path: Path) -> None:
    """Names of tensors are the file's own words: what is shown of them stays on one line without control characters."""
    with pytest.raises(BackboneError, match=r"holds unknown a b \[31mc; give"):
        require_fit(tmp_path, missing=[], unexpected=["a\nb\x1b[31mc"], mismatched=[])


def test_only_real_numbers_fill_real_places() -> None:
    """Whole and complex numbers do not pass, which torch would copy into real ones without a word; lower precision does."""
    place = torch.ones(2, 3)
    assert fits(torch.ones(2, 3, dtype=torch.float16), place)
    assert fits(torch.ones(()), torch.ones((), dtype=torch.int64))
    assert not fits(torch.ones(2, 3, dtype=torch.int8), place)
    assert not fits(torch.ones(2, 3, dtype=torch.complex64), place)
    assert not fits(torch.ones(2, 3).to_sparse(), place)
    assert not fits(torch.ones(3, 2), place)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """What cannot be opened is an error on one line."""
    with pytest.raises(BackboneError, match=r"cannot be read \(Is a directory\)"):
        read_state_dict(tmp_path)


def test_large_is_not_infinite(tmp_path: Path) -> None:
    """Numbers whose sum has no room are finite all the same; one infinity among small ones is not."""
    require_finite(tmp_path, {"large": torch.full((10,), 3e38), "count": torch.ones((), dtype=torch.int64)})
    with pytest.raises(BackboneError, match="NaN or infinity in b, c; give another file"):
        require_finite(tmp_path, {"a": torch.ones(3), "b": torch.tensor([1.0, torch.inf]), "c": torch.tensor([torch.inf, -torch.inf])})
