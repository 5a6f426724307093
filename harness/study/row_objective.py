"""What a row's labels asked for: the objective by which its predictions are read again."""

import numpy as np

from harness.measure.objective import Objective, objective
from harness.study.row import Row


def objective_of(row: Row) -> Objective:
    """Return the objective that the row's job was trained and judged by."""
    return objective(np.array(row.details.class_prior), row.details.thresholds)
