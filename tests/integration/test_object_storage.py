"""Studies in a bucket: whole commands on hosts that have nothing in common but a real S3 server."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.study.store import Study
from tests.integration.commands import TINY
from tests.s3 import Bucket, Host, behind, serving

SWEEP = (*TINY, "backbone=test_resnet,test_vit", "freeze=all,0.5")


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """A server of its own."""
    with serving() as found:
        yield found


@pytest.fixture
def hosts(bucket: Bucket, tmp_path: Path) -> tuple[Host, Host]:
    """Two machines."""
    return Host(tmp_path / "a", bucket), Host(tmp_path / "b", bucket)


def rows_of(host: Host) -> dict[str, bytes]:
    """Name and content of the files of rows in a host's mirror."""
    return {path.name: path.read_bytes() for path in (host.study_dir / "rows").glob("[!.]*.json")}


def assert_table_has(host: Host, num: int) -> None:
    """The table that a host has written last holds so many jobs."""
    lines = (host.study_dir / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + num


@pytest.mark.slow
def test_another_host_finds_every_job_and_feature(hosts: tuple[Host, Host]) -> None:
    """The same command there runs nothing and closes with the same report; another job there finds the cached activations; nothing is damaged."""
    first, second = hosts
    done = first.run("sweep", *SWEEP)
    assert done.returncode == 0, done.stderr
    again = second.run("sweep", *SWEEP)
    assert again.returncode == 0, again.stderr
    assert "4 jobs, 4 already done" in again.stdout
    assert rows_of(second) == rows_of(first)
    assert_table_has(second, 4)
    recommended = re.findall(r"^Use .*", done.stdout, flags=re.MULTILINE)
    assert recommended
    assert re.findall(r"^Use .*", again.stdout, flags=re.MULTILINE) == recommended

    more = second.run("sweep", *SWEEP, "train.weight_decay=0.02")
    assert more.returncode == 0, more.stderr
    new = rows_of(second).keys() - rows_of(first).keys()
    computed = [row.num_activations_computed for row in Study(second.study_dir).rows() if f"{row.job_id}.json" in new]
    assert computed == [0, 0, 0, 0]

    for host in hosts:
        checked = host.run("verify", f"cache_dir={host.folder / 'cache'}")
        assert checked.returncode == 0, checked.stdout
        assert "8 rows, 8 prediction files" in checked.stdout
    report = first.run("report")
    assert report.returncode == 0, report.stderr
    assert_table_has(first, 8)


@pytest.mark.slow
def test_a_sweep_that_was_killed_is_resumed_on_another_host(hosts: tuple[Host, Host]) -> None:
    """What it had finished stays as it was, what it was at is done anew once its silence shows that it is dead."""
    first, second = hosts
    process = first.start("sweep", *SWEEP, "seed=0,1")
    rows = first.study_dir / "rows"
    with process:
        while not (rows.is_dir() and len(rows_of(first)) >= 2):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    resumed = second.run("sweep", *SWEEP, "seed=0,1")
    assert resumed.returncode == 0, resumed.stderr
    assert len(rows_of(second)) == 8
    assert_table_has(second, 8)
    before, after = rows_of(first), rows_of(second)
    assert sum(after[name] != content for name, content in before.items()) <= 1  # the last one may have been killed on its way
    checked = second.run("verify", f"cache_dir={second.folder / 'cache'}")
    assert checked.returncode == 0, checked.stdout
    assert "8 rows, 8 prediction files" in checked.stdout


@pytest.mark.slow
def test_a_worker_on_another_host_takes_up_a_plan(hosts: tuple[Host, Host]) -> None:
    """The bucket has all that it takes: the worker runs what is left and writes the report."""
    first, second = hosts
    process = first.start("sweep", *SWEEP, "workers=2")
    with process:
        while not rows_of(first):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    worked = second.run("work", "study=digits")
    assert worked.returncode == 0, worked.stderr
    assert_table_has(second, 4)
    assert "its sweep is over" in second.run("work").stdout
    report = first.run("report")
    assert report.returncode == 0, report.stderr
    assert_table_has(first, 4)


@pytest.mark.slow
def test_a_listing_that_lags_loses_nothing(bucket: Bucket, tmp_path: Path) -> None:
    """Two hosts at once, and listings that show nothing of the last minutes: each job is trained once, and both close with all rows."""
    with behind(bucket, lag_s=300) as late:
        hosts = [Host(tmp_path / name, late) for name in ("a", "b")]
        processes = [host.start("sweep", *SWEEP) for host in hosts]
        said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    for host in hosts:
        assert_table_has(host, 4)
    assert rows_of(hosts[0]) == rows_of(hosts[1])
    assert [number for key, number in late.puts.items() if "/rows/" in key] == [1, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["bucket", "server"])
def test_a_store_that_is_not_there_is_one_line(hosts: tuple[Host, Host], what: str) -> None:
    """Before anything has run."""
    host = hosts[0]
    gone = Bucket("no-such-bucket", host.bucket.address) if what == "bucket" else Bucket(host.bucket.name, "http://127.0.0.1:9")
    ended = Host(host.folder, gone).run("sweep", *SWEEP, f"store.shared={gone.url}/features")
    assert ended.returncode not in (0, 3)
    (line,) = [line for line in ended.stderr.splitlines() if "error" in line]
    assert f"s3://{gone.name}/results/digits" in line
    assert "the store refuses" in line
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_rows_that_a_store_refuses_are_kept_and_sent_by_the_next_command(bucket: Bucket, tmp_path: Path) -> None:
    """The sweep ends with one line that says why; the same command, once it may, runs nothing again."""
    with behind(bucket, refused="/rows/") as strict:
        host = Host(tmp_path / "a", strict)
        ended = host.run("sweep", *SWEEP)
    assert ended.returncode not in (0, 3)
    said = [line for line in ended.stderr.splitlines() if line]
    assert len(said) == 1, ended.stderr
    assert re.search(r"s3://.*/rows/\w+\.json: the store refuses \(Access Denied\)", said[0])
    kept = rows_of(host)
    assert len(kept) == 4
    again = Host(host.folder, bucket).run("sweep", *SWEEP)
    assert again.returncode == 0, again.stderr
    assert "4 jobs, 4 already done" in again.stdout
    other = Host(tmp_path / "b", bucket)
    assert other.run("report").returncode == 0
    assert rows_of(other) == kept
