"""From a new key to the first figures: a real client calls through the proxy, and pages show what it cost."""

import csv
import io
import re
from decimal import Decimal

import anthropic
import openai
from playwright.sync_api import Locator, Page, expect

from tests.browser.forms import at, fill, press
from tests.browser.site import Person, Site

MODEL = "claude-sonnet-4-6"


def make_key(page: Page, name: str = "first") -> str:
    """A key for calls, made in the browser and read off the page, which shows it once."""
    page.goto("/keys/new")
    fill(page, name=name)
    press(page, "Make the key")
    key = page.get_by_label("The key", exact=True)
    expect(key).to_have_text(re.compile(r"^mt_\w+$"))
    return key.inner_text()


def call_claude(site: Site, key: str, **headers: str) -> anthropic.types.Message:
    """A message of the real client, with only base URL and headers changed."""
    told = {"X-ModelTrack-Key": key, **{f"X-ModelTrack-{name}": value for name, value in headers.items()}}
    with anthropic.Anthropic(
        api_key="sk-of-their-own", base_url=site.proxy_url, default_headers=told, max_retries=0
    ) as client:
        return client.messages.create(
            model=MODEL, max_tokens=200, messages=[{"role": "user", "content": "Hello, how much are you?"}]
        )


def call_gpt(site: Site, key: str, **headers: str) -> openai.types.chat.ChatCompletion:
    told = {"X-ModelTrack-Key": key, **{f"X-ModelTrack-{name}": value for name, value in headers.items()}}
    with openai.OpenAI(
        api_key="sk-of-their-own", base_url=f"{site.proxy_url}/v1", default_headers=told, max_retries=0
    ) as client:
        return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])


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
