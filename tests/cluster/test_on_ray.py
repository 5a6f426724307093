"""Sweeps on a real Ray of two nodes: whatever becomes of them, every job has its row, and the table is that of an undisturbed sweep."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.cluster.ray_nodes import Ray, is_installed, ray_nodes
from tests.cluster.sealed_off import sealed_off, wait_until
from tests.cluster.sweeps import NUM_JOBS, Results, running

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not is_installed(), reason="no Ray: python -m pip install 'model-selection-harness[ray]'"),
]


@pytest.fixture
def cluster(short: Path) -> Iterator[Ray]:
    """Two nodes of a core each."""
    with ray_nodes(short / "r") as found:
        yield found


def on(cluster: Ray) -> tuple[str, ...]:
    """Two workers of this cluster, one a node."""
    return ("on=ray", "workers=2", f"ray.address={cluster.address}")


def test_a_sweep_on_ray_is_the_sweep_here(cluster: Ray, tmp_path: Path, here: Results) -> None:
    """Both nodes have done some of it, and no worker is left."""
    with running(cluster.place, tmp_path, *on(cluster)) as (results, _):
        assert len(cluster.place.of("harness.clusters.start")) >= 2
    pd.testing.assert_frame_equal(results.table(), here.table(), check_exact=True)
    assert (results.study / "report" / "index.html").exists()
    wait_until(lambda: not cluster.place.of("harness.clusters.start"), "no worker is left")


def test_a_node_dies(cluster: Ray, tmp_path: Path, here: Results) -> None:
    """With all that runs on it; the other takes over, and Ray starts its worker anew when there is a place."""
    with running(cluster.place, tmp_path, *on(cluster)) as (results, _):
        cluster.kill_node()
        assert results.num_rows < NUM_JOBS
        wait_until(lambda: "its sweep is over" in results.output(), "the worker of the node that died is begun anew", 180)
    pd.testing.assert_frame_equal(results.table(), here.table(), check_exact=True)


def test_whoever_typed_the_command_may_go(cluster: Ray, tmp_path: Path, here: Results) -> None:
    """Workers finish the sweep; `follow` finds them again."""
    with running(cluster.place, tmp_path, *on(cluster)) as (results, sweep):
        for process in cluster.place.of("harness.sweep"):
            process.kill()
        sweep.wait()
        assert results.num_rows < NUM_JOBS
        followed = cluster.place.run(*results.command("follow", "study=digits"))
    assert followed.returncode == 0, followed.stdout + followed.stderr
    pd.testing.assert_frame_equal(results.table(), here.table(), check_exact=True)


def test_all_workers_are_ended(cluster: Ray, tmp_path: Path) -> None:
    """By `follow cancel=true`; what they had begun is free for others."""
    with running(cluster.place, tmp_path, *on(cluster)) as (results, sweep):
        for process in cluster.place.of("harness.sweep"):
            process.kill()
        sweep.wait()
        ended = cluster.place.run(*results.command("follow", "study=digits", "cancel=true"))
        assert ended.returncode == 0, ended.stderr
        wait_until(lambda: not cluster.place.of("harness.clusters.start"), "no worker is left")
        assert results.num_rows < NUM_JOBS
        worked = cluster.place.run(*results.command("work", "study=digits"))
    assert worked.returncode == 0, worked.stderr
    assert results.num_rows == NUM_JOBS


def test_a_cluster_of_its_own_lasts_as_long_as_the_command(short: Path, tmp_path: Path, here: Results) -> None:
    """`ray.address=local` needs no `ray start`, and leaves no process."""
    with sealed_off() as place:
        place.env = {"RAY_TMPDIR": str(short)}
        with running(place, tmp_path, "on=ray", "workers=2", "ray.address=local") as (results, _):
            assert place.of("raylet")
        wait_until(lambda: not place.of("raylet") and not place.of("harness.clusters"), "neither Ray nor a worker is left", 60)
    pd.testing.assert_frame_equal(results.table(), here.table(), check_exact=True)


def test_a_staged_search_has_no_coordinator(cluster: Ray, tmp_path: Path, here: Results) -> None:
    """Every candidate ends with a row that says how far it came, and what was trained has the scores that it has here."""
    with running(cluster.place, tmp_path, *on(cluster), "search=staged", "budget.share=1") as (results, _):
        pass
    found, wanted = results.table(), here.table()
    assert found.index.tolist() == wanted.index.tolist()
    assert set(found["status"]) <= {"ok", "pruned"}
    is_trained = found["status"] == "ok"
    pd.testing.assert_frame_equal(found[is_trained], wanted[is_trained], check_exact=True, check_dtype=False)
    assert (results.study / "report" / "index.html").exists()
