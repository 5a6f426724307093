"""What every tracker can do, which there are, and what each needs to be installed."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from harness.config import Track
from harness.errors import ConfigError
from harness.files import why
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
    """Import the libraries, before other threads import anything. Raises ConfigError with each that is not installed or cannot be imported."""
    wanted = list(dict.fromkeys(tracks))
    if wanted:
        # They import it at their first request, where it is installed; matplotlib, imported meanwhile, takes half of it for the whole.
        with suppress(ImportError):
            import_module("IPython")
    if problems := [problem for track in wanted if (problem := _problem(track))]:
        raise ConfigError(*problems)


def _problem(track: Track) -> str | None:
    module, package = PACKAGES[track]
    if find_spec(module) is None:
        return f"{module}: the package {package} is not installed; run: python -m pip install {package}"
    try:
        _module(track)
    except ImportError as error:
        return f"{module}: cannot be imported ({why(error)}); run: python -m pip install --upgrade {package}"
    return None


def open_tracker(track: Track, study: Study) -> Tracker:
    """The tracker of a study."""
    found: Tracker = _module(track).open_tracker(study)
    return found


def _module(track: Track) -> Any:
    return import_module(f"harness.trackers.{track.value}")
