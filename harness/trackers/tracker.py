"""What every tracker can do, which there are, and what each needs to be installed."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from harness.config import Track
from harness.errors import ConfigError
from harness.study.store import Study
from harness.trackers.events import Run, StudyEnd


class Tracker(Protocol):
    """The runs of one study in one place. Any method may raise anything: `outlet` sees to it that nothing else suffers."""

    @property
    def where(self) -> str:
        """The place, for a message."""

    def start(self) -> None:
        """Look up what is there already; called once, before all else."""

    def row(self, run: Run) -> bool:
        """Log a row, in place of what an earlier one of the same job left. Return false where all of it was there already."""

    def finish(self, end: StudyEnd) -> None:
        """Log the report and the recommended model."""


PACKAGES: Mapping[Track, tuple[str, str]] = {
    Track.mlflow: ("mlflow", "mlflow-skinny"),
    Track.tensorboard: ("tensorboard", "tensorboard"),
    Track.wandb: ("wandb", "wandb"),
}
"""Module and package of each."""


def require(tracks: Iterable[Track]) -> None:
    """See that the libraries are installed. Raises ConfigError with each that is not."""
    missing = [PACKAGES[track] for track in dict.fromkeys(tracks) if find_spec(PACKAGES[track][0]) is None]
    if missing:
        raise ConfigError(
            *(f"{module}: the package {package} is not installed; run: python -m pip install {package}" for module, package in missing)
        )


def open_tracker(track: Track, study: Study) -> Tracker:
    """The tracker of a study; its library is imported here."""
    found: Tracker = import_module(f"harness.trackers.{track.value}").open_tracker(study)
    return found
