"""One word for one thing, and the word that the field uses: what docs/adr/0022-vocabulary.md replaced does not come back."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PHRASES = re.compile(
    r"\b(fixed (layers?|blocks?|backbones?)|kept (rows?|features?)|prefix of layers|solved head|augmented looks?|number of the look"
    r"|evidence without|evidence_s|keepers?|shelf|shelves|contenders?|entrants?|standing|told apart|cheapest of the tied|open places"
    r"|somewhat too good|labelled right|labels right|not used for longest|mistaken for whom)\b",
    re.IGNORECASE,
)
"""Words that mean nothing else in this project."""

NAMES = frozenset(
    {"arm", "arms", "bank", "banks", "contender", "course", "crossing", "entrant", "keeper", "looks"}
    | {"shelf", "solved", "standing", "team", "trunks", "wish"}
)
"""Words with other meanings in a sentence, which name nothing in the code."""


def searched(suffix: str) -> list[Path]:
    """Files of the program, the pages and the settings."""
    folders = [ROOT / name for name in ("harness", "docs", "conf", "hydra_plugins")]
    files = [*(path for folder in folders for path in folder.rglob(f"*{suffix}")), *ROOT.glob(f"*{suffix}"), ROOT / "results" / "README.md"]
    return sorted(path for path in files if path.suffix == suffix and path.name not in {"0022-vocabulary.md", "CHANGELOG.md"})


def where(path: Path, line: int, word: str) -> str:
    """`docs/data.md:12: kept rows`."""
    return f"{path.relative_to(ROOT)}:{line}: {word}"


def names_in(path: Path) -> Iterator[tuple[int, str]]:
    """What a module names, with its lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case _:
                pass


def words_of(name: str) -> set[str]:
    """`ThreadPool` and `thread_pool` -> thread, pool."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


@pytest.mark.parametrize("suffix", [".py", ".md", ".yaml", ".j2"])
def test_replaced_words_are_in_no_text(suffix: str) -> None:
    """Docstrings, messages, columns, settings and pages."""
    found = [
        where(path, number, match[0])
        for path in searched(suffix)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for match in PHRASES.finditer(line)
    ]
    assert found == []


def test_replaced_words_name_nothing() -> None:
    """A bank of a river may be mentioned; no class, function, variable or attribute is called one."""
    found = [
        where(path, line, name)
        for path in searched(".py")
        if path.is_relative_to(ROOT / "harness")
        for line, name in names_in(path)
        if words_of(name) & NAMES
    ]
    assert found == []
