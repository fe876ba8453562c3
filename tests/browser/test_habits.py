"""What people expect of any page: keys that work, one range for all, an address to share, light and dark."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import PHONE
from tests.browser.clients import call_claude
from tests.browser.conftest import OpenWindow, WatchOf
from tests.browser.forms import at, fill, press
from tests.browser.site import Person, Site

NARROWEST = PHONE["width"]


def theme_of(page: Page) -> str | None:
    return page.locator("html").get_attribute("data-theme")


def test_the_first_tab_offers_to_skip_the_menu(page: Page) -> None:
    page.goto("/overview")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.locator("main")).to_be_focused()


def test_the_palette_finds_a_page_and_goes_there_by_keys_alone(page: Page) -> None:
    page.goto("/overview?range=7d")
    page.keyboard.press("Control+k")
    search = page.get_by_role("combobox", name="Page or action")
    expect(search).to_be_focused()

    page.keyboard.type("key")
    options = page.get_by_role("dialog").get_by_role("option")
    expect(options.nth(1)).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile(r"/keys\?range=7d$"))


def test_escape_closes_the_palette_and_what_has_opened(page: Page) -> None:
    page.goto("/overview")
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)

    summary = page.locator("#range summary")
    summary.press("Enter")
    expect(page.get_by_role("list", name="Range")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("list", name="Range")).to_be_hidden()
    expect(summary).to_be_focused()


def test_a_form_is_filled_in_and_sent_without_a_mouse(page: Page) -> None:
    page.goto("/keys/new")
    expect(page.get_by_label("Name")).to_be_focused()

    page.keyboard.type("by keys alone")
    page.keyboard.press("Enter")

    expect(page.locator("#made-key")).to_be_focused()
    page.goto("/keys")
    expect(page.get_by_role("rowheader", name="by keys alone")).to_be_visible()


def test_what_cannot_be_taken_back_asks_first(page: Page, ada: Person) -> None:
    ada.tell("POST", "/v1/keys", {"name": "to go", "scopes": ["proxy"]})
    page.goto("/keys")
    revoke = page.get_by_role("button", name="Revoke to go")

    revoke.click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    revoke.click()
    page.get_by_role("dialog").get_by_role("button").last.click()

    expect(page.get_by_text("revoked", exact=True)).to_be_visible()


def test_range_and_zone_stand_in_the_address_and_go_along(page: Page) -> None:
    page.goto("/overview")
    page.locator("#range summary").click()
    page.get_by_role("link", name="Last 7 days").click()
    expect(page).to_have_url(re.compile(r"\?range=7d$"))
    page.locator("#range summary").click()
    page.get_by_label("Time zone").select_option("Asia/Kolkata")
    expect(page).to_have_url(re.compile(r"tz=Asia(%2F|/)Kolkata"))
    expect(page.locator("#range summary")).to_contain_text("Last 7 days")

    page.get_by_role("link", name="Keys", exact=True).click()
    page.get_by_role("link", name="Overview", exact=True).click()

    expect(page).to_have_url(re.compile(r"/overview\?range=7d&tz=Asia(%2F|/)Kolkata$"))
    expect(page.locator("#range summary")).to_contain_text("Last 7 days")
    expect(page.locator("footer")).to_contain_text("Times in Asia/Kolkata")
    page.go_back()
    page.go_back()
    expect(page.locator("#range summary")).to_contain_text("Last 7 days")


def test_a_bar_leads_to_its_own_day(page: Page, site: Site, ada: Person) -> None:
    tenant = site.tenant(ada)
    call_claude(site, tenant.key, Team="search")
    site.deployment.events(tenant, 1)
    page.goto("/overview?range=7d")
    canvas = page.locator("#trend canvas")
    box = canvas.bounding_box()
    assert box is not None

    canvas.click(position={"x": box["width"] - 40, "y": box["height"] * 0.6})

    today = f"{site.now():%Y-%m-%d}"
    expect(page).to_have_url(re.compile(rf"range=custom&from={today}&to={today}"))


def test_a_charts_table_is_shown_when_asked_for(page: Page, site: Site, ada: Person) -> None:
    page.goto("/overview?range=7d")
    button = page.get_by_role("button", name="Table").first

    button.click()

    expect(button).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#trend-table")).not_to_have_class(re.compile("visually-hidden"))
    expect(page.locator("#trend-table tbody tr")).to_have_count(7)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_somebody_chooses(
    open_window: OpenWindow, ada: Person, scheme: str
) -> None:
    page = open_window(ada, scheme="dark" if scheme == "dark" else "light")
    page.goto("/overview")
    assert theme_of(page) == scheme
    other = "light" if scheme == "dark" else "dark"

    page.get_by_role("button", name="Theme").click()
    assert theme_of(page) == other
    page.goto("/keys")

    assert theme_of(page) == other


def test_on_a_phone_the_menu_opens_and_leads_on(open_window: OpenWindow, ada: Person) -> None:
    page = open_window(ada, size=PHONE)
    page.goto("/overview")
    expect(page.get_by_role("navigation", name="Pages")).to_be_hidden()

    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Keys", exact=True).click()

    expect(page).to_have_url(at("/keys"))
    assert page.evaluate("() => document.documentElement.scrollWidth") <= NARROWEST


def test_days_are_counted_in_the_browsers_own_zone(open_window: OpenWindow, ada: Person) -> None:
    page = open_window(ada, zone="Europe/Berlin")
    page.goto("/login")

    page.goto("/overview")

    expect(page.locator("footer")).to_contain_text("Times in Europe/Berlin")


def test_an_answer_that_does_not_arrive_is_said_and_can_be_sent_again(
    page: Page, ada: Person, watch_of: WatchOf
) -> None:
    watch_of(page).expected.append("ERR_CONNECTION_RESET")
    page.goto("/keys/new")
    page.get_by_label("Name").fill("once only")
    page.route("**/v1/keys", lambda route: (route.fetch(), route.abort("connectionreset")))
    press(page, "Make the key")
    expect(page.get_by_role("alert")).to_contain_text(re.compile("arrive|connection", re.IGNORECASE))

    page.unroute("**/v1/keys")
    press(page, "Make the key")

    expect(page.locator("#made-key")).to_be_visible()
    assert [each["name"] for each in ada.tell("GET", "/v1/keys")["data"]] == ["once only"]


def test_a_decimal_comma_is_refused_and_one_between_thousands_is_not(page: Page, watch_of: WatchOf) -> None:
    watch_of(page).expected.append("the server responded with a status of 422")
    page.goto("/budgets/new")
    for text in ("0,01", "1,00"):
        fill(page, limit_in_us_dollars=text)
        press(page, "Make the budget")
        expect(page.get_by_text("Give a decimal number")).to_be_visible()
        expect(page.get_by_label("Limit in US dollars")).to_be_focused()

    fill(page, limit_in_us_dollars="1,000.50")
    press(page, "Make the budget")

    expect(page.get_by_text("of $1,000.50")).to_be_visible()


def test_what_was_saved_is_said_once_on_the_page_that_comes_of_it(page: Page) -> None:
    page.goto("/account")
    fill(page, name="Ada and friends")
    press(page, "Save the settings")

    expect(page.locator("#toast")).to_have_text("Saved.")
    page.reload()
    expect(page.locator("#toast")).to_have_text("")
