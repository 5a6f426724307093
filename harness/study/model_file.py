"""What a job has learnt as the bytes of a file: the tensors that it changed, and a header that says what they belong to and proves both.

The form is safetensors, which other programs read; the header is JSON under the metadata key `harness`. Between a fitted network and the
study folder; knows no torch.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from harness.config import Adapter
from harness.study.row_file import OtherSchemaError
from harness.study.sealed import dumped, unsealed

MODEL_SCHEMA = 1
_KEY = "harness"
_LENGTH_BYTES = 8

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHeader:
    """Everything that turns base weights, the changed tensors and an image into a decision. Plain JSON."""

    job_id: str
    dataset: str
    model_blake2b: str
    """Of the whole network, as in the row: base weights and changed tensors put together must have it."""
    backbone: str
    """As the row names it."""
    model: str
    weights: str
    weights_source: str
    weights_sha256: str | None
    weights_path: str | None
    """The file that the user gave; None: published or random weights."""
    licence: str | None
    """Of the base weights, where their source states one."""
    seed: int
    """Decides random weights."""
    features: str
    head: str
    head_hidden: int
    freeze: str
    num_unchanged_blocks: int
    """From the input: their tensors are those of the base weights and are not in the file."""
    image_size: int
    """Side of the square input (pixels)."""
    preprocess: dict[str, Any]
    """`harness.data.preprocess.Preprocess` as a dictionary."""
    max_values: dict[str, float]
    """`integer`, `float` -> the value that is white in pictures of more than 8 bits."""
    class_names: list[str]
    metric: str
    """That decisions are made for."""
    class_prior: list[float]
    """Class shares that the loss taught: divided out of decisions where the metric asks for it."""
    temperature: float
    """Logits are divided by it."""
    trained_on: str
    """`train`, or `train_val` or `all` once it is refitted."""
    num_trained_on: int
    """Images."""
    harness_version: str
    timm_version: str
    torch_version: str
    thresholds: list[float] = field(default_factory=list)
    """Where an image may have several labels: the probability from which on each of them is called; else none."""
    adapter: str = Adapter.none.value
    """What was trained inside the frozen blocks; merged into the tensors. Files of before there were adapters say nothing of it."""

    @property
    def strategy(self) -> str:
        """As the row's."""
        return self.freeze if self.adapter == Adapter.none.value else f"{self.freeze} {self.adapter}"


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """A kept model: the tensors that training may have changed, those of the head among them, by their names in the network."""

    header: ModelHeader
    tensors: Tensors


def encode(file: ModelFile) -> bytes:
    """The bytes to write. Raises ValueError for numbers that JSON does not have."""
    record = {"schema": MODEL_SCHEMA, "tensors_blake2b": _digest(file.tensors), **asdict(file.header)}
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in file.tensors.items()}
    return save(tensors, metadata={_KEY: dumped(record).decode("ascii")})


def decode(content: bytes) -> ModelFile:
    """The inverse of `encode`, for any bytes.

    Raises:
        OtherSchemaError: another version has written it.
        ValueError: these are not the bytes that were written; the message says why, as a clause that follows a file name.
    """
    record, is_sealed = unsealed(_metadata(content).encode("ascii", errors="replace"))
    schema = record.get("schema")
    if type(schema) is int and schema != MODEL_SCHEMA:
        age = "older" if schema < MODEL_SCHEMA else "newer"
        raise OtherSchemaError(f"holds a model of schema {schema}, {age} than schema {MODEL_SCHEMA} of this version")
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError("is not as it was written") from error
    if not is_sealed or record.get("tensors_blake2b") != _digest(tensors):
        raise ValueError("is not as it was written")
    return ModelFile(_header(record), tensors)


def read_header(content: bytes) -> ModelHeader:
    """The header of the first bytes of a file, all of it included; the tensors are not looked at. Raises ValueError like `decode`."""
    record, is_sealed = unsealed(_metadata(content).encode("ascii", errors="replace"))
    if not is_sealed:
        raise ValueError("is not as it was written")
    return _header(record)


def _metadata(content: bytes) -> str:
    """The JSON of this project in the header of a safetensors file."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        found = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])["__metadata__"][_KEY]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError("is no model of this program, or is cut short or changed") from error
    if not isinstance(found, str):
        raise ValueError("is no model of this program")  # noqa: TRY004  one kind of error, whatever the bytes are
    return found


def _header(record: dict[str, Any]) -> ModelHeader:
    names = {field.name for field in fields(ModelHeader)}
    try:
        return ModelHeader(**{name: value for name, value in record.items() if name in names})
    except TypeError as error:
        raise ValueError("holds what no model has") from error


def _digest(tensors: Tensors) -> str:
    """Of names, types, shapes and bytes."""
    found = blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = np.asarray(tensors[name], order="C")
        found.update(f"{name} {tensor.dtype} {tensor.shape} ".encode())
        found.update(tensor.tobytes())
    return found.hexdigest()
