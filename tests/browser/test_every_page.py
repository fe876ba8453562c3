"""What is true of every page, with an account that has something to show on each."""

import statistics
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from api_service.dashboard.navigation import Page as Entry
from tests.browser.axe import grave_violations
from tests.browser.chromium import PHONE
from tests.browser.furnished import Furnished
from tests.browser.pages import pages_made
from tests.browser.site import Site
from tests.browser.tour import Tour, Visit, touring

TRANSFERRED_BYTES_MAX = 400_000
NOT_VISITED = ("home", "accounts_menu")  # leads on; is part of another
VISITED = [each for each in pages_made() if each.name not in NOT_VISITED]


@pytest.fixture(scope="module")
def tours(chromium: Browser, site: Site, furnished: Furnished) -> Iterator[dict[bool, Tour]]:
    """A window of nobody's for the pages that are open to anyone (True), and one of the account's owner."""
    with (
        touring(chromium, site.url, None) as of_nobody,
        touring(chromium, site.url, furnished.owner) as of_owner,
    ):
        yield {True: of_nobody, False: of_owner}


@pytest.fixture(scope="module", params=VISITED, ids=lambda entry: entry.name)
def visit(request: pytest.FixtureRequest, tours: dict[bool, Tour], furnished: Furnished) -> Visit:
    """A visit to each page."""
    entry: Entry = request.param
    return tours[entry.is_open].visit(entry.name, furnished.path(entry.path))


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


def test_first_paint_is_told(tours: dict[bool, Tour], record_property: Callable[[str, object], None]) -> None:
    visits = [each for tour in tours.values() for each in tour.visits]
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
