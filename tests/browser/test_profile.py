"""One's own log-in, changed in the browser: the second factor from its QR code to its switching off."""

import pyotp
from playwright.sync_api import Page, expect

from tests.browser.site import PASSWORD, Site


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
