"""What a reader does on the page: ask what if, sort and filter, copy, walk along a chart."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from harness.config import RankConfig
from harness.reporting import formats
from harness.select.ranking import Ranking, rank
from harness.study.store import Study
from tests.browser.pages import Opener
from tests.browser.studies import PAGES, QUICK

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NUM_QUESTIONS = {"60 candidates": 12, "in Chinese": 38}
"""Fifty together; sixty candidates are what a page carries at most, and are ranked in a second."""
LIMITS = ("max_latency_ms", "max_params_m", "max_weights_mib")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of sixty candidates: what a page carries at most."""
    return PAGES["60 candidates"](tmp_path_factory.mktemp("acting") / "study")


@pytest.fixture
def page(root: Path, page_of: Opener) -> Iterator[Page]:
    """Its page; nothing may go wrong on it."""
    yield page_of(root)
    assert page_of.complaints == []


def out(page: Page, name: str) -> str:
    """What the what-if says."""
    return page.locator(f"#what-if [data-out={name}]").text_content() or ""


def ask(page: Page, cfg: RankConfig) -> None:
    """Type limits and a price."""
    for place, name in enumerate(LIMITS):
        value = getattr(cfg, name)
        page.locator(f"#what-if input[type=number][data-limit='{place}']").fill("" if value is None else f"{value:g}")
    price = cfg.points_per_doubling
    page.locator("#what-if [data-price]").fill("" if price is None else f"{price:g}")


def said(ranking: Ranking) -> tuple[str, ...]:
    """The same by the report command: who is chosen of how many, how probably it is the best, what choosing it may cost."""
    if ranking.decision is None:
        return ()
    pick = ranking.decision.picks.recommended
    best = formats.odds(pick.prob_best) if len(ranking.eligible) > 1 else formats.EMPTY
    return ranking.decision.val_choice.label, str(len(ranking.eligible)), best, formats.loss(ranking.metric, pick.expected_loss)


def questions(study: Study, number: int) -> Iterator[RankConfig]:
    """Limits around the costs that candidates have, single ones left out at random, with and without a price."""
    rng, costs = random.Random(1), [entry.cost for entry in rank(study, QUICK, may_open=False).entries]
    values = [[cost.latency_ms_p50 for cost in costs], [cost.params_m for cost in costs], [cost.weights_mib for cost in costs]]
    for _ in range(number):
        limits: dict[str, Any] = {
            name: float(f"{rng.uniform(0.95 * min(filter(None, found)), max(filter(None, found))):.3g}")
            for name, found in zip(LIMITS, values, strict=True)
            if rng.random() < 0.6
        }
        yield replace(QUICK, **limits, points_per_doubling=rng.choice([None, 0.0, round(rng.uniform(0, 6), 2)]))


@pytest.mark.parametrize("name", NUM_QUESTIONS)
def test_what_if_is_what_the_command_says(name: str, tmp_path: Path, page_of: Opener) -> None:
    """The page names the same candidate, probability and expected loss as the report command, to the last digit."""
    root = PAGES[name](tmp_path / "study")
    study, page = Study(root), page_of(root)
    seen, wanted = [], []
    for cfg in questions(study, NUM_QUESTIONS[name]):
        ask(page, cfg)
        wanted.append(said(rank(study, cfg, may_open=False)))
        nobody = page.locator("#what-if [data-out=nobody]").is_visible()
        seen.append(() if nobody else tuple(out(page, part) for part in ("choice", "number", "best", "loss")))
    assert seen == wanted
    assert len({answer[0] for answer in wanted if answer}) > 1


def test_what_if_prints_the_command_that_asks_the_same(page: Page) -> None:
    """Only what differs from the report is in it; one button leads back."""
    before = out(page, "command")
    ask(page, RankConfig(max_latency_ms=20, points_per_doubling=2))
    assert out(page, "command") == f"{before} rank.max_latency_ms=20 rank.points_per_doubling=2"
    page.locator("[data-reset]").click()
    assert out(page, "command") == before


def test_a_slider_is_a_limit(page: Page) -> None:
    """The keyboard moves it to the costs that candidates have, and the right end is no limit."""
    slider, number = (page.locator(f"#what-if input[type={kind}][data-limit='0']") for kind in ("range", "number"))
    slider.focus()
    page.keyboard.press("Home")
    assert number.input_value() == "10"
    assert out(page, "number") == "3"
    page.keyboard.press("End")
    assert number.input_value() == ""
    assert slider.get_attribute("aria-valuetext") == "no limit"


def shown(page: Page, column: int) -> list[str]:
    """Texts of a column of the leaderboard, rows that are seen only."""
    rows = page.locator("[data-leaderboard] tbody tr:visible")
    return list(rows.evaluate_all("(rows, column) => rows.map(row => row.cells[column].textContent)", column))


def test_the_leaderboard_sorts_filters_and_folds(page: Page) -> None:
    """Ten rows at first, the recommended first of all; by number or name in both directions; a name, a size, and one depth of each backbone."""
    board = page.locator("[data-leaderboard]")
    names = page.locator("[data-leaderboard] thead tr > *").all_inner_texts()
    assert len(shown(page, 1)) == 10
    assert shown(page, 2)[0] == "recommended"
    latency = next(place for place, name in enumerate(names) if name.startswith("latency"))
    board.get_by_role("button", name="latency").click()
    board.get_by_role("button", name="latency").click()
    assert shown(page, latency)[0].replace("\N{NO-BREAK SPACE}", " ") == "10.0 ms"
    assert board.locator("th[aria-sort=ascending]").inner_text().startswith("latency")
    board.get_by_role("button", name="Show all rows").click()
    assert len(shown(page, 1)) == 60
    board.get_by_label("best depth of each backbone only").check()
    assert len(shown(page, 1)) == 20
    board.get_by_label("Find").fill("BACKBONE07")
    assert [name.split(" ")[0] for name in shown(page, 1)] == ["backbone07"]
    board.get_by_label("Find").fill("")
    board.get_by_label("Parameters at most").fill("7.5")
    assert len(shown(page, 1)) == 3
    board.get_by_text("Columns").click()
    board.get_by_role("checkbox", name="family").check()
    assert page.locator("[data-leaderboard] th:visible").all_inner_texts()[-1] == "family"


def test_commands_are_copied(root: Path, page_of: Opener) -> None:
    """Each command has a button that puts all of it on the clipboard and says so."""
    page = page_of(root, permissions=["clipboard-read", "clipboard-write"])
    step = page.locator("#answer .copied-from").first
    step.get_by_role("button", name="Copy").click()
    step.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == step.locator("code").inner_text()


def test_a_chart_is_walked_along_by_keyboard(tmp_path: Path, page_of: Opener) -> None:
    """One stop for the Tab key; arrows lead from point to point, each in words with its interval."""
    page = page_of(PAGES["ordinary"](tmp_path / "study"))
    charts = page.locator("[data-charts]")
    assert charts.count() == 3
    charts.first.locator("svg[tabindex]").focus()
    seen = []
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        seen.append(charts.first.locator("p.point").inner_text())
    assert len(set(seen)) == 3
    assert all(" ms" in words.replace("\N{NO-BREAK SPACE}", " ") and " to " in words for words in seen)


def test_a_page_that_reloads_itself_can_be_stopped(tmp_path: Path, page_of: Opener) -> None:
    """That of a running sweep does so until a button is pressed, and again when it is pressed once more."""
    root = PAGES["still running"](tmp_path / "study")
    path = root / "index.html"
    path.write_text(path.read_text(encoding="utf-8").replace('data-reload="3600"', 'data-reload="1"'), encoding="utf-8")
    page = page_of(root)
    with page.expect_navigation():
        pass
    page.get_by_role("button", name="Stop reloading").click()
    page.evaluate("() => { globalThis.isTheSame = true; }")
    page.wait_for_timeout(1500)
    assert page.evaluate("() => globalThis.isTheSame")
    with page.expect_navigation():
        page.get_by_role("button", name="Reload").click()


def test_mistakes_of_a_pair_of_classes_are_looked_at(tmp_path: Path, page_of: Opener) -> None:
    """Every thumbnail decodes, 96 pixels at most; a number of the confusion table leads to pictures of these mistakes, and back."""
    page = page_of(PAGES["ordinary"](tmp_path / "study"))
    sides = page.locator("#images img").evaluate_all("images => images.map(image => Math.max(image.naturalWidth, image.naturalHeight))")
    assert sides
    assert all(0 < side <= 96 for side in sides)
    link = page.locator("#confusion-table a").first
    target = link.get_attribute("href") or ""
    link.click()
    assert page.evaluate("location.hash") == target
    assert page.locator(target).is_visible()
    page.get_by_role("link", name="Back to the table").first.click()
    assert page.evaluate("location.hash") == "#confusion-table"
