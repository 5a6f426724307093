"""What holds for every page that the project writes, whatever it shows."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.pages import LOOKS, RULES, RULES_OF_LOOKS, Opener, axe, headings, look, overflow, tab_stops, tabbable, unfold
from tests.browser.studies import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module", params=PAGES)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Path:
    """The folder of each page in turn."""
    return PAGES[request.param](tmp_path_factory.mktemp("pages") / "study")


@pytest.fixture(scope="module")
def opener(browser: Browser, root: Path) -> Iterator[Opener]:
    """Knows what the page has asked for."""
    opener = Opener(browser)
    yield opener
    opener.close()


@pytest.fixture(scope="module")
def opened(opener: Opener, root: Path) -> Page:
    """The page, for all tests: a window takes longer to open than most of them."""
    return opener(root)


@pytest.fixture
def page(opened: Page) -> Page:
    """The page as it looks at first."""
    look(opened)
    return opened


def test_nothing_stands_in_the_way(page: Page) -> None:
    """Axe finds no violation, all folds open: in either colour scheme, on a phone, zoomed, on paper."""
    unfold(page)
    found = {}
    for name, options in LOOKS.items():
        look(page, **options)
        found[name] = axe(page, RULES_OF_LOOKS if options else RULES)
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_nothing_stands_in_the_way_without_scripts(root: Path, page: Page, page_of: Opener) -> None:
    """The same sections and tables are there, axe finds no violation, and what needs a script to work is not shown."""
    without = page_of(root, scripts=False)
    for what in ("h1", "h2", "section[id]", "table", "tr"):
        assert without.locator(what).count() == page.locator(what).count(), what
    assert without.locator("main table").count() > 0
    assert without.locator(":is(button, input, select, textarea):visible").count() == 0
    assert [
        fault for fault in axe(without) if not fault.startswith("meta-refresh ")
    ] == []  # all that keeps a page up to date without scripts


@pytest.mark.parametrize("width", [320, 390])
def test_the_page_does_not_scroll_sideways(page: Page, width: int) -> None:
    """What is wider than a phone scrolls by itself; 320 is what WCAG asks for."""
    look(page, width=width)
    unfold(page)
    assert overflow(page) == []


def test_headings_are_an_outline(page: Page) -> None:
    """One heading of the first level comes first, and no level is left out on the way down."""
    levels = headings(page)
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_the_keyboard_reaches_everything(page: Page) -> None:
    """Tab leads to a skip link first, then to everything that can be used, in the order of the page; what has the focus is outlined and in sight."""
    page.reload()
    unfold(page)
    everything = tabbable(page)
    stops = tab_stops(page)
    assert [stop.name for stop in stops] == everything
    assert [stop.name for stop in stops if not (stop.has_ring and stop.is_seen)] == []
    assert stops[0].name == f"a {page.locator('.skip').inner_text()}"


def test_the_skip_link_leads_to_the_content(page: Page) -> None:
    """Enter moves the focus into `main`, and the next Tab goes on from there."""
    page.reload()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.matches('main, main *')")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.matches('main *')")


def test_the_page_asks_for_nothing(opener: Opener, page: Page) -> None:
    """After all that, it has loaded nothing but itself, run into no policy, reported no error and opened no dialog."""
    page.reload()
    assert opener.complaints == []
