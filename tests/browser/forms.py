"""What people do with pages of forms, and how an address reads."""

import re

from playwright.sync_api import Page, expect


def fill(page: Page, **fields: str) -> None:
    """Fill in fields by the beginnings of their labels; `_` stands for a blank or a hyphen."""
    for label, text in fields.items():
        page.get_by_label(re.compile(f"^{label.replace('_', '.')}", re.IGNORECASE)).fill(text)


def press(page: Page, name: str) -> None:
    """Press the button of that name."""
    page.get_by_role("button", name=name, exact=True).click()


def at(path: str) -> re.Pattern[str]:
    """The address of a page, whatever its query."""
    return re.compile(rf"^http://[^/]+{re.escape(path)}([?#].*)?$")


def make_key(page: Page, name: str = "first") -> str:
    """A key for calls, made in the browser and read off the page, which shows it once."""
    page.goto("/keys/new")
    fill(page, name=name)
    press(page, "Make the key")
    return shown_key(page)


def shown_key(page: Page) -> str:
    """The key that the page shows, once, as soon as it is made."""
    key = page.get_by_label("The key", exact=True)
    expect(key).to_have_text(re.compile(r"^mt_\w+$"))
    return key.inner_text()
