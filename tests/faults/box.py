"""What a fault is injected into: folders of its own, and the harness's commands run for real on a few images."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from hydra.core.global_hydra import GlobalHydra

from harness import predict, report, verify
from harness.search.display import Progress
from harness.study.row import COLUMNS, Row
from harness.study.store import Study
from harness.sweep import main as sweep_main

TINY = (
    "measure.warm_up_s=0",
    "measure.timing_s=0",
    "evidence.minutes=0",
    "weights=random",
    "data=digits",
    "data.max_images=60",
    "data.image_size=32",
    "train.epochs=1",
    "train.lr_search=[1]",
    "precision=float32",
)
"""Options of a sweep that takes seconds, and whose numbers do not depend on which arithmetic was quickest in a trial."""

TRIO = ("backbone=test_resnet", "freeze=none", "seed=0,1,2")
"""Three jobs."""

WAIT_S = 60.0
"""What is waited for takes less."""

QUALITY = tuple(name for name in COLUMNS if name.startswith(("val_", "train_acc", "train_log", "last_val_", "probe_", "chosen_")))
"""Columns that are equal in every undisturbed run of a job."""


def quality(rows: Sequence[Row]) -> dict[str, tuple[object, ...]]:
    """What must not change, by job."""
    return {row.job_id: (row.status, *(getattr(row, name) for name in QUALITY)) for row in rows}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    def line(self, *parts: str) -> str:
        """The line of the output that holds all these parts, or, where lines are broken at the width of the terminal, the text from the first to the last.

        Raises:
            AssertionError: there is none.
        """
        for line in (self.err + "\n" + self.out).splitlines():
            if all(part in line for part in parts):
                return " ".join(line.split())
        whole = " ".join(self.out.split())
        if all(part in whole for part in parts):
            ends = [whole.index(part) + len(part) for part in parts]
            return whole[whole.index(parts[0]) : whole.find(" ", max(ends))]
        raise AssertionError(f"no line with {parts} in:\n{self.out}\n{self.err}")


@dataclass
class Box:
    """Folders of one fault. Nothing outside of them is written."""

    root: Path
    study_name: str = "digits"
    extra: Sequence[str] = field(default_factory=tuple)

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def study(self) -> Study:
        return Study(self.results / self.study_name)

    def rows(self) -> list[Row]:
        return self.study.rows()

    def sweep(self, *arguments: str) -> Ended:
        """`python -m harness.sweep` on tiny data, within this process; its jobs still have processes of their own."""
        return self._here(sweep_main, ["harness.sweep", *self.folders, *TINY, *arguments])

    def report(self, *arguments: str) -> Ended:
        """`python -m harness.report` on the same results, within this process."""
        return self._here(report.main, ["harness.report", f"results_dir={self.results}", *arguments])

    def predict(self, *arguments: str) -> Ended:
        """`python -m harness.predict` on the same results, within this process."""
        return self._here(predict.main, ["harness.predict", f"results_dir={self.results}", f"to={self.root / 'said.csv'}", *arguments])

    def verify(self) -> Ended:
        """`python -m harness.verify` on the same folders, within this process."""
        return self._here(verify.main, ["harness.verify", *self.folders])

    def start(
        self, *arguments: str, module: str = "harness.sweep", env: dict[str, str] | None = None, around: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        """The same sweep as a program of its own, for whoever wants to kill it, in a process group of its own; `around` is a command that runs it."""
        command = [*around, sys.executable, "-m", module, *self.folders, *TINY, *arguments]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=_as_in_a_terminal,  # noqa: PLW1509  takes no lock that another thread could hold
        )

    def run(self, *arguments: str, env: dict[str, str] | None = None, around: Sequence[str] = ()) -> Ended:
        """`start`, and wait for its end."""
        process = self.start(*arguments, env=env, around=around)
        out, err = process.communicate(timeout=300)
        return Ended(process.returncode, out, err)

    @property
    def folders(self) -> list[str]:
        return [f"results_dir={self.results}", f"cache_dir={self.cache}"]

    def _here(self, main: Callable[[], None], arguments: list[str]) -> Ended:
        before, sys.argv = sys.argv, arguments
        listeners = logging.root.handlers[:]
        GlobalHydra.instance().clear()
        status = 0
        try:
            with _captured() as written:
                try:
                    main()
                except SystemExit as end:
                    status = int(end.code or 0)
        finally:
            sys.argv = before
            logging.root.handlers[:] = listeners  # the command's own would go on writing to a file that is closed by now
        return Ended(status, *written)


def _as_in_a_terminal() -> None:
    """Who runs the tests in the background may have told them to pass over what terminals send, which children would inherit."""
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)


def wait_for(is_so: Callable[[], bool]) -> None:
    """Return as soon as it is so. Raises AssertionError when it is not within a minute."""
    ends = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


@contextmanager
def _captured() -> Iterator[list[str]]:
    """Everything that this process and its children write to standard output and error; in the list when the block has ended."""
    written: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "out"), Path(folder, "err")
        streams = sys.stdout, sys.stderr
        kept = [os.dup(number) for number in (1, 2)]
        with paths[0].open("w", encoding="utf-8") as out, paths[1].open("w", encoding="utf-8") as err:
            for stream in streams:
                stream.flush()
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout, sys.stderr = out, err
            try:
                yield written
            finally:
                sys.stdout, sys.stderr = streams
                out.flush()
                err.flush()
                for number, descriptor in enumerate(kept, 1):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
        written += [path.read_text(encoding="utf-8", errors="replace") for path in paths]


@contextmanager
def after_first_row(change: Callable[[], object]) -> Iterator[None]:
    """In a sweep of this process, another program does this when the first job has its row."""
    finished, seen = Progress.finished, list[Row]()

    def and_change(progress: Progress, rows: Sequence[Row], num_left: int | None = None) -> None:
        finished(progress, rows, num_left)
        if not seen:
            change()
        seen.extend(rows)

    with patch.object(Progress, "finished", and_change):
        yield
