"""The study folder: immutable rows, the times that fill some of their columns, predictions with the test split sealed, what was opened.

Every file is written under a temporary name and renamed, so a reader never sees half of one and no lock is needed. A row and the
predictions that it was made from carry checksums: what was damaged on the disk is left out and named, and its job counts as not done.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.config import SweepConfig
from harness.errors import TableError
from harness.files import (
    append_line,
    as_typed,
    atomic_write,
    digest,
    fetched,
    is_folder,
    is_there,
    listed,
    open_plain,
    read_lines,
    remove,
    require_writable,
    skim,
    why,
    write_durably,
)
from harness.status import Status
from harness.study.claims import require_held
from harness.study.findings import Findings
from harness.study.findings import decode as decode_findings
from harness.study.findings import encode as encode_findings
from harness.study.finite import finite
from harness.study.row import Row
from harness.study.row_file import OtherSchemaError, RowFile, decode, encode
from harness.study.segments import compact, find, read_all
from harness.study.thumbnails import Thumbnails
from harness.study.thumbnails import decode as decode_thumbnails
from harness.study.thumbnails import encode as encode_thumbnails
from harness.study.timing import Timing, filled
from harness.study.timing import decode as decode_timing
from harness.study.timing import encode as encode_timing
from harness.text.counts import counted
from harness.text.untrusted import shell_word

__all__ = ["Damage", "FloatArray", "IntArray", "Predictions", "Study", "atomic_write", "find_study", "note_swept", "require_writable"]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_OTHER = "is not the file that its row was made from"
_LAST, _LONGEST_NAME = ".last-study", 1024
"""File of a results folder that names the study that a sweep was at last, and more bytes than a name has."""
_AGAIN = "run the same sweep again, which does this job anew"


@dataclass(frozen=True, slots=True)
class Predictions:
    """Per-image log-probabilities of one split; N images in the split's order, C classes."""

    log_probs_NC: FloatArray
    labels_N: IntArray
    ids_N: list[str]
    groups_N: IntArray | None = None
    """Number of each image's group, the same one for all splits and jobs of a protocol; None: every image stands for itself."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of a study that cannot be used. What it holds is left out, never guessed."""

    path: Path
    reason: str
    """What is wrong, as a clause that follows the path."""
    remedy: str
    """The next step, as a clause."""
    job_id: str | None = None
    """Whose row or predictions it is."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; {self.remedy}."

    @property
    def name(self) -> str:
        """The path below the study."""
        return "/".join(self.path.parts[-2:]) if self.job_id else self.path.name


@dataclass(frozen=True, slots=True)
class Study:
    """One study folder. Creating the object touches nothing on disk. What a disk refuses to take is a StoreError."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def report_dir(self) -> Path:
        return self.root / "report"

    @property
    def rows_dir(self) -> Path:
        return self.root / "rows"

    def row_path(self, job_id: str) -> Path:
        """The file of a row that is not compacted, and of one that is about to be written."""
        return self.rows_dir / f"{job_id}.json"

    def predictions_path(self, job_id: str) -> Path:
        return self.root / "predictions" / f"{job_id}.npz"

    def snapshot_path(self, job_id: str) -> Path:
        """Where a training that is not over keeps how far it came."""
        return self.root / "snapshots" / f"{job_id}.pt"

    def drop_snapshot(self, job_id: str) -> None:
        """Of a training that came to its end. Raises StoreError."""
        remove(self.snapshot_path(job_id))

    def drop_old_snapshots(self) -> None:
        """Those of jobs that are done: written by a process that did not know yet that another had its job. Raises StoreError."""
        for path in listed(self.root / "snapshots", ".pt"):
            if self.is_done(path.stem):
                remove(path)

    def write_row(self, row: Row) -> None:
        """Write the row of a job whose predictions, if it has any, are written already: the file vouches for them as they are now.

        A number that is not finite becomes an empty cell with a reason. Raises StoreError, also when a claim on the job was lost.
        """
        require_held(self.root)
        path, vouched = self.predictions_path(row.job_id), None
        if _has_scores(row) and is_there(path):
            with open_plain(path) as file:
                vouched = digest(file)
        write_durably(self.row_path(row.job_id), encode(RowFile(finite(row), vouched)))

    def read_row(self, job_id: str) -> Row | None:
        """The row of one job as its file has it, so without inference times; None when there is none that can be used."""
        found = self._row_file(job_id)
        return found.row if isinstance(found, RowFile) else None

    def fetch(self, job_ids: Iterable[str]) -> None:
        """Have the rows and predictions of jobs here, where a store has them: many at once, each asked for by its name. Raises StoreError."""
        known = list(job_ids)
        fetched([*map(self.row_path, known), *map(self.predictions_path, known)])

    def skim(self) -> None:
        """Have all rows and predictions here; for the next few seconds those that a store did not list are taken to be missing, and models too.

        For whoever looks at many jobs to see what is left: a job that is claimed is looked at anew. Raises StoreError.
        """
        for folder, suffix in {"rows": ".json", "rows/segments": ".parquet", "predictions": ".npz", "models": None}.items():
            skim(self.root / folder, suffix)

    def is_done(self, job_id: str) -> bool:
        """Whether the job has a good row and the predictions that it was made from."""
        row = self.read_row(job_id)
        return row is not None and row.status == Status.ok.value and self.has_predictions(job_id)

    def has_predictions(self, job_id: str) -> bool:
        """Whether the predictions that the job's row was made from are there, bit by bit."""
        found = self._row_file(job_id)
        return isinstance(found, RowFile) and found.predictions_blake2b is not None and self._lost(found) is None

    def rows(self) -> list[Row]:
        """Every row, oldest first, but for the files that `damaged` names."""
        return [found.row for found in self.row_files()[0]]

    def row_files(self) -> tuple[list[RowFile], list[Damage]]:
        """What every file of a row says, oldest first, inference times filled in, and those files that cannot be used."""
        own = {path.stem: _read_row(path) for path in fetched(listed(self.rows_dir, ".json"))}
        held, bad = read_all(self.rows_dir)  # after the files: a row that has gone from one of them is in a segment by now
        compacted = {name: content for name, content in held.items() if not (name in own and self.row_path(name).exists())}
        found = (own | {name: _decoded(self.row_path(name), content) for name, content in compacted.items()}).values()
        good = [each for each in found if isinstance(each, RowFile)]
        good.sort(key=lambda file: (file.row.started_at, file.row.job_id))
        rows = filled([file.row for file in good], self.timings()[0])
        timed = [replace(file, row=row) for file, row in zip(good, rows, strict=True)]
        damaged = [Damage(each.path, each.reason, "run the same sweep again, which does its jobs anew, then delete it") for each in bad]
        return timed, [*(each for each in found if isinstance(each, Damage)), *damaged]

    def job_ids(self) -> set[str]:
        """Of all rows, whether they can be used or not."""
        return {path.stem for path in listed(self.rows_dir, ".json")} | set(read_all(self.rows_dir)[0])

    def row_bytes(self, job_id: str) -> bytes | None:
        """The bytes of a job's row, wherever they are; None where there is none. Raises OSError: its file cannot be read."""
        try:
            with open_plain(self.row_path(job_id)) as file:
                return file.read()
        except FileNotFoundError:
            return find(self.rows_dir, job_id)

    def compact(self) -> int:
        """Put the rows of ended jobs into segments, if there are very many. Returns how many; raises StoreError."""
        return compact(self.rows_dir, _is_ended)

    def write_timing(self, timing: Timing) -> None:
        """Keep the times of one model on one machine; the ones from before are replaced."""
        write_durably(self.root / "timings" / timing.file_name, encode_timing(timing))

    def timings(self) -> tuple[list[Timing], list[Damage]]:
        """Times of all models on all machines, and the files that cannot be used."""
        found = [_read_timing(path) for path in fetched(listed(self.root / "timings", ".json"))]
        return [each for each in found if isinstance(each, Timing)], [each for each in found if isinstance(each, Damage)]

    def findings_path(self, fingerprint: str) -> Path:
        return self.root / "audit" / f"{fingerprint}.json"

    def write_findings(self, fingerprint: str, found: Findings) -> None:
        """Keep what the audit of a data set found."""
        write_durably(self.findings_path(fingerprint), encode_findings(found))

    def findings(self, fingerprint: str) -> Findings | None:
        """What the audit of a data set found; None where there was none, or its file is one that `damaged` names."""
        found = _read_findings(self.findings_path(fingerprint))
        return found if isinstance(found, Findings) else None

    @property
    def thumbnails_dir(self) -> Path:
        return self.root / "thumbnails"

    def write_thumbnails(self, protocol: str, found: Thumbnails) -> None:
        """Keep small pictures of images that a report on a protocol may show; the ones from before are replaced."""
        write_durably(self.thumbnails_dir / f"{protocol}.json", encode_thumbnails(found))

    def thumbnails(self, protocol: str) -> Thumbnails | None:
        """What a report on a protocol may show; None where nothing was kept, or its file is one that `damaged` names."""
        found = _read_thumbnails(self.thumbnails_dir / f"{protocol}.json")
        return found if isinstance(found, Thumbnails) else None

    def drop_thumbnails(self) -> None:
        """Delete all small pictures of images, whatever their protocol. Raises StoreError."""
        for path in listed(self.thumbnails_dir, ".json"):
            remove(path)

    @property
    def report_command(self) -> str:
        """Return the command that ranks it again, as typed in a shell."""
        return self.command("report")

    @property
    def retime_command(self) -> str:
        """Return the command that times its models again, as typed in a shell."""
        return self.command("retime")

    def command(self, name: str) -> str:
        """Return the command of that name for this study, as typed in a shell."""
        return f"python -m harness.{name} {self.where}"

    @property
    def where(self) -> str:
        """Arguments that name the study to every command, as typed in a shell."""
        elsewhere = [f"results_dir={as_typed(self.root.parent)}"] * (self.root.parent != Path(SweepConfig.results_dir))
        return " ".join(map(shell_word, (f"study={self.root.name}", *elsewhere)))

    def damage(self, job_id: str) -> Damage | None:
        """Why what the folder holds of a job cannot be used; None where it can be, or there is nothing."""
        found = self._row_file(job_id)
        return self._lost(found) if isinstance(found, RowFile) else found

    def damaged(self) -> list[Damage]:
        """Everything in the folder that cannot be used: rows, predictions of good and pruned rows, timings, lines of logs."""
        return self.contents()[1]

    def contents(self) -> tuple[list[Row], list[Damage]]:
        """What `rows` and `damaged` return, from one look at every file."""
        good, damaged = self.row_files()
        lost = [found for file in good if (found := self._lost(file))]
        audits = [each for each in map(_read_findings, listed(self.root / "audit", ".json")) if isinstance(each, Damage)]
        pictures = [each for each in map(_read_thumbnails, listed(self.thumbnails_dir, ".json")) if isinstance(each, Damage)]
        logs = [*self._torn("opened.jsonl"), *self._torn("searches.jsonl")]
        return [file.row for file in good], [*damaged, *lost, *self.timings()[1], *audits, *pictures, *logs]

    def write_predictions(self, job_id: str, val: Predictions, test: Predictions | None, out_of_fold: Predictions | None = None) -> None:
        """Keep val and what was predicted out of fold in the open, and test, where there is one, under keys that only `open_test` reads."""
        splits = {"val": val, "test": test, "oof": out_of_fold}
        arrays = {f"{split}_{k}": v for split, found in splits.items() if found is not None for k, v in _arrays(found).items()}
        content = io.BytesIO()  # an archive that meets a full disk halfway fails again when it is closed
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        write_durably(self.predictions_path(job_id), content.getvalue())

    def val_predictions(self, job_id: str) -> Predictions:
        """Predictions on val. Test arrays in the same file are not read.

        Raises:
            TableError: the file is missing, or is not the one that the job's row was made from.
        """
        return self.predictions(job_id)[0]

    def out_of_fold(self, job_id: str) -> Predictions | None:
        """What heads that never saw an image say about train and val; None for a job that trained more. Raises like `val_predictions`."""
        return self.predictions(job_id)[1]

    def predictions(self, job_id: str) -> tuple[Predictions, Predictions | None]:
        """Both, from one look at the file. Raises like `val_predictions`."""
        val, out_of_fold = self._load(job_id, "val", "oof")
        if val is None:
            raise TableError(f"{self.predictions_path(job_id)}: holds no val predictions; {_AGAIN}.")
        return val, out_of_fold

    def open_test(self, job_id: str, reason: str, by: str = "report") -> Predictions | None:
        """Break the seal of one job's test predictions and log it; None when the data set has no test split.

        Args:
            job_id: whose.
            reason: why, for the log.
            by: the command that asks.

        Raises:
            TableError: like `val_predictions`.
        """
        (found,) = self._load(job_id, "test")
        if found is not None and job_id not in self.opened():
            when = datetime.now(UTC).isoformat(timespec="seconds")
            record = {"job_id": job_id, "reason": reason, "by": by, "opened_at": when}
            append_line(self.root / "opened.jsonl", json.dumps(record))
        return found

    def opened(self) -> set[str]:
        """Ids of all jobs whose test predictions have ever been opened, as far as the log can be read."""
        return {
            record["job_id"] for record in self._records("opened.jsonl") if record is not None and isinstance(record.get("job_id"), str)
        }

    def note_search(self, record: dict[str, Any]) -> None:
        """Keep what a staged search predicted and what it took."""
        append_line(self.root / "searches.jsonl", json.dumps(record))

    def searches(self) -> list[dict[str, Any]]:
        """What staged searches predicted and took (seconds), oldest first."""
        return [record for record in self._records("searches.jsonl") if record is not None]

    def _row_file(self, job_id: str) -> RowFile | Damage | None:
        path = self.row_path(job_id)
        try:
            content = self.row_bytes(job_id)
        except OSError as error:
            return Damage(path, _unread(error), _AGAIN, job_id)
        return None if content is None else _decoded(path, content)

    def _lost(self, file: RowFile) -> Damage | None:
        """What is wrong with the predictions of a row; None where it needs none."""
        job_id, vouched = file.row.job_id, file.predictions_blake2b
        if not _is_vouched(file):
            return None
        path = self.predictions_path(job_id)
        try:
            with open_plain(path) as content:
                reason = None if digest(content) == vouched else _OTHER
        except OSError as error:
            reason = _unread(error)
        return Damage(path, reason, _AGAIN, job_id) if reason else None

    def _load(self, job_id: str, *splits: str) -> list[Predictions | None]:
        """Of each split; None where the file has nothing of it."""
        path, found = self.predictions_path(job_id), self._row_file(job_id)
        if isinstance(found, Damage):
            raise TableError(str(found))
        try:
            with open_plain(path) as file:
                content = file.read()
            if found is not None and _is_vouched(found) and found.predictions_blake2b != digest(content):
                raise TableError(str(Damage(path, _OTHER, _AGAIN, job_id)))
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return [_predictions(arrays, split) if f"{split}_log_probs" in arrays else None for split in splits]
        except FileNotFoundError as error:
            raise TableError(str(Damage(path, _unread(error), _AGAIN, job_id))) from error
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise TableError(f"{path}: cannot be read ({why(error)}); {_AGAIN}.") from error

    def _records(self, name: str) -> Iterator[dict[str, Any] | None]:
        """The lines of a log; None for one that cannot be read."""
        try:
            lines = read_lines(self.root / name)
        except FileNotFoundError:
            return
        except OSError:
            yield None
            return
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            yield record if isinstance(record, dict) else None

    def _torn(self, name: str) -> list[Damage]:
        number = sum(record is None for record in self._records(name))
        what = f"has {counted(number, 'line')} that cannot be read, so it may tell too little"
        return [Damage(self.root / name, what, "take them out, or delete the file")] if number else []


def find_study(results_dir: Path, name: str | None) -> Study:
    """The named study, or the one that a sweep was at last. Names come from the folder, so none can lead out of it.

    Raises:
        TableError: there is no such study, or several and no sweep was at any; the message lists those there.
        StoreError: the folder cannot be read.
    """
    studies = {path.name: Study(path) for path in listed(results_dir, "") if any(is_folder(path / name) for name in ("rows", "plan"))}
    if not studies:
        raise TableError(f"{as_typed(results_dir)}: holds no study; run `python -m harness.sweep` first, or give results_dir.")
    named = name if name is not None else next(iter(studies)) if len(studies) == 1 else _swept_last(results_dir)
    if named not in studies:
        place = as_typed(results_dir)
        given = f"{place}: holds several studies; give study=NAME" if name is None else f"study={name}: not in {place}"
        raise TableError(f"{given}; there are {', '.join(studies)}.")
    return studies[named]


def note_swept(study: Study) -> None:
    """Remember that a sweep is at this study, for `find_study`. Clocks of several machines would not say which was last."""
    with atomic_write(study.root.parent / _LAST) as temporary:
        temporary.write_text(study.name, encoding="utf-8")


def _swept_last(results_dir: Path) -> str | None:
    try:
        with open_plain(results_dir / _LAST) as file:
            return file.read(_LONGEST_NAME).decode("utf-8")
    except (OSError, ValueError):
        return None


def _arrays(predictions: Predictions) -> dict[str, npt.NDArray[np.generic]]:
    found: dict[str, npt.NDArray[np.generic]] = {
        "log_probs": predictions.log_probs_NC.astype(np.float32),
        "labels": predictions.labels_N.astype(np.int64),
        "ids": np.asarray(predictions.ids_N, dtype=np.str_),
    }
    if predictions.groups_N is not None:
        found["groups"] = predictions.groups_N.astype(np.int64)
    return found


def _predictions(arrays: Mapping[str, npt.NDArray[Any]], split: str) -> Predictions:
    ids_N, groups = arrays[f"{split}_ids"].astype(np.str_), arrays.get(f"{split}_groups")
    return Predictions(arrays[f"{split}_log_probs"], arrays[f"{split}_labels"], _names(ids_N.tobytes(), ids_N.dtype.str), groups)


@lru_cache(maxsize=8)
def _names(content: bytes, dtype: str) -> list[str]:
    """An array of text as a list: the same one for all jobs of a protocol, whose images are the same."""
    names: list[str] = np.frombuffer(content, dtype).tolist()
    return names


def _has_scores(row: Row) -> bool:
    """Whether the row states what came of predictions."""
    return row.status in {Status.ok.value, Status.pruned.value}


def _is_vouched(file: RowFile) -> bool:
    """Whether the row needs predictions, and those that it was made from."""
    return file.predictions_blake2b is not None or file.row.status == Status.ok.value


def _read_row(path: Path) -> RowFile | Damage:
    try:
        with open_plain(path) as file:
            content = file.read()
    except OSError as error:
        return Damage(path, _unread(error), _AGAIN, path.stem)
    return _decoded(path, content)


def _decoded(path: Path, content: bytes) -> RowFile | Damage:
    """The row in the bytes of a file, or in those that a segment has of it."""
    job_id = path.stem
    try:
        found = decode(content)
    except OtherSchemaError as error:
        return Damage(
            path,
            str(error),
            f"{_AGAIN} under a new id, or report it with the version that wrote it; delete it when it is of no more use",
            job_id,
        )
    except ValueError as error:
        return Damage(path, str(error), _AGAIN, job_id)
    if found.row.job_id != job_id:
        return Damage(path, f"holds the row of another job, {found.row.job_id[:40]}", "give it its own name back, or delete it", job_id)
    return found


def _is_ended(content: bytes) -> bool:
    """Whether these are the bytes of a row that has scores: a failed job is soon tried again."""
    try:
        return _has_scores(decode(content).row)
    except ValueError:
        return False


def _read_timing(path: Path) -> Timing | Damage:
    try:
        with open_plain(path) as file:
            return decode_timing(file.read())
    except (ValueError, OSError) as error:
        reason = _unread(error) if isinstance(error, OSError) else str(error)
        return Damage(path, reason, "delete it; the next sweep or `python -m harness.retime` times its model anew")


def _read_findings(path: Path) -> Findings | Damage | None:
    try:
        with open_plain(path) as file:
            return decode_findings(file.read())
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        reason = _unread(error) if isinstance(error, OSError) else str(error)
        return Damage(path, reason, "delete it; the next job on these images audits them anew")


def _read_thumbnails(path: Path) -> Thumbnails | Damage | None:
    try:
        with open_plain(path) as file:
            return decode_thumbnails(file.read())
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        reason = _unread(error) if isinstance(error, OSError) else str(error)
        return Damage(path, reason, "delete it; the next sweep on these images makes its pictures anew")


def _unread(error: OSError) -> str:
    return "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({why(error)})"
