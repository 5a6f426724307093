"""Sweeps on a real Slurm: whatever becomes of tasks and nodes, every job has its row, and the table is that of an undisturbed sweep."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.cluster.sealed_off import wait_until
from tests.cluster.slurm import NODES, Slurm, is_installed, slurm
from tests.cluster.sweeps import NUM_JOBS, Results, running

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not is_installed(), reason="no Slurm: apt-get install --no-install-recommends slurm-wlm munge"),
]
ON = ("on=slurm", f"workers={len(NODES)}")


@pytest.fixture
def cluster(short: Path) -> Iterator[Slurm]:
    """Three nodes of a core each, and arrays of two tasks at most: the workers of a sweep are two arrays, `1` and `2`."""
    with slurm(short / "slurm", max_array=2) as found:
        yield found


def test_a_sweep_on_slurm_is_the_sweep_here(cluster: Slurm, tmp_path: Path, here: Results) -> None:
    """Several nodes have done some of it, the report is there, and nobody is left in the queue."""
    with running(cluster.place, tmp_path, *ON) as (results, _):
        assert len({task for task in cluster.states() if task == "RUNNING"}) == 1
    pd.testing.assert_frame_equal(results.table(), here.table(), check_exact=True)
    assert (results.study / "report" / "index.html").exists()
    wait_until(lambda: cluster.states() == [], "the queue is empty")
    assert len(list(results.study.glob("plan/*/slurm/*.log"))) == len(NODES)


def test_tasks_are_cancelled_put_back_and_told_that_their_time_is_over(cluster: Slurm, tmp_path: Path, here: Results) -> None:
    """One of each in the middle; what they had begun is begun again, by themselves or others."""
    with running(cluster.place, tmp_path, *ON) as (results, _):
        for argv in (("scancel", "1_0"), ("scontrol", "requeue", "1_1"), ("scancel", "--signal=USR1", "--batch", "2_0")):
            ended = cluster.place.run(*argv)
            assert ended.returncode == 0, ended.stderr
        assert results.num_rows < NUM_JOBS
        wait_until(lambda: sorted(cluster.states()) == ["PENDING", "PENDING"], "two tasks wait to be run again")
    pd.testing.assert_frame_equal(results.table(), here.table(), check_exact=True)


def test_a_node_dies(cluster: Slurm, tmp_path: Path, here: Results) -> None:
    """With its daemon and all that runs on it; the others take over, and Slurm puts its task back."""
    with running(cluster.place, tmp_path, *ON) as (results, _):
        assert len(cluster.node("n2")) > 2
        cluster.kill_node("n2")
        assert results.num_rows < NUM_JOBS
    pd.testing.assert_frame_equal(results.table(), here.table(), check_exact=True)
    assert "n2" not in {state for state in cluster.node_states() if state == "idle"}


def test_whoever_typed_the_command_may_go(cluster: Slurm, tmp_path: Path, here: Results) -> None:
    """Workers finish the sweep and write its report; `follow` finds them again, and tells how it ended."""
    with running(cluster.place, tmp_path, *ON) as (results, sweep):
        for process in cluster.place.of("harness.sweep"):
            process.kill()
        sweep.wait()
        assert results.num_rows < NUM_JOBS
        followed = cluster.place.run(*results.command("follow", "study=digits"))
    assert followed.returncode == 0, followed.stderr
    assert f"[{NUM_JOBS}/{NUM_JOBS}]" in followed.stdout
    assert "Report:" in followed.stdout
    pd.testing.assert_frame_equal(results.table(), here.table(), check_exact=True)


def test_all_workers_are_ended(cluster: Slurm, tmp_path: Path) -> None:
    """By `follow cancel=true`, from another process than the one that submitted them; the sweep can be taken up again."""
    with running(cluster.place, tmp_path, *ON) as (results, sweep):
        for process in cluster.place.of("harness.sweep"):
            process.kill()
        sweep.wait()
        ended = cluster.place.run(*results.command("follow", "study=digits", "cancel=true"))
        assert ended.returncode == 0, ended.stderr
        wait_until(lambda: cluster.states() == [], "the queue is empty")
        num_rows = results.num_rows
        assert num_rows < NUM_JOBS
        again = cluster.place.run(*results.command("follow", "study=digits"))
    assert again.returncode == 0, again.stdout + again.stderr
    assert results.num_rows == NUM_JOBS


def test_workers_go_where_accelerators_are_and_look_for_theirs(cluster: Slurm, tmp_path: Path) -> None:
    """Jobs are for CUDA though there is none here; a worker that finds none on its node either takes no job, and says so."""
    results = Results(tmp_path)
    cluster.place.start(*results.sweep("on=slurm", "workers=1", "slurm.gpus_per_task=1"), log=tmp_path / "log")
    wait_until(lambda: "device=cuda: not on this machine" in results.output(), "a worker says that there is no accelerator")
    assert "workers submitted" not in (tmp_path / "log").read_text(encoding="utf-8")
    assert "1 worker submitted to Slurm, each with 1 core and 1 GPU" in (tmp_path / "log").read_text(encoding="utf-8")
    assert results.num_rows == 0


def test_what_slurm_refuses_is_one_line(cluster: Slurm, tmp_path: Path) -> None:
    """And status 2; no plan is left that nobody would ever do."""
    ended = cluster.place.run(*Results(tmp_path).sweep(*ON, "slurm.partition=nowhere"))
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert "Invalid partition name specified" in line
    assert not list(tmp_path.rglob("jobs.json"))


def test_a_staged_search_has_no_coordinator(cluster: Slurm, tmp_path: Path, here: Results) -> None:
    """Every candidate ends with a row that says how far it came, and what was trained has the scores that it has here."""
    with running(cluster.place, tmp_path, *ON, "search=staged", "budget.share=1") as (results, _):
        pass
    found, wanted = results.table(), here.table()
    assert found.index.tolist() == wanted.index.tolist()
    assert set(found["status"]) <= {"ok", "pruned"}
    is_trained = found["status"] == "ok"
    pd.testing.assert_frame_equal(found[is_trained], wanted[is_trained], check_exact=True, check_dtype=False)
    assert (results.study / "report" / "index.html").exists()
