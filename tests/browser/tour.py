"""One window through many pages: what each did while it loaded, what travelled, and when it could be seen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, Response

from tests.browser.chromium import TIMEOUT_MS, WIDE
from tests.browser.conftest import log_in
from tests.browser.site import Person
from tests.browser.watching import Watch

_FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint').map((each) => each.startTime)[0]"


@dataclass(frozen=True)
class Visit:
    """A page as it was when it had loaded, with nothing in the browser's memory."""

    name: str
    page: Page
    response: Response
    complaints: list[str]
    transferred_bytes: int
    first_paint_ms: float


class Tour:
    """Visits pages one after the other in one window."""

    def __init__(self, page: Page, watch: Watch) -> None:
        self.visits: list[Visit] = []
        self._page = page
        self._watch = watch
        self._weighed = 0
        session: CDPSession = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        session.on("Network.loadingFinished", self._on_finished)

    def visit(self, name: str, path: str) -> Visit:
        """Open the page of that name, wide and light."""
        self._page.emulate_media(color_scheme="light")
        self._page.set_viewport_size(WIDE)
        self._weighed, seen = 0, len(self._watch.complaints())
        response = self._page.goto(path, wait_until="networkidle")
        assert response is not None
        painted = self._page.evaluate(_FIRST_PAINT)
        complaints = self._watch.complaints()[seen:]
        visit = Visit(name, self._page, response, complaints, self._weighed, painted)
        self.visits.append(visit)
        return visit

    def _on_finished(self, event: dict[str, Any]) -> None:
        self._weighed += int(event["encodedDataLength"])


@contextmanager
def touring(chromium: Browser, url: str, person: Person | None) -> Iterator[Tour]:
    """A tour of the pages there in a window of that person's, or of nobody's, until the block ends."""
    context = chromium.new_context(viewport=WIDE, base_url=url, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    watch = Watch({url})
    watch.over(context)
    if person is not None:
        log_in(context, person)
    yield Tour(context.new_page(), watch)
    context.close()
