"""torchvision's classification sets behind one mapping: how each official split is made, and where its labels and pictures are.

The one source that imports torch; `sources.torchvision` imports this module only when such a set is asked for.

How far a set is known to be the published one: the MD5 that torchvision states of an archive is checked once, after the download;
for `fgvcaircraft` it states none. What lies extracted on the disk is checked again for CIFAR, STL-10, SVHN and SEMEION only. MD5 tells
accidents; it is no proof against somebody who wants to deceive, least of all where a set comes over plain HTTP, to which torchvision
also falls back where HTTPS fails. The fingerprint of a study's data set says in any case which images its rows are of.
"""

import http.client
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets as tv

from harness.data.images import UInt8Array, quiet
from harness.data.listing import POOL, ArrayCandidate, Candidate, FileCandidate, Listing, Part
from harness.data.whole_download import bounded_requests, sole, staged
from harness.errors import DataError
from harness.online.answer import why_no_answer
from harness.online.reasons import root_words

_PROBE_TIMEOUT_S = 3.0
_FAILURES = (OSError, RuntimeError, ValueError, EOFError, http.client.HTTPException)
"""What torchvision, the archive readers and the network raise when files are missing, damaged or out of reach."""

Items = Callable[[Any], tuple[Sequence[str | Path] | None, Any]]
"""From torchvision's data set to image files (None: pictures in memory) and class ids."""


@dataclass(frozen=True, slots=True)
class TorchvisionSet:
    """How to build one data set. `Any` is torchvision's data set object, which has no common type for what is needed here."""

    splits: Mapping[str, Callable[..., Any]]
    """Official split, or `pool` -> constructor that takes `root` and `download`."""
    url: Callable[[], str]
    """Where its download begins; a function, because torchvision keeps it on the class."""
    items: Items
    class_names: Callable[[Any], Sequence[str]] = attrgetter("classes")
    is_transposed: bool = False
    """Whether rows and columns are exchanged in the stored pictures."""


def list_set(name: str, entry: TorchvisionSet, root: Path, *, may_download: bool) -> Listing:
    """Class names and every official split of one set, downloaded to `root` first when it is not there.

    Raises:
        DataError: not on disk, and not to be downloaded or out of reach, which is known after a few seconds; or what came was too slow,
            broken off or damaged, in which case nothing of it is kept.
    """
    built = _read(entry, root) or _fetched(name, entry, root, may_download=may_download)
    parts = {split: _part(dataset, entry, split, root) for split, dataset in built.items()}
    return Listing(tuple(entry.class_names(next(iter(built.values())))), parts, root)


def _read(entry: TorchvisionSet, root: Path) -> dict[str, Any] | None:
    """Every official split, or None where one is not there or not whole: torchvision's messages do not say which."""
    try:
        return _splits(entry, root, download=False)
    except _FAILURES:
        return None


def _splits(entry: TorchvisionSet, root: Path, *, download: bool) -> dict[str, Any]:
    with quiet():
        return {split: make(root=str(root), download=download) for split, make in entry.splits.items()}


def _fetched(name: str, entry: TorchvisionSet, root: Path, *, may_download: bool) -> dict[str, Any]:
    reason = why_no_answer(partial(_ask, entry.url()), entry.url(), _PROBE_TIMEOUT_S) if may_download else "data.download=false"
    if reason is not None:
        raise _missing(name, entry, root, reason)
    try:
        with sole(root, name):
            return _read(entry, root) or _downloaded(name, entry, root)  # somebody else may have fetched it by now
    except _FAILURES as error:
        raise _missing(name, entry, root, f"the download failed: {root_words(error)}") from error


def _downloaded(name: str, entry: TorchvisionSet, root: Path) -> dict[str, Any]:
    with staged(root, name) as stage, bounded_requests():
        _splits(entry, stage, download=True)
    return _splits(entry, root, download=False)


def _missing(name: str, entry: TorchvisionSet, root: Path, reason: str) -> DataError:
    return DataError(
        f"data={name}: no complete copy in {root}, and {entry.url()} gave none ({reason}); type data.root=FOLDER with torchvision's "
        f"extracted files, data=folder data.root=FOLDER with images of your own, or data=digits or data=elpv, which need no download."
    )


def _part(dataset: Any, entry: TorchvisionSet, split: str, root: Path) -> Part:
    files, class_ids = entry.items(dataset)
    labels = np.asarray(class_ids.tolist() if hasattr(class_ids, "tolist") else class_ids, dtype=np.int64)
    candidates: list[Candidate] = []
    if files is None:
        fetch = partial(_pixels, dataset, entry.is_transposed)
        candidates += [ArrayCandidate(f"{split}/{index:06d}", partial(fetch, index)) for index in range(len(labels))]
    else:
        paths = [Path(file).absolute() for file in files]
        candidates += [FileCandidate(path.relative_to(root).as_posix(), path) for path in paths]
    return Part(candidates, labels)


def _pixels(dataset: Any, is_transposed: bool, index: int) -> UInt8Array:
    pixels = np.asarray(dataset[index][0], dtype=np.uint8)
    return pixels.swapaxes(0, 1) if is_transposed else pixels


def _ask(url: str) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "pytorch/vision"})  # noqa: S310 - torchvision's own constants
    urllib.request.urlopen(request, timeout=_PROBE_TIMEOUT_S).close()  # noqa: S310


def _by_train(cls: Any, **options: Any) -> dict[str, Callable[..., Any]]:
    return {"train": partial(cls, train=True, **options), "test": partial(cls, train=False, **options)}


def _by_split(cls: Any, options: Mapping[str, Any] | None = None, **theirs: str) -> dict[str, Callable[..., Any]]:
    """`theirs`: our split -> torchvision's word for it."""
    return {split: partial(cls, split=word, **(options or {})) for split, word in theirs.items()}


def _arrays(labels: str) -> Items:
    return lambda dataset: (None, getattr(dataset, labels))


def _files(paths: str, labels: str = "_labels") -> Items:
    return lambda dataset: (getattr(dataset, paths), getattr(dataset, labels))


def _samples(name: str) -> Items:
    return lambda dataset: ([path for path, _ in getattr(dataset, name)], [label for _, label in getattr(dataset, name)])


def _caltech101_items(dataset: Any) -> tuple[list[Path], list[int]]:
    folders = [Path(dataset.root) / "101_ObjectCategories" / category for category in dataset.categories]
    return [folders[label] / f"image_{number:04d}.jpg" for label, number in zip(dataset.y, dataset.index, strict=True)], dataset.y


def _numbers(count: int) -> Callable[[Any], list[str]]:
    return lambda _: [str(number) for number in range(count)]


def _mirror(cls: Any) -> str:
    return str(cls.mirrors[0] + cls.resources[0][0])


SETS: Mapping[str, TorchvisionSet] = {
    "caltech101": TorchvisionSet(
        {POOL: tv.Caltech101},
        lambda: "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
        _caltech101_items,
        attrgetter("categories"),
    ),
    "cifar10": TorchvisionSet(_by_train(tv.CIFAR10), lambda: tv.CIFAR10.url, _arrays("targets")),
    "cifar100": TorchvisionSet(_by_train(tv.CIFAR100), lambda: tv.CIFAR100.url, _arrays("targets")),
    "country211": TorchvisionSet(
        _by_split(tv.Country211, train="train", val="valid", test="test"), lambda: tv.Country211._URL, _samples("samples")
    ),
    "dtd": TorchvisionSet(_by_split(tv.DTD, train="train", val="val", test="test"), lambda: tv.DTD._URL, _files("_image_files")),
    "emnist": TorchvisionSet(_by_train(tv.EMNIST, split="balanced"), lambda: tv.EMNIST.url, _arrays("targets"), is_transposed=True),
    "eurosat": TorchvisionSet(
        {POOL: tv.EuroSAT},
        lambda: "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
        _samples("samples"),
    ),
    "fashionmnist": TorchvisionSet(_by_train(tv.FashionMNIST), lambda: _mirror(tv.FashionMNIST), _arrays("targets")),
    "fgvcaircraft": TorchvisionSet(
        _by_split(tv.FGVCAircraft, train="train", val="val", test="test"), lambda: tv.FGVCAircraft._URL, _files("_image_files")
    ),
    "flowers102": TorchvisionSet(
        _by_split(tv.Flowers102, train="train", val="val", test="test"),
        lambda: tv.Flowers102._download_url_prefix + tv.Flowers102._file_dict["image"][0],
        _files("_image_files"),
    ),
    "food101": TorchvisionSet(_by_split(tv.Food101, train="train", test="test"), lambda: tv.Food101._URL, _files("_image_files")),
    "gtsrb": TorchvisionSet(
        _by_split(tv.GTSRB, train="train", test="test"),
        lambda: "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB-Training_fixed.zip",
        _samples("_samples"),
        _numbers(43),
    ),
    "imagenette": TorchvisionSet(
        _by_split(tv.Imagenette, {"size": "320px"}, train="train", val="val"),
        lambda: tv.Imagenette._ARCHIVES["320px"][0],
        _samples("_samples"),
        lambda dataset: [synonyms[0] for synonyms in dataset.classes],
    ),
    "kmnist": TorchvisionSet(_by_train(tv.KMNIST), lambda: _mirror(tv.KMNIST), _arrays("targets")),
    "mnist": TorchvisionSet(_by_train(tv.MNIST), lambda: _mirror(tv.MNIST), _arrays("targets")),
    "oxfordiiitpet": TorchvisionSet(
        _by_split(tv.OxfordIIITPet, train="trainval", test="test"), lambda: tv.OxfordIIITPet._RESOURCES[0][0], _files("_images")
    ),
    "rendered_sst2": TorchvisionSet(
        _by_split(tv.RenderedSST2, train="train", val="val", test="test"), lambda: tv.RenderedSST2._URL, _samples("_samples")
    ),
    "semeion": TorchvisionSet({POOL: tv.SEMEION}, lambda: tv.SEMEION.url, _arrays("labels"), _numbers(10)),
    "stl10": TorchvisionSet(_by_split(tv.STL10, train="train", test="test"), lambda: tv.STL10.url, _arrays("labels")),
    "sun397": TorchvisionSet({POOL: tv.SUN397}, lambda: tv.SUN397._DATASET_URL, _files("_image_files")),
    "svhn": TorchvisionSet(
        _by_split(tv.SVHN, train="train", test="test"), lambda: tv.SVHN.split_list["train"][0], _arrays("labels"), _numbers(10)
    ),
    "usps": TorchvisionSet(_by_train(tv.USPS), lambda: tv.USPS.split_list["train"][0], _arrays("targets"), _numbers(10)),
}
"""`data.name` -> set. Left out: sets that torchvision cannot fetch, that need packages of their own, or that are not single-label."""
