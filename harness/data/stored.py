"""A data set on disk: what was listed, audited and split once, for processes on other machines to start from. A Parquet table, a line an image."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cattrs import Converter

from harness.data.dataset import Dataset, ImageRef, Split
from harness.data.facts import Facts
from harness.data.file_images import FileImages, Pieces, Texts
from harness.data.images import ArrayImage
from harness.data.profile import Profile
from harness.data.splits import SPLITS
from harness.errors import TableError
from harness.files import atomic_write, why

_ABOUT = b"data set"
_CONVERTER = Converter()


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Keep all of a data set but the bytes of files that are there anyway. Raises StoreError."""
    splits = {name: getattr(dataset, name) for name in SPLITS}
    about = {
        "name": dataset.name,
        "class_names": dataset.class_names,
        "fingerprint": dataset.fingerprint,
        "profile": asdict(dataset.profile),
    }
    tables = [_table(name, split, dataset.facts) for name, split in splits.items() if len(split)]
    whole = pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata({_ABOUT: json.dumps(about)})
    with atomic_write(path, is_durable=True) as temporary:
        pq.write_table(whole, temporary, compression="zstd", write_page_checksum=True)


def read_dataset(path: Path) -> Dataset:
    """The inverse of `write_dataset`. Raises TableError: the file is not there, or not as it was written."""
    try:
        whole = pq.read_table(path, page_checksum_verification=True)
        about = json.loads(whole.schema.metadata[_ABOUT])
        parts = {name: whole.filter(pa.compute.equal(whole["split"], name)) for name in SPLITS}
        several = about["class_names"] if pa.types.is_list(whole.schema.field("label").type) else None
        return Dataset(
            name=about["name"],
            class_names=tuple(about["class_names"]),
            fingerprint=about["fingerprint"],
            profile=_CONVERTER.structure(about["profile"], Profile),
            facts={key: value for part in parts.values() for key, value in _facts(part)},
            **{name: _split(part, several) for name, part in parts.items()},
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise TableError(f"{path}: cannot be read ({why(error)}); run the same sweep again, which writes it anew.") from error


def _table(name: str, split: Split, facts: Mapping[str, Facts]) -> pa.Table:
    columns: dict[str, Any] = {
        "split": pa.array([name] * len(split), pa.string()),
        "label": _labels(split.labels),
        **_images(split.images),
    }
    if split.groups is not None:
        columns["group"] = pa.array(split.groups)
    if split.weights is not None:
        columns["weight"] = pa.array(split.weights)
    if facts:
        columns["facts"] = pa.array(
            [json.dumps(asdict(facts[image])) if image in facts else None for image in columns["id"].to_pylist()], pa.string()
        )
    return pa.table(columns)


def _labels(labels: Any) -> pa.Array:
    """One number an image, or the numbers of its labels."""
    if labels.ndim == 1:
        return pa.array(labels, pa.int64())
    return pa.array([np.flatnonzero(has).tolist() for has in labels], pa.list_(pa.int64()))


def _images(images: Sequence[ImageRef]) -> dict[str, Any]:
    if isinstance(images, FileImages):
        found = {"id": _texts(images.ids), "hash": _texts(images.hashes), "path": _texts(images.paths)}
        if images.pieces is not None:
            found |= {"offset": pa.array(images.pieces.spans[:, 0]), "size": pa.array(images.pieces.spans[:, 1])}
            found["suffix"] = pa.array(images.pieces.suffixes)
        return found
    arrays = [image for image in images if isinstance(image, ArrayImage)]
    assert len(arrays) == len(images), "sources list files, which are packed, or pixels"
    return {
        "id": pa.array([image.id for image in arrays], pa.string()),
        "hash": pa.array([image.content_hash for image in arrays], pa.string()),
        "pixels": pa.array([image.pixels.tobytes() for image in arrays], pa.large_binary()),
        "shape": pa.array([list(image.pixels.shape) for image in arrays], pa.list_(pa.int64())),
    }


def _texts(texts: Texts) -> pa.Array:
    return pa.array(list(texts), pa.string())


def _split(part: pa.Table, class_names: Sequence[str] | None) -> Split:
    there = part.column_names
    labels = part["label"].to_numpy() if class_names is None else _several(part["label"].to_pylist(), len(class_names))
    return Split(
        _refs(part),
        labels.astype(np.int64),
        part["group"].to_numpy().astype(np.int64) if "group" in there else None,
        part["weight"].to_numpy().astype(np.float64) if "weight" in there else None,
    )


def _several(numbers: Sequence[Sequence[int]], num_classes: int) -> Any:
    labels = np.zeros((len(numbers), num_classes), dtype=np.int64)
    for row, of_image in zip(labels, numbers, strict=True):
        row[list(of_image)] = 1
    return labels


def _refs(part: pa.Table) -> Sequence[ImageRef]:
    ids, hashes = part["id"].to_pylist(), part["hash"].to_pylist()
    if "pixels" in part.column_names:
        pixels = zip(part["pixels"].to_pylist(), part["shape"].to_pylist(), strict=True)
        arrays = [np.frombuffer(content, dtype=np.uint8).reshape(shape) for content, shape in pixels]
        return tuple(ArrayImage(*each) for each in zip(ids, hashes, arrays, strict=True))
    pieces = None
    if "suffix" in part.column_names:
        spans = np.stack([part["offset"].to_numpy(), part["size"].to_numpy()], axis=1).astype(np.int64)
        pieces = Pieces(spans, part["suffix"].to_pylist())
    return FileImages(Texts.of(ids), Texts.of(hashes), Texts.of(part["path"].to_pylist()), pieces)


def _facts(part: pa.Table) -> list[tuple[str, Facts]]:
    if "facts" not in part.column_names:
        return []
    told = zip(part["id"].to_pylist(), part["facts"].to_pylist(), strict=True)
    return [(key, _CONVERTER.structure(json.loads(text), Facts)) for key, text in told if text is not None]
