"""Entry of the report: study folder -> ranking -> report files. Never trains, and never imports torch."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from harness import cli
from harness.config import ReportConfig
from harness.errors import TableError
from harness.study.store import Study


def main() -> None:
    """Console entry point."""
    cli.launch(_task, config_name="report", schema=ReportConfig)


def _task(cfg: DictConfig) -> None:
    with cli.quit_on_error(ReportConfig):
        config = OmegaConf.to_object(cfg)
        assert isinstance(config, ReportConfig)
        run(config)


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

    study = _study(Path(cfg.results_dir).expanduser(), cfg.study)
    ranking = build_report(study, cfg.rank)
    print_summary(ranking, study.report_dir / "index.html")
    return 0


def _study(results_dir: Path, name: str | None) -> Study:
    """The named study, or the one with the newest row. Names come from the folder, so none can lead out of it."""
    studies = {path.name: Study(path) for path in sorted(results_dir.glob("[!.]*")) if (path / "rows").is_dir()}
    if not studies:
        raise TableError(f"{results_dir}: holds no study; run `python -m harness.sweep` first, or give results_dir.")
    if name is None:
        return max(studies.values(), key=_newest_row)
    if name not in studies:
        raise TableError(f"study={name}: not in {results_dir}; there are {', '.join(studies)}.")
    return studies[name]


def _newest_row(study: Study) -> str:
    return max((row.started_at for row in study.rows()), default="")


if __name__ == "__main__":
    main()
