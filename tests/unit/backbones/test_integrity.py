"""What is told about a file by its hash and its outside."""

import hashlib
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness.backbones.integrity import published_sha256, sha256_of, why_no_checkpoint, why_not_as_published

TENSORS = {"a.weight": torch.arange(600.0).reshape(20, 30)}


def test_published_hashes_are_found_in_names(tmp_path: Path) -> None:
    """A link into the hub's cache states a whole hash, the name of a published file its start, any other name none."""
    blob = tmp_path / hashlib.sha256(b"content").hexdigest()
    blob.write_bytes(b"content")
    (tmp_path / "model.safetensors").symlink_to(blob)
    assert published_sha256(tmp_path / "model.safetensors") == sha256_of(blob)
    assert published_sha256(tmp_path / "alexnet-owt-7be5be79.pth") == "7be5be79"
    assert [published_sha256(tmp_path / name) for name in ("model.bin", "net-abc.pth", "net-finetune.pth")] == ["", "", ""]


@pytest.mark.parametrize("is_legacy", [False, True])
def test_checkpoints_pass(tmp_path: Path, is_legacy: bool) -> None:
    """Files that torch and safetensors wrote may be checkpoints, whatever their suffix."""
    torch.save(TENSORS, tmp_path / "w", _use_new_zipfile_serialization=not is_legacy)
    save_file(TENSORS, tmp_path / "s")
    assert why_no_checkpoint(tmp_path / "w") is None
    assert why_no_checkpoint(tmp_path / "s") is None


def test_other_archives_are_reported(tmp_path: Path) -> None:
    """A TorchScript program and an archive of something else are no checkpoints."""
    for name, member in {"script": "script/constants.pkl", "pictures": "cat.png"}.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, pickle.dumps(()))
    assert "TorchScript" in (why_no_checkpoint(tmp_path / "script") or "")
    assert why_no_checkpoint(tmp_path / "pictures") == "it is a zip archive without anything that torch.save wrote"


def test_text_is_shown_without_its_control_characters(tmp_path: Path) -> None:
    """What a file begins with cannot colour the message that shows it."""
    (tmp_path / "w").write_bytes(b"\x1b[31mred\x07\xff and more")
    assert why_no_checkpoint(tmp_path / "w") == "it begins with '[31mred \ufffd and more', as no checkpoint does"


def test_another_hash_is_told_first(tmp_path: Path) -> None:
    """A file under another's hash is not what was published, whatever it holds; one under its own is looked at."""
    save_file(TENSORS, tmp_path / "s")
    sha256 = sha256_of(tmp_path / "s")
    assert why_not_as_published(tmp_path / "s", sha256, "0" * 64) == f"its content hash is {sha256[:8]}, not 00000000"
    assert why_not_as_published(tmp_path / "s", sha256, sha256[:8]) is None
    (tmp_path / "t").write_text("hello", encoding="utf-8")
    assert why_not_as_published(tmp_path / "t", sha256_of(tmp_path / "t"), "") == "it begins with 'hello', as no checkpoint does"
