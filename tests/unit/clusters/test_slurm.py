"""Workers as tasks of arrays, with commands that stand in for Slurm's: what it is told, and what becomes of the processes."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.clusters.cluster import cluster_of, resumed
from harness.clusters.slurm import SlurmCluster
from harness.config import DataConfig, JobConfig, On, SlurmConfig, SweepConfig
from harness.errors import ConfigError, TableError
from tests.fake_slurm import install, options
from tests.unit.clusters.waiting_worker import there

WORK = "tests.unit.clusters.waiting_worker:work"


def until(is_so: Callable[[], object]) -> None:
    """Wait for it."""
    ends_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends_s
        time.sleep(0.05)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands on the PATH."""
    monkeypatch.setenv("PATH", install(tmp_path / "commands"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    return tmp_path / "commands"


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Path]:
    """A folder whose name a shell and Slurm's patterns would read otherwise; its workers end with the test."""
    (found := tmp_path / "100%A of 'it' $HOME").mkdir()
    yield found
    (found / "done").touch()


def test_workers_start_are_counted_and_end_when_nothing_is_left(commands: Path, plan: Path) -> None:
    """Each in its own process, with as many threads as cores; the plan's folder alone is enough to count them again."""
    cluster = SlurmCluster(SlurmConfig(cpus_per_task=3), work=WORK)
    assert cluster.num_alive() == 0
    assert cluster.submit(plan, 2) == "2 workers submitted to Slurm, each with 3 cores and no GPU: 1"
    until(lambda: there(plan) == ["3", "3"])
    assert cluster.num_alive() == 2
    again = resumed(plan)
    assert again is not None
    assert again.num_alive() == 2
    (plan / "done").touch()
    until(lambda: cluster.num_alive() == again.num_alive() == 0)
    assert there(plan, "gone") == ["done", "done"]
    assert not (commands / "requeued").exists()


def test_cancelled_workers_stop_by_themselves(commands: Path, plan: Path) -> None:
    """They hear of it, also those that another process submitted, and are not put back."""
    SlurmCluster(SlurmConfig(), work=WORK).submit(plan, 2)
    until(lambda: len(there(plan)) == 2)
    again = resumed(plan)
    assert again is not None
    again.cancel()
    until(lambda: again.num_alive() == 0)
    assert there(plan, "gone") == ["told", "told"]
    assert not (commands / "requeued").exists()


def test_a_task_whose_time_is_over_stops_its_worker_and_puts_itself_back(commands: Path, plan: Path) -> None:
    """Slurm warns the script, the worker ends by itself, and then the task goes back into the queue."""
    cluster = SlurmCluster(SlurmConfig(), work=WORK)
    cluster.submit(plan, 1)
    until(lambda: there(plan))
    os.kill(int((commands / "1_0.pid").read_text(encoding="ascii")), signal.SIGUSR1)
    until(lambda: cluster.num_alive() == 0)
    assert there(plan, "gone") == ["told"]
    assert (commands / "requeued").read_text(encoding="utf-8") == "1_0\n"


def test_every_option_reaches_sbatch(commands: Path, plan: Path) -> None:
    """Those of the configuration by Slurm's names, others as they are; what is not given is left to the cluster."""
    config = SlurmConfig(
        gpus_per_task=2, memory_gib=1.5, time_minutes=90, partition="p", account="a", qos="q", options=["--constraint=x y"]
    )
    cluster = SlurmCluster(config, work=WORK)
    assert "1 worker submitted to Slurm, each with 1 core and 2 GPUs" in cluster.submit(plan, 1)
    cluster.cancel()
    given = set(options(commands))
    assert {"--gpus-per-node=2", "--mem=1536M", "--time=90", "--partition=p", "--account=a", "--qos=q", "--constraint=x y"} <= given
    assert {"--requeue", "--signal=B:USR1@120", "--open-mode=append", "--array=0-0", "--cpus-per-task=1"} <= given
    SlurmCluster(SlurmConfig(), work=WORK).submit(plan, 1)
    assert not [
        each for each in options(commands, 2) if each.startswith(("--gpus", "--mem", "--time", "--partition", "--account", "--qos"))
    ]


def test_setup_runs_before_the_worker(plan: Path, commands: Path) -> None:
    """In the same shell, so that what it exports is there."""
    SlurmCluster(SlurmConfig(setup=["export OMP_NUM_THREADS=7"]), work=WORK).submit(plan, 1)
    until(lambda: there(plan) == ["7"])


def test_more_workers_than_an_array_may_have_are_several(tmp_path: Path, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five where three are allowed: an array of three and one of two, all counted and ended as one."""
    monkeypatch.setenv("PATH", install(tmp_path / "commands", max_array=3))
    cluster = SlurmCluster(SlurmConfig(), work=WORK)
    assert cluster.submit(plan, 5).endswith(": 1, 2")
    assert "--array=0-2" in options(tmp_path / "commands", 1)
    assert "--array=0-1" in options(tmp_path / "commands", 2)
    assert cluster.num_alive() == 5
    cluster.cancel()
    until(lambda: cluster.num_alive() == 0)


def test_more_workers_can_be_submitted_later(commands: Path, plan: Path) -> None:
    """By whoever took it up again, with what each was given at first."""
    SlurmCluster(SlurmConfig(partition="p"), work=WORK).submit(plan, 1)
    again = resumed(plan)
    assert isinstance(again, SlurmCluster)
    again.work = WORK
    again.submit(plan, 2)
    assert "--partition=p" in options(commands, 2)
    third = resumed(plan)
    assert third is not None
    assert third.num_alive() == 3
    (plan / "done").touch()
    until(lambda: third.num_alive() == 0)


def test_what_slurm_refuses_is_one_line(tmp_path: Path, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its reason, and no note beside the plan."""
    monkeypatch.setenv("PATH", install(tmp_path / "commands", refusal="invalid partition specified: nope"))
    with pytest.raises(ConfigError, match=r"^on=slurm: sbatch refuses this: .*invalid partition specified: nope; see the options slurm"):
        SlurmCluster(SlurmConfig(partition="nope"), work=WORK).submit(plan, 1)
    assert resumed(plan) is None


def test_without_slurm_the_command_says_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything is written."""
    monkeypatch.setenv("PATH", str(tmp_path))
    cfg = SweepConfig(backbone="x", data=DataConfig(name="n", source="s"), study="n", on=On.slurm)
    with pytest.raises(ConfigError, match="no sbatch on this machine"):
        cluster_of(cfg)


def test_a_controller_that_does_not_answer_is_not_taken_for_an_empty_queue(commands: Path, plan: Path) -> None:
    """Nobody knows then how many there are."""
    (commands / "squeue").write_text(
        "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1\n", encoding="ascii"
    )
    assert SlurmCluster(SlurmConfig(), ["1"]).num_alive() is None
    (commands / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1\n", encoding="ascii")
    assert SlurmCluster(SlurmConfig(), ["1"]).num_alive() == 0  # Slurm has forgotten it


def test_tasks_that_are_held_back_or_ending_are_not_counted(commands: Path) -> None:
    """They may never work again; those that wait for a node will."""
    states = "PENDING RUNNING COMPLETING REQUEUE_HOLD CONFIGURING SPECIAL_EXIT"
    (commands / "squeue").write_text(f"#!/bin/sh\nprintf '%s\\n' {states}\n", encoding="ascii")
    assert SlurmCluster(SlurmConfig(), ["1"]).num_alive() == 3


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"on": "moon"}', '{"on": "slurm", "config": {"x": 1}}'])
def test_a_note_that_cannot_be_read_is_said(plan: Path, commands: Path, text: str) -> None:
    """Not taken for a plan that nobody works on."""
    (plan / "cluster.json").write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match="cannot be read"):
        resumed(plan)


def test_a_job_may_not_take_longer_than_its_worker_has() -> None:
    """It would be begun anew for ever; where a shorter limit is given, that one counts."""

    def limit(on: On, time_minutes: int | None, timeout_minutes: float | None = None) -> float | None:
        given = {"slurm": SlurmConfig(time_minutes=time_minutes), "job": JobConfig(timeout_minutes)}
        return SweepConfig("x", data=DataConfig(name="n", source="s"), study="n", on=on, **given).job.timeout_minutes  # type: ignore[arg-type]

    assert limit(On.slurm, 60) == limit(On.slurm, 60, 90) == 58
    assert limit(On.slurm, 60, 5) == limit(On.slurm, None, 5) == 5
    assert limit(On.slurm, None) is None
    assert limit(On.here, 60) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"gpus_per_task": -1}, "slurm.gpus_per_task=-1: not allowed; give 0 or more"),
        ({"cpus_per_task": 0}, "slurm.cpus_per_task=0"),
        ({"memory_gib": 0.0}, "slurm.memory_gib=0"),
        ({"time_minutes": 1}, "slurm.time_minutes=1: not allowed; give 3 or more"),
        ({"options": ["constraint=a"]}, "slurm.options=constraint=a: not allowed; give options as sbatch takes them"),
    ],
)
def test_what_no_worker_can_be_given_is_refused(wrong: dict[str, object], said: str) -> None:
    """Before Slurm is asked."""
    with pytest.raises(ConfigError, match=said):
        SlurmConfig(**wrong)  # type: ignore[arg-type]
