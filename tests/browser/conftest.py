"""A browser, explorers for it, and what tests watch of its pages: errors, requests, overflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest

from tests.explorers import Served, run_target, serving
from tests.local_federation import LocalFederation
from tests.played_run import play_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM: Final = Path("/usr/bin/chromium")
AXE: Final = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGES: Final = (
    "/",
    "/rounds",
    "/rounds/3",
    "/rounds/4",
    "/rounds/5",
    "/parties",
    "/devices/2",
    "/miners/1",
    "/models",
    "/models/3",
    "/models/0",
    "/models/3/check",
    "/contract",
    "/contract?function=round_clock",
    "/events",
    "/audit",
)


@dataclass
class Watched:
    """A page, and what it did that it should not have done."""

    page: Page
    home: str  # host and port that it may ask
    errors: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)  # requests that left

    def open(self, url: str) -> Page:
        """Open a page and wait until its charts are drawn."""
        self.page.goto(url)
        self.page.wait_for_load_state("load")
        return self.page

    def check(self) -> None:
        """Assert that nothing went wrong so far."""
        assert self.errors == []
        assert self.strays == []


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser; tests are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> LocalFederation:
    """A finished run that tests only look at."""
    return play_run(tmp_path_factory.mktemp("played") / "runs")


@pytest.fixture(scope="session")
def finished(played: LocalFederation) -> Iterator[Served]:
    """An explorer of the finished run."""
    with serving(run_target(played.path), measures=False) as served:
        yield served


@pytest.fixture
def axe() -> str:
    """The rules for accessible pages, as a script."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci --prefix tests/browser")
    return AXE.read_text(encoding="utf-8")


Watch = Callable[..., Any]


@pytest.fixture
def watch(chromium: Browser) -> Watch:
    """Opens pages of one explorer in a context of their own: `with watch(served, width=400) as watched`."""

    @contextmanager
    def watch(served: Served, width: int = 1400, scheme: str = "light", **options: Any) -> Iterator[Watched]:
        context: BrowserContext = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
            **options,
        )
        try:
            watched = Watched(context.new_page(), urlsplit(served.address).netloc)
            _listen(watched)
            yield watched
        finally:
            context.close()

    return watch


def _listen(watched: Watched) -> None:
    def console(message: Any) -> None:
        if message.type in ("error", "warning"):
            watched.errors.append(f"{watched.page.url}: {message.text}")

    def dialog(opened: Any) -> None:
        watched.errors.append(opened.message)
        opened.dismiss()

    def request(asked: Any) -> None:
        if urlsplit(asked.url).scheme not in ("data", "blob") and urlsplit(asked.url).netloc != watched.home:
            watched.strays.append(asked.url)

    watched.page.on("console", console)
    watched.page.on("pageerror", lambda error: watched.errors.append(f"{watched.page.url}: {error}"))
    watched.page.on("dialog", dialog)
    watched.page.on("request", request)
