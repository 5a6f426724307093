"""What pictures need: labels that do not overlap, names that any font can draw, ids that do not clash."""

import re
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.font_manager import fontManager

from harness.reporting.formats import millions, ms, one_line, percent, shorten, signed_points
from harness.reporting.plots.style import OTHER_SCRIPTS, label, new_figure, save, spread, themed, undrawn


@given(st.lists(st.floats(-100, 100), max_size=20), st.floats(0.1, 20))
def test_spread_keeps_order_and_distance(wanted: list[float], gap: float) -> None:
    """Positions keep their order, are a gap apart, and stay where they are when there is room."""
    placed = spread(wanted, gap)
    in_order = [placed[i] for i in sorted(range(len(wanted)), key=lambda i: wanted[i])]
    assert all(upper - lower >= gap * (1 - 1e-6) for lower, upper in pairwise(in_order))
    sorted_wanted = sorted(wanted)
    if all(upper - lower >= gap for lower, upper in pairwise(sorted_wanted)):
        assert placed == pytest.approx(wanted)


@given(st.text(max_size=60), st.integers(8, 40))
def test_label_is_one_line_of_letters(text: str, length: int) -> None:
    """A label is one line, no longer than asked, and no character of it acts instead of being seen; any script is left as it is."""
    found = label(text, length)
    assert len(found) <= length
    assert not any(unicodedata.category(character).startswith(("Cc", "Cf", "Cs", "Zl", "Zp")) for character in found)
    assert text in found or len(text) > length or one_line(text) != text


def test_names_in_any_script_are_text_in_the_svg(tmp_path: Path) -> None:
    """The reader's fonts draw them; the PNG file has boxes where none is installed here, and a sentence says so, only then."""
    with themed():
        figure = new_figure(3, 2)
        figure.add_subplot().set_xticks([0, 1], [label("缺陷"), label("<b>正常")])
        svg = save(figure, tmp_path, "plot")
    assert ">缺陷</text>" in svg
    assert "&lt;b&gt;正常" in svg
    assert "'Noto Sans CJK SC'" in svg
    has_font = any(name in {font.name for font in fontManager.ttflist} for name in OTHER_SCRIPTS)
    assert ("缺陷" in undrawn(["ok", "缺陷"])) == (not has_font)
    assert undrawn(["ok", "größe"]) == ""


def test_names_are_not_mathematics(tmp_path: Path) -> None:
    """Dollar signs, unknown glyphs and backslashes draw without an error or a warning."""
    with themed():
        figure = new_figure(3, 2)
        axes = figure.add_subplot()
        axes.set_xticks([0, 1], [label("$x^{$"), label("猫 \\frac")])
        svg = save(figure, tmp_path, "plot")
    assert svg.startswith("<svg ")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_ids_carry_the_picture_name(tmp_path: Path) -> None:
    """Two pictures on one page share no id, and each refers to its own."""
    with themed():
        figure = new_figure(3, 2)
        figure.add_subplot().plot([0, 1], [0, 1])
        svg = save(figure, tmp_path, "one")
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    references = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
    assert ids
    assert references <= ids
    assert all(name.startswith("one-") for name in ids)
    assert "<!--" not in svg
    assert "<metadata" not in svg


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (percent(0.8123), "81.2 %"),
        (percent(None), "–"),
        (signed_points(-0.00001), "0.0"),
        (signed_points(0.0123), "+1.2"),
        (ms(9.704), "9.70 ms"),
        (ms(41.23), "41.2 ms"),
        (millions(23.508), "23.51 M"),
        (millions(0.01025), "10.2 k"),
        (one_line("a\nb\u2028c"), "a\\nb\\u2028c"),
        (shorten("abcdefghij", 6), "abc…ij"),
    ],
)
def test_formats(found: str, wanted: str) -> None:
    """Numbers and names as readers see them."""
    assert found.replace("\N{NO-BREAK SPACE}", " ") == wanted
