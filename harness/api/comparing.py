"""`harness.compare(...)`: the same candidates on several data sets, side by side."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.api.study import Study, load_study
from harness.config import SweepConfig
from harness.reporting.across import compare_studies
from harness.select.across_csv import comparison_frame
from harness.study import store

if TYPE_CHECKING:
    import pandas as pd


def compare(
    studies: Sequence[Study | str | os.PathLike[str]], results_dir: str | os.PathLike[str] = SweepConfig.results_dir
) -> "pd.DataFrame":
    """Compare studies: a line for each candidate, with its mean rank and its expected score in each, best first.

    The same table as `comparison.csv` of `python -m harness.report study=a,b`. Opens no test predictions.

    Args:
        studies: two or more, as studies, folders or names.
        results_dir: folder of all studies, for names.

    Raises:
        ConfigError: fewer than two studies, or one is given twice.
        TableError: there is no such study, or nothing is in two of them.

    Example:
        >>> import harness
        >>> harness.compare(["lesions", "lesions"])
        Traceback (most recent call last):
        harness.errors.ConfigError: ...
    """
    found = [study if isinstance(study, Study) else load_study(study, results_dir) for study in studies]
    return comparison_frame(compare_studies([store.Study(study.path) for study in found]))
