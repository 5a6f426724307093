"""The images that a row's job used, listed again: they are the same only if their fingerprint is. Torch-free."""

from collections.abc import Callable
from pathlib import Path

from harness.config import SweepConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.errors import HarnessError
from harness.files import why
from harness.study.row import Row


def images_of(row: Row, composed: Callable[[], SweepConfig]) -> Dataset | str:
    """The data set of a job, or why it cannot be had here, as a clause.

    Args:
        row: of the job.
        composed: the configuration that the job's command composes.
    """
    try:
        cfg = composed()
        found = load_dataset(cfg.data, Path(cfg.cache_dir), Path(cfg.results_dir))
    except (HarnessError, OSError) as error:
        return why(error).rstrip(".")
    except Exception as error:  # noqa: BLE001  Hydra, about a command of another version
        return f"its command cannot be read: {why(error)}"
    return found if found.fingerprint == row.data_fingerprint else "they are others than the job had"
