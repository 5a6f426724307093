"""A tracker may fail, hang or be missing; rows and sweeps know nothing of that."""

import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.config import Track
from harness.errors import ConfigError
from harness.study.row import Row
from harness.study.store import Study
from harness.trackers.background import Background
from harness.trackers.events import Run, StudyEnd
from harness.trackers.outlet import Outlet, without_credentials
from harness.trackers.tracker import PACKAGES, require
from tests.unit.reporting.fake_study import make_row


class FakeTracker:
    """Keeps digests; does what it is told before each row."""

    where = "http://me:secret@here"

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.known: dict[str, str] = {}
        self.ends: list[Row | None] = []
        self.before = before

    def start(self) -> None:
        """There is nothing to look up."""

    def row(self, run: Run) -> bool:
        self.before()
        is_new = self.known.get(run.job_id) != run.digest
        self.known[run.job_id] = run.digest
        return is_new

    def finish(self, end: StudyEnd) -> None:
        self.ends.append(end.recommended)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeTracker], FakeTracker]:
    """Every outlet opens this tracker."""

    def put(tracker: FakeTracker) -> FakeTracker:
        monkeypatch.setattr("harness.trackers.outlet.open_tracker", lambda *_: tracker)
        return tracker

    return put


Use = Callable[[FakeTracker], FakeTracker]


def test_what_fails_is_said_once_with_the_way_out(tmp_path: Path, use: Use) -> None:
    """The second row is not tried; the command logs it later; no password is shown."""
    said: list[str] = []
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ConnectionError("http://me:secret@here is\naway")

    use(FakeTracker(fail))
    outlet = Outlet(Study(tmp_path / "fake"), Track.mlflow, said.append)
    for name in "ab":
        outlet.row(make_row(name))
    outlet.finish([make_row("c")], None)
    assert (len(said), len(calls), outlet.is_lost, outlet.num_logged) == (1, 1, True, 0)
    assert "mlflow: nothing more is logged there (ConnectionError: http://here is away)" in said[0]
    assert f"python -m harness.log study=fake results_dir={tmp_path} to=mlflow" in said[0]


def test_the_end_logs_what_is_missing_or_has_changed(tmp_path: Path, use: Use) -> None:
    """Rows of before the sweep, and those that were timed since; then the recommended."""
    tracker = use(FakeTracker())
    outlet = Outlet(Study(tmp_path), Track.wandb, print)
    first = make_row("a", latency_ms_p50=None)
    outlet.row(first)
    rows = [make_row("a", latency_ms_p50=2.0), make_row("b"), first]
    outlet.finish(rows[:2], rows[0])
    assert (set(tracker.known), outlet.num_logged, outlet.num_there, tracker.ends) == ({"a", "b"}, 3, 0, [rows[0]])
    outlet.finish(rows[:2], rows[0])
    assert (outlet.num_logged, outlet.num_there, outlet.where) == (3, 2, "http://here")


@pytest.mark.timeout(20)
def test_nobody_waits_for_a_tracker_until_the_end(tmp_path: Path, use: Use) -> None:
    """A tracker that hangs holds up no row; waiting at the end is for all that was told, in its order."""
    goes_on = threading.Event()
    tracker = use(FakeTracker(goes_on.wait))
    study = Study(tmp_path / "fake")
    trackers = Background([Outlet(study, Track.mlflow, print)])
    trackers.rows([make_row("a"), make_row("b", study="another")])
    study.write_row(make_row("c"))
    trackers.finish(study, None)
    assert tracker.known == {}
    goes_on.set()
    assert trackers.wait() == ["http://here"]
    assert (list(tracker.known), tracker.ends) == (["a", "c"], [None])


def test_without_trackers_there_is_no_thread(tmp_path: Path) -> None:
    """Nobody asked for one."""
    before = threading.active_count()
    trackers = Background()
    trackers.rows([make_row("a")])
    trackers.finish(Study(tmp_path), None)
    assert (trackers.wait(), threading.active_count()) == ([], before)


def test_each_missing_library_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command to type; every tracker has a package."""
    monkeypatch.setattr("harness.trackers.tracker.find_spec", lambda name: name == "wandb" or None)
    with pytest.raises(ConfigError) as raised:
        require([Track.mlflow, Track.wandb, Track.tensorboard, Track.mlflow])
    assert [problem.rpartition(" ")[2] for problem in raised.value.problems] == ["mlflow-skinny", "tensorboard"]
    assert set(PACKAGES) == set(Track)


def test_a_library_that_cannot_be_imported_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after half an upgrade: known before anything runs."""
    monkeypatch.setitem(sys.modules, "harness.trackers.wandb", None)
    with pytest.raises(ConfigError, match=r"wandb: cannot be imported \(.*\); run: python -m pip install --upgrade wandb"):
        require([Track.wandb])


def test_libraries_are_imported_before_any_thread_imports() -> None:
    """What they import late would meet the report's imports halfway: all of it is there when `require` returns."""
    code = (
        "import sys\nfrom harness.config import Track\nfrom harness.trackers.tracker import require\nrequire(list(Track))\n"
        "print([name for name in ('mlflow', 'wandb', 'tensorboard', 'IPython') if name not in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == ("[]\n" if find_spec("IPython") else "['IPython']\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("http://a:b@host/x", "http://host/x"), ("http://host/@x", "http://host/@x"), ("a//b c@d", "a//b c@d")],
)
def test_credentials_are_left_out_of_addresses(text: str, shown: str) -> None:
    """And of nothing else."""
    assert without_credentials(text) == shown


def test_logging_needs_no_torch_and_no_tracker_until_it_is_asked() -> None:
    """Importing the command and what a sweep has of trackers is cheap; TensorBoard's files are written without torch or TensorFlow."""
    code = (
        "import sys, harness.log, harness.trackers.background, harness.models.choose\n"
        "print([name for name in ('torch', 'mlflow', 'wandb', 'tensorboard') if name in sys.modules])\n"
        "import harness.trackers.tensorboard\n"
        "print([name for name in ('torch', 'tensorflow') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[:2] == ["[]", "[]"]
