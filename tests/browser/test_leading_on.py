"""Where a page's script leads on to, when the address that holds it was made by somebody else."""

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import OpenWindow

LED_TO = """async (wanted) => {
  const script = document.querySelector('script[src*="/forms."]').src;
  return (await import(script)).ownAddress(wanted);
}"""


@pytest.fixture
def log_in_page(open_window: OpenWindow) -> Page:
    """The log-in, as a stranger sees it."""
    page = open_window()
    page.goto("/login")
    return page


@pytest.mark.parametrize(
    "wanted",
    ["https://example.com/", "//example.com", "/\\example.com", "/.//example.com", "/..//example.com",
     "/x/..//example.com", "/%2e//example.com", "/\t/example.com", "/.//[", "javascript:alert(1)", ""],
)  # fmt: skip
def test_no_address_leads_away_from_us(log_in_page: Page, wanted: str) -> None:
    assert log_in_page.evaluate(LED_TO, wanted) == "/overview"


def test_an_address_of_ours_is_led_to(log_in_page: Page) -> None:
    wanted = "/keys?team=a%20b#use"

    assert log_in_page.evaluate(LED_TO, wanted) == wanted
