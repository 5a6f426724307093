"""Kept models: what was written is read, and nothing else is."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from harness.errors import StoreError, TableError
from harness.study import models as models_module
from harness.study.model_file import ModelFile, decode, encode, read_header
from harness.study.models import Models
from harness.study.row_file import OtherSchemaError
from harness.study.store import Study
from tests.unit.fuzzing import examples
from tests.unit.study.models import make_header

FILE = ModelFile(
    make_header(class_names=["Ä", "b\n"], temperature=1.25),
    {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "trunk.bn.num_batches_tracked": np.array(7)},
)


def test_a_model_is_read_as_it_was_written() -> None:
    """Header and tensors, with their types and shapes; the header alone as well."""
    found = decode(encode(FILE))
    assert found.header == FILE.header == read_header(encode(FILE))
    assert sorted(found.tensors) == sorted(FILE.tensors)
    for name, tensor in FILE.tensors.items():
        assert (found.tensors[name].dtype, found.tensors[name].shape) == (tensor.dtype, tensor.shape)
        assert np.array_equal(found.tensors[name], tensor)


@given(place=st.integers(0, len(encode(FILE)) - 1), bit=st.integers(0, 7))
@examples(200)
def test_no_changed_bit_is_read(place: int, bit: int) -> None:
    """Anywhere: in lengths, names, header or numbers."""
    content = bytearray(encode(FILE))
    content[place] ^= 1 << bit
    with pytest.raises(ValueError, match=r"as it was written|no model|holds|cut short or changed"):
        decode(bytes(content))


@given(st.binary(max_size=400))
@examples(200)
def test_rubbish_is_no_model(content: bytes) -> None:
    """Whatever the bytes are."""
    with pytest.raises(ValueError, match=r".+"):
        decode(content)


def test_other_files_are_no_models(tmp_path: Path) -> None:
    """Another program's safetensors file, one of another schema, one that is cut short, and another job's under this name."""
    models = Models(Study(tmp_path / "s"))
    (tmp_path / "s" / "rows").mkdir(parents=True)
    models.folder.mkdir()
    path = models.path("a")
    for content in (save({"a": np.zeros(3)}), save({"a": np.zeros(3)}, metadata={"harness": "{}"}), encode(FILE)[:-1]):
        path.write_bytes(content)
        with pytest.raises(TableError, match=r"a\.safetensors: "):
            models.read("a")
    path.write_bytes(encode(ModelFile(make_header(job_id="b"), FILE.tensors)))
    with pytest.raises(TableError, match=r"holds the model of another job, b; .*model\.keep=all"):
        models.read("a")
    with pytest.raises(TableError, match=r"there is no such model"):
        models.read("c")


def test_another_schema_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than called damaged."""
    content = encode(FILE)
    monkeypatch.setattr("harness.study.model_file.MODEL_SCHEMA", 2)
    with pytest.raises(OtherSchemaError, match=r"schema 1, older than schema 2 of this version"):
        decode(content)


def test_rows_have_room_before_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that would fill the disk is not written, so that the row after it is."""
    models = Models(Study(tmp_path / "s"))
    models.study.root.mkdir()
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(models_module.ROOM_MIB * 2**20))
    with pytest.raises(StoreError, match=r"64 MiB are free and 64 of them are for rows; free some space"):
        models.write(FILE)
    assert not models.folder.exists()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage((models_module.ROOM_MIB + 1) * 2**20))
    models.write(FILE)
    assert models.kept() == (1, len(encode(FILE)) / 2**20)
