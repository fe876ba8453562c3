"""Coming in and going out, as people do: by password, by mail, with a code, from elsewhere, in two tabs."""

import re
from datetime import timedelta

import pyotp
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenWindow, WatchOf
from tests.browser.forms import at, fill, press
from tests.browser.site import PASSWORD, Person, Site, link_in, new_address

NEW_PASSWORD = "another battery, another staple"
REFUSED = "the server responded with a status of 401"  # Chromium's own line about a refusal that is meant


def log_in_by_form(page: Page, person: Person, password: str = PASSWORD) -> None:
    page.goto("/login")
    fill(page, e_mail_address=person.email, password=password)
    press(page, "Log in")


def test_a_newcomer_signs_up_confirms_their_address_and_is_logged_in(
    open_window: OpenWindow, site: Site
) -> None:
    page, address = open_window(), new_address()
    page.goto("/sign-up")
    fill(page, e_mail_address=address, password=PASSWORD, name_of_your_company="Ada & Co")
    press(page, "Sign up")
    expect(page).not_to_have_url(at("/sign-up"))

    page.goto(link_in(site.letter_to(address, "Confirm your e-mail address")))
    expect(page).to_have_url(at("/confirm-address"))
    assert "token" not in page.url
    press(page, "This address is mine")
    page.get_by_role("link", name="Go on").click()

    expect(page.get_by_text("Ada & Co").first).to_be_visible()
    confirmed = page.request.get("/v1/session").json()["person"]["address_confirmed"]
    assert confirmed


def test_what_is_wrong_with_a_form_is_said_at_its_field(open_window: OpenWindow, watch_of: WatchOf) -> None:
    page = open_window()
    watch_of(page).expected.append("the server responded with a status of 422")
    page.goto("/sign-up")
    fill(page, e_mail_address="ada at example", password="short")
    press(page, "Sign up")

    field = page.get_by_label("E-mail address")
    expect(field).to_have_attribute("aria-invalid", "true")
    problem = page.locator(f"#{(field.get_attribute('aria-describedby') or '').split()[-1]}")
    expect(problem).to_be_visible()
    expect(problem).not_to_be_empty()
    expect(page).to_have_url(at("/sign-up"))


def test_a_wrong_password_lets_nobody_in(open_window: OpenWindow, ada: Person, watch_of: WatchOf) -> None:
    page = open_window()
    watch_of(page).expected.append(REFUSED)

    log_in_by_form(page, ada, "not the password")

    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    expect(page).to_have_url(at("/login"))


def test_whoever_logs_in_gets_to_where_they_were_going(open_window: OpenWindow, ada: Person) -> None:
    page = open_window()
    page.goto("/keys?range=7d&tz=Asia%2FKolkata")
    expect(page).to_have_url(at("/login"))
    fill(page, e_mail_address=ada.email, password=PASSWORD)
    press(page, "Log in")

    expect(page).to_have_url(re.compile(r"/keys\?range=7d&tz=Asia(%2F|/)Kolkata$"))


@pytest.mark.parametrize(
    "elsewhere", ["https://example.com/", "//example.com/", "/v1/account/export", "/\\example.com"]
)
def test_nobody_is_led_elsewhere_by_logging_in(open_window: OpenWindow, ada: Person, elsewhere: str) -> None:
    page = open_window()
    page.goto(f"/login?next={elsewhere}")
    fill(page, e_mail_address=ada.email, password=PASSWORD)
    press(page, "Log in")

    expect(page).to_have_url(at("/overview"))


def test_a_forgotten_password_is_replaced_by_mail(open_window: OpenWindow, site: Site, ada: Person) -> None:
    page = open_window()
    page.goto("/login")
    page.get_by_role("link", name="Forgot your password?").click()
    fill(page, e_mail_address=ada.email)
    page.locator("main form button").click()

    page.goto(link_in(site.letter_to(ada.email, "Choose a new password")))
    page.get_by_label(re.compile("password", re.IGNORECASE)).first.fill(NEW_PASSWORD)
    page.locator("main form button").click()
    expect(page.get_by_text("Your new password is set.")).to_be_visible()

    log_in_by_form(page, ada, NEW_PASSWORD)
    expect(page).to_have_url(at("/overview"))


def test_who_has_a_second_factor_shows_a_code(open_window: OpenWindow, site: Site, ada: Person) -> None:
    begun = ada.tell("POST", "/v1/person/second-factor", {"password": PASSWORD})
    app = pyotp.TOTP(begun["secret"])
    ada.tell("POST", "/v1/person/second-factor/confirm", {"code": app.at(site.now())})
    page = open_window()

    log_in_by_form(page, ada)
    expect(page).to_have_url(at("/second-factor"))
    fill(
        page, code=app.at(site.now() + timedelta(seconds=30))
    )  # each code is good once, the next one from now on
    press(page, "Go on")

    expect(page).to_have_url(at("/overview"))


def test_logging_out_in_one_tab_ends_the_other(page: Page) -> None:
    page.goto("/overview")
    other = page.context.new_page()
    other.goto("/keys")
    page.locator("#account-menu summary").click()
    press(page, "Log out")
    expect(page).to_have_url(at("/login"))

    other.get_by_role("link", name="Overview").click()
    expect(other).to_have_url(at("/login"))
    page.go_back()
    expect(page).to_have_url(at("/login"))


def test_whoever_signs_in_elsewhere_comes_back_logged_in(
    open_window: OpenWindow, site: Site, watch_of: WatchOf
) -> None:
    address = new_address()
    site.provider.claims = {"email": address, "sub": address}
    page = open_window()
    watch_of(page).origins.add(site.provider.url)
    watch_of(page).expected.append(f"{site.provider.url}/favicon.ico")
    page.goto("/login")
    press(page, "Go on with Google")
    page.get_by_role("link", name="Go on").click()

    expect(page).to_have_url(re.compile(rf"^{re.escape(site.url)}/(overview|welcome)"))
    (session,) = [each for each in page.context.cookies() if "session" in str(each.get("name"))]
    assert session.get("sameSite") == "Strict"
    page.reload()
    expect(page.locator("#account-menu")).to_be_visible()


def test_two_services_behind_one_store_know_the_same_session(
    open_window: OpenWindow, site: Site, ada: Person, watch_of: WatchOf
) -> None:
    second = site.second_api()
    page = open_window(ada)
    watch_of(page).origins.add(second.url)
    page.goto(f"{second.url}/keys/new")
    fill(page, name="made at the second")
    press(page, "Make the key")
    expect(page.locator("#made-key")).to_be_visible()

    page.goto(f"{site.url}/keys")
    expect(page.get_by_role("rowheader", name="made at the second")).to_be_visible()
    page.locator("#account-menu summary").click()
    press(page, "Log out")
    expect(page).to_have_url(at("/login"))
    page.goto(f"{second.url}/keys")
    expect(page).to_have_url(f"{second.url}/login?next=%2Fkeys")
    second.stop()
