"""The study folder: immutable rows, predictions with the test split sealed, and what has been opened.

Every file is written under a temporary name and renamed, so a reader never sees half of one and no lock is needed.
"""

import json
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import TableError
from harness.study.row import Row, Status, from_json, to_json

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Per-image log-probabilities of one split; N images in the split's order, C classes."""

    log_probs_NC: FloatArray
    labels_N: IntArray
    ids_N: list[str]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Study:
    """One study folder. Creating the object touches nothing on disk."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def report_dir(self) -> Path:
        return self.root / "report"

    def row_path(self, job_id: str) -> Path:
        return self.root / "rows" / f"{job_id}.json"

    def predictions_path(self, job_id: str) -> Path:
        return self.root / "predictions" / f"{job_id}.npz"

    def snapshot_path(self, job_id: str) -> Path:
        """Where a staged search keeps a job that it may go on with."""
        return self.root / "snapshots" / f"{job_id}.pt"

    def write_row(self, row: Row) -> None:
        with atomic_write(self.row_path(row.job_id)) as temporary:
            temporary.write_text(json.dumps(to_json(row), indent=1, allow_nan=False), encoding="utf-8")

    def read_row(self, job_id: str) -> Row | None:
        """The row of one job, or None when there is none."""
        path = self.row_path(job_id)
        return _read_row(path) if path.exists() else None

    def is_done(self, job_id: str) -> bool:
        """Whether the job has a good row and its predictions; failed jobs are tried again."""
        row = self.read_row(job_id)
        return row is not None and row.status == Status.ok.value and self.predictions_path(job_id).exists()

    def rows(self) -> list[Row]:
        """Every row, oldest first."""
        found = [_read_row(path) for path in (self.root / "rows").glob("[!.]*.json")]
        return sorted(found, key=lambda row: (row.started_at, row.job_id))

    def write_predictions(self, job_id: str, val: Predictions, test: Predictions | None) -> None:
        """Keep val in the open and test, where there is one, under keys that only `open_test` reads."""
        arrays = {f"val_{k}": v for k, v in _arrays(val).items()}
        if test is not None:
            arrays |= {f"test_{k}": v for k, v in _arrays(test).items()}
        with atomic_write(self.predictions_path(job_id)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    def val_predictions(self, job_id: str) -> Predictions:
        """Predictions on val. Test arrays in the same file are not read."""
        found = self._load(job_id, "val")
        if found is None:
            raise TableError(
                f"{self.predictions_path(job_id)}: holds no val predictions; delete rows/{job_id}.json and run the sweep again."
            )
        return found

    def open_test(self, job_id: str, reason: str) -> Predictions | None:
        """Break the seal of one job's test predictions and log it; None when the data set has no test split."""
        found = self._load(job_id, "test")
        if found is not None and job_id not in self.opened():
            record = {"job_id": job_id, "reason": reason, "opened_at": datetime.now(UTC).isoformat(timespec="seconds")}
            with (self.root / "opened.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")
        return found

    def opened(self) -> set[str]:
        """Ids of all jobs whose test predictions have ever been opened."""
        log = self.root / "opened.jsonl"
        if not log.exists():
            return set()
        return {json.loads(line)["job_id"] for line in log.read_text(encoding="utf-8").splitlines() if line}

    def note_search(self, record: dict[str, Any]) -> None:
        """Keep what a staged search predicted and what it took."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "searches.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")

    def searches(self) -> list[dict[str, Any]]:
        """What staged searches predicted and took (seconds), oldest first."""
        log = self.root / "searches.jsonl"
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line] if log.exists() else []

    def _load(self, job_id: str, split: str) -> Predictions | None:
        path = self.predictions_path(job_id)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                if f"{split}_log_probs" not in arrays:
                    return None
                return Predictions(arrays[f"{split}_log_probs"], arrays[f"{split}_labels"], [str(i) for i in arrays[f"{split}_ids"]])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise TableError(f"{path}: cannot be read ({error}); delete rows/{job_id}.json and run the sweep again.") from error


def _arrays(predictions: Predictions) -> dict[str, npt.NDArray[np.generic]]:
    return {
        "log_probs": predictions.log_probs_NC.astype(np.float32),
        "labels": predictions.labels_N.astype(np.int64),
        "ids": np.asarray(predictions.ids_N, dtype=np.str_),
    }


def _read_row(path: Path) -> Row:
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise TableError(f"{path}: cannot be read ({error}); delete it and run the sweep again.") from error
