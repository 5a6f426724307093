"""Entry of the report: study folder -> ranking -> report files. Never trains, and never imports torch."""

from pathlib import Path

from omegaconf import DictConfig

from harness import cli
from harness.config import ReportConfig
from harness.study.store import find_study


def main() -> None:
    """Console entry point."""
    cli.launch(_task, config_name="report", schema=ReportConfig)


def _task(cfg: DictConfig) -> None:
    with cli.quit_on_error(ReportConfig):
        run(cli.typed(cfg, ReportConfig))


def run(cfg: ReportConfig) -> int:
    """Build the report of one study and print its summary.

    Returns:
        0; failed jobs do not make the report fail.

    Raises:
        TableError: there is no such study, it holds no rows, or its rows cannot be compared.
    """
    if cfg.table is not None:
        from harness.reporting.from_table import report_table

        report_table(Path(cfg.table).expanduser(), cfg.rank)
        return 0
    from harness.reporting.build import build_report
    from harness.reporting.terminal import print_summary

    study = find_study(Path(cfg.results_dir).expanduser(), cfg.study)
    ranking = build_report(study, cfg.rank)
    print_summary(ranking, study.report_dir / "index.html")
    return 0


if __name__ == "__main__":
    main()
