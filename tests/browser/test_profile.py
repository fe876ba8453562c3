"""One's own log-in, changed in the browser: the second factor from its QR code to its switching off."""

import re
from datetime import timedelta

import pyotp
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenWindow
from tests.browser.site import PASSWORD, Site, link_in


def test_a_second_factor_is_set_up_and_its_recovery_codes_are_shown_once(page: Page, site: Site) -> None:
    page.goto("/profile")
    form = page.locator("#factor-on")
    form.get_by_label("Your password").fill(PASSWORD)
    form.get_by_role("button").click()

    picture = page.get_by_role("img", name="QR code")
    expect(picture).to_be_visible()
    assert picture.evaluate("each => each.complete && each.naturalWidth > 0")
    secret = page.get_by_label("The secret").inner_text()
    page.locator("#factor-confirm").get_by_label("Code").fill(pyotp.TOTP(secret).at(site.now()))
    page.locator("#factor-confirm").get_by_role("button").click()

    codes = page.get_by_label("Recovery codes")
    expect(codes).to_be_visible()
    assert len(codes.inner_text().split()) > 1
    page.get_by_role("link", name="Done").click()
    expect(page.locator("#factor")).to_contain_text("recovery codes left")
    expect(page.get_by_label("Recovery codes")).to_be_hidden()


def test_a_name_that_was_saved_is_there_after_a_reload(page: Page) -> None:
    page.goto("/profile")
    form = page.locator("#name")
    form.get_by_label("Name").fill("Augusta Ada")
    with page.expect_navigation():
        form.get_by_role("button").click()

    expect(page.locator("#name").get_by_label("Name")).to_have_value("Augusta Ada")


def set_up(window: Page, site: Site) -> str:
    """Set up a second factor on the page that is shown; its secret."""
    window.locator("#factor-on").get_by_label("Your password").fill(PASSWORD)
    window.locator("#factor-on").get_by_role("button").click()
    expect(window.get_by_role("img", name="QR code")).to_be_visible()
    secret = window.get_by_label("The secret").inner_text()
    window.locator("#factor-confirm").get_by_label("Code").fill(pyotp.TOTP(secret).at(site.now()))
    window.locator("#factor-confirm").get_by_role("button").click()
    window.get_by_role("link", name="Done").click()
    expect(window.locator("#factor")).to_contain_text("recovery codes left")
    return secret


def test_an_owner_requires_it_and_a_member_is_led_to_setting_one_up(
    site: Site, open_window: OpenWindow
) -> None:
    ada = site.sign_up(account_name="Ada requires")
    bob = site.sign_up(account_name="Bob alone")
    ada.tell("POST", "/v1/invites", {"email": bob.email, "role": "member"})
    token = link_in(site.letter_to(bob.email, "Join")).partition("#token=")[2]
    bob.csrf_token = bob.tell("POST", "/v1/invites/accept", {"token": token})["csrf_token"]
    owners, members = open_window(ada), open_window(bob)
    members.goto("/keys")
    owners.goto("/members")
    owners.get_by_role("link", name="set up yours first").click()
    phone = pyotp.TOTP(set_up(owners, site))
    owners.goto("/members")
    form = owners.locator("#required-factor-form")
    form.get_by_label("Code of your own app").fill(phone.at(site.now() + timedelta(seconds=30)))
    form.get_by_role("button").click()
    owners.get_by_role("dialog").get_by_role("button", name="Require it").click()
    expect(owners.locator("#required-factor")).to_contain_text("1 of 2 has none and is kept out")

    members.get_by_role("link", name="Members").click()

    expect(members).to_have_url(re.compile(r"/profile$"))
    expect(members.get_by_text("Ada requires requires a second factor of its members")).to_be_in_viewport()
    set_up(members, site)
    members.goto("/members")
    expect(members.get_by_role("cell", name="Ada").or_(members.get_by_text(ada.email))).to_be_visible()
    expect(owners.get_by_role("button", name="Require it no more")).to_be_visible()
