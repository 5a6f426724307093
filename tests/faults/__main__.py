"""`python -m tests.faults`: inject every fault, print what came of it, and write the table in docs/reliability.md."""

import argparse
import os
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.faults import everything  # noqa: F401  fills the catalogue
from tests.faults.box import Box
from tests.faults.catalog import FAULTS, Fault, Seen

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
START, END = "<!-- faults: written by python -m tests.faults -->", "<!-- end of faults -->"


def main() -> int:
    """Run all, or those whose name holds a word. Returns 1 when one did not end as it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Inject faults for real and tell what a user sees.")
    parser.add_argument("words", nargs="*", help="only faults whose name or area holds one of these words")
    parser.add_argument("--write", action="store_true", help=f"write what came of them into the table of {PAGE.name}")
    args = parser.parse_args()
    chosen = [f for f in FAULTS.values() if not args.words or any(word in f"{f.area} {f.name}" for word in args.words)]
    results = [(each, _run(each)) for each in chosen]
    good = [(each, seen) for each, seen in results if isinstance(seen, Seen)]
    counts = ", ".join(f"{number} {outcome}" for outcome, number in Counter(seen.outcome.value for _, seen in good).items())
    print(f"{len(results)} faults: {counts}; {len(results) - len(good)} not as they must be")
    if args.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
        earlier, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{START}\n\n{_table(earlier, good)}\n\n{END}{after}", encoding="utf-8")
    return 0 if len(good) == len(results) else 1


def _run(each: Fault) -> Seen | Exception:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/hub", "TORCH_HOME": f"{folder}/torch", "NO_COLOR": "1", "COLUMNS": "400"}
        before = dict(os.environ)
        os.environ.update(offline)
        try:
            root = Path(folder, "box")
            root.mkdir()
            seen: Seen | Exception = _without(folder, each.inject(Box(root)))
        except Exception as error:  # noqa: BLE001  one that fails is told beside the others
            seen = error
        finally:
            os.environ.clear()
            os.environ.update(before)
    words = (
        f"{seen.outcome.value}: {seen.words}"
        if isinstance(seen, Seen)
        else f"FAILED: {seen!r} at {traceback.extract_tb(seen.__traceback__)[-1].line}"
    )
    print(f"{time.perf_counter() - started:6.1f} s  {each.area}: {each.name} -> {words}", flush=True)
    return seen


def _without(folder: str, seen: Seen) -> Seen:
    """Words that do not depend on where temporary files and this Python lie."""
    return replace(seen, words=re.sub(r"[\w./-]*/python(?= -m harness)", "python", seen.words.replace(folder, "")))


def _table(earlier: str, good: Sequence[tuple[Fault, Seen]]) -> str:
    """What was injected now, and from an earlier table the lines of faults that still exist."""
    lines = {line.split(" | ")[1]: line for line in earlier.splitlines() if line.startswith("| ") and line.count(" | ") >= 4}
    lines |= {f.name: f"| {f.area} | {f.name} | {f.injected} | {seen.outcome.value} | {_cell(seen.words)} |" for f, seen in good}
    head = ["| area | fault | how it is injected | what becomes of it | what the user sees |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *(lines[name] for name in FAULTS if name in lines)])


def _cell(words: str) -> str:
    words = words.replace("|", "/")
    return f"`` {words} ``" if "`" in words else f"`{words}`"


if __name__ == "__main__":
    sys.exit(main())
