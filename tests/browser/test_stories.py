"""What somebody does in their first days, from the first call to the first refusal, in the browser."""

import re

import anthropic
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.clients import MODEL, call_claude, call_gpt
from tests.browser.conftest import OpenWindow, WatchOf
from tests.browser.forms import at, fill, make_key, press, shown_key
from tests.browser.furnished import Furnished
from tests.browser.site import PASSWORD, Site, link_in, new_address
from tests.system.processes import eventually

CALLS_MAX = 40  # until a budget of a cent is spent


def test_the_first_steps_end_with_the_first_event_appearing_by_itself(
    open_window: OpenWindow, site: Site
) -> None:
    page = open_window()
    page.goto("/sign-up")
    fill(page, e_mail_address=new_address(), password=PASSWORD)
    press(page, "Sign up")
    expect(page).to_have_url(at("/welcome"))
    page.get_by_role("main").get_by_role("link", name="Make a key").click()
    fill(page, name="first")
    press(page, "Make the key")
    key = shown_key(page)
    page.goto("/welcome")
    last_step = page.locator("#first-event")
    expect(last_step).to_contain_text("Waiting for the first call")

    call_claude(site, key, Team="search")

    expect(last_step).to_contain_text("Here it is.")
    expect(last_step).to_contain_text(MODEL)
    expect(last_step.locator("data.money")).to_have_attribute("value", re.compile(r"^[1-9]\d*$"))
    last_step.get_by_role("link", name="Look at it").click()
    expect(page).to_have_url(re.compile(r"/events/req_\w+"))
    expect(page.get_by_role("main")).to_contain_text("search")


def test_new_calls_appear_by_themselves_while_one_follows_them(page: Page, site: Site) -> None:
    key = make_key(page)
    call_claude(site, key, Team="before")
    page.goto("/events")
    page.get_by_role("link", name="Follow live").click()
    rows = page.locator("table.events tbody tr")
    expect(rows).to_have_count(1)

    call_gpt(site, key, Team="during")

    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("during")


def test_a_budget_is_made_exceeded_and_seen_to_refuse_and_to_alert(
    page: Page, site: Site, watch_of: WatchOf
) -> None:
    key = make_key(page)
    page.goto("/budgets/new")
    fill(page, name="A cent", limit_in_us_dollars="0.01", team="search")
    page.get_by_text("More", exact=True).click()
    fill(page, warn_at="10, 50")
    press(page, "Make the budget")
    expect(page).to_have_url(re.compile(r"/budgets/budget_\w+$"))

    refusal = spend_until_refused(site, key, Team="search")
    call_gpt(site, key, Team="support")  # is none of its business

    assert "A cent" in refusal.message
    reload_until_there(page, page.get_by_text(re.compile(r"^([5-9]\d|1\d\d)% of the limit")))
    page.get_by_role("link", name="Calls that were refused in this period").click()
    expect(page).to_have_url(re.compile(r"state=refused"))
    reload_until_there(page, page.locator("table.events tbody tr", has_text="refused"))
    another = site.second_api()  # its jobs run once at its start
    page.goto("/alerts")
    alert = page.get_by_role("article").filter(has_text="A cent")
    reload_until_there(page, alert)
    another.stop()
    alert.get_by_role("button", name="I see to it").click()
    expect(alert).to_contain_text("acknowledged")


@pytest.mark.parametrize(
    ("role", "shown", "not_shown"),
    [
        ("viewer", ["Overview", "Keys", "Members"], ["Audit log"]),
        ("admin", ["Overview", "Keys", "Members", "Audit log"], []),
    ],
)
def test_who_is_invited_joins_and_sees_what_their_role_allows(
    page: Page,
    open_window: OpenWindow,
    watch_of: WatchOf,
    site: Site,
    role: str,
    shown: list[str],
    not_shown: list[str],
) -> None:
    address = new_address()
    page.goto("/members")
    invite = page.get_by_role("region", name="Invite somebody")
    invite.get_by_label("E-mail address").fill(address)
    invite.get_by_label("Role").select_option(role)
    invite.get_by_role("button").click()
    expect(page.get_by_role("region", name="Open invitations")).to_contain_text(address)

    guest = open_window()
    watch_of(guest).expected += ["status of 401", "status of 403"]
    guest.goto(link_in(site.letter_to(address, "Join")))
    expect(guest.get_by_text("You are invited to")).to_contain_text(role)
    fill(guest, your_name="Grace", password=PASSWORD)
    guest.get_by_role("button", name="Join").filter(visible=True).click()
    expect(guest).to_have_url(at("/overview"))

    menu = guest.get_by_role("navigation", name="Pages")
    for name in shown:
        expect(menu.get_by_role("link", name=name, exact=True)).to_be_visible()
    for name in not_shown:
        expect(menu.get_by_role("link", name=name, exact=True)).to_have_count(0)
    page.reload()
    expect(page.get_by_role("row").filter(has_text="Grace")).to_contain_text(role)


def test_a_viewer_changes_nothing_and_is_told_who_may(
    open_window: OpenWindow, watch_of: WatchOf, furnished: Furnished
) -> None:
    page = open_window(furnished.people["viewer"])
    watch_of(page).expected.append("status of 403")
    for path in ("/keys", "/budgets", "/routing-rules", "/members", "/alerts"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.locator("main form[data-operation]:not([data-operation$=leave])").count() == 0, path
        assert page.get_by_role("main").get_by_role("link", name=re.compile("^New ")).count() == 0, path

    for path, who in (("/audit-log", "admin"), ("/budgets/new", "member"), ("/keys/new", "member")):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 403
        expect(page.get_by_role("main")).to_contain_text(who)


def spend_until_refused(site: Site, key: str, **headers: str) -> anthropic.RateLimitError:
    """Call until a budget refuses; what the client raises then."""
    for number in range(CALLS_MAX):
        try:
            call_claude(site, key, prompt=f"Hello for the {number}th time", **headers)
        except anthropic.RateLimitError as refusal:
            return refusal
    raise AssertionError("no call was refused")


def reload_until_there(page: Page, wanted: Locator) -> None:
    """Load the page anew until it shows that."""

    def look() -> int:
        page.reload()
        return wanted.count()

    eventually(look, seconds=30, what="what the page is to show")
