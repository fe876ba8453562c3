"""Chromium, as this machine has it: started without a window, with nobody to talk to but this machine."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ViewportSize, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WIDE: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 360, "height": 740}
TIMEOUT_MS = 15_000

_ARGUMENTS = (
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


class ChromiumMissing(Exception):
    """There is no Chromium here. The text says what to do."""


def program() -> str:
    """Where Chromium is. Raises: ChromiumMissing."""
    for name in PROGRAMS:
        found = shutil.which(name)
        if found:
            return found
    raise ChromiumMissing(
        "no Chromium: run `make setup-browser`, or install it (Debian: apt-get install chromium)"
    )


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """A Chromium until the block ends. Root has no sandbox there. Raises: ChromiumMissing."""
    executable = program()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=executable, args=_ARGUMENTS, chromium_sandbox=os.geteuid() != 0
        )
        yield browser
        browser.close()
