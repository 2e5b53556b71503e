"""Every page of a finished run in a real browser: without an error, wide and narrow, light and dark."""

from __future__ import annotations

import pytest

from tests.browser.conftest import PAGES, Watch
from tests.explorers import Served

DISTINCT = [path for path in PAGES if path not in ("/rounds/4", "/rounds/5", "/models/0", "/rounds")]
DARK = ["/", "/rounds/3", "/parties", "/contract", "/models"]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"], "resultTypes": ["violations"]}
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}, "resultTypes": ["violations"]}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_every_page_is_whole(finished: Served, watch: Watch, width: int, scheme: str) -> None:
    with watch(finished, width, scheme) as watched:
        for path in PAGES:
            page = watched.open(finished.url(path))
            assert page.locator("h1").count() == 1, path
            assert page.evaluate(OVERFLOW) <= 0, path
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            charts = page.locator("figure[data-chart]")
            assert page.locator("figure[data-chart] canvas").count() == charts.count(), path
        watched.check()


@pytest.mark.parametrize(("scheme", "rules", "paths"), [("light", RULES, DISTINCT), ("dark", CONTRAST, DARK)])
def test_pages_are_accessible(
    finished: Served, watch: Watch, axe: str, scheme: str, rules: dict[str, object], paths: list[str]
) -> None:
    with watch(finished, 1400, scheme) as watched:
        for path in paths:
            page = watched.open(finished.url(path))
            page.evaluate(axe)
            found = page.evaluate("rules => axe.run(document, rules)", rules)
            serious = [
                (item["id"], node["html"][:200])
                for item in found["violations"]
                if item["impact"] in ("serious", "critical")
                for node in item["nodes"]
            ]
            assert serious == [], path
        watched.check()


def test_without_scripts_tables_say_what_charts_draw(finished: Served, watch: Watch) -> None:
    with watch(finished, java_script_enabled=False) as watched:
        page = watched.open(finished.url("/"))
        tables = page.locator("figure[data-chart] table")
        assert tables.count() == page.locator("figure[data-chart]").count() >= 3
        assert all(tables.nth(place).is_visible() for place in range(tables.count()))
        row = page.locator("table.cells tbody tr").nth(2).inner_text().split()
        assert row[-4:] == ["q", "?", "2", "2"]
        page.goto(finished.url("/audit"))
        page.get_by_role("button", name="Run").click()
        assert page.locator("h1").inner_text() == "Audit"


def test_colours_are_chosen_and_kept(finished: Served, watch: Watch) -> None:
    with watch(finished) as watched:
        page = watched.open(finished.url("/"))
        ground = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(ground)
        page.get_by_role("button", name="Switch to dark colours").click()
        assert page.evaluate(ground) != light
        watched.open(finished.url("/rounds"))
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        watched.check()


def test_keys_move_through_rounds_and_charts(finished: Served, watch: Watch) -> None:
    with watch(finished) as watched:
        page = watched.open(finished.url("/rounds/3"))
        page.keyboard.press("]")
        page.wait_for_url("**/rounds/4")
        page.keyboard.press("[")
        page.wait_for_url("**/rounds/3")
        watched.open(finished.url("/"))
        plot = page.locator("figure[data-chart] .plot").last
        plot.focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowDown")
        tip = plot.locator(".tip")
        assert tip.is_visible()
        assert "round 6" in tip.inner_text()
        page.keyboard.press("/")
        page.keyboard.type("0x7af5A7ED9Dd9")
        page.keyboard.press("Enter")
        page.wait_for_url("**/miners/0x7af5A7ED9Dd9*")
        watched.check()


def test_one_click_checks_a_model(finished: Served, watch: Watch) -> None:
    with watch(finished) as watched:
        page = watched.open(finished.url("/models"))
        page.get_by_label("Check model 3", exact=True).click()
        page.get_by_text("root holds").wait_for()
        assert page.url.endswith("/models")
        with page.expect_download() as download:
            page.get_by_label("Model 3 as float32").click()
        assert download.value.suggested_filename == "model-3.safetensors"
        watched.check()


def test_an_audit_shows_its_verdicts(finished: Served, watch: Watch) -> None:
    with watch(finished) as watched:
        page = watched.open(finished.url("/audit"))
        page.get_by_role("button", name="Run").click()
        page.get_by_text("All of it holds").wait_for(timeout=20_000)
        rows = page.locator("tbody tr")
        assert rows.count() >= 7
        assert page.locator("tbody .status.wrong").count() == 0
        watched.check()
