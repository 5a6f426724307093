"""What holds for every page that the project writes, whatever it shows."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.browser.pages import MODES, Opener, axe, headings, overflow, tab_stops, tabbable
from tests.browser.studies import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module", params=PAGES)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of each page in turn."""
    return PAGES[request.param](tmp_path_factory.mktemp("pages") / "study")


@pytest.mark.parametrize("mode", MODES)
def test_nothing_stands_in_the_way(root: Path, mode: str, page_of: Opener) -> None:
    """Axe finds no violation, in either colour scheme, small, zoomed, on paper and without scripts; nothing is loaded and no error logged."""
    assert axe(page_of(root, **MODES[mode])) == []


@pytest.mark.parametrize("width", [320, 390])
def test_the_page_does_not_scroll_sideways(root: Path, width: int, page_of: Opener) -> None:
    """What is wider than a phone scrolls by itself; 320 is what WCAG asks for."""
    assert overflow(page_of(root, viewport={"width": width, "height": 800})) == []


def test_the_keyboard_reaches_everything(root: Path, page_of: Opener) -> None:
    """Tab leads to a skip link first, then to everything that can be used, in the order of the page; what has the focus is outlined and in sight."""
    page = page_of(root)
    everything = tabbable(page)
    stops = tab_stops(page)
    assert [stop.name for stop in stops] == everything
    assert [stop.name for stop in stops if not (stop.has_ring and stop.is_seen)] == []
    assert stops[0].name.startswith("a Skip")


def test_the_skip_link_leads_into_the_content(root: Path, page_of: Opener) -> None:
    """Enter moves the focus into `main`, so that the next Tab goes on from there."""
    page = page_of(root)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.closest('main') !== null")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('main') !== null")


def test_headings_are_an_outline(root: Path, page_of: Opener) -> None:
    """One heading of the first level comes first, and no level is left out on the way down."""
    levels = headings(page_of(root))
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_without_scripts_the_page_says_the_same(root: Path, page_of: Opener) -> None:
    """Sections and tables are there; what needs a script to work is not shown without one."""
    with_scripts, without = page_of(root), page_of(root, scripts=False)
    for what in ("h1", "h2", "main section[id]", "table", "tr", "svg"):
        assert without.locator(what).count() == with_scripts.locator(what).count() > 0 or what == "svg", what
    assert without.locator(":is(button, input, select, textarea):visible").count() == 0
