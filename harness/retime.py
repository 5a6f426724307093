"""Entry: `python -m harness.retime study=lesions` times all models of a study again, on this machine, and writes its report anew.

Models are built with random weights, so neither checkpoints nor a model hub are needed. Rows stay as they are.
"""

import sys
from collections.abc import Collection

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from harness.cli import command
from harness.config import JobConfig, RetimeConfig
from harness.errors import TableError
from harness.files import local_folder
from harness.jobs.timing import time_models
from harness.process.isolate import Limits, machine_memory_mib
from harness.report import typed_settings
from harness.status import BAD_JOBS
from harness.study.store import find_study
from harness.text.commands import runnable
from harness.text.language import speaking
from harness.text.untrusted import one_line


def main() -> None:
    """Console entry point."""
    command.launch(_task, config_name="retime", schema=RetimeConfig)


def _task(cfg: DictConfig) -> None:
    with command.running(), command.quit_on_error(RetimeConfig):
        command.stay()
        status = run(command.typed(cfg, RetimeConfig), typed_settings(HydraConfig.get().overrides.task))
    sys.exit(status)


def run(cfg: RetimeConfig, given: Collection[str] | None = None) -> int:
    """Time the models of one study and rank it by the new times, by the settings that its sweep had.

    Args:
        cfg: which study, how long, and what is asked.
        given: fields of `cfg.rank` that were typed, which replace the sweep's; None: those that differ from their defaults.

    Returns:
        0 when every model was timed, else `BAD_JOBS`.

    Raises:
        TableError: there is no such study, or it holds no model that could be timed.
        ConfigError: its jobs ran on a device that is not on this machine.
        StoreError: the folder cannot be written.
    """
    from harness.reporting.build import answer_question
    from harness.reporting.question import ask
    from harness.reporting.terminal import print_summary

    study = find_study(local_folder(cfg.results_dir), cfg.study)
    if not any(row.latency_key for row in study.rows()):
        raise TableError(f"{study.root}: holds no row of a job that ended well, so no model to time; run `python -m harness.sweep` first.")
    stall_s = 60 * (JobConfig().stall_minutes or 0.0)
    missing = time_models(study, cfg.measure, Limits(stall_s=stall_s, memory_mib=0.95 * machine_memory_mib()), say=_say)
    for reason in missing:
        _say(reason)
    question = ask(study, cfg.rank, given)
    with speaking(cfg.report.language.value):
        print_summary(answer_question(study, question, by="retime", images=cfg.report.images), question.folder / "index.html")
    return BAD_JOBS if missing else 0


def _say(text: str) -> None:
    print(one_line(runnable(text)), flush=True)


if __name__ == "__main__":
    main()
