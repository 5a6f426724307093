"""Listing the images in tar files, the shards of WebDataset. Nothing is unpacked: an image is a piece of its shard.

Members whose names differ only behind the first dot are one sample: `cat/01.jpg` is its image, `cat/01.cls` its class.
"""

import glob
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from harness.config import ShardsConfig
from harness.data.images import Piece
from harness.data.kinds import SUFFIXES
from harness.data.layout import split_named
from harness.data.listing import POOL, FileCandidate, Listing
from harness.data.samples import Sample, Samples
from harness.data.shown import names, row_name, text
from harness.data.table_file import as_text, column
from harness.errors import DataError

Place = tuple[int, int]
"""Where a member's bytes begin in its shard, and how many there are."""

_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
"""How compressed files begin, and the program that undoes it."""
_LABELS = ("cls", "json", "txt")
"""Members that may hold a class, the likeliest first; a text may as well be a caption."""
_MAX_LABEL_BYTES = 2**20
_MAX_SHARDS = 100_000
_EXAMPLE = "shards/train-{000..009}.tar"


@dataclass(frozen=True, slots=True)
class _Sample:
    """Members that belong together."""

    shard: Path
    name: str
    """Of the image in its shard."""
    image: Place
    texts: Mapping[str, bytes]
    """Ending -> content, of the members that may say what it is."""


@dataclass(slots=True)
class _Found:
    """What all shards hold."""

    samples: list[_Sample] = field(default_factory=list)
    without_image: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)


def list_shards(root: str, cfg: ShardsConfig) -> Listing:
    """Every image in the shards.

    Args:
        root: a tar file, a folder of tar files, or a pattern of such with `*`, `?`, `{000..009}` and `{a,b}`.
        cfg: which members are images and labels.

    Raises:
        DataError: no such shards, a shard that is compressed or damaged, samples with several images, or with no known label or split.
    """
    shards = shards_of(root)
    folder = Path(os.path.commonpath([shard.parent for shard in shards]))
    found = _Found()
    for shard in shards:
        _read(shard, cfg, found)
    left_out = []
    if found.without_image:
        left_out.append(f"Samples without an image: {len(found.without_image):,}; {names(found.without_image)}.")
    if found.links:
        left_out.append(f"Links to nothing in their shard: {len(found.links):,}; {names(found.links)}.")
    if not found.samples:
        raise DataError(
            f"data.root={text(root)}: its shards hold no image{f' ({left_out[0]})' if left_out else ''}; give KEY.jpg and KEY.cls."
        )
    return Samples(
        text(root), _labelled(found.samples, shards, folder, cfg, text(root)), folder, left_out=left_out, group=cfg.group
    ).listing()


def shards_of(root: str) -> list[Path]:
    """The tar files that are meant, in the order of their names. Raises DataError."""
    path = Path(root).expanduser().absolute()
    if path.is_dir():
        found = {each: None for each in sorted(path.rglob("*.tar")) if each.is_file()}
    else:
        patterns = [str(Path(each).expanduser().absolute()) for each in _expanded(root)]
        found = {Path(each): None for pattern in patterns for each in sorted(_matching(pattern))}
        if missing := [pattern for pattern in patterns if not _matching(pattern)]:
            raise DataError(f"data.root={text(root)}: shards that are not there ({len(missing):,}): {names(missing)}; give those that are.")
    if not found:
        raise DataError(f"data.root={text(root)}: holds no tar file; give a folder of tar files or a pattern such as '{_EXAMPLE}'.")
    return list(found)


def _matching(pattern: str) -> list[str]:
    return [pattern] if Path(pattern).is_file() else [each for each in glob.glob(pattern, recursive=True) if Path(each).is_file()]  # noqa: PTH207  of pathlib none takes an absolute pattern


def _expanded(pattern: str) -> list[str]:
    """All names that braces stand for, as in a shell: `{08..10}` is 08, 09, 10 and `{a,b}` is a, b."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if span is None and "," not in found[1]:
        raise DataError(f"data.root={text(pattern)}: {{{text(found[1])}}} is neither a range nor a list; type it as in '{_EXAMPLE}'.")
    if span is None:
        parts: Sequence[str] = found[1].split(",")
    else:
        first, last = int(span[1]), int(span[2])
        if not 0 <= last - first < _MAX_SHARDS:
            raise DataError(f"data.root={text(pattern)}: {{{span[0]}}} is not a range of 1 to {_MAX_SHARDS:,}; type it as in '{_EXAMPLE}'.")
        width = max(len(each) for each in span.groups()) if any(each.startswith("0") for each in span.groups()) else 0
        parts = [f"{number:0{width}d}" for number in range(first, last + 1)]
    names_of_parts = [name for part in parts for name in _expanded(f"{pattern[: found.start()]}{part}{pattern[found.end() :]}")]
    if len(names_of_parts) > _MAX_SHARDS:
        raise DataError(f"data.root={text(pattern)}: stands for {len(names_of_parts):,} shards, and at most {_MAX_SHARDS:,} are read.")
    return names_of_parts


def _read(shard: Path, cfg: ShardsConfig, found: _Found) -> None:
    """Add the samples of one shard."""
    samples: dict[str, dict[str, tuple[str, Place]]] = {}
    try:
        with shard.open("rb") as file:
            for name, place in _members(shard, found):
                folder, _, base = name.rpartition("/")
                key, _, ending = base.partition(".")
                if key and ending:  # others are hidden, or belong to nothing
                    samples.setdefault(f"{folder}/{key}", {})[ending.lower()] = (name, place)
            for key, members in samples.items():
                image = _image(shard, key, members, cfg)
                if image is None:
                    found.without_image.append(key.lstrip("/"))
                    continue
                texts = {ending: _content(file, place) for ending, (_, place) in members.items() if ending in {*_LABELS, cfg.label_column}}
                found.samples.append(_Sample(shard, *members[image], texts))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataError(f"{text(shard)}: cannot be read as a tar file ({error}){_remedy(shard)}.") from error


def _members(shard: Path, found: _Found) -> Iterator[tuple[str, Place]]:
    """Files in a shard. A hard link is the file that it leads to."""
    places: dict[str, Place] = {}
    with tarfile.open(shard, "r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would keep them all
            name = member.name.removeprefix("./")
            if member.isreg() and not member.issparse():
                places[name] = member.offset_data, member.size
            elif member.islnk() and (target := member.linkname.removeprefix("./")) in places:
                places[name] = places[target]
            elif not member.isdir():
                found.links.append(name)
    yield from places.items()


def _remedy(shard: Path) -> str:
    try:
        with shard.open("rb") as file:
            first = file.read(8)
    except OSError:
        return "; check that it is there and may be read"
    undo = next((program for begin, program in _COMPRESSED.items() if first.startswith(begin)), None)
    return "; copy it anew" if undo is None else f": it is compressed, and images are read where they lie; undo that with {undo}"


def _content(file: BinaryIO, place: Place) -> bytes:
    offset, size = place
    if size > _MAX_LABEL_BYTES:
        raise OSError(f"a label of {size:,} bytes")
    file.seek(offset)
    return file.read(size)


def _image(shard: Path, key: str, members: Mapping[str, object], cfg: ShardsConfig) -> str | None:
    """The ending of the image of a sample."""
    told = cfg.image_column
    endings = [each for each in members if (PurePosixPath(f"x.{each}").suffix in SUFFIXES if told is None else each == told.lstrip("."))]
    if len(endings) > 1:
        where = f"{text(shard)}: sample {text(key.lstrip('/'))}"
        raise DataError(f"{where} has several images ({names(endings)}); say which is meant: data.image_column={endings[0]}.")
    return next(iter(endings), None)


def _labelled(samples: Sequence[_Sample], shards: Sequence[Path], folder: Path, cfg: ShardsConfig, what: str) -> list[Sample]:
    splits = _splits(shards)
    is_unique = len({sample.name for sample in samples}) == len(samples)
    records = [_record(sample) for sample in samples]
    ending, key = _label_of(samples, records, cfg, what)
    stated = ["split" in record for record in records]
    if any(stated) and not all(stated):
        raise DataError(
            f"{what}: {sum(stated):,} of {len(stated):,} samples say in their json which split they belong to; all have to, or none."
        )
    listed = []
    for sample, record in zip(samples, records, strict=True):
        name = row_name(sample.name if is_unique else f"{sample.shard.relative_to(folder).as_posix()}/{sample.name}")
        split = _split(record["split"], sample) if all(stated) else splits[sample.shard]
        candidate = FileCandidate(name, sample.shard, Piece(*sample.image, PurePosixPath(sample.name).suffix))
        group = None if cfg.group is None else as_text(record.get(cfg.group))
        listed.append(Sample(candidate, _label(sample, record, ending, key), split, group))
    if "train" not in (there := {each.split for each in listed}) and POOL not in there:
        raise DataError(
            f"{what}: has no images of train, only of {' and '.join(sorted(there))}; give the shards that are trained on as well."
        )
    return listed


def _record(sample: _Sample) -> dict[str, object]:
    """What the json of a sample says; nothing where there is none."""
    if "json" not in sample.texts:
        return {}
    try:
        record = json.loads(sample.texts["json"])
        if isinstance(record, dict):
            return record
        why = f"it is a {type(record).__name__} instead of an object with keys"
    except (ValueError, RecursionError) as error:
        why = str(error)
    raise DataError(f"{text(sample.shard)}: the json of {text(sample.name)} cannot be read ({why}); write it anew.")


def _label_of(
    samples: Sequence[_Sample], records: Sequence[Mapping[str, object]], cfg: ShardsConfig, what: str
) -> tuple[str | None, str | None]:
    """The ending of the members that hold the class, or else the key of `json` that does."""
    endings = {ending for sample in samples for ending in sample.texts}
    told = cfg.label_column
    if (first := "cls" if told is None else told) in endings:
        return first, None
    keys = dict.fromkeys(key for record in records for key in record)
    key = column(keys, "label", told, "data.label_column", f"{what}: the json of its samples")
    if key is None and "txt" not in endings:
        way_out = "give KEY.cls or KEY.txt beside each image, or say which key of KEY.json it is: data.label_column=KEY"
        raise DataError(f"{what}: samples have no label; {way_out}.")
    return (None, key) if key is not None else ("txt", None)


def _label(sample: _Sample, record: Mapping[str, object], ending: str | None, key: str | None) -> str:
    try:
        return as_text(record.get(str(key))) if ending is None else sample.texts.get(ending, b"").decode().strip()
    except ValueError as error:
        raise DataError(
            f"{text(sample.shard)}: the label of {text(sample.name)} cannot be read ({error}); write one class as text."
        ) from error


def _split(stated: object, sample: _Sample) -> str:
    if (found := split_named(str(stated).strip())) is None:
        raise DataError(f"{text(sample.shard)}: {text(sample.name)} belongs to split {text(str(stated))}; give train, val or test.")
    return found


def _splits(shards: Sequence[Path]) -> dict[Path, str]:
    """Of each shard: as a word of its name says, else its folder; all are one pool where none says so."""
    for said in ([shard.stem for shard in shards], [shard.parent.name for shard in shards]):
        found = {shard: _splits_in(name) for shard, name in zip(shards, said, strict=True)}
        there = set().union(*found.values())
        if len(there) > 1 or there == {"train"}:
            if unclear := [shard.name for shard, splits in found.items() if len(splits) != 1]:
                raise DataError(f"shards whose names say no split, or several, beside others that say one: {names(unclear)}; rename them.")
            return {shard: splits.pop() for shard, splits in found.items()}
    return dict.fromkeys(shards, POOL)


def _splits_in(name: str) -> set[str]:
    return {split for word in re.split(r"[^a-z]+", name.casefold()) if (split := split_named(word)) is not None}
