"""`study.rank(...)` and `harness.rank(frame)`: the answer as a table and a sentence."""

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from harness.cli.call import composed
from harness.config import ReportConfig
from harness.errors import TableError
from harness.reporting.first_screen import headline
from harness.reporting.from_table import seeds_frame, sentence
from harness.select.from_table import TABLE_COLUMNS, rank_table
from harness.select.ranking import Ranking as Ranked
from harness.select.ranking_csv import ranking_frame
from harness.study.table import as_loaded

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = ("rank", "label", "score", "expected", "prob_best", "latency_ms_p50", "params_m", "tied", "excluded")
_TOP = 20


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ranking:
    """Candidates of a study, ranked; a table in a notebook.

    Example:
        >>> import harness
        >>> ranking = harness.load_study("lesions").rank(max_params_m=1)
        >>> ranking.recommended in list(ranking.table["label"])
        True
    """

    table: "pd.DataFrame"
    """One line for each candidate, best first: the columns of `ranking.csv`; fractions, not percent."""
    recommended: str | None
    """Label of the candidate that is recommended, as in `table`; None: nobody is within the limits."""
    headline: str
    """The sentence of the report."""

    @property
    def _short(self) -> "pd.DataFrame":
        return self.table[[name for name in _SHOWN if name in self.table]].head(_TOP)

    def __repr__(self) -> str:
        return f"{self.headline}\n{self._short.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.headline)}</b></p>{self._short.to_html(index=False, na_rep='')}"


def of_study(ranked: Ranked) -> Ranking:
    """What a study's ranking says."""
    return Ranking(ranking_frame(ranked), _label(ranked), headline(ranked))


def rank(frame: "pd.DataFrame", **options: Any) -> Ranking:
    """Rank a table by its columns alone, such as `study.results` or several of them put together: by mean val scores over seeds.

    Without predictions nothing is known of how far the val images can be trusted; `Study.rank` knows.

    Args:
        frame: rows of one protocol.
        options: keys of `rank.` on the command line: `metric="f1_macro"`, `max_latency_ms=30`.

    Raises:
        ConfigError: an option is unknown or not allowed.
        TableError: no row is good, its metric is empty, or rows of several protocols, which do not compare.

    Example:
        >>> import harness
        >>> results = harness.load_study("lesions").results
        >>> harness.rank(results, metric="accuracy").table["label"].nunique()
        4
    """
    cfg = rank_config(options).rank
    ranked = rank_table(as_loaded(frame, TABLE_COLUMNS), cfg)
    if len(ranked) > 1:
        names = ", ".join(str(each.pool.protocol) for each in ranked)
        raise TableError(f"the table holds {len(ranked)} protocols, which do not compare ({names}); give the rows of one.")
    return Ranking(seeds_frame(ranked), _label(ranked[0]), sentence(ranked[0]))


def rank_config(options: dict[str, Any], **others: Any) -> ReportConfig:
    """What the report command makes of the same settings. Raises ConfigError."""
    return composed("report", ReportConfig, {f"rank.{key}": value for key, value in options.items()} | others)


def _label(ranked: Ranked) -> str | None:
    return ranked.recommended.label if ranked.recommended else None
