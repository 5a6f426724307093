"""MLflow: an experiment for the study, a run for each job below a run for the study, and the recommended model in the registry.

The server is whatever `MLFLOW_TRACKING_URI` says; `MLFLOW_EXPERIMENT_NAME` replaces the study's name. Runs are found again by their tags.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # what is not logged now is logged later
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a line for each run, with the password if there is one

from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as Logged
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from harness.status import Status
from harness.study.row import Row
from harness.study.store import Study
from harness.trackers.events import DIGEST, Run, StudyEnd

logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # each retry would be a line; that all of them failed is one

STUDY = "study"
"""Tag with the study's name, of all its runs."""
WHOLE_STUDY = "is_study"
"""Tag of the run that stands for the study itself."""
ALIAS = "recommended"
"""Of the version of the registered model that is recommended now."""
_ENDED = {Status.ok: "FINISHED", Status.pruned: "FINISHED", Status.killed: "KILLED"}
_BATCH = 1000
"""Metrics that a server takes at a time."""


class MlflowTracker:
    """The runs of one study."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.client = MlflowClient()
        self.experiment_id = self.parent_id = ""
        self.runs: dict[str, Logged] = {}
        """By job."""

    @property
    def where(self) -> str:
        return f"mlflow at {self.client.tracking_uri}"

    def start(self) -> None:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or self.study.name
        found = self.client.get_experiment_by_name(name)
        self.experiment_id = found.experiment_id if found else self.client.create_experiment(name)
        for run in self._found():
            if WHOLE_STUDY in run.data.tags:
                self.parent_id = run.info.run_id
            elif "job_id" in run.data.tags:
                self.runs[run.data.tags["job_id"]] = run
        if not self.parent_id:
            tags = {STUDY: self.study.name, WHOLE_STUDY: "true"}
            self.parent_id = self.client.create_run(self.experiment_id, tags=tags, run_name=self.study.name).info.run_id

    def _found(self) -> Iterator[Logged]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], f"tags.{STUDY} = '{self.study.name}'", page_token=token)
            yield from page
            if not (token := page.token):
                return

    def row(self, run: Run) -> bool:
        """A row of the same run of a job gets what is new, such as latencies. If the job was run again, a new run takes the old one's place."""
        old = self.runs.get(run.job_id)
        tags: Mapping[str, str] = old.data.tags if old else {}
        if tags.get(DIGEST) == run.digest:
            return False
        if old and tags.get("started_at") != run.texts["started_at"]:
            self.client.delete_run(old.info.run_id)
            old = None
        run_id = old.info.run_id if old else self._create(run)
        self._log(run_id, _changed(run, old.data.metrics) if old else _all(run))
        self.client.log_artifact(run_id, str(run.file))
        status = _ENDED.get(Status(run.texts["status"]), "FAILED")
        self.client.set_terminated(run_id, status, _ms(run) + round(1000 * run.seconds))
        # Last, so that a run that was cut short is not taken for a whole one.
        self.client.log_batch(run_id, tags=[RunTag(*tag) for tag in (run.texts | {DIGEST: run.digest}).items()])
        self.runs[run.job_id] = self.client.get_run(run_id)
        return True

    def _create(self, run: Run) -> str:
        tags = {STUDY: self.study.name, "job_id": run.job_id, MLFLOW_PARENT_RUN_ID: self.parent_id}
        run_id: str = self.client.create_run(self.experiment_id, _ms(run), tags, run.name).info.run_id
        self.client.log_batch(run_id, params=[Param(name, str(value)) for name, value in run.params.items()])
        return run_id

    def _log(self, run_id: str, metrics: list[Metric]) -> None:
        for first in range(0, len(metrics), _BATCH):
            self.client.log_batch(run_id, metrics=metrics[first : first + _BATCH])

    def finish(self, end: StudyEnd) -> None:
        run = self.client.get_run(self.parent_id)
        if run.data.tags.get(DIGEST) == end.digest:
            return
        for file, place in end.files():
            self.client.log_artifact(self.parent_id, str(file), place.rpartition("/")[0] or None)
        tags = {DIGEST: end.digest}
        if end.recommended:
            tags[ALIAS] = f"{end.recommended.backbone} {end.recommended.strategy}"
            self._register(end, end.recommended)
        self.client.set_terminated(self.parent_id, "FINISHED")
        self.client.log_batch(self.parent_id, tags=[RunTag(*tag) for tag in tags.items()])

    def _register(self, end: StudyEnd, row: Row) -> None:
        """A new version of the study's registered model, unless there is one of just this model."""
        run, name = self.runs.get(row.job_id), self.study.name
        if end.model is None or run is None:
            return
        try:
            self.client.get_registered_model(name)
        except MlflowException:
            self.client.create_registered_model(name)
        own = {"job_id": row.job_id, "model_blake2b": row.model_blake2b or ""}
        versions = [found for found in self.client.search_model_versions(f"name = '{name}'") if own.items() <= found.tags.items()]
        if not versions:
            self.client.log_artifact(run.info.run_id, str(end.model), "model")
            versions = [self.client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id, own)]
        self.client.set_registered_model_alias(name, ALIAS, versions[0].version)


def open_tracker(study: Study) -> MlflowTracker:
    """The runs of a study on the server that the environment names."""
    return MlflowTracker(study)


def _ms(run: Run) -> int:
    return round(1000 * run.started_at.timestamp())


def _all(run: Run) -> list[Metric]:
    curve = [Metric(name, value, _ms(run), epoch) for epoch, values in run.curve for name, value in values.items()]
    return _changed(run, {}) + curve


def _changed(run: Run, known: Mapping[str, float]) -> list[Metric]:
    now = round(1000 * time.time())
    return [Metric(name, value, now, 0) for name, value in run.metrics.items() if known.get(name) != value]
