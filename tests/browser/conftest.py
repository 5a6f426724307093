"""One browser for each file of tests, and windows that are closed after each test."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.pages import CHROMIUM, FLAGS, Opener


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it the test is skipped. Not for the whole session: while Playwright runs, no other test of the process can call `asyncio.run`."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page_of(browser: Browser) -> Iterator[Opener]:
    """Opens pages. A test during which a page asks for anything but itself, reports an error or opens a dialog has failed."""
    opener = Opener(browser)
    yield opener
    opener.close()
    assert opener.complaints == []
