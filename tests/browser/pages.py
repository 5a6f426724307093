"""Pages of the project in a real browser, and what is asked of every one of them.

Fixtures are in `conftest.py`. Whoever adds a page or a control opens it by `page_of` and asks `axe` and `tab_stops` about it.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Dialog, Page

CHROMIUM = shutil.which("chromium")
"""Debian's own, `apt-get install chromium`; browsers that Playwright would download are not used."""
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
"""As root, without a graphics card, and where a container has little shared memory."""

LOOKS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "dark": {"dark": True},
    "on a phone": {"width": 390},
    "at a zoom of 200 %": {"width": 640, "height": 360},
    "on paper": {"paper": True},
    "on paper, dark": {"paper": True, "dark": True},
}
"""Ways to look at a page, for `look`; a window at a zoom of 200 % is laid out as one of half the size."""

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_CONTRAST = "color-contrast"
RULES_OF_LOOKS = ("link-in-text-block", "scrollable-region-focusable", "target-size", _CONTRAST)
"""What may hold in one look and not in another."""

_OF_EACH_STYLE = """() => {
    const found = new Map();
    for (const element of document.body.querySelectorAll("*")) {
        const has_text = [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (!has_text || !element.checkVisibility()) continue;
        const style = getComputedStyle(element), key = [style.color, style.fontSize, style.fontWeight, style.opacity];
        for (let each = element; each; each = each.parentElement) {
            const { backgroundColor, backgroundImage } = getComputedStyle(each);
            if (backgroundColor !== "rgba(0, 0, 0, 0)" || backgroundImage !== "none") key.push(backgroundColor, backgroundImage);
        }
        if (!found.has(key.join())) found.set(key.join(), element);
    }
    return [...found.values()];
}"""

_TABBABLE = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(
    element => element.tabIndex >= 0 && !element.disabled && element.checkVisibility({ visibilityProperty: true })
        && !(element.type === "radio" && !element.checked && document.querySelector(`input[name="${CSS.escape(element.name)}"]:checked`)))"""

_NAMED = """element => `${element.localName} ${
    (element.getAttribute("aria-label") || element.innerText || element.id || element.type || "").trim().slice(0, 60)}`"""

_FOCUSED = """() => {
    const element = document.activeElement, box = element.getBoundingClientRect(), style = getComputedStyle(element);
    const is_seen = box.width > 1 && box.height > 1 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
    return [element === document.body ? "" : (NAMED)(element), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0, is_seen];
}""".replace("NAMED", _NAMED)


@dataclass(frozen=True, slots=True)
class Opener:
    """`page_of(study_root)` opens a page; `complaints` are what went wrong in any of them, in plain words."""

    browser: Browser
    complaints: list[str] = field(default_factory=list)
    _contexts: list[BrowserContext] = field(default_factory=list)

    def __call__(self, root: Path, *, scripts: bool = True, **options: Any) -> Page:
        """Open the page of a study or a comparison in a window of 1280 x 720.

        Args:
            root: the folder; the page is `report/index.html`, else `index.html`.
            scripts: whether the page's own run; those of a test do in any case.
            options: of the window, as Playwright's `new_context` has them: `permissions`, `locale`, ...
        """
        path = next(path for path in (root / "report" / "index.html", root / "index.html") if path.exists())
        context = self.browser.new_context(reduced_motion="reduce", **options)  # so that it scrolls at once
        self._contexts.append(context)
        page = context.new_page()
        self._listen(page, path.as_uri())
        switch = context.new_cdp_session(page)  # unlike `java_script_enabled`, it can be turned back, and axe needs timers
        switch.send("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        page.goto(path.as_uri())
        switch.send("Emulation.setScriptExecutionDisabled", {"value": False})
        return page

    def close(self) -> None:
        """Close every page."""
        for context in self._contexts:
            context.close()

    def _listen(self, page: Page, address: str) -> None:
        """A page may ask for itself and for what it carries; it neither reports an error nor opens a dialog or a window."""
        own = (address, "data:", "blob:")

        def complain(text: str, *, where: bool = True) -> None:
            if where:
                self.complaints.append(text)

        def dismiss(dialog: Dialog) -> None:
            complain(f"dialog: {dialog.message}")
            dialog.dismiss()

        page.on("request", lambda sent: complain(f"asks for {sent.url}", where=not sent.url.startswith(own)))
        page.on("console", lambda said: complain(f"{said.type}: {said.text}", where=said.type in ("error", "warning")))
        page.on("pageerror", lambda error: complain(f"error: {error}"))
        page.on("popup", lambda other: complain(f"opens {other.url}"))
        page.on("dialog", dismiss)


def look(page: Page, *, width: int = 1280, height: int = 720, dark: bool = False, paper: bool = False) -> None:
    """Change the window (pixels of CSS), the colour scheme and the medium; without arguments as it was opened."""
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(media="print" if paper else "screen", color_scheme="dark" if dark else "light")


def unfold(page: Page) -> None:
    """Open all that is folded."""
    page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true; })")


def axe(page: Page, rules: Sequence[str] = RULES) -> list[str]:
    """What axe-core finds, a line each: the rule, where, what it says.

    Contrast takes axe most of its time, so it is measured on one element of each style.

    Args:
        page: as it looks now.
        rules: names of rules and of groups of them; WCAG 2.2 A and AA and its best practices.
    """
    page.evaluate(_axe_script())
    kind = "tag" if set(rules) <= set(RULES) else "rule"
    run = f"""async ([kind, rules]) => {{
        const others = await axe.run({{ resultTypes: ["violations"], runOnly: {{ type: kind, values: rules.filter(rule => rule !== "{_CONTRAST}") }},
            rules: {{ "{_CONTRAST}": {{ enabled: false }} }} }});
        const contrast = await axe.run({{ include: ({_OF_EACH_STYLE})() }}, {{ resultTypes: ["violations"], runOnly: ["{_CONTRAST}"] }});
        return [...others.violations, ...contrast.violations].flatMap(found => found.nodes.map(
            node => `${{found.id}} at ${{node.target.join(" ")}}: ${{node.failureSummary.replace(/\\s+/g, " ")}}`));
    }}"""
    return list(page.evaluate(run, [kind, list(rules)]))


@cache
def _axe_script() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def tabbable(page: Page) -> list[str]:
    """Everything that can be used, in the order of the page: `a Skip to the report`, `button Copy`."""
    return list(page.evaluate(f"() => ({_TABBABLE})().map({_NAMED})"))


@dataclass(frozen=True, slots=True)
class TabStop:
    """Where the Tab key leads."""

    name: str
    has_ring: bool
    """It is outlined."""
    is_seen: bool
    """It lies inside the window."""


def tab_stops(page: Page) -> list[TabStop]:
    """Where the Tab key leads from the top of the page until it leaves it."""
    stops: list[TabStop] = []
    while len(stops) < 1000:
        page.keyboard.press("Tab")
        stop = TabStop(*page.evaluate(_FOCUSED))
        if not stop.name:
            break
        stops.append(stop)
    return stops


def headings(page: Page) -> list[int]:
    """Levels of the headings that are shown, in order."""
    script = "() => [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].filter(each => each.checkVisibility()).map(each => +each.localName[1])"
    return list(page.evaluate(script))


def overflow(page: Page) -> list[str]:
    """What makes the page scroll sideways: its parts that are wider than their place, from the outside in; nothing where it does not."""
    script = f"""() => document.scrollingElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body, body *")].filter(
        element => element.scrollWidth > element.clientWidth && getComputedStyle(element).overflowX === "visible"
            && getComputedStyle(element).display !== "inline" && !element.closest("svg")).map({_NAMED})"""
    return list(page.evaluate(script))
