"""From a new key to the first figures: a real client calls through the proxy, and pages show what it cost."""

import csv
import io
from decimal import Decimal

from playwright.sync_api import Locator, Page, expect

from tests.browser.clients import MODEL, call_claude, call_gpt
from tests.browser.forms import at, make_key
from tests.browser.site import Person, Site


def values(row: Locator) -> list[str]:
    """The exact values of a chart's row."""
    return [each.get_attribute("data-value") or "" for each in row.locator("td").all()]


def test_a_key_is_shown_once_and_stands_in_the_snippets(page: Page) -> None:
    key = make_key(page)

    page.get_by_role("tab", name="OpenAI SDK").click()
    expect(page.get_by_role("tabpanel").filter(visible=True)).to_contain_text(key)
    page.goto("/keys")
    expect(page.get_by_role("rowheader", name="first")).to_contain_text(f"mt_…{key[-4:]}")
    assert key not in page.content()


def test_calls_of_real_clients_are_seen_with_their_cost_and_in_the_chart(
    page: Page, site: Site, ada: Person
) -> None:
    key = make_key(page)
    call_claude(site, key, Team="search")
    call_gpt(site, key, Team="support")
    tenant = site.tenant(ada)
    events = site.deployment.events(tenant, 2)
    cost = sum((event["cost_usd"] for event in events), Decimal(0))

    page.goto("/overview")

    nanodollars = str(int(cost * 10**9))
    today = page.locator(".card.figure", has_text="Today").locator("data.money")
    expect(today).to_have_attribute("value", nanodollars)
    expect(page.get_by_role("rowheader", name=MODEL)).to_be_visible()
    expect(page.get_by_role("rowheader", name="search")).to_be_visible()
    assert values(page.locator("#trend tbody tr").last)[0] == nanodollars
    canvas = page.locator("#trend canvas")
    expect(canvas).to_be_visible()
    assert canvas.evaluate(
        "(each) => each.getContext('2d').getImageData(0, 0, each.width, each.height).data.some(Boolean)"
    )


def test_the_csv_of_a_chart_holds_the_pages_figures_to_the_nanodollar(
    page: Page, site: Site, ada: Person
) -> None:
    key = make_key(page)
    for team in ("search", "support", "search"):
        call_claude(site, key, Team=team, App=team, **{"No-Cache": "true"})
    site.deployment.events(site.tenant(ada), 3)
    page.goto("/overview?range=7d")
    shown = page.locator("section", has=page.get_by_role("heading", name="Top teams"))
    on_page = {
        row.locator("th").inner_text().strip(): int(row.locator("data.money").get_attribute("value") or "")
        for row in shown.locator("tbody tr").all()
    }

    with page.expect_download() as downloading:
        shown.get_by_role("link", name="CSV").click()

    rows = list(csv.DictReader(io.StringIO(downloading.value.path().read_text())))
    in_file = {row["team"]: int(Decimal(row["cost_usd"]) * 10**9) for row in rows}
    assert in_file == on_page
    assert len(in_file) == 2
    expect(page).to_have_url(at("/overview"))
