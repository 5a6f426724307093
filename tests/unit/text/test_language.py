"""Catalogues: no sentence is missing, none is left over, and the places for values agree."""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Formatter

import pytest

from harness.config import Language
from harness.text.counts import counted
from harness.text.language import catalogue, listed, say, speaking, told

ROOT = Path(__file__).parents[3]
CATALOGUES = ROOT / "harness" / "text" / "catalogues"
OTHERS = [each.value for each in Language if each is not Language.en]


def literals(call: ast.Call, names: Sequence[str]) -> Iterator[str]:
    """English sentences that a call is given: all that its first argument may be."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in names or not call.args:
        return
    for text in alternatives(call.args[1 if name == "counted" else 0]):
        yield f"{{number}} {text}" if name == "counted" else text


def alternatives(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be; an f-string would be a sentence that no catalogue can know."""
    if isinstance(node, ast.IfExp):
        yield from alternatives(node.body)
        yield from alternatives(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    assert not isinstance(node, ast.JoinedStr), ast.unparse(node)


def spoken() -> Counter[str]:
    """Every sentence of the code and of the templates."""
    found: Counter[str] = Counter()
    for path in (ROOT / "harness").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names = (
            ("say", "noted", "counted")
            if re.search(r"from harness\.text\.language import .*\b(say|noted)\b", text) or path.stem == "language"
            else ("counted",)
        )
        found.update(each for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) for each in literals(node, names))
    for path in (ROOT / "harness" / "reporting" / "templates").rglob("*.j2"):
        found.update(re.findall(r'\bsay\("([^"]+)"', path.read_text(encoding="utf-8")))
    return found


def places(sentence: str) -> set[str]:
    """Names of the values that it takes, with how they are written."""
    return {f"{name}:{spec}" for _, name, spec, _ in Formatter().parse(sentence) if name is not None}


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_in_every_language(language: str) -> None:
    """And nothing else is in a catalogue; no sentence is in two of its files; places for values agree."""
    found = catalogue(language)
    assert sorted(set(spoken()) - set(found)) == []
    assert sorted(set(found) - set(spoken())) == []
    files = [json.loads(path.read_text(encoding="utf-8")) for path in (CATALOGUES / language).glob("*.json")]
    assert [key for key, number in Counter(key for file in files for key in file).items() if number > 1] == []
    assert {key: value for key, value in found.items() if places(key) != places(value)} == {}


def test_what_no_catalogue_has_is_english() -> None:
    """A language without the sentence falls back to it; values keep their braces."""
    with speaking("zh"):
        assert say("no such {thing}", thing="{x}") == "no such {x}"


def test_counts_and_lists_follow_the_language() -> None:
    """Plurals are English; sentences of Chinese follow each other without a space."""
    assert [counted(1, "image"), counted(1200, "image")] == ["1 image", "1,200 images"]
    assert [listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b", "c"], 2), listed([])] == ["a", "a, b and c", "a, b and 1 more", ""]
    assert told("One.", "", "Two.") == "One. Two."
    with speaking("zh"):
        assert counted(1200, "image") == "1,200 张图像"
        assert listed(["a", "b", "c"]) == "a、b 和 c"
        assert told("一。", "二。") == "一。二。"
