"""Weights & Biases: a project for the study, a run for each job under the job's id, and one for the study with the report and the model.

The library's own variables decide where: WANDB_MODE, WANDB_DIR, WANDB_PROJECT (instead of the study's name), WANDB_ENTITY, WANDB_API_KEY.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported

import wandb

from harness.files import digest
from harness.study.store import Study
from harness.trackers.events import DIGEST, Run, StudyEnd


class NoKeyError(Exception):
    """Nobody is logged in."""


class WandbTracker:
    """The runs of one study."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.settings = wandb.setup().settings
        self.is_offline = self.settings.mode in ("offline", "dryrun")

    @property
    def where(self) -> str:
        return f"wandb in {self._folder}; `wandb sync --sync-all` uploads" if self.is_offline else f"wandb project {self._project}"

    def start(self) -> None:
        """Never ask for a key: nobody may be there."""
        if self.settings.mode == "online" and not wandb.login(prompt=False):
            raise NoKeyError("no API key; run `wandb login`, or set WANDB_API_KEY, or WANDB_MODE=offline")

    def row(self, run: Run) -> bool:
        texts = {name: text for name, text in run.texts.items() if name not in run.params}
        entry = _Entry(run.job_id, run.name, run.digest, run.params | texts, run.file.read_bytes())
        return self._log(entry, lambda open_run: _log_numbers(open_run, run))

    def finish(self, end: StudyEnd) -> None:
        config = {"study": self.study.name}
        if end.recommended:
            config["recommended"] = f"{end.recommended.backbone} {end.recommended.strategy}"
        entry = _Entry(digest(self.study.name.encode())[:16], self.study.name, end.digest, config, b"{}")
        self._log(entry, lambda open_run: _log_files(open_run, end))

    def _log(self, entry: "_Entry", fill: Callable[[wandb.Run], None]) -> bool:
        """Log a run unless all of it is there: a local folder tells, or the summary of a run on the server."""
        if self.is_offline and not self._make_room(entry):
            return False
        with self._open(entry) as open_run:
            if open_run.summary.get(DIGEST) == entry.digest:
                return False
            open_run.config.update(entry.config, allow_val_change=True)
            fill(open_run)
            open_run.summary[DIGEST] = entry.digest
            Path(open_run.dir, entry.file_name).write_bytes(entry.record)
        return True

    def _make_room(self, entry: "_Entry") -> bool:
        """Remove what was logged of the run before and not uploaded yet. Return false where it is what is to be logged."""
        before = list(self._folder.glob(f"offline-run-*-{entry.run_id}"))
        if any((folder / "files" / entry.file_name).exists() for folder in before):
            return False
        for folder in before:
            if not list(folder.glob("*.synced")):
                shutil.rmtree(folder)
        return True

    def _open(self, entry: "_Entry") -> wandb.Run:
        settings = wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_code=True,
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
        )
        return wandb.init(
            project=self._project,
            id=entry.run_id,
            name=entry.name,
            group=self.study.name,
            resume="allow",
            reinit="create_new",
            settings=settings,
        )

    @property
    def _project(self) -> str:
        return os.environ.get("WANDB_PROJECT") or self.study.name

    @property
    def _folder(self) -> Path:
        return Path(self.settings.wandb_dir)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A run before it is logged."""

    run_id: str
    name: str
    digest: str
    """Of all that is logged."""
    config: dict[str, Any]
    record: bytes
    """A file that lies in the run."""

    @property
    def file_name(self) -> str:
        return f"row.{self.digest}.json"


def open_tracker(study: Study) -> WandbTracker:
    """The runs of a study where the environment says."""
    return WandbTracker(study)


def _log_numbers(open_run: wandb.Run, run: Run) -> None:
    for epoch, values in run.curve:
        open_run.log(values, step=epoch)
    open_run.summary.update(run.metrics)


def _log_files(open_run: wandb.Run, end: StudyEnd) -> None:
    report = wandb.Artifact(f"{_plain(end.study.name)}-report", "report")
    for file, place in end.files():
        report.add_file(str(file), place)
    open_run.log_artifact(report)
    if end.model and end.recommended:
        about = {"job_id": end.recommended.job_id, "model_blake2b": end.recommended.model_blake2b}
        model = wandb.Artifact(_plain(end.study.name), "model", metadata=about)
        model.add_file(str(end.model))
        open_run.log_artifact(model, aliases=["recommended"])


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)
