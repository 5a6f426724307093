"""The documentation site builds without a warning and without the network, and loads nothing from it either."""

import re
import runpy
import warnings
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from sphinx.cmd.build import main

ROOT = Path(__file__).parents[2]


class Loaded(HTMLParser):
    """Addresses that a browser fetches without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """All but what a reader follows."""
        if tag != "a":
            self.addresses += [value for name, value in attrs if name in {"src", "href", "srcset", "data", "poster"} and value]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it, with sockets blocked."""
    folder = tmp_path_factory.mktemp("docs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Sphinx about its own code; those about pages are errors by -W
        status = main(["-q", "-W", "--keep-going", "-d", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "site")])
    assert status == 0
    return folder / "site"


def test_every_page_is_there(site: Path) -> None:
    """Each Markdown page of `docs/` is a page of the site, and docstrings are in the reference."""
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in pages if not (site / page).exists()] == []
    reference = (site / "reference.html").read_text(encoding="utf-8")
    assert "Compare studies, each by the protocol and the settings of its last sweep." in reference
    assert "of the score that half the latency is worth; 0: the score alone counts." in reference


def test_nothing_is_loaded_from_the_network(site: Path) -> None:
    """No script, style, font or picture has an address of its own on a server."""
    loaded = Loaded()
    for page in site.rglob("*.html"):
        loaded.feed(page.read_text(encoding="utf-8"))
    assert len(loaded.addresses) > 100
    assert [address for address in loaded.addresses if re.match(r"(https?:)?//", address)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)\s]*", styles) == []


def test_links_to_other_files_name_them() -> None:
    """What is no page of the site is named, or has a page that stands for it; what is nowhere stays a dead link, which fails the build."""
    name_other_files = runpy.run_path(str(ROOT / "docs" / "conf.py"))["_name_other_files"]
    source = ["[this](../../harness/report.py) [columns](../../results/README.md#demo) [page](../data.md#formats) [gone](../../gone.md)"]
    name_other_files(SimpleNamespace(srcdir=ROOT / "docs"), "adr/0001-blocks", source)
    assert source == ["this (`harness/report.py`) [columns](/columns.md) [page](../data.md#formats) [gone](../../gone.md)"]
