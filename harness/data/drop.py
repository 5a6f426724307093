"""Leaving out the images that a file of the user's names: `data.drop`. Between the source and the draw, whatever the source is."""

from collections.abc import Container
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.data.listing import Listing, Part
from harness.data.shown import names, text
from harness.data.table_file import ROLES, read_table
from harness.errors import DataError
from harness.text.counts import counted


def without(listing: Listing, drop: str) -> Listing:
    """The listing less the images that stand in the column `path` of a table, by their names in the report.

    A name that is not there is said: its image is gone already.

    Args:
        listing: of the source.
        drop: the table; `~` is expanded.

    Raises:
        DataError: no such table or column, or a table that names none of the images.
    """
    from harness.text.spreadsheet import unguarded_text  # pandas is wanted here only

    file = read_table(Path(drop).expanduser())
    column = file.column("path", None, "data.drop")
    if column is None:
        raise DataError(
            f"data.drop={text(drop)}: has no column {ROLES['path'][0]} that names images; its columns are {names(file.columns)}."
        )
    there = {candidate.id for part in listing.parts.values() for candidate in part.candidates}
    wanted = dict.fromkeys(cell if cell in there else unguarded_text(cell) for cell in file.columns[column] if cell)
    missing = [name for name in wanted if name not in there]
    if wanted and len(missing) == len(wanted):
        raise DataError(
            f"data.drop={text(drop)}: names none of the {len(there):,} images ({names(missing)}); "
            f"give paths as the report has them, such as {names(sorted(there)[:1])}."
        )
    remarks = [f"data.drop names {counted(len(missing), 'image')} not among those that were found: {names(missing)}."] if missing else []
    parts = {split: _kept(part, wanted) for split, part in listing.parts.items()}
    num_dropped = len(wanted) - len(missing)
    left_out = [f"Images left out by data.drop={text(drop)}: {num_dropped:,}."] if num_dropped else []
    return replace(
        listing,
        parts=parts,
        remarks=[*listing.remarks, *remarks],
        left_out=[*listing.left_out, *left_out],
        num_dropped=num_dropped,
    )


def _kept(part: Part, dropped: Container[str]) -> Part:
    places = [place for place, candidate in enumerate(part.candidates) if candidate.id not in dropped]
    places_N = np.array(places, dtype=np.int64)
    groups = None if part.groups is None else [part.groups[place] for place in places]
    weights = None if part.weights is None else part.weights[places_N]
    return Part([part.candidates[place] for place in places], part.labels[places_N], groups, weights)
