"""Entry of the report: study folder -> ranking -> report files, or several studies side by side. Never trains, and never imports torch."""

from collections.abc import Collection, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from harness.cli import command
from harness.config import ReportConfig
from harness.files import local_folder
from harness.study.store import find_study
from harness.text.console import new_console
from harness.text.language import speaking


def main() -> None:
    """Console entry point."""
    command.launch(_task, config_name="report", schema=ReportConfig)


def _task(cfg: DictConfig) -> None:
    with command.running(), command.quit_on_error(ReportConfig):
        command.stay()
        run(command.typed(cfg, ReportConfig), typed_settings(HydraConfig.get().overrides.task))


def typed_settings(overrides: Sequence[str]) -> set[str]:
    """Which settings of the ranking were typed: `rank.max_latency_ms=null` lifts a limit that the sweep had, and leaving it out does not."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    whole = [each.value() for each in parsed if each.key_or_group == "rank"]
    single = {each.key_or_group.removeprefix("rank.") for each in parsed if each.key_or_group.startswith("rank.")}
    return single.union(*(map(str, value) for value in whole if isinstance(value, dict)))


def run(cfg: ReportConfig, given: Collection[str] | None = None) -> int:
    """Build the report of one study, or the comparison of several, and print its summary.

    Args:
        cfg: which study, or several with commas between them, and what is asked.
        given: fields of `cfg.rank` that were typed; all others are as the sweep had them. None: those that differ from their defaults.

    Returns:
        0; failed jobs do not make the report fail.

    Raises:
        TableError: there is no such study or protocol, it holds no rows, or its rows cannot be compared.
    """
    with speaking(cfg.report.language.value):
        _run(cfg, given)
    return 0


def _run(cfg: ReportConfig, given: Collection[str] | None) -> None:
    if cfg.table is not None:
        from harness.reporting.from_table import report_table

        report_table(Path(cfg.table).expanduser(), cfg.rank)
        return
    from harness.reporting.build import answer_question
    from harness.reporting.question import ask
    from harness.reporting.studies import list_studies
    from harness.reporting.terminal import print_summary, shown

    results_dir = local_folder(cfg.results_dir)
    if cfg.study is not None and "," in cfg.study:  # in no name
        from harness.reporting.across import report_comparison

        report_comparison([find_study(results_dir, name) for name in cfg.study.split(",")], cfg.rank, given)
        return
    study = find_study(results_dir, cfg.study)
    question = ask(study, cfg.rank, given, cfg.protocol)
    ranking = answer_question(study, question, images=cfg.report.images)
    list_studies(results_dir, lambda text: new_console(soft_wrap=True).print(shown(text)))
    print_summary(ranking, question.folder / "index.html")


if __name__ == "__main__":
    main()
