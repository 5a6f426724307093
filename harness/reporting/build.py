"""A study folder becomes a ranking and its report files: the whole report side in one straight line."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.config import RankConfig
from harness.files import atomic_write, remove_leftovers, send_rest
from harness.reporting import gallery
from harness.reporting.compose import compose, draw
from harness.reporting.data_audit import FILE, DataAudit, audit_frame, audit_images
from harness.reporting.document import Document, Picture, Section
from harness.reporting.question import Question, keep, overrides
from harness.reporting.render import to_html, to_markdown
from harness.reporting.sections.facts import ranked_rows
from harness.reporting.studies import write_summary
from harness.reporting.what_if import CHANGED
from harness.select.audit import audit
from harness.select.prior import OwnRanks, own_ranks
from harness.select.ranking import Ranking, rank
from harness.select.ranking_csv import ranking_frame
from harness.study.store import Study
from harness.study.table import to_csv, write_table
from harness.text.language import ENGLISH, speaking


def close_sweep(study: Study, cfg: RankConfig, protocol: str | None = None, pictures: gallery.Source = gallery.kept) -> Ranking:
    """The report at the end of a sweep, about the protocol of its jobs. Later reports go by both. Raises like `build_report`.

    Jobs may have ended well whose rows a store did not take: it takes them now, or the sweep has not ended well.
    """
    send_rest(study.root)
    keep(study, cfg, protocol)
    study.compact()
    return build_report(study, cfg, protocol=protocol, by="sweep", pictures=pictures)


def answer_question(study: Study, question: Question, by: str = "report", *, images: bool = True) -> Ranking:
    """The report of the report command: a what-if question is answered beside `report/`, and opens nothing. Raises like `build_report`."""
    return build_report(
        study,
        question.cfg,
        protocol=question.protocol,
        into=question.folder,
        may_open=not question.is_what_if,
        by=by,
        pictures=gallery.kept if images else gallery.nothing,
    )


def build_report(
    study: Study,
    cfg: RankConfig,
    *,
    protocol: str | None = None,
    by: str = "report",
    into: Path | None = None,
    may_open: bool = True,
    pictures: gallery.Source = gallery.kept,
) -> Ranking:
    """Rank a study and write the pages beside its rows; the table files are refreshed too.

    Args:
        study: the folder.
        cfg: metric, limits, prices.
        protocol: of the rows to rank; None: the one with the most good jobs.
        by: the command that asks, for the log of opened test predictions.
        into: where the pages go; None: `report/`.
        may_open: whether the recommended's sealed test predictions may be opened.
        pictures: where the pictures of images come from.

    Raises:
        TableError: there are no rows that can be used, or rows that cannot be compared.
        StoreError: the folder cannot be read or written.
    """
    remove_leftovers(study.root)
    own, folder = own_ranks(study), into or study.report_dir
    ranking = rank(study, cfg, own, protocol=protocol, may_open=may_open, by=by)
    table = write_table(study)
    images = audit_images(study, ranking)
    asked = overrides(study, cfg, protocol, but=CHANGED)
    shown = gallery.build(study, ranking, images, pictures(study, ranking, images))
    found = describe(ranking, draw(ranking, folder / "plots"), own, images, asked=asked, shown=shown)
    with speaking(ENGLISH):  # tables are for programs
        write_csv(folder / FILE, audit_frame(images))
        write_csv(folder / "ranking.csv", ranking_frame(ranking))
    write_text(folder / "report.md", to_markdown(found))
    write_text(folder / "index.html", to_html(found))
    if folder == study.report_dir:
        write_summary(study, ranking, table)
    return ranking


def describe(
    ranking: Ranking,
    pictures: dict[str, Picture],
    own: OwnRanks,
    images: DataAudit | None = None,
    *,
    asked: Sequence[str] = (),
    shown: Section | None = None,
) -> Document:
    """The ranking as a document, with what the studies beside this one say, and how well cheap scores would have chosen."""
    cheap = audit([*ranked_rows(ranking), *ranking.pool.pruned], ranking.metric, own)
    return compose(ranking, pictures, own, cheap, found=images, asked=asked, gallery=shown)


def write_text(path: Path, text: str) -> None:
    """A page. Raises StoreError."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """A table that is safe to open in spreadsheets. Raises StoreError."""
    with atomic_write(path) as temporary:
        temporary.write_text(to_csv(frame), encoding="utf-8", newline="")
