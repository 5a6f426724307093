"""Entry: `python -m harness.refit study=lesions` trains the recommended candidate again, on train and val together, for use.

Epoch, learning rate and temperature are those that its job chose. How good the new model is has not been measured: about what
its job scored is expected of it, and nothing else is claimed.
"""

from dataclasses import replace

from omegaconf import DictConfig

from harness.cli import command
from harness.cli.again import config_of
from harness.config import RefitConfig, RefitOn
from harness.errors import TableError
from harness.files import as_typed, local_folder
from harness.process.isolate import Limits, machine_memory_mib, run_isolated, warm_up
from harness.search.runner import prepare_jobs
from harness.status import Status
from harness.study.row import Row
from harness.study.store import Study, find_study
from harness.text.commands import runnable
from harness.text.counts import counted
from harness.text.untrusted import one_line

MEMORY_FRAC = 0.95
"""Of the machine's memory that it may take."""
IMAGES = {RefitOn.train_val: "train and val", RefitOn.all: "train, val and test"}


def main() -> None:
    """Console entry point."""
    command.launch(_task, config_name="refit", schema=RefitConfig)


def _task(cfg: DictConfig) -> None:
    with command.running(), command.quit_on_error(RefitConfig):
        command.stay()
        run(command.typed(cfg, RefitConfig))


def run(cfg: RefitConfig) -> int:
    """Train a candidate of a study again and keep its model beside the study's own.

    Returns:
        0.

    Raises:
        TableError: there is no such study or candidate, or its job cannot be made exact again; training failed.
        ConfigError: its images or its weights are not here.
    """
    warm_up()
    from harness.models.choose import choose, ranked

    study = find_study(local_folder(cfg.results_dir), cfg.study)
    chosen = choose(ranked(study, cfg.protocol), cfg.candidate)
    row = chosen.rows[0]
    typed = row.details.command
    config = replace(config_of(typed), results_dir=as_typed(study.root.parent), study=study.name)
    (job,) = prepare_jobs([(config, typed)])
    _say(f"{chosen.label} of study {study.name}: training again on {IMAGES[cfg.on]}")
    outcome = run_isolated("harness.jobs.refit:refit", job, row, cfg.on, limits=Limits(memory_mib=MEMORY_FRAC * machine_memory_mib()))
    if outcome.status is not Status.ok:
        raise TableError(f"{chosen.label} was not refitted: {outcome.error or outcome.status.value}")
    _say(f"trained on {counted(outcome.value or 0, 'image')} instead of {row.n_train:,}; {_expected(row)}")
    _say(_next(study))
    return 0


def _expected(row: Row) -> str:
    """What may be said of a model that nobody has measured."""
    score = getattr(row, f"val_{row.primary_metric}")
    before = "" if score is None else f" ({row.primary_metric} {score:.3f} on val)"
    return f"how good it is has not been measured: expect about what the model before scored{before}"


def _next(study: Study) -> str:
    return f"`{study.command('predict')} images=FOLDER` uses it; refit=false uses the model that was measured."


def _say(text: str) -> None:
    print(one_line(runnable(text)), flush=True)


if __name__ == "__main__":
    main()
