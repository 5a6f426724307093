"""A name that one process of any host holds at a time, on a real S3 server that knows no locks."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.files import lease, local_folder, objects
from harness.files.lease import Lease, take
from harness.study.claims import claimed, is_claimed, require_held, try_claimed
from tests.s3 import ROOT, Bucket

SILENT_S = 0.5


@pytest.fixture
def url(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that nobody has held yet; silence is short, and each look is a real one."""
    monkeypatch.setattr(lease, "SILENT_S", SILENT_S)
    monkeypatch.setattr(lease, "_ASK_S", 0.0)
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    return f"{bucket.url}/claims/name"


def taken(url: str) -> Lease:
    """A lease that nobody stands in the way of."""
    found = take(url)
    assert found is not None
    return found


def die(found: Lease) -> None:
    """As a holder that was killed: it renews no more, and says nothing."""
    found._ended.set()
    time.sleep(0.2)


def test_one_holds_it_until_it_is_released(url: str) -> None:
    """Also for longer than silence takes; then it is free at once, however often it was held before."""
    for _ in range(12):
        first = taken(url)
        assert take(url) is None
        assert lease.is_held(url)
        first.release()
        assert not lease.is_held(url)
    lasting = taken(url)
    end = time.monotonic() + 3 * SILENT_S
    while time.monotonic() < end:
        assert take(url) is None
    assert lasting.renew()
    lasting.release()


def test_a_process_that_knows_nothing_finds_the_latest_holding(url: str) -> None:
    """Among any number of them, held or released."""
    for number in range(9):
        held = taken(url)
        assert held.number == number
        lease._sightings.clear()
        assert take(url) is None
        held.release()
        lease._sightings.clear()


def test_who_has_died_is_succeeded_after_a_silence(url: str) -> None:
    """Not before, and by one only; a holder that was only asleep learns that it has lost it."""
    sleeper = taken(url)
    die(sleeper)
    began = time.monotonic()
    while (successor := take(url)) is None:
        assert time.monotonic() - began < 20
    assert time.monotonic() - began >= SILENT_S
    assert take(url) is None
    sleeper._ended.clear()
    assert not sleeper.renew()
    assert successor.renew()
    successor.release()


def test_a_holder_that_comes_back_just_then_and_its_successor_both_give_way(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look of the one and its put the other renews: neither goes on, and the next has it."""
    sleeper, right = taken(url), objects.create
    die(sleeper)
    take(url)
    time.sleep(2 * SILENT_S)

    def slow(content: bytes, address: str) -> bool:
        sleeper._ended.clear()
        assert sleeper.renew()
        return right(content, address)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(objects, "create", slow)
        assert take(url) is None
    assert not sleeper.renew()
    taken(url).release()


def test_a_put_whose_answer_was_lost_is_ones_own(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library tries again and meets what it has put itself."""
    right = objects.create
    monkeypatch.setattr(objects, "create", lambda content, address: right(content, address) and right(content, address))
    taken(url).release()


HOLD = """
import os, sys, time
from pathlib import Path
from harness.files import lease, local_folder
from harness.study.claims import claimed
lease.SILENT_S, lease.RENEW_S, lease._ASK_S = 2.0, 0.2, 0.0
study, inside = local_folder(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    with claimed(study, "name"):
        inside.touch(exist_ok=False)
        print("in", flush=True)
        time.sleep(float(sys.argv[4]))
        inside.unlink()
"""


def start(bucket: Bucket, host: Path, inside: Path, rounds: int, hold_s: float) -> "subprocess.Popen[str]":
    """A process on a host of its own that holds the name so often; two at once would fail."""
    environment = {**os.environ, **bucket.variables(host), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLD, bucket.url, str(inside), str(rounds), str(hold_s)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert says(process) == "ready"
    return process


def says(process: "subprocess.Popen[str]") -> str:
    """What it says next."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_processes_never_hold_a_claim_at_once(bucket: Bucket, tmp_path: Path) -> None:
    """Each takes it again and again; one that is killed while it holds it leaves it to the others."""
    inside = tmp_path / "inside"
    with start(bucket, tmp_path / "c", inside, 1, 600) as doomed:
        assert says(doomed) == "in"
        with start(bucket, tmp_path / "a", inside, 6, 0.05) as one, start(bucket, tmp_path / "b", inside, 6, 0.05) as other:
            time.sleep(3)
            assert (one.poll(), other.poll()) == (None, None)  # silence has passed, but the holder renews
            doomed.send_signal(signal.SIGKILL)
            inside.unlink()
            assert [each.communicate(timeout=120)[0] for each in (one, other)] == ["in\n" * 6] * 2
    assert (one.returncode, other.returncode) == (0, 0)


def test_claims_of_a_study_in_a_bucket(url: str, bucket: Bucket) -> None:
    """The same as on a file system; what was done under a claim that was lost is not written."""
    study = local_folder(bucket.url)
    with try_claimed(study, "name") as is_held:
        assert is_held
        assert is_claimed(study, "name")
        with try_claimed(study, "name") as is_held_too, try_claimed(study, "other") as is_other_held:
            assert (is_held_too, is_other_held) == (False, True)
        require_held(study)
        objects.put(b"{}", f"{url}/1")
        with pytest.raises(StoreError, match="another host has taken over") as caught:
            require_held(study)
        assert "\n" not in str(caught.value)
    require_held(study)
    objects.put(b'{"over": true}', f"{url}/1")
    with claimed(study, "name"):
        assert is_claimed(study, "name")
    assert not is_claimed(study, "name")
    assert not (study / "claims").exists()
