"""The record of a benchmark: what it found, as JSON. Written to the file of `--json`; without it, beside the module by a full run, and nowhere by a short one."""

import argparse
import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, as_records, figure_table


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option, the same for every benchmark."""
    parser.add_argument("--json", type=_file, metavar="PATH", help="write what was found to this file, from the short form as well")


def keep(record: Mapping[str, Any], args: argparse.Namespace, module_file: str | None = None) -> None:
    """Write the record where it belongs; enums by their value.

    Args:
        record: anything that is plain JSON but for enums.
        args: what `add_json` read, and whether the form is `short`.
        module_file: of a benchmark whose full run keeps its record beside itself.
    """
    beside = None if args.short or module_file is None else Path(module_file).with_suffix(".json")
    path = args.json or beside
    if path is not None:
        path.write_text(json.dumps(record, indent=1, default=attrgetter("value")) + "\n", encoding="utf-8")


def conclude(figures: Sequence[Figure], record: Mapping[str, Any], args: argparse.Namespace, module_file: str) -> None:
    """Print the figures and write them with the record; exit status 1 when one misses its limit."""
    print(figure_table(figures))
    keep({**record, "figures": as_records(figures)}, args, module_file)
    if any(figure.is_met is False for figure in figures):
        raise SystemExit(1)


def _file(text: str) -> Path:
    """A path that can be written, so that nobody learns after an hour that it cannot."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} cannot be written; give a file in a folder that is there")
    return path
