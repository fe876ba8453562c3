"""What people do with a page of forms, and how its address reads."""

import re

from playwright.sync_api import Page


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
