"""Pictures of every page, to be looked at: `make screenshots`, or `python -m tests.browser.screenshots`.

An account with three months behind it is shown to its owner: each page in light, in dark and on a phone, in
whole length, as `<page>-<look>.png`. Some pages are also taken as nobody sees them every day: an account in
which nothing has happened yet (`new-…`), and what a viewer may not open (`viewer-…`).
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, BrowserContext

from api_service.dashboard.navigation import Page
from tests.browser.axe import COME_TO_REST
from tests.browser.chromium import PHONE, TIMEOUT_MS, WIDE, running_chromium
from tests.browser.conftest import log_in
from tests.browser.furnished import Furnished, furnish
from tests.browser.pages import pages_made
from tests.browser.site import Person, Site, running_site

Look = Literal["light", "dark", "phone"]

LOOKS: tuple[Look, ...] = ("light", "dark", "phone")
NO_PICTURE = ("home", "accounts_menu")  # leads on; is part of another
FOLDER = Path(".make/screenshots")
DAYS = 90
HEIGHT_MAX = 6_000  # of a picture
NEW = ("overview", "models", "events", "budgets", "alerts", "keys", "welcome")
_SIZE = "() => [document.documentElement.clientWidth, document.documentElement.scrollHeight]"
OF_VIEWERS = ("overview", "keys", "budgets", "audit_log")


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--days", type=int, default=DAYS, help="how much history the account has")
    parser.add_argument("pages", nargs="*", help="names of pages; all, when none is given")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    wanted = [each for each in pages_made() if each.name not in NO_PICTURE]
    entries = [each for each in wanted if not options.pages or each.name in options.pages]
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder, running_site(Path(folder)) as site:
        furnished = furnish(site, options.days)
        with running_chromium() as chromium:
            Camera(site, chromium, options.folder).take_all(furnished, entries)
    print(f"pictures of {len(entries)} pages are in {options.folder}")  # noqa: T201 - it is a command


class Camera:
    """Takes pictures of the site's pages into a folder."""

    def __init__(self, site: Site, chromium: Browser, folder: Path) -> None:
        self._site = site
        self._chromium = chromium
        self._folder = folder

    def take_all(self, furnished: Furnished, entries: list[Page]) -> None:
        """Every page in every look, and some of those that other people see."""
        paths = {each.name: furnished.path(each.path) for each in entries}
        of_nobody = {each.name for each in entries if each.is_open}
        newcomer = self._site.sign_up(account_name="Brand new")
        for look in LOOKS:
            for person, is_nobody in ((furnished.owner, False), (None, True)):
                with self._opened(person, look) as context:
                    for name in [each for each in paths if (each in of_nobody) == is_nobody]:
                        self._take(context, paths[name], f"{name}-{look}")
        for who, person, some in (
            ("new", newcomer, NEW),
            ("viewer", furnished.people["viewer"], OF_VIEWERS),
        ):
            with self._opened(person, "light") as context:
                for name in [each for each in some if each in paths]:
                    self._take(context, paths[name], f"{who}-{name}")

    @contextmanager
    def _opened(self, person: Person | None, look: Look) -> Iterator[BrowserContext]:
        context = self._chromium.new_context(
            viewport=PHONE if look == "phone" else WIDE,
            device_scale_factor=2 if look == "phone" else 1,
            base_url=self._site.url,
            color_scheme="dark" if look == "dark" else "light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(TIMEOUT_MS)
        if person is not None:
            log_in(context, person)
        yield context
        context.close()

    def _take(self, context: BrowserContext, path: str, name: str) -> None:
        page = context.new_page()
        page.goto(path, wait_until="networkidle")
        width, height = page.evaluate(_SIZE)
        # as high as the page, before the picture: charts would else be drawn anew while it is taken
        page.set_viewport_size({"width": width, "height": min(height, HEIGHT_MAX)})
        page.evaluate(COME_TO_REST)
        page.screenshot(path=self._folder / f"{name}.png")
        page.close()


if __name__ == "__main__":
    main()
