"""`harness.sweep(...)`: the sweep of the command line, in this process."""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import astuple, fields
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.study import Study
from harness.cli.call import own_errors, sweeper_of
from harness.cli.own_images import source_of
from harness.config import DataConfig, SweepConfig, TableConfig, is_study_name
from harness.data.table import NEEDED, Columns
from harness.data.table_file import GROUP_NAMES, as_text, as_texts
from harness.errors import ConfigError, DataError
from harness.files import local_folder, write_durably
from harness.process.isolate import warm_up
from harness.study import store

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

TABLE = "table"
"""Data source of a table, and name of the study of a DataFrame that is given none."""


def sweep(
    images: "str | os.PathLike[str] | pd.DataFrame | None" = None,
    backbones: "str | Callable[..., nn.Module] | Iterable[str | Callable[..., nn.Module]] | None" = None,
    freeze: str | float | Iterable[str | float] | None = None,
    seeds: int | Iterable[int] | None = None,
    study: str | None = None,
    **options: Any,
) -> Study:
    """Fine-tune every backbone at every freeze depth, then rank them and write the report: `python -m harness.sweep`, called from Python.

    Prints what the command prints. A job that fails raises nothing: `Study.failed` lists it. Called again, it runs only what is not done yet;
    Ctrl-C ends the running job and raises KeyboardInterrupt, and nothing that is finished is lost.

    Args:
        images: a folder with a folder for each class; a CSV, Parquet or JSON lines file, or a DataFrame, with columns `path`, `label` and, if
            wanted, `split` (train, val, test); `data__group` names the column of what must stay in one split, such as a patient; None: the
            option `data` names a data set.
        backbones: names, aliases or patterns such as `"mobilenet*"`; functions that return a module, and module classes, if they can be imported
            by name: jobs run in processes of their own, which build the network anew.
        freeze: depths; None: `["all", 0.5, "none"]`.
        seeds: None: 0.
        study: name of the study; None: that of the data set (`folder`, `table`, ...).
        options: every other key of the command line, two underscores for each dot: `train__epochs=3`, `data__max_images=None`,
            `results_dir="runs"`. A list is swept, as values between commas are.

    Raises:
        ConfigError: an option or a backbone is unknown or not allowed, weights or images are missing, or images cannot be split as asked;
            nothing has run.
        DataError: a DataFrame lacks a column.
        StoreError: a folder cannot be written.

    Example:
        Tiny networks with random weights, so that it runs anywhere:

        >>> import harness
        >>> study = harness.sweep(
        ...     "photos", ["test_resnet", "test_vit"], freeze=["all", 0.5], study="lesions", weights="random", data__image_size=32,
        ...     train__epochs=1, evidence__minutes=0, measure__timing_s=0,
        ... )
        folder: ...
        Report: results/lesions/report/index.html
        ...
        >>> len(study.results), len(study.failed)
        (4, 0)
    """
    warm_up()  # what jobs need takes the longest to be there
    asked = {"backbone": _names(backbones), "freeze": freeze, "seed": seeds, "study": study}
    given = _images(images, study, options) | {key: value for key, value in asked.items() if value is not None} | options
    with sweeper_of(given) as (sweeper, line):
        jobs = sweeper.asked(line)
    folders = {config.study_dir for config, _ in jobs}
    if len(folders) > 1:
        raise ConfigError(f"study: {', '.join(sorted(folder.name for folder in folders))}; call harness.sweep once for each study.")
    with own_errors():
        sweeper.run(jobs)
    return Study(store.Study(folders.pop()))


def _names(backbones: Any) -> Any:
    """As they are typed: a function is called by the module that it can be imported from."""
    if callable(backbones) or isinstance(backbones, str) or not isinstance(backbones, Iterable):
        return backbones if backbones is None or isinstance(backbones, str) else _name(backbones)
    return [_name(backbone) for backbone in backbones]


def _name(backbone: Any) -> str:
    if isinstance(backbone, str):
        return backbone
    module, name = getattr(backbone, "__module__", ""), getattr(backbone, "__qualname__", "")
    found: Any = sys.modules.get(module) if module != "__main__" else None
    for part in name.split("."):
        found = getattr(found, part, None)
    if not name or found is not backbone:
        shown = name or f"a {type(backbone).__name__}"
        raise ConfigError(
            f"backbones: {shown} cannot be imported by name, and jobs build their networks in processes of their own; put a function that "
            f"returns it into a file, networks.py say, and give networks.FUNCTION or 'python:networks:FUNCTION'."
        )
    return f"python:{module}:{name}"


def _images(images: "str | os.PathLike[str] | pd.DataFrame | None", study: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """What is to be typed so that these are the images."""
    if images is None:
        return {}
    if isinstance(images, str | os.PathLike):
        return {"data": source_of(os.fspath(images)), "data.root": images}
    name = study or TABLE
    if not is_study_name(name):
        raise ConfigError(f"study={name!r}: not allowed; give the name of a folder: letters, digits, '_', '.' and '-'.")
    folder = local_folder(os.fspath(options.get("results_dir", SweepConfig.results_dir))) / name
    told: dict[str, Any] = {field.name: options.get(f"data__{field.name}") for field in fields(TableConfig) if field.name not in _OF_ALL}
    return {"data": TABLE, "data.root": _written(images, folder, TableConfig(**told))}


_OF_ALL = {field.name for field in fields(DataConfig)}


def _written(frame: "pd.DataFrame", folder: Path, cfg: TableConfig) -> Path:
    """The columns that play a part as a CSV in the study, named by its content, so that what earlier jobs were run on stays; JSON lines for labels
    that are lists.

    Paths are made absolute, where no folder is given that they are meant from.
    """
    if not hasattr(frame, "columns"):
        raise DataError(
            f"images: is a {type(frame).__name__}; give a folder, a table, or a DataFrame with the columns {', '.join(NEEDED)}."
        )
    there = [name for name in frame.columns if isinstance(name, str)]
    columns = Columns.of(there, cfg, "images")
    used = [name for name in there if name in astuple(columns) or name.casefold() in GROUP_NAMES]
    has_lists = any(isinstance(cell, list | tuple) for cell in frame[columns.label])
    try:
        known = frame[used].apply(lambda cells: cells.map(as_texts if has_lists and cells.name == columns.label else as_text))
    except ValueError as error:
        raise DataError(f"images: {error}; give a DataFrame with one value in each cell.") from error
    if cfg.image_root is None:
        known[columns.path] = [str(Path(path).expanduser().absolute()) if path else "" for path in known[columns.path]]
    content = known.to_json(orient="records", lines=True).encode() if has_lists else known.to_csv(index=False).encode()
    path = folder / f"images-{blake2b(content, digest_size=4).hexdigest()}.{'jsonl' if has_lists else 'csv'}"
    write_durably(path, content)
    return path
