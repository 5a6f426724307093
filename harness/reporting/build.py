"""A study folder becomes a ranking and its report files: the whole report side in one straight line."""

from pathlib import Path

import pandas as pd

from harness.config import RankConfig
from harness.reporting.compose import compose, draw
from harness.reporting.render import to_html, to_markdown
from harness.reporting.sections.facts import ranked_rows
from harness.select.audit import audit
from harness.select.prior import own_ranks
from harness.select.ranking import Ranking, rank
from harness.select.ranking_csv import ranking_frame
from harness.study.store import Study, atomic_write
from harness.study.table import write_table


def build_report(study: Study, cfg: RankConfig) -> Ranking:
    """Rank a study and write `report/` beside its rows; the table files are refreshed too.

    Raises:
        TableError: there are no rows, or rows that cannot be read or compared.
    """
    ranking = rank(study, cfg)
    write_table(study)
    own = own_ranks(study)
    audited = audit([*ranked_rows(ranking), *ranking.pruned], ranking.metric, own)
    document = compose(ranking, draw(ranking, study.report_dir / "plots"), own, audited)
    _write_csv(study.report_dir / "ranking.csv", ranking_frame(ranking))
    _write(study.report_dir / "report.md", to_markdown(document))
    _write(study.report_dir / "index.html", to_html(document))
    return ranking


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    with atomic_write(path) as temporary:
        frame.to_csv(temporary, index=False)
