"""Entry: `python -m harness.work study=lesions` does jobs of a planned sweep on this machine, beside whoever else does some."""

import sys

from omegaconf import DictConfig

from harness.cli import command
from harness.config import WorkConfig
from harness.files import local_folder
from harness.study.store import find_study

TOLD_TO_END = 143
"""Exit status of a program that SIGTERM has ended."""


def main() -> None:
    """Console entry point."""
    command.launch(_task, config_name="work", schema=WorkConfig)


def _task(cfg: DictConfig) -> None:
    with command.running(), command.quit_on_error(WorkConfig):
        command.stay()
        run(command.typed(cfg, WorkConfig))


def run(cfg: WorkConfig) -> None:
    """Work on the plan that was written to a study last.

    Raises:
        TableError: there is no such study, or no plan in it.
        ConfigError: the machine lacks what its jobs need.
        StoreError: a folder cannot be written.
    """
    from harness.search.plan import newest_plan
    from harness.search.worker import Leaving, work

    study = find_study(local_folder(cfg.results_dir), cfg.study)
    patience_s = None if cfg.patience_minutes is None else 60 * cfg.patience_minutes
    try:
        work(newest_plan(study), cfg.workers, patience_s)
    except Leaving as told:
        print(f"{told}: what was begun is free for other workers", flush=True)
        sys.exit(TOLD_TO_END)


if __name__ == "__main__":
    main()
