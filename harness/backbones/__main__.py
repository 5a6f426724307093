"""`python -m harness.backbones 'mobilenet*'`: what can be typed as `backbone=`, its cost and whether its weights are locally cached."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from harness.errors import BackboneError
from harness.text.streams import make_usable
from harness.text.untrusted import one_line

_UNBOUNDED = 10_000
"""Columns that no terminal has."""
_EXIT_CONFIG = 2
"""Exit status of every command for a wrong name or value."""

Cells = Sequence[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    make_usable()
    arguments = _parser().parse_args(argv)
    try:
        from harness.backbones.listing import alias_listing, listing

        columns, rows = listing(arguments.pattern) if arguments.pattern else alias_listing()
        (_write_csv if arguments.csv else _print_table)(columns, rows)
    except BackboneError as error:
        print(one_line(str(error)), file=sys.stderr)
        return _EXIT_CONFIG
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stderr.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.backbones",
        description="List backbones: parameters (millions), multiply-adds (10^9), input size, published ImageNet-1k accuracy, licence and pretrained "
        "tags. Accuracy, licence and local_weights are those of the tag in the name, or else of the first tag, the default.",
        epilog="example: python -m harness.backbones 'mobilenet*' resnet18.tv_in1k",
    )
    parser.add_argument("pattern", nargs="*", help="name, arch.tag, alias or quoted glob; without any, the aliases are listed")
    parser.add_argument("--csv", action="store_true", help="comma-separated values instead of a table")
    return parser


def _write_csv(columns: Cells, rows: Sequence[Cells]) -> None:
    import pandas as pd

    from harness.text.spreadsheet import guarded

    guarded(pd.DataFrame(rows, columns=list(columns), dtype="str")).to_csv(sys.stdout, index=False, lineterminator="\n")


def _print_table(columns: Cells, rows: Sequence[Cells]) -> None:
    if not sys.stdout.isatty():
        print("\n".join(_aligned([columns, *rows])))
        return
    from rich.console import Console
    from rich.measure import Measurement
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name != "tags")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if Measurement.get(console, console.options.update(max_width=_UNBOUNDED), table).minimum <= console.width:
        console.print(table)
        return
    for name, *cells in rows:  # no name is broken in the middle
        console.print(Text(name), soft_wrap=True)
        console.print(
            Padding(Text(", ".join(f"{column} {cell}" for column, cell in zip(columns[1:], cells, strict=True) if cell)), (0, 0, 0, 2))
        )


def _aligned(lines: Sequence[Cells]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for cells in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
