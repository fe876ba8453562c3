"""What is true of every page, with an account that has something to show on each."""

import statistics
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.axe import grave_violations
from tests.browser.chromium import PHONE
from tests.browser.furnished import Furnished
from tests.browser.pages import pages_made
from tests.browser.tour import Tour, Visit, touring

TRANSFERRED_BYTES_MAX = 400_000
LEADING_ON = ("home", "login", "sign_up", "accounts_menu")  # elsewhere for who is logged in, or a page's part
VISITED = [each for each in pages_made() if each.name not in LEADING_ON]


@pytest.fixture(scope="module")
def tour(chromium: Browser, furnished: Furnished) -> Iterator[Tour]:
    """Its owner's window."""
    with touring(chromium, furnished.owner) as tour:
        yield tour


@pytest.fixture(scope="module", params=VISITED, ids=lambda entry: entry.name)
def visit(request: pytest.FixtureRequest, tour: Tour, furnished: Furnished) -> Visit:
    """A visit to each page."""
    return tour.visit(request.param.name, furnished.path(request.param.path))


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
    in_dark = grave_violations(visit.page, only_colours=True)

    assert in_light + in_dark == []


def test_on_a_phone_nothing_lies_beyond_the_edge(visit: Visit) -> None:
    visit.page.set_viewport_size(PHONE)
    visit.page.reload(wait_until="networkidle")

    assert visit.page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]


def test_first_paint_is_told(tour: Tour, record_property: Callable[[str, object], None]) -> None:
    latest = max(tour.visits, key=lambda each: each.first_paint_ms)
    heaviest = max(tour.visits, key=lambda each: each.transferred_bytes)
    median = statistics.median(each.first_paint_ms for each in tour.visits)
    record_property(
        "figure",
        f"first paint of {len(tour.visits)} pages: {median:.0f} ms in the median, at most "
        f"{latest.first_paint_ms:.0f} ms ({latest.name}); at most {heaviest.transferred_bytes:,} bytes "
        f"transferred ({heaviest.name})",
    )

    assert tour.visits
