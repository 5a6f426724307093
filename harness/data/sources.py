"""Where images come from: one function per source, each listing names and labels without decoding a picture.

Adding a source is one function, one entry in `SOURCES`, one file in `conf/data/` and one test.
"""

import difflib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from harness.config import (
    DataConfig,
    ElpvCells,
    ElpvConfig,
    ElpvTask,
    FolderConfig,
    HubDataConfig,
    Layout,
    ShardsConfig,
    TableConfig,
    TorchvisionConfig,
)
from harness.data.folder import list_folder
from harness.data.images import UInt8Array
from harness.data.listing import POOL, ArrayCandidate, FileCandidate, Listing, Part
from harness.data.shards import list_shards
from harness.data.table import list_table
from harness.errors import ConfigError, DataError

T = TypeVar("T")
Source = Callable[[DataConfig, Path, Sequence[Path]], Listing]
"""From the options, the cache folder and all folders that the harness writes to, to the listing."""


def list_images(cfg: DataConfig, cache_dir: Path, own: Sequence[Path] = ()) -> Listing:
    """What `data.source` offers. `own`: further folders that the harness writes to; nothing in them is an image of the user's.

    Raises:
        ConfigError: an unknown source, or options that do not fit it.
        DataError: its images are not there.
    """
    return look_up(SOURCES, "data.source", cfg.source)(cfg, cache_dir, [cache_dir, *own])


def look_up(known: Mapping[str, T], key: str, name: str) -> T:
    """The entry of that name, or a ConfigError that offers the nearest one."""
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"{key}={name!r}: unknown; {hint}Allowed: {', '.join(sorted(known))}.")


def elpv(cfg: DataConfig, _cache_dir: Path, _own: Sequence[Path]) -> Listing:
    """Electroluminescence photographs of solar cells: the installed `elpv-dataset` package, or a folder with its `labels.csv`.

    Source: Buerhop et al., EU PVSEC 2018; Deitsch et al., Machine Vision and Applications 2021.
    """
    if not isinstance(cfg, ElpvConfig):
        raise _schema_error("elpv", "elpv_schema")
    base = _elpv_folder() if cfg.root is None else Path(cfg.root).expanduser().absolute()
    cells = [cell for cell in _read_elpv_labels(base / "labels.csv") if cfg.cells is ElpvCells.all or cell[2] == cfg.cells.value]
    names, label_of = _ELPV_TASKS[cfg.task]
    candidates = [FileCandidate(path, base / path) for path, *_ in cells]
    labels = np.array([label_of(probability, kind) for _, probability, kind in cells], dtype=np.int64)
    return Listing(names, {POOL: Part(candidates, labels)}, None if cfg.root is None else base)


_ELPV_TASKS: Mapping[ElpvTask, tuple[tuple[str, ...], Callable[[float, str], int]]] = {
    ElpvTask.binary: (("functional", "defective"), lambda probability, _: int(probability >= 0.5)),
    ElpvTask.levels: (("p=0", "p=1/3", "p=2/3", "p=1"), lambda probability, _: round(3 * probability)),
    ElpvTask.cell_type: (("mono", "poly"), lambda _, kind: ("mono", "poly").index(kind)),
}


def _elpv_folder() -> Path:
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "data=elpv: the package elpv-dataset is not installed; run: python -m pip install elpv-dataset "
            "(its images are CC-BY-NC-SA-4.0), or type data=digits."
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _read_elpv_labels(path: Path) -> list[tuple[str, float, str]]:
    """(image path, defect probability, cell type) of each line: `images/cell0001.png  1.0  mono`."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [(image, float(probability), ElpvCells(kind).value) for image, probability, kind in lines]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as elpv labels ({error}); reinstall elpv-dataset, or set data.root to its data folder."
        ) from error


def folder(cfg: DataConfig, _cache_dir: Path, own: Sequence[Path]) -> Listing:
    """The user's own images: one folder per class, with or without splits above."""
    if cfg.root is None:
        raise ConfigError("data.root: not given; type data=folder data.root=FOLDER, with one folder of images per class in it.")
    return list_folder(Path(cfg.root).expanduser().absolute(), own, cfg.layout if isinstance(cfg, FolderConfig) else Layout.auto)


def table(cfg: DataConfig, _cache_dir: Path, _own: Sequence[Path]) -> Listing:
    """The user's own images, wherever they lie: a table names each with its class and, if wanted, its split and its group."""
    if cfg.root is None:
        raise ConfigError("data.root: not given; type data=table data.root=FILE.csv, with columns path, label and, if wanted, split.")
    return list_table(Path(cfg.root).expanduser().absolute(), cfg if isinstance(cfg, TableConfig) else TableConfig())


def hf(cfg: DataConfig, cache_dir: Path, _own: Sequence[Path]) -> Listing:
    """A data set of the hub, or a folder in one of the layouts that the `datasets` package reads."""
    from harness.data.hub_data import list_hub_data

    if not isinstance(cfg, HubDataConfig):
        raise _schema_error("hf", "hf_schema")
    if cfg.root is not None or cfg.id is None:
        given = "data.id: not given" if cfg.root is None else f"data.root={cfg.root}: not taken by data=hf"
        raise ConfigError(f"{given}; type data=hf data.id=ORGANISATION/NAME, or data.id=FOLDER.")
    return list_hub_data(cfg.id, cfg, cache_dir)


def webdataset(cfg: DataConfig, _cache_dir: Path, _own: Sequence[Path]) -> Listing:
    """Images in tar files, which stay packed."""
    if not isinstance(cfg, ShardsConfig):
        raise _schema_error("webdataset", "webdataset_schema")
    if cfg.root is None:
        raise ConfigError("data.root: not given; type data=webdataset data.root='shards/train-{000..009}.tar', or a folder of tar files.")
    return list_shards(cfg.root, cfg)


def digits(cfg: DataConfig, _cache_dir: Path, _own: Sequence[Path]) -> Listing:
    """scikit-learn's 1,797 handwritten digits: 8x8 grey, 17 levels. Needs no file and no network."""
    from sklearn.datasets import load_digits

    if cfg.root is not None:
        raise ConfigError(f"data.root={cfg.root}: data=digits comes with scikit-learn and has no folder; leave data.root out.")
    bunch = load_digits()
    images: UInt8Array = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    candidates = [ArrayCandidate(f"{index:04d}", image.copy) for index, image in enumerate(images)]
    return Listing(tuple(map(str, range(10))), {POOL: Part(candidates, bunch.target.astype(np.int64))}, None)


def torchvision(cfg: DataConfig, cache_dir: Path, _own: Sequence[Path]) -> Listing:
    """One of torchvision's classification sets, picked by `data.name`; downloaded when missing and reachable."""
    from harness.data.torchvision_sets import SETS, list_set

    if not isinstance(cfg, TorchvisionConfig):
        raise _schema_error("torchvision", "torchvision_schema")
    root = (cache_dir / "datasets" if cfg.root is None else Path(cfg.root).expanduser()).absolute()
    return list_set(cfg.name, look_up(SETS, "data.name", cfg.name), root, may_download=cfg.download)


NEED_TORCH = frozenset({"torchvision"})
"""Sources that import it."""

SOURCES: Mapping[str, Source] = {
    "elpv": elpv,
    "folder": folder,
    "table": table,
    "hf": hf,
    "webdataset": webdataset,
    "digits": digits,
    "torchvision": torchvision,
}


def _schema_error(source: str, schema: str) -> ConfigError:
    return ConfigError(f"data.source={source}: its options are missing; start the file in conf/data/ with `defaults: [{schema}, _self_]`.")
