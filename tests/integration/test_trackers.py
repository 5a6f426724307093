"""Rows of a real sweep, read back from where trackers keep them: MLflow's REST API, TensorBoard's event files, an offline folder of W&B."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import log
from harness.study.models import Models
from harness.study.row import Row
from tests.integration.commands import TINY, Command, Ended
from tests.integration.conftest import _run
from tests.integration.tracking_server import Server, tracking_server

SWEEP = (*TINY, "backbone=test_resnet", "freeze=all,none", "train.epochs=2", "train.lr_search=[1]")
EPOCHS = {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_score"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests, which have experiments of their own."""
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as found:
        yield found


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing phones home, nothing is written beside `tmp_path`, and the service that wandb starts ends with the test."""
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    for name in ("MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    yield
    import wandb

    wandb.teardown()


Log = Callable[..., Ended]


@pytest.fixture
def run_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Log:
    """`python -m harness.log ...` on the results of `run_sweep`."""

    def run(*arguments: str) -> Ended:
        status = _run(log.main, [f"results_dir={tmp_path / 'results'}", *arguments], monkeypatch)
        return Ended(status, *capfd.readouterr(), tmp_path / "results")

    return run


def pairs(found: list[Any]) -> dict[str, Any]:
    """A list of keys and values as MLflow answers it."""
    return {each["key"]: each["value"] for each in found}


def expected_metrics(row: Row) -> set[str]:
    """Columns of quality and cost that the row has."""
    names = ("val_accuracy", "val_log_loss", "train_accuracy", "latency_ms_p50", "params_m", "peak_mem_mib", "total_s", "frozen_ok")
    return {name for name in names if getattr(row, name) is not None}


def test_mlflow_shows_the_runs_of_a_sweep(run_sweep: Command, run_log: Log, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters, metrics, curves, files and the registered model are those of the rows; logging the study again adds nothing."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    swept = run_sweep(*SWEEP, "study=watched", "track=mlflow", "model.keep=all")
    assert swept.status == 0, swept.err
    assert f"logged: mlflow at {server.url}" in swept.out
    rows = {row.job_id: row for row in swept.rows("watched")}
    whole, *runs = sorted(server.runs("watched"), key=lambda run: "job_id" in pairs(run["data"]["tags"]))
    assert {pairs(run["data"]["tags"])["job_id"] for run in runs} == set(rows)
    for run in runs:
        _check_run(server, run, rows[pairs(run["data"]["tags"])["job_id"]], whole["info"]["run_id"])
    files = server.get("artifacts/list", run_id=whole["info"]["run_id"], path="report")["files"]
    assert {"report/index.html", "report/ranking.csv"} <= {file["path"] for file in files}
    _check_model(server, Models(swept.study("watched")), rows)
    before = server.runs("watched")
    again = run_log("study=watched", "to=mlflow")
    assert (again.status, "0 rows of study watched logged, 2 there already" in again.out) == (0, True), again.err
    assert server.runs("watched") == before
    assert len(server.get("registered-models/get", name="watched")["registered_model"]["latest_versions"]) == 1
    key = {"run_id": runs[0]["info"]["run_id"], "metric_key": "val_accuracy"}
    assert len(server.get("metrics/get-history", **key)["metrics"]) == 1


def _check_run(server: Server, run: Any, row: Row, parent_id: str) -> None:
    tags, params, metrics = (pairs(run["data"][part]) for part in ("tags", "params", "metrics"))
    assert (run["info"]["status"], tags["mlflow.parentRunId"], tags["host"]) == ("FINISHED", parent_id, row.host)
    asked = (params[name] for name in ("backbone", "freeze", "seed", "epochs", "train.schedule", "data_fingerprint"))
    assert tuple(asked) == (row.backbone, row.freeze, "0", "2", "held", row.data_fingerprint)
    assert {name: metrics[name] for name in expected_metrics(row)} == {name: getattr(row, name) for name in expected_metrics(row)}
    assert len(expected_metrics(row)) == 8
    history = server.get("metrics/get-history", run_id=run["info"]["run_id"], metric_key="epoch/val_loss")["metrics"]
    assert [(point["step"], point["value"]) for point in history] == [(point.epoch, point.val_loss) for point in row.details.curve]
    names = {file["path"] for file in server.get("artifacts/list", run_id=run["info"]["run_id"])["files"]}
    assert f"{row.job_id}.json" in names


def _check_model(server: Server, models: Models, rows: dict[str, Row]) -> None:
    found = server.get("registered-models/alias", name="watched", alias="recommended")["model_version"]
    job_id = pairs(found["tags"])["job_id"]
    assert pairs(found["tags"])["model_blake2b"] == rows[job_id].model_blake2b
    (file,) = server.get("artifacts/list", run_id=found["run_id"], path="model")["files"]
    assert int(file["file_size"]) == models.path(job_id).stat().st_size


def test_a_server_that_dies_costs_one_line(run_sweep: Command, run_log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two rows, it loses neither row nor sweep; the command that the line names logs what is missing to its successor."""
    from harness.trackers.mlflow import MlflowTracker

    original = MlflowTracker.row
    with tracking_server(tmp_path) as first:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", first.url)

        def log_and_die(tracker: MlflowTracker, run: Any) -> bool:
            is_new = original(tracker, run)
            first.kill()
            return is_new

        monkeypatch.setattr(MlflowTracker, "row", log_and_die)
        swept = run_sweep(*SWEEP, "track=mlflow")
        monkeypatch.setattr(MlflowTracker, "row", original)
    assert (swept.status, len(swept.rows()), swept.out.count("nothing more is logged there")) == (0, 2, 1), swept.out
    assert "harness.log study=digits" in swept.out
    assert "Traceback" not in swept.err
    assert "logged: " not in swept.out
    with tracking_server(tmp_path, first.port) as second:
        assert len(server_jobs(second)) == 1
        later = run_log("to=mlflow")
        assert (later.status, later.err) == (0, ""), later.out
        assert server_jobs(second) == {row.job_id for row in swept.rows()}


def server_jobs(server: Server) -> set[str]:
    """Jobs that have a run."""
    return {tags["job_id"] for run in server.runs("digits") if "job_id" in (tags := pairs(run["data"]["tags"]))}


def test_a_job_that_is_run_again_has_one_run(run_sweep: Command, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new run takes the place of the old one, whose curve is another."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    command = (*SWEEP, "freeze=all", "study=again", "track=mlflow")
    (row,) = run_sweep(*command, "model.keep=none").rows("again")
    (anew,) = run_sweep(*command, "model.keep=all").rows("again")
    assert anew.started_at > row.started_at
    (run,) = [run for run in server.runs("again") if "job_id" in pairs(run["data"]["tags"])]
    assert pairs(run["data"]["tags"])["started_at"] == anew.started_at


def test_tensorboard_and_wandb_can_be_read_back(run_sweep: Command, run_log: Log, tmp_path: Path) -> None:
    """Curves, numbers and parameters are those of the rows, in event files and in an offline folder; logging again adds no file."""
    swept = run_sweep(*SWEEP, "track=tensorboard,wandb")
    assert swept.status == 0, swept.err
    assert "nothing more is logged" not in swept.out
    rows = {row.job_id: row for row in swept.rows()}
    _check_events(swept.study().root / "tensorboard", rows)
    _check_offline(tmp_path / "WANDB_DIR" / "wandb", rows)
    before = files_below(tmp_path / "WANDB_DIR"), files_below(swept.study().root / "tensorboard")
    again = run_log("to=[tensorboard,wandb]")
    assert (again.status, again.out.count("0 rows of study digits logged, 2 there already")) == (0, 2), again.err
    assert (files_below(tmp_path / "WANDB_DIR"), files_below(swept.study().root / "tensorboard")) == before


def files_below(folder: Path) -> set[Path]:
    """All but logs."""
    return {path for path in folder.rglob("*") if path.suffix != ".log"}


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:tensorboard")
def _check_events(folder: Path, rows: dict[str, Row]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {path.name.rpartition("-")[2]: EventAccumulator(str(path)) for path in folder.iterdir()}
    assert set(found) == set(rows)
    for job_id, events in found.items():
        events.Reload()
        row = rows[job_id]
        curve = [(event.step, event.value) for event in events.Scalars("epoch/val_loss")]
        assert curve == [(point.epoch, pytest.approx(point.val_loss)) for point in row.details.curve]
        trained = {f"epoch/{name}" for name in EPOCHS} if len(curve) > 1 else set()
        assert trained <= set(events.Tags()["scalars"])
        for name in expected_metrics(row):
            assert [event.value for event in events.Scalars(name)] == [pytest.approx(float(getattr(row, name)))]


def _check_offline(folder: Path, rows: dict[str, Row]) -> None:
    found = {path.name.rpartition("-")[2]: read_offline(path) for path in folder.glob("offline-run-*")}
    assert set(found) - set(rows) == {next(run_id for run_id, run in found.items() if run["artifacts"])}
    assert max(run["artifacts"] for run in found.values()) == ["model", "report"]
    for job_id, row in rows.items():
        run = found[job_id]
        assert (run["project"], run["config"]["backbone"], run["config"]["freeze"]) == ("digits", row.backbone, row.freeze)
        assert {name: run["summary"][name] for name in expected_metrics(row)} == {
            name: getattr(row, name) for name in expected_metrics(row)
        }
        curve = [(step["_step"], step["epoch/val_loss"]) for step in run["history"]]
        assert curve == [(point.epoch, point.val_loss) for point in row.details.curve]


def read_offline(folder: Path) -> dict[str, Any]:
    """What an offline run of W&B holds."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # chosen by the version of protobuf

    run: dict[str, Any] = {"config": {}, "summary": {}, "history": [], "artifacts": []}
    (path,) = folder.glob("run-*.wandb")
    for content in log_records(path.read_bytes()[7:], first=7):
        record = Record()
        record.ParseFromString(content)
        if record.HasField("run"):
            run["project"] = record.run.project
        for name, items in (("config", record.run.config.update), ("config", record.config.update), ("summary", record.summary.update)):
            run[name] |= {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
        if record.HasField("history"):
            run["history"].append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item})
        if record.request.HasField("log_artifact"):
            run["artifacts"].append(record.request.log_artifact.artifact.type)
        if record.HasField("artifact"):
            run["artifacts"].append(record.artifact.type)
    run["artifacts"].sort()
    return run


def log_records(content: bytes, first: int) -> Iterator[bytes]:
    """Records of a log of LevelDB's format: blocks of 32 KiB; checksum, length and type before each piece of a record.

    Args:
        content: behind the header of the file.
        first: bytes of that header, which lies in the first block.
    """
    place, record = 0, b""
    while place + 7 <= len(content):
        left = 2**15 - (place + first) % 2**15
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or its last piece
            yield record
            record = b""


def test_what_is_not_installed_is_said_before_anything_runs(run_sweep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command to type; no job has begun."""
    monkeypatch.setattr("harness.trackers.tracker.find_spec", lambda _: None)
    refused = run_sweep(*SWEEP, "track=mlflow")
    assert (refused.status, refused.results.exists()) == (2, False)
    assert "mlflow: the package mlflow-skinny is not installed; run: " in refused.err
    assert "python -m pip install mlflow-skinny" in refused.err


def test_trackers_change_no_job(run_sweep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without: the same ids, so that nothing is run twice, and the same command to run a job again."""
    (row,) = run_sweep(*SWEEP, "freeze=all", "track=tensorboard").rows()
    assert [part for part in row.details.command if part.startswith("track")] == []
    plain = run_sweep(*SWEEP, "freeze=all")
    assert "1 job, 1 already done" in plain.out
    assert len(list((plain.study().root / "tensorboard").iterdir())) == 1
