"""Data sets read in a process without torch, while another one still imports it."""

from collections.abc import Sequence
from pathlib import Path

from harness.config import DataConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.data.sources import NEED_TORCH
from harness.errors import HarnessError

Loaded = dict[str, Dataset | HarnessError]
"""By `key_of`: a data set, or what is wrong with it."""


def load_early(wanted: Sequence[tuple[DataConfig, str, str]]) -> Loaded:
    """Each data set once, given with the folders for the cache and the results; those whose source needs torch are left to where it is."""
    needed = {key_of(*each): each for each in wanted if each[0].source not in NEED_TORCH}
    return {key: _loaded(*each) for key, each in needed.items()}


def key_of(cfg: DataConfig, cache_dir: str, results_dir: str) -> str:
    """What two jobs have in common that use the same data set."""
    return repr((cfg, cache_dir, results_dir))


def _loaded(cfg: DataConfig, cache_dir: str, results_dir: str) -> Dataset | HarnessError:
    try:
        return load_dataset(cfg, Path(cache_dir), Path(results_dir))
    except HarnessError as error:
        return error
