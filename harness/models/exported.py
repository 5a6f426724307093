"""The folder that an export writes: names of its files, and `preprocessing.json`, which says how images come in and decisions out. Torch-free."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from harness.config import Metric
from harness.errors import TableError
from harness.files import open_plain, why
from harness.study.model_file import ModelHeader

SCHEMA = 1
MODEL, CONFIG, ONNX, ONNX_INT8, TORCH, PREPROCESSING, CARD = (
    "model.safetensors",
    "config.json",
    "model.onnx",
    "model.int8.onnx",
    "model.pt2",
    "preprocessing.json",
    "README.md",
)
"""Names of the files."""
_SIDES = {"squash": "both", "border": "longer"}
"""Way of cropping -> which side of an image is resized, as timm means it; else the shorter one."""
Record = dict[str, Any]
"""The content of `preprocessing.json`."""


def described(header: ModelHeader) -> Record:
    """What a program without the harness needs: how an image becomes the input, and how a decision follows from probabilities.

    The temperature is within the exported head, so that of `model` is 1. `white` is the value of white in pictures of more than 8 bits.
    """
    seen, metric = header.preprocess, Metric(header.metric)
    size = seen["image_size"]
    return {
        "schema": SCHEMA,
        "class_names": header.class_names,
        "input": {
            "name": "images",
            "shape": ["batch", 3, size, size],
            "dtype": "float32",
            "channels": "RGB",
            "white": header.max_values,
            "resize": {"side": _SIDES.get(seen["crop_mode"], "shorter"), "to": int(size / seen["crop_frac"])},
            "interpolation": seen["interpolation"],
            "crop": size,
            "crop_pct": seen["crop_frac"],
            "crop_mode": seen["crop_mode"],
            "scale": 1 / 255,
            "mean": list(seen["mean"]),
            "std": list(seen["std"]),
        },
        "decision": {
            "metric": metric.value,
            "rule": _rule(header),
            "class_prior": header.class_prior if metric is Metric.balanced_accuracy else None,
            "temperature_in_head": header.temperature,
        }
        | ({"labels": "several", "probabilities": "sigmoid(logits)", "thresholds": header.thresholds} if header.thresholds else {}),
        "model": asdict(replace(header, temperature=1.0, weights_path=None)),
    }


def _rule(header: ModelHeader) -> str:
    if header.thresholds:
        return "probabilities >= thresholds"
    divides = Metric(header.metric) is Metric.balanced_accuracy
    return "argmax(log(probabilities) - log(class_prior))" if divides else "argmax(probabilities)"


def sealed(record: Record, folder: Path, names: Sequence[str]) -> bytes:
    """`preprocessing.json` with the SHA-256 of the other files: it is written when all of them are there."""
    hashes = {name: _sha256(folder / name) for name in names}
    return as_json({**record, "sha256": hashes})


def as_json(record: Mapping[str, Any]) -> bytes:
    """For people too: lines, and letters as they are."""
    return json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")


def is_export(folder: Path) -> bool:
    """Whether an earlier export wrote this folder, so that another one may replace it."""
    try:
        return isinstance(read(folder).get("sha256"), dict)
    except TableError:
        return False


def read(folder: Path) -> Record:
    """The record of a folder. Raises TableError: it is none that an export wrote, or of another version."""
    path = folder / PREPROCESSING
    try:
        with open_plain(path) as file:
            found = json.loads(file.read())
    except FileNotFoundError as error:
        raise TableError(
            f"{folder}: holds no {PREPROCESSING}, so it is no exported model; `python -m harness.export` writes one."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise TableError(f"{path}: cannot be read ({why(error)}); export the model again.") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise TableError(f"{path}: is of another version of the harness, or of another program; export the model again.")
    return found


def header_of(record: Record, folder: Path) -> ModelHeader:
    """What the model was, as its study had it. Raises TableError."""
    names, given = {field.name for field in fields(ModelHeader)}, record.get("model")
    try:
        return ModelHeader(**{name: value for name, value in dict(given or {}).items() if name in names})
    except (TypeError, ValueError) as error:
        raise TableError(f"{folder / PREPROCESSING}: does not say what model it is of; export the model again.") from error


def require_unchanged(record: Record, folder: Path, name: str) -> None:
    """Raises TableError: the file is not the one that the export wrote, or there is none."""
    stated: Mapping[str, str] = record.get("sha256") or {}
    try:
        is_same = _sha256(folder / name) == stated.get(name)
    except OSError as error:
        raise TableError(f"{folder / name}: cannot be read ({why(error)}); export the model again.") from error
    if not is_same:
        raise TableError(f"{folder / name}: is not the file that the export wrote; export the model again.")


def _sha256(path: Path) -> str:
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
