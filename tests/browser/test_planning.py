"""Pages that tell and plan, in a browser: narrowed by a click, estimating as one types, mapped, scheduled."""

import csv
import re
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.opening import open_store
from metering.segments import SegmentPacker
from metering.tags import TAG_CHARACTERS_MAX
from tests.browser.chromium import PHONE, WIDE
from tests.browser.forms import at, press
from tests.browser.site import Person, Site
from tests.builders import make_event

MAP = "/v1/infrastructure/namespace-map"
LEGEND = """() => {
  const willReadFrequently = true;
  const canvas = document.querySelector("figure[data-chart] canvas");
  const { legend, width, currentDevicePixelRatio: ratio } = window.Chart.getChart(canvas);
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently });
  copy.drawImage(canvas, 0, 0);
  return legend.legendItems.map(({ text }, place) => {
    const { left, top, width: wide, height } = legend.legendHitBoxes[place];
    const [x, y] = [(left + 5) * ratio, (top + height / 2) * ratio];
    const is_drawn = copy.getImageData(x, y, 1, 1).data[3] > 0;
    return { text, left, right: left + wide, width, is_drawn };
  });
}"""
HOSTILE = "<img src=x onerror=alert(1)>"


def spend(site: Site, person: Person, **costs: int) -> None:
    """Have a call of each of these teams behind the person, an hour ago, at so many nanodollars."""
    packer, store = SegmentPacker(new_instance_name()), open_store(site.deployment.store_url)
    for team, cost in costs.items():
        moment = site.now() - timedelta(hours=1)
        event = make_event(account_id=person.account_id, timestamp=moment, team=team, cost_nanodollars=cost)
        packer.add(event, 0.0)
    for segment in packer.drain():
        Ledger(store).commit(segment)
    store.close()


def test_a_row_narrows_the_page_and_the_csv_has_its_numbers(
    page: Page, site: Site, ada: Person, tmp_path: Path
) -> None:
    spend(site, ada, search=3_000_000_007, support=1_000_000_000)
    page.goto("/teams?range=7d")

    page.get_by_role("region", name="Teams, table").get_by_role("link", name="search", exact=True).click()

    expect(page).to_have_url(re.compile(r"/teams\?range=7d&team=search$"))
    table = page.get_by_role("region", name="Teams, table")
    expect(table.get_by_role("rowheader", name="support")).to_have_count(0)
    shown = table.locator("data.money").first.get_attribute("value")
    with page.expect_download() as download:
        page.locator("section", has=table).get_by_role("link", name="CSV").click()
    path = tmp_path / "teams.csv"
    download.value.save_as(path)
    (row,) = csv.DictReader(path.read_text().splitlines())
    assert (row["team"], row["cost_nanodollars"]) == ("search", shown)


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_tag_as_long_as_may_be_hides_no_colour_of_a_legend_and_fills_no_list(
    page: Page, site: Site, ada: Person, viewport: ViewportSize
) -> None:
    long = "W" * 100 + "M" * (TAG_CHARACTERS_MAX - 100)
    spend(site, ada, search=1_000_000_000, **{long: 2_000_000_000})
    page.set_viewport_size(viewport)
    page.goto("/teams?range=7d", wait_until="networkidle")

    shown = page.evaluate(LEGEND)
    assert "search" in [each["text"] for each in shown]
    assert [each for each in shown if each["text"].startswith("WW") and each["text"].endswith("MM")]
    for each in shown:
        assert (each["left"] >= 0, each["right"] <= each["width"], each["is_drawn"]) == (True,) * 3, each
    for path, table in (("/teams", "Teams, table"), ("/overview", "Top teams")):
        page.goto(f"{path}?range=7d", wait_until="networkidle")
        name = page.get_by_role("region", name=table).get_by_title(long)
        expect(name).to_have_text(long)
        lines = name.evaluate("each => each.clientHeight / parseFloat(getComputedStyle(each).lineHeight)")
        assert 1 < round(lines, 1) <= (4 if viewport is PHONE else 2)


def test_an_estimate_follows_what_is_typed_and_keeps_the_place(page: Page) -> None:
    page.goto("/estimator")
    calls = page.get_by_label("Calls a day")
    expect(page.locator("#estimate")).to_contain_text("300k calls")

    calls.fill("20000")

    expect(page.locator("#estimate")).to_contain_text("600k calls")
    expect(calls).to_be_focused()
    expect(page).to_have_url(re.compile(r"requests_per_day=20000"))
    page.get_by_label("Prompt", exact=True).fill("many")
    expect(page.locator("#estimate")).to_contain_text("Input tokens:")


def test_a_namespace_is_given_a_team_and_taken_away_again(page: Page, ada: Person) -> None:
    page.goto("/infrastructure")
    press(page, "Add a namespace")
    page.keyboard.type(HOSTILE)
    page.get_by_label("Team", exact=True).fill("search.eu")
    with page.expect_navigation():
        press(page, "Save the map")

    expect(page.get_by_label("Namespace", exact=True)).to_have_value(HOSTILE)
    assert ada.tell("GET", MAP) == {HOSTILE: "search.eu"}
    press(page, f"Remove {HOSTILE}")
    with page.expect_navigation():
        press(page, "Save the map")
    expect(page.get_by_label("Namespace", exact=True)).to_have_count(0)
    assert ada.tell("GET", MAP) == {}


def test_a_map_that_names_a_namespace_twice_is_not_sent(page: Page, ada: Person) -> None:
    page.goto("/infrastructure")
    for _ in range(2):
        press(page, "Add a namespace")
        page.keyboard.type("ml-prod")
    press(page, "Save the map")

    expect(page.locator("#namespaces [role=alert]")).to_have_text("The namespace ml-prod stands there twice.")
    assert ada.tell("GET", MAP) == {}


def test_a_report_is_scheduled_switched_off_and_deleted(page: Page, ada: Person) -> None:
    page.goto("/reports")
    page.get_by_label("Name", exact=True).fill("Monday report")
    press(page, "Make the schedule")

    row = page.get_by_role("row", name="Monday report")
    expect(row).to_contain_text("Mondays, 09:00")
    press(page, "Switch off Monday report")
    expect(row.get_by_role("button", name="Switch on Monday report")).to_be_visible()
    (schedule,) = ada.tell("GET", "/v1/report-schedules")["data"]
    assert schedule["enabled"] is False
    press(page, "Delete Monday report")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)


def test_a_report_leads_to_its_file_and_back(page: Page, site: Site, ada: Person) -> None:
    spend(site, ada, search=2_000_000_000)
    page.goto("/reports")

    page.get_by_role("region", name="Months").get_by_role("link").first.click()

    expect(page).to_have_url(at(f"/reports/{site.now():%Y-%m}"))
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    assert download.value.suggested_filename == f"modeltrack-{site.now():%Y-%m}.json"


def test_how_far_a_forecast_goes_stands_in_the_address(page: Page) -> None:
    page.goto("/forecast?team=search")

    page.get_by_label("Ahead").select_option("30")

    expect(page).to_have_url(re.compile(r"(?=.*days=30)(?=.*team=search)"))


def test_scenarios_arrive_once_one_looks_and_are_asked_for_anew(page: Page) -> None:
    page.goto("/forecast")
    times = page.get_by_label("Times the traffic")
    times.scroll_into_view_if_needed()

    times.fill("3")
    page.get_by_role("region", name="What if").get_by_role("button", name="Show").click()

    expect(page.get_by_role("region", name="What if")).to_contain_text("3 times the traffic")
    expect(page).to_have_url(re.compile(r"times=3"))
