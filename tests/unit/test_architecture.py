"""The rooms of `harness/` and the arrows between them are what docs/architecture.md says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.__main__ import COMMANDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## ")[0], flags=re.MULTILINE)
"""From the top."""
MODULES = sorted((ROOT / "harness").rglob("*.py"))


def room_of(name: str) -> str:
    """`select` of `harness.select.pairs`."""
    return name.split(".")[1]


def imported(path: Path) -> Iterator[str]:
    """Dotted names of what a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_page_lists_every_room() -> None:
    """Two screens: an entry for each command, and at most 26 modules and packages behind them; each is in the table once."""
    found = {path.stem for path in (ROOT / "harness").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(ROOMS) == sorted(found - {"__init__"})
    entries = {module.split(".")[1] for module in COMMANDS.values() if not module.endswith("__main__")}
    assert len(found - entries) <= 26


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_a_room_imports_from_rooms_below_it_only(path: Path) -> None:
    """What lies below knows nothing of what uses it."""
    own = path.relative_to(ROOT / "harness").with_suffix("").parts[0]
    if own == "__init__":
        return
    below = set(ROOMS[ROOMS.index(own) + 1 :]) | {own}
    wrong = {name for name in imported(path) if name.startswith("harness.") and room_of(name) in ROOMS and room_of(name) not in below}
    assert wrong == set()


def test_every_file_that_the_page_names_is_there() -> None:
    """Newcomers are sent to files and folders; none of them has moved."""
    named = re.findall(r"`((?:harness|conf|tests|hydra_plugins|results)/[\w/.-]*)`", PAGE)
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert len(named) > 20


def test_hydra_is_imported_at_the_border_only() -> None:
    """Whoever runs jobs, reads studies or ranks them knows no command line; entries and `verify`, which reads recorded ones, do."""
    users = {
        path.relative_to(ROOT / "harness").with_suffix("").parts[0] for path in MODULES if any("hydra" in name for name in imported(path))
    }
    assert users <= {"sweep", "report", "retime", "predict", "refit", "verify", "verification", "cli", "config"}
