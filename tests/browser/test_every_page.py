"""What is true of every page, with an account that has something to show on each.

Each is opened once as if for the first time, with nothing in the browser's memory.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, Page, Response

from api_service.dashboard.navigation import Page as Entry
from tests.browser.axe import grave_violations
from tests.browser.chromium import PHONE, TIMEOUT_MS, WIDE
from tests.browser.conftest import log_in
from tests.browser.furnished import Furnished, furnish
from tests.browser.pages import pages_made
from tests.browser.site import Site
from tests.browser.watching import Watch

TRANSFERRED_BYTES_MAX = 400_000
LEADING_ON = ("home", "login", "sign_up", "accounts_menu")  # elsewhere for who is logged in, or a page's part

_FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint').map((each) => each.startTime)[0]"


@dataclass
class Visit:
    """A page as it was when it had loaded."""

    name: str
    page: Page
    response: Response
    complaints: list[str]
    transferred_bytes: int
    first_paint_ms: float


class Scales:
    """Weighs what travels from the site to a page."""

    def __init__(self, page: Page) -> None:
        self.weighed = 0
        self._session: CDPSession = page.context.new_cdp_session(page)
        self._session.send("Network.enable")
        self._session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        self._session.on("Network.loadingFinished", self._on_finished)

    def _on_finished(self, event: dict[str, Any]) -> None:
        self.weighed += int(event["encodedDataLength"])


@pytest.fixture(scope="module")
def furnished(site: Site) -> Furnished:
    """The account."""
    return furnish(site)


@pytest.fixture(scope="module")
def visits() -> list[Visit]:
    """All visits so far."""
    return []


@pytest.fixture(scope="module")
def open_page(
    site: Site, chromium: Browser, furnished: Furnished, visits: list[Visit]
) -> Iterator[Callable[[Entry], Visit]]:
    """Opens pages in one window of the account's owner."""
    context = chromium.new_context(viewport=WIDE, base_url=site.url, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    watch = Watch({site.url})
    watch.over(context)
    log_in(context, furnished.owner)
    page = context.new_page()
    scales = Scales(page)

    def open_one(entry: Entry) -> Visit:
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(WIDE)
        scales.weighed = 0
        seen = len(watch.complaints())
        response = page.goto(furnished.path(entry.path), wait_until="networkidle")
        assert response is not None
        visit = Visit(
            entry.name, page, response, watch.complaints()[seen:], scales.weighed, page.evaluate(_FIRST_PAINT)
        )
        visits.append(visit)
        return visit

    yield open_one
    context.close()


@pytest.fixture(
    scope="module",
    params=[each for each in pages_made() if each.name not in LEADING_ON],
    ids=lambda entry: entry.name,
)
def visit(request: pytest.FixtureRequest, open_page: Callable[[Entry], Visit]) -> Visit:
    """A visit to each page."""
    return open_page(request.param)


def test_it_loads_and_does_nothing_that_pages_may_not(visit: Visit) -> None:
    assert visit.response.status == 200
    assert visit.complaints == []
    assert visit.page.locator("h1").count() == 1
    assert visit.page.locator("main").count() == 1


def test_it_is_light(visit: Visit) -> None:
    assert visit.transferred_bytes < TRANSFERRED_BYTES_MAX


def test_axe_finds_nothing_serious_in_light_and_dark(visit: Visit) -> None:
    in_light = grave_violations(visit.page)
    visit.page.emulate_media(color_scheme="dark")
    in_dark = grave_violations(visit.page)

    assert in_light + in_dark == []


def test_on_a_phone_nothing_lies_beyond_the_edge(visit: Visit) -> None:
    visit.page.set_viewport_size(PHONE)
    visit.page.reload(wait_until="networkidle")

    assert visit.page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]


def test_first_paint_is_told(visits: list[Visit], record_property: Callable[[str, object], None]) -> None:
    latest = max(visits, key=lambda each: each.first_paint_ms)
    heaviest = max(visits, key=lambda each: each.transferred_bytes)
    median = statistics.median(each.first_paint_ms for each in visits)
    record_property(
        "figure",
        f"first paint of {len(visits)} pages: {median:.0f} ms in the median, at most "
        f"{latest.first_paint_ms:.0f} ms ({latest.name}); at most {heaviest.transferred_bytes:,} bytes "
        f"transferred ({heaviest.name})",
    )

    assert visits
