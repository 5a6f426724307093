"""Sweeps that are disturbed: their command, their rows as they come, and what must not change."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tests.cluster.sealed_off import Place, wait_until
from tests.faults.box import QUALITY, TINY

OPTIONS = (*TINY, "backbone=test_resnet,test_vit", "freeze=all,none", "seed=0,1,2,3", "train.epochs=6", "train.augment=light")
"""Sixteen jobs of a few seconds, half of which train a network."""
NUM_JOBS = 16


@dataclass(frozen=True)
class Results:
    """What a sweep leaves in its folder."""

    folder: Path

    @property
    def study(self) -> Path:
        return self.folder / "results" / "digits"

    @property
    def num_rows(self) -> int:
        return len(list((self.study / "rows").glob("*.json")))

    def table(self) -> pd.DataFrame:
        """State and quality of every job, by its id."""
        return pd.read_csv(self.study / "results.csv").set_index("job_id").sort_index()[["status", *QUALITY]]

    def output(self) -> str:
        """What workers said."""
        return "\n".join(path.read_text(encoding="utf-8") for path in self.study.glob("plan/*/*/*.log"))

    def command(self, name: str, *options: str) -> list[str]:
        return [sys.executable, "-m", f"harness.{name}", f"results_dir={self.folder / 'results'}", *options]

    def sweep(self, *options: str) -> list[str]:
        return self.command("sweep", f"cache_dir={self.folder / 'cache'}", *OPTIONS, *options)


def run_here(folder: Path) -> Results:
    """The sweep on this machine, undisturbed."""
    results = Results(folder)
    ended = subprocess.run(results.sweep(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert results.table()["status"].tolist() == ["ok"] * NUM_JOBS
    return results


@contextmanager
def running(place: Place, folder: Path, *options: str) -> Iterator[tuple[Results, "subprocess.Popen[str]"]]:
    """A sweep from when a quarter of its jobs have rows; it has to end well by the end of the block."""
    results = Results(folder)
    with subprocess.Popen(
        place.command(results.sweep(*options)), env=place.known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as sweep:
        wait_until(lambda: results.num_rows >= NUM_JOBS // 4 or sweep.poll() is not None, "a quarter of the jobs are done")
        assert sweep.poll() is None, sweep.communicate()[0]
        yield results, sweep
        said, _ = sweep.communicate(timeout=180)
    assert sweep.returncode in (0, -9), f"{said}\n{results.output()}"
