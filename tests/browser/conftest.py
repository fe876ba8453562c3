"""One site and one Chromium for all tests of this folder; each test has windows and an account of its own."""

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Literal, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from tests.browser.chromium import TIMEOUT_MS, WIDE, ChromiumMissing, running_chromium
from tests.browser.furnished import Furnished, furnish
from tests.browser.site import Person, Site, running_site
from tests.browser.watching import Watch

Scheme = Literal["light", "dark"]

KEPT = Path(__file__).resolve().parents[2] / ".make" / "browser"


class OpenWindow(Protocol):
    """Opens a window of a browser of its own: of somebody logged in, or of nobody."""

    def __call__(
        self,
        person: Person | None = None,
        *,
        size: ViewportSize = WIDE,
        scheme: Scheme = "light",
        zone: str = "UTC",
    ) -> Page:
        """A window of that size, at no page yet."""


WatchOf = Callable[[Page], Watch]

_HAS_FAILED = pytest.StashKey[bool]()
_WATCHES = pytest.StashKey[list[tuple[BrowserContext, Watch]]]()


# The driver runs a loop in this thread. It ends with the folder's tests: others begin loops of their own.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """A running Chromium."""
    expect.set_options(timeout=TIMEOUT_MS)
    try:
        with running_chromium() as browser:
            yield browser
    except ChromiumMissing as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Everything that runs."""
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="package")
def furnished(site: Site) -> Furnished:
    """An account that every page has something to show of. Tests leave it as it is."""
    return furnish(site)


@pytest.fixture
def open_window(site: Site, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[OpenWindow]:
    """Opens windows.

    When the test is over, nothing may have gone against the pages' policy, asked another origin or been said
    in the console that its watch (`watch_of`) was not told to expect.
    """
    opened: list[tuple[BrowserContext, Watch]] = []
    request.node.stash[_WATCHES] = opened

    def open_one(
        person: Person | None = None,
        *,
        size: ViewportSize = WIDE,
        scheme: Scheme = "light",
        zone: str = "UTC",
    ) -> Page:
        context = chromium.new_context(
            viewport=size,
            base_url=site.url,
            color_scheme=scheme,
            timezone_id=zone,
            reduced_motion="reduce",
        )
        context.set_default_timeout(TIMEOUT_MS)
        watch = Watch({site.url})
        watch.over(context)
        opened.append((context, watch))
        if person is not None:
            log_in(context, person)
        return context.new_page()

    yield open_one
    for number, (context, _) in enumerate(opened):
        if request.node.stash.get(_HAS_FAILED, False):
            _keep(context, f"{request.node.name}-{number}")
        context.close()
    complaints = [each for _, watch in opened for each in watch.complaints()]
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def watch_of(request: pytest.FixtureRequest, open_window: OpenWindow) -> WatchOf:
    """Gives what is seen in a window."""

    def find(page: Page) -> Watch:
        opened: list[tuple[BrowserContext, Watch]] = request.node.stash[_WATCHES]
        return next(watch for context, watch in opened if context == page.context)

    return find


@pytest.fixture
def ada(site: Site) -> Person:
    """Somebody who has signed up."""
    return site.sign_up()


@pytest.fixture
def page(open_window: OpenWindow, ada: Person) -> Page:
    """A window of ada's, logged in, at no page yet."""
    return open_window(ada)


def log_in(context: BrowserContext, person: Person) -> None:
    """Give the browser the person's session, as logging in does."""
    context.add_cookies(
        [
            {
                "name": cookie.name,
                "value": cookie.value or "",
                "url": person.url,
                "httpOnly": True,
                "sameSite": "Strict",
            }
            for cookie in person.session.cookies
        ]
    )


def _keep(context: BrowserContext, name: str) -> None:
    """Keep what each window shows."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(context.pages):
        path = KEPT / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}-{number}"
        path.with_suffix(".html").write_text(page.content())
        page.screenshot(path=path.with_suffix(".png"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember failures until the windows are closed."""
    report = yield
    if report.failed:
        item.stash[_HAS_FAILED] = True
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests on one worker, so that site and Chromium start once."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))
