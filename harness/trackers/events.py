"""What a tracker is told: a row as a run with parameters, metrics and curves; a study with its report and its recommended model."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.files import digest, fetched, listed
from harness.study.models import Models
from harness.study.row import COLUMNS, Row, to_json
from harness.study.store import Study

PARAMS = (
    *("backbone", "model", "family", "weights", "weights_sha256", "freeze", "release", "adapter", "boundary"),
    *("num_frozen_blocks", "num_blocks"),
    *("recipe_hash", "epochs", "batch_size", "weight_decay", "augment", "views", "precision", "device", "seed", "fold"),
    *("dataset", "data_fingerprint", "protocol", "n_train", "n_val", "n_test", "num_classes", "image_size", "primary_metric"),
)
"""Columns that say what a job was asked for: candidate, recipe, seed, data. What else is a number came of it."""
_PICTURE = re.compile(rb'src="data:image/webp;base64,[^"]*"')
DIGEST = "row_blake2b"
"""Name under which a tracker keeps what it has of a job, so that nothing is logged twice."""


@dataclass(frozen=True, slots=True)
class Run:
    """A row as trackers have it, under the names of its columns."""

    job_id: str
    name: str
    params: dict[str, str | int | float | bool]
    """What the job was asked for; the rest of its recipe as `train.*`."""
    metrics: dict[str, float]
    """Every number that came of it, quality and cost; true is 1."""
    texts: dict[str, str]
    """All other columns."""
    curve: list[tuple[int, dict[str, float]]]
    """Epoch -> its losses and scores, as `epoch/*`, since columns have names such as `val_accuracy` too."""
    started_at: datetime
    seconds: float
    """That the job took; 0 where it did not end well."""
    file: Path
    """The row as the study has it."""
    digest: str
    """Of all of the row, inference times included."""


def run_of(row: Row, study: Study) -> Run:
    """A row of a study, with its inference times where they are known."""
    record = to_json(row)
    values = {name: record[name] for name in COLUMNS if record[name] is not None}
    rest = {name: value for name, value in values.items() if name not in PARAMS}
    recipe = {f"train.{name}": value for name, value in row.details.recipe.items() if name not in {*values, "name"} and value is not None}
    fold = "" if row.fold is None else f" fold {row.fold}"
    return Run(
        job_id=row.job_id,
        name=f"{row.backbone} {row.strategy} seed {row.seed}{fold}",
        params={name: values[name] for name in PARAMS if name in values} | {name: _plain(value) for name, value in recipe.items()},
        metrics=numbers(rest),
        texts={name: value for name, value in rest.items() if isinstance(value, str)},
        curve=[(point.epoch, {f"epoch/{name}": value for name, value in numbers(asdict(point)).items()}) for point in row.details.curve],
        started_at=datetime.fromisoformat(row.started_at),
        seconds=row.total_s or 0.0,
        file=study.row_path(row.job_id),
        digest=digest(json.dumps(record, sort_keys=True).encode()),
    )


def numbers(values: dict[str, Any]) -> dict[str, float]:
    """Those values that are finite numbers."""
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float) and math.isfinite(value)}


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)


@dataclass(frozen=True, slots=True)
class StudyEnd:
    """A study whose report is written."""

    study: Study
    recommended: Row | None
    """The row whose model is recommended; None: nobody is within the limits, or nothing could be ranked."""

    @property
    def model(self) -> Path | None:
        """The file of the recommended model; None where none was kept."""
        models = Models(self.study)
        if self.recommended is None or not models.has(self.recommended.job_id):
            return None
        return fetched([models.path(self.recommended.job_id)])[0]

    def files(self) -> Iterator[tuple[Path, str]]:
        """What is logged beside the rows, each with its place: the report, the table, exported models.

        The page goes without the pictures of images that are inside it: a copy, which is there until the next file is asked for.
        """
        report = self.study.report_dir
        fetched([*listed(report, ""), *listed(report / "plots", ""), self.study.root / "results.csv"])
        for name in ("report", "export", "results.csv"):
            path = self.study.root / name
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                place = file.relative_to(self.study.root).as_posix()
                if place == "report/index.html" and file.is_file():
                    with TemporaryDirectory() as folder:
                        copy = Path(folder) / file.name
                        copy.write_bytes(_PICTURE.sub(b'src="data:,"', file.read_bytes()))
                        yield copy, place
                elif file.is_file() and not file.name.startswith("."):
                    yield file, place

    @property
    def digest(self) -> str:
        """Of all of it."""
        hashes = [(name, _digest_of(file)) for file, name in self.files()]
        return digest(json.dumps([hashes, self.recommended and self.recommended.job_id, self.model is None]).encode())


def _digest_of(file: Path) -> str:
    with file.open("rb") as content:
        return digest(content)
