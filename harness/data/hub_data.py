"""Listing a data set of the Hugging Face hub, or a folder in one of its layouts, as the `datasets` package reads it.

That package writes a table per split into the cache folder. Pictures stored in a table are pieces of that file, the very bytes that were
published; others are files. No program that comes with a data set is run.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from harness.config import HubDataConfig
from harness.data.hub_files import card_of, fetch, licence_of
from harness.data.images import Piece, quiet
from harness.data.layout import split_named
from harness.data.listing import POOL, FileCandidate, Listing
from harness.data.samples import Sample, Samples
from harness.data.shown import names, quoted, row_name, text
from harness.data.table_file import as_text, column
from harness.errors import DataError
from harness.online.reasons import root_words
from harness.text.counts import counted

_TABLES = "datasets/hf"
"""Folder of the tables below the cache folder."""
_CLASS_NUMBER = ("cls",)
"""Further names of a column of labels: what tar files of the hub become."""


@dataclass(frozen=True, slots=True)
class _Image:
    """Where one is."""

    name: str | None
    """As the data set calls it, if it does."""
    path: Path
    piece: Piece | None
    """None: a file of its own."""


_Row = tuple[_Image, str, str, str | None]
"""An image, its class, its split, and its group if any."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """What is read of a table."""

    image: str
    label: str
    class_names: Sequence[str] | None
    """Of the numbers in `label`; None: these are the names."""
    group: str | None

    def labels(self, cells: Iterable[object]) -> Iterator[str]:
        """Names of classes; an empty text for an image without one, which the hub marks by -1."""
        for cell in cells:
            if self.class_names is None or cell is None:
                yield as_text(cell)
            else:
                yield self.class_names[int(str(cell))] if int(str(cell)) >= 0 else ""


def list_hub_data(place: str, cfg: HubDataConfig, cache_dir: Path) -> Listing:
    """Every image of the splits that are named train, val and test, in any of the words for them.

    Args:
        place: ORGANISATION/NAME on the hub, or a folder.
        cfg: which configuration, revision and columns.
        cache_dir: of the harness.

    Raises:
        DataError: the package is missing, the data set is not there or cannot be read, its columns are unclear, or images have no labels.
    """
    datasets, what = _package(), f"data.id={text(place)}"
    is_local = Path(place).expanduser().is_dir()
    if not is_local and (place.startswith(("/", "~", ".")) or place.count("/") > 1):
        raise DataError(f"{what}: no such folder; give one that is there, or ORGANISATION/NAME for a data set of the hub.")
    if is_local and cfg.revision is not None:
        raise DataError(f"data.revision={text(cfg.revision)}: {what} is a folder on this machine and has no revisions; leave it out.")
    folder = Path(place).expanduser().absolute() if is_local else fetch(place, cfg.revision, cfg.config)
    tables = (cache_dir / _TABLES).absolute()
    found = _loaded(datasets, folder, cfg, tables, what)
    splits, left_out = _splits(found, what)
    columns = _columns(datasets, next(iter(found.values())), cfg, what)
    rows = [row for name, split in splits.items() for row in _rows(found[name], split, columns, folder, what)]
    if not is_local:
        _require_inside((image.path for image, *_ in rows), (folder, tables), what)
    revision, licence = None if is_local else folder.name, licence_of(card_of(folder))
    remarks = [] if is_local else [f"{text(place)} is taken from the hub at commit {revision}; {_licence_words(licence)}."]
    if (columns.image, columns.label) != ("image", "label"):
        remarks.append(f"Columns of the table: image is {quoted(columns.image)}, label is {quoted(columns.label)}.")
    return Samples(what, _named(rows), folder, remarks, left_out, columns.group).listing(revision, licence)


def _licence_words(licence: str | None) -> str:
    return f"its licence is {licence}" if licence else "its card states no licence"


def _package() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError("data=hf: the package datasets is not installed; run: python -m pip install 'datasets>=4'.") from error
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    return datasets


def _loaded(datasets: Any, folder: Path, cfg: HubDataConfig, tables: Path, what: str) -> Mapping[str, Any]:
    """Its splits by name, those without images left out."""
    try:
        with quiet():
            found = datasets.load_dataset(str(folder), cfg.config, cache_dir=str(tables))
    except MemoryError:  # says nothing about the data set
        raise
    except Exception as error:  # the package raises nearly anything
        hint = " data.config=NAME says which." if cfg.config is None and "config name" in str(error).lower() else ""
        raise DataError(f"{what}: cannot be read by datasets {datasets.__version__}: {root_words(error)}.{hint}") from error
    return {str(name): table for name, table in found.items() if len(table)}


def _splits(found: Mapping[str, Any], what: str) -> tuple[dict[str, str], list[str]]:
    """Name of each split that is used -> ours, and what to say of the others."""
    if len(found) == 1:
        return dict.fromkeys(found, POOL), []
    known = {name: split for name in found if (split := split_named(name)) is not None}
    if "train" not in known.values() or len(set(known.values())) < len(known):
        raise DataError(f"{what}: has splits {names(found)}; one has to be train, and at most one each val and test.")
    return known, [f"Split {quoted(name)} is not used: {counted(len(found[name]), 'image')}." for name in found if name not in known]


def _columns(datasets: Any, table: Any, cfg: HubDataConfig, what: str) -> _Columns:
    """As told, or found by what they hold, else by their names. Raises DataError."""
    there = list(table.features)
    pictures = [field.name for field in table.data.schema if _holds_pictures(field.type)]
    named = [name for name, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)]
    image = _column(there, pictures, "image", cfg.image_column, what) or column(there, "path", None, "data.image_column", what)
    label = _column(there, named, "label", cfg.label_column, what)
    label = (
        label or column(there, "label", None, "data.label_column", what) or next((name for name in _CLASS_NUMBER if name in there), None)
    )
    for role, found in (("image", image), ("label", label)):
        if found is None:
            raise DataError(
                f"{what}: has no column of {role}s; its columns are {names(there)}. Say which it is: data.{role}_column=COLUMN."
            )
    kind = table.features[label]
    group = None if cfg.group is None else column(there, "group", cfg.group, "data.group", what)
    return _Columns(str(image), str(label), list(kind.names) if isinstance(kind, datasets.ClassLabel) else None, group)


def _column(there: Sequence[str], likely: Sequence[str], role: str, told: str | None, what: str) -> str | None:
    """The one that was told, else the only likely one, or the one that is called so."""
    if told is not None or role not in likely:
        if told is not None and told not in there:
            raise DataError(f"data.{role}_column={text(told)}: {what} has no such column; its columns are {names(there)}.")
        if told is None and len(likely) > 1:
            raise DataError(f"{what}: {names(likely)} may each be its {role}; say which: data.{role}_column={text(likely[0])}.")
        return told or next(iter(likely), None)
    return role


def _holds_pictures(kind: Any) -> bool:
    """Whether cells are the bytes of a file, alone or beside its path."""
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_pictures(field.type) for field in kind)
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _rows(table: Any, split: str, columns: _Columns, folder: Path, what: str) -> list[_Row]:
    """Every image of a split, its class, the split, and its group where there are groups."""
    images = [image for file in table.cache_files for image in _images(Path(file["filename"]), columns.image, folder)]
    try:
        labels = list(columns.labels(table.data.column(columns.label).to_pylist()))
    except (ValueError, IndexError) as error:
        raise DataError(
            f"{what}: column {quoted(columns.label)} holds no single class for each image ({error}); give one that does."
        ) from error
    groups = [None] * len(labels) if columns.group is None else map(as_text, table.data.column(columns.group).to_pylist())
    return [(image, label, split, group) for image, label, group in zip(images, labels, groups, strict=True)]


def _images(file: Path, name: str, folder: Path) -> Iterator[_Image]:
    """Of one file of a table, in order. Nothing is copied: a picture's place in the mapped memory is its place in the file."""
    import pyarrow

    with pyarrow.memory_map(str(file)) as source:
        whole = source.read_buffer()
        for batch in pyarrow.ipc.open_stream(whole):
            cells = batch.column(name)
            for path, place in zip(_paths(cells), _places(cells, whole.address), strict=True):
                if place is None:
                    own = Path(os.path.normpath(folder / (path or "")))
                    yield _Image(own.relative_to(folder).as_posix() if own.is_relative_to(folder) else None, own, None)
                else:
                    yield _Image(path, file, Piece(*place, PurePosixPath(path or "").suffix))


def _paths(cells: Any) -> Sequence[str | None]:
    """What the cells call their images."""
    import pyarrow

    if pyarrow.types.is_struct(cells.type):
        has_path = any(field.name == "path" for field in cells.type)
        return _paths(cells.field("path")) if has_path else [None] * len(cells)
    return cells.to_pylist() if pyarrow.types.is_string(cells.type) else [None] * len(cells)


def _places(cells: Any, begin: int) -> Sequence[tuple[int, int] | None]:
    """Offset and size of each cell's bytes in a file that is mapped at `begin`; None where it has none."""
    import pyarrow

    if pyarrow.types.is_struct(cells.type):
        return _places(cells.field("bytes"), begin)
    if not _holds_pictures(cells.type):
        return [None] * len(cells)
    _, offsets, content = cells.buffers()
    kind = np.int64 if pyarrow.types.is_large_binary(cells.type) else np.int32
    ends = np.frombuffer(offsets, kind)[cells.offset : cells.offset + len(cells) + 1].astype(np.int64)
    at = ends + (0 if content is None else content.address - begin)
    return [
        (start, size) if valid else None
        for start, size, valid in zip(at.tolist(), np.diff(ends).tolist(), cells.is_valid().to_pylist(), strict=False)
    ]


def _require_inside(paths: Iterable[Path], folders: Sequence[Path], what: str) -> None:
    """What others published names no file of this machine."""
    for path in paths:
        if not any(path.is_relative_to(folder) for folder in folders):
            raise DataError(f"{what}: names {quoted(str(path))}, a file that is not part of it; such a data set is not read.")


def _named(rows: Sequence[_Row]) -> list[Sample]:
    """By the names that the data set gives, if these are all different; else by their place in the split."""
    is_named = all(count == 1 and name is not None for name, count in Counter(image.name for image, *_ in rows).items())
    place: Counter[str] = Counter()
    samples = []
    for image, label, split, group in rows:
        name = str(image.name) if is_named else f"{split}/{place[split]:08d}"
        place[split] += 1
        samples.append(Sample(FileCandidate(row_name(name), image.path, image.piece), label, split, group))
    return samples
