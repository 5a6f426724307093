"""Mistakes on val by true and predicted class, as a table whose cells lead to the pictures of these mistakes."""

from collections.abc import Set

import numpy as np

from harness.reporting import formats
from harness.reporting.document import Cell, Column, Link, Table
from harness.reporting.images_to_show import anchor
from harness.select.mistakes import OnVal, Pair
from harness.text.counts import counted
from harness.text.language import say

ANCHOR = "confusion-table"
MAX_CLASSES = 12
"""Of more classes the table has the pairs that are confused most."""
NUM_PAIRS = 20


def confusion_table(on_val: OnVal, anchors: Set[str]) -> Table | None:
    """All classes by all, or the most confused pairs; None where images may have several labels.

    Args:
        on_val: what a candidate says.
        anchors: of those groups of pictures that the page has; other cells lead nowhere.
    """
    counts_CC = on_val.confusion_CC
    if counts_CC is None:
        return None
    names = [formats.one_line(name) for name in on_val.class_names]

    def cell(pair: Pair) -> Cell:
        number = int(counts_CC[pair])
        label = say("{images} of {true}, predicted {called}", images=counted(number, "image"), true=names[pair[0]], called=names[pair[1]])
        return Link(formats.count(number), anchor(pair), label) if anchor(pair) in anchors else formats.count(number)

    if len(names) <= MAX_CLASSES:
        columns = [Column(say("true class, by predicted class")), *(Column(name, is_number=True) for name in names)]
        rows: list[list[Cell]] = [[name, *(cell((true, called)) for called in range(len(names)))] for true, name in enumerate(names)]
        title = say("Val images by true class (rows) and predicted class (columns)")
        return Table(title, columns, rows, anchor=ANCHOR, has_row_names=True)
    wrong_CC = counts_CC * (1 - np.eye(len(names), dtype=np.int64))
    order = np.argsort(-wrong_CC, axis=None, kind="stable")[:NUM_PAIRS].tolist()
    pairs = [(true, called) for true, called in (divmod(place, len(names)) for place in order) if wrong_CC[true, called]]
    columns = [
        Column(say("true class")),
        Column(say("predicted class")),
        Column(say("images"), is_number=True),
        Column(say("of the true class"), is_number=True),
    ]
    of_class_C = counts_CC.sum(axis=1)
    rows = [[names[true], names[called], cell((true, called)), formats.count(int(of_class_C[true]))] for true, called in pairs]
    return Table(say("Classes that are confused most on val"), columns, rows, anchor=ANCHOR, has_row_names=True) if rows else None
