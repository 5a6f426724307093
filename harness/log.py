"""Entry: `python -m harness.log study=lesions to=mlflow` logs a study to an experiment tracker. Never trains, and never imports torch."""

import sys
from contextlib import suppress

from omegaconf import DictConfig

from harness.cli import command
from harness.config import LogConfig
from harness.errors import ConfigError, TableError
from harness.files import local_folder
from harness.status import BAD_JOBS
from harness.study.row import Row
from harness.study.store import Study, find_study
from harness.text.commands import runnable
from harness.text.counts import counted
from harness.text.untrusted import one_line


def main() -> None:
    """Console entry point."""
    command.launch(_task, config_name="log", schema=LogConfig)


def _task(cfg: DictConfig) -> None:
    with command.running(), command.quit_on_error(LogConfig):
        command.stay()
        status = run(command.typed(cfg, LogConfig))
    sys.exit(status)


def run(cfg: LogConfig) -> int:
    """Log every row of a study that is not there as it is, its report and its recommended model.

    Returns:
        0, or `BAD_JOBS` when a tracker did not take all of it.

    Raises:
        ConfigError: no tracker is named, or one is not installed.
        TableError: there is no such study.
    """
    from harness.process.progress import track
    from harness.trackers.outlet import Outlet
    from harness.trackers.tracker import require

    if not cfg.to:
        raise ConfigError("to=: give mlflow, tensorboard or wandb, or several separated by commas.")
    require(cfg.to)
    study = find_study(local_folder(cfg.results_dir), cfg.study)
    recommended, rows = _recommended(study, cfg.protocol), study.rows()
    outlets = [Outlet(study, name, _say) for name in dict.fromkeys(cfg.to)]
    for outlet in outlets:
        outlet.finish(track(rows, outlet.track.value), recommended)
        if not outlet.is_lost:
            _say(f"{counted(outlet.num_logged, 'row')} of study {study.name} logged, {outlet.num_there} there already: {outlet.where}")
    return BAD_JOBS if any(outlet.is_lost for outlet in outlets) else 0


def _recommended(study: Study, protocol: str | None) -> Row | None:
    """A study without a good row has rows to log all the same."""
    from harness.models.choose import ranked, recommended_row

    with suppress(TableError):
        return recommended_row(ranked(study, protocol), study)
    return None


def _say(text: str) -> None:
    print(one_line(runnable(text)), flush=True)


if __name__ == "__main__":
    main()
