"""Routing rules in a browser: tried on last week before they are kept, moved, seen to save; and status."""

from datetime import timedelta
from typing import Any

from playwright.sync_api import Page, expect

from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.opening import open_store
from metering.segments import SegmentPacker
from tests.browser.clients import MODEL, call_claude
from tests.browser.conftest import OpenWindow
from tests.browser.forms import at, fill, press
from tests.browser.site import Person, Site
from tests.builders import make_event

DOLLAR = 1_000_000_000
RULE: dict[str, Any] = {
    "name": "cheaper", "threshold": 0, "from_models": [MODEL], "to_model": "claude-haiku-4-5",
}  # fmt: skip


def spend(site: Site, person: Person, *hours_ago: int) -> None:
    """Have calls of three dollars behind the person."""
    packer, store = SegmentPacker(new_instance_name()), open_store(site.deployment.store_url)
    for hours in hours_ago:
        event = make_event(
            account_id=person.account_id,
            timestamp=site.now() - timedelta(hours=hours),
            model=MODEL,
            input_tokens=1_000_000,
            output_tokens=0,
            cost_nanodollars=3 * DOLLAR,
        )
        packer.add(event, 0.0)
    for segment in packer.drain():
        Ledger(store).commit(segment)
    store.close()


def rules_of(person: Person) -> list[str]:
    return [each["name"] for each in person.tell("GET", "/v1/routing-rules")["data"]]


def test_a_rule_is_tried_on_last_week_before_it_is_kept(page: Page, site: Site, ada: Person) -> None:
    ada.tell("POST", "/v1/budgets", {"name": "all", "limit_usd": "10", "period": "week"})
    spend(site, ada, 3, 2, 1)
    page.goto("/routing-rules/new")
    fill(page, name="cheaper", models_that=MODEL, model_that="claude-haiku-4-5", from_percent="50")

    press(page, "Try it on last week")

    told = page.get_by_role("region", name="Dry run")
    expect(told).to_contain_text("would have been served by claude-haiku-4-5")
    expect(told).to_contain_text("$2.00 saved")
    assert rules_of(ada) == []
    press(page, "Make the rule")
    expect(page).to_have_url(at("/routing-rules"))
    expect(page.get_by_role("rowheader", name="cheaper")).to_be_visible()
    assert rules_of(ada) == ["cheaper"]


def test_what_a_rule_lacks_is_said_where_it_is_tried(page: Page) -> None:
    page.goto("/routing-rules/new")

    press(page, "Try it on last week")

    expect(page.get_by_role("region", name="Dry run")).to_contain_text("This rule cannot be tried yet")


def test_rules_are_moved_switched_off_and_deleted(page: Page, ada: Person) -> None:
    for name in ("first", "second"):
        ada.tell("POST", "/v1/routing-rules", RULE | {"name": name})
    page.goto("/routing-rules")

    press(page, "Ask second earlier")
    expect(page.get_by_role("rowheader").first).to_contain_text("second")
    press(page, "Switch off second")
    expect(page.get_by_role("rowheader", name="second off")).to_be_visible()
    press(page, "Delete first")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("rowheader")).to_have_count(1)

    assert rules_of(ada) == ["second"]


def test_a_call_that_a_rule_turned_is_seen_with_what_it_saved(page: Page, site: Site, ada: Person) -> None:
    ada.tell("POST", "/v1/budgets", {"name": "all", "limit_usd": "10"})
    ada.tell("POST", "/v1/routing-rules", RULE)
    tenant = site.tenant(ada)
    call_claude(site, tenant.key)
    (event,) = site.deployment.events(tenant, 1)
    assert (event["routed"], event["routing_rule"]) == (True, "cheaper")

    page.goto("/routing-rules")

    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="cheaper"))
    saved = row.locator("data.money").last
    expect(saved).to_have_attribute("value", str(event["saved_nanodollars"]))
    expect(page.locator(".card.figure", has_text="Calls turned").locator("data")).to_have_attribute(
        "value", "1"
    )


def test_anybody_sees_how_the_service_stands(open_window: OpenWindow) -> None:
    page = open_window()

    page.goto("/status")

    expect(page.get_by_role("status", name="In short")).to_contain_text("Everything that was asked answered")
    page.get_by_role("link", name="Security").first.click()
    expect(page).to_have_url(at("/security"))
    page.get_by_text("What it used").click()
    expect(page.get_by_text("cache_write_5m_tokens")).to_be_visible()
