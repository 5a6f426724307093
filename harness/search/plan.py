"""A sweep on disk: its jobs made exact and its data sets listed, written once, so that workers anywhere start from there and look at nothing again.

    <study>/plan/<id>/jobs.json             every value once, and of each job which it has; with a checksum
    <study>/plan/<id>/data-<hash>.parquet   a data set
    <study>/plan/<id>/closed.json           once it is over, with the exit status

Plain values, no pickles: a study may come from somebody else. The id is that of the jobs, so the same command writes the same plan.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cattrs import Converter
from cattrs.strategies import configure_tagged_union, include_subclasses

from harness.config import DataConfig, SweepConfig
from harness.data.dataset import Dataset
from harness.data.stored import read_dataset, write_dataset
from harness.errors import TableError
from harness.files import as_typed, changed_s, digest, is_there, listed, open_plain, remove, why, write_durably
from harness.jobs.spec import JobSpec, hash_of
from harness.study.sealed import dumped, unsealed
from harness.study.store import Study

_JOBS, _CLOSED = "jobs.json", "closed.json"
_FORM = 1
"""Of the file; another version of the harness may have another."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was planned."""

    folder: Path
    jobs: Sequence[JobSpec]
    cwd: Path
    """Where the command was typed: relative paths are meant from there."""

    @property
    def study(self) -> Study:
        """That holds it."""
        return Study(self.folder.parent.parent)


def write_plan(jobs: Sequence[JobSpec]) -> Plan:
    """Keep the jobs of a sweep in the first one's study. Raises StoreError."""
    folder = jobs[0].config.study_dir.absolute() / "plan" / hash_of({"jobs": sorted(job.job_id for job in jobs)})
    datasets: dict[str, Dataset] = {}
    converter = _converter(datasets)
    values = _Values()
    table = [[values.place(value) for value in _flat(converter.unstructure(job))] for job in jobs]
    for name, dataset in datasets.items():
        write_dataset(folder / name, dataset)
    hashes = {name: _digest(folder / name) for name in datasets}
    record = {"form": _FORM, "cwd": str(Path.cwd()), "data": hashes, "values": values.known, "jobs": table}
    remove(folder / _CLOSED)
    write_durably(folder / _JOBS, dumped(record))
    return Plan(folder, jobs, Path.cwd())


def read_plan(folder: Path) -> Plan:
    """The inverse of `write_plan`. Raises TableError: there is none, or it is not as it was written."""
    path = folder / _JOBS
    try:
        with open_plain(path) as file:
            return _decoded(folder, file.read())
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise TableError(f"{path}: cannot be read ({why(error)}); run the same sweep again, which writes it anew.") from error


def drop_plan(plan: Plan) -> None:
    """Take a plan back that nobody works on. Raises StoreError."""
    remove(plan.folder / _JOBS)


def newest_plan(study: Study) -> Path:
    """The folder of the plan that was written to a study last. Raises TableError: there is none."""
    paths = sorted((path for folder in listed(study.root / "plan", "") if is_there(path := folder / _JOBS)), key=changed_s)
    if not paths:
        raise TableError(
            f"{as_typed(study.root)}: holds no plan of a sweep; `python -m harness.sweep` writes one with workers=2 or more, on=slurm or on=ray."
        )
    return paths[-1].parent


def closed(plan: Plan) -> int | None:
    """The exit status with which the sweep was closed: it has its report; None: it is open."""
    try:
        with open_plain(plan.folder / _CLOSED) as file:
            return int(json.loads(file.read())["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mark_closed(plan: Plan, status: int) -> None:
    """Note that a sweep is over. Raises StoreError."""
    write_durably(plan.folder / _CLOSED, json.dumps({"status": status}).encode())


def _decoded(folder: Path, content: bytes) -> Plan:
    record, is_sealed = unsealed(content)
    if not is_sealed or record.get("form") != _FORM:
        raise ValueError("is no plan of this version")
    return Plan(folder, _jobs(record, folder), Path(record["cwd"]))


def _jobs(record: Mapping[str, Any], folder: Path) -> list[JobSpec]:
    for name, wanted in record["data"].items():
        if _digest(folder / name) != wanted:
            raise ValueError(f"{name} beside it is not as it was written")
    converter = _converter({name: read_dataset(folder / name) for name in record["data"]})
    return [converter.structure(_nested([record["values"][place] for place in places]), JobSpec) for places in record["jobs"]]


def _converter(datasets: dict[str, Dataset]) -> Converter:
    """Between jobs and plain values; data sets stay apart, by the names of their files."""
    converter = Converter()

    def named(dataset: Dataset) -> str:
        name = f"data-{hash_of({'name': dataset.name, 'fingerprint': dataset.fingerprint, 'root': dataset.profile.root})}.parquet"
        datasets[name] = dataset
        return name

    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda text, _: Path(text))
    converter.register_unstructure_hook(Dataset, named)
    converter.register_structure_hook(Dataset, lambda name, _: datasets[name])
    include_subclasses(DataConfig, converter, union_strategy=configure_tagged_union)
    return converter


_CONFIG = [field.name for field in fields(SweepConfig)]
_REST = [field.name for field in fields(JobSpec) if field.name != "config"]


def _flat(job: dict[str, Any]) -> list[Any]:
    """The parts of a job of which many have the same."""
    return [job["config"][name] for name in _CONFIG] + [job[name] for name in _REST]


def _nested(parts: Sequence[Any]) -> dict[str, Any]:
    of_config, own = parts[: len(_CONFIG)], parts[len(_CONFIG) :]
    return {"config": dict(zip(_CONFIG, of_config, strict=True)), **dict(zip(_REST, own, strict=True))}


class _Values:
    """Values in a list, each once."""

    def __init__(self) -> None:
        self.known: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """Where it is in `known`."""
        text = json.dumps(value, sort_keys=True)
        if text not in self._places:
            self._places[text] = len(self.known)
            self.known.append(value)
        return self._places[text]


def _digest(path: Path) -> str:
    with open_plain(path) as file:
        return digest(file)
