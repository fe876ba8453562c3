"""Every CSV beside a table or chart holds what the page shows, to the nanodollar."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import pytest
from playwright.sync_api import Browser, Locator

from tests.browser.furnished import Furnished
from tests.browser.tour import Tour, touring

NANODOLLARS = 1_000_000_000
OF_COSTS = ("overview", "models", "teams", "features", "customer-tiers", "prompts")


@pytest.fixture(scope="module")
def tour(chromium: Browser, furnished: Furnished) -> Iterator[Tour]:
    """The owner's window."""
    with touring(chromium, furnished.owner.url, furnished.owner) as tour:
        yield tour


_COSTS = """
(part) => {
  const isOwn = (cell) => !cell.closest("table").rows[0].cells[cell.cellIndex].hasAttribute("data-faint");
  const points = [...part.querySelectorAll("td[data-value]")].filter(isOwn);
  const rows = [...part.querySelectorAll("tbody tr")];
  return part.matches("figure")
    ? points.map((each) => each.dataset.value)
    : rows.map((each) => each.querySelector("data.money")?.value ?? "");
}
"""


def costs_in(part: Locator) -> Counter[int]:
    """The costs that a table shows (the first amount of each row) or a chart (each of its own points)."""
    return Counter(int(each) for each in part.evaluate(_COSTS) if each not in {"", "0"})


def test_every_file_of_costs_equals_the_page(tour: Tour, furnished: Furnished) -> None:
    compared = 0
    for name in OF_COSTS:
        page = tour.visit(name, f"/{name}?range=7d").page
        for part in page.locator("section:has(a[download]), figure:has(a[download])").all():
            address = part.locator("a[download]").first.get_attribute("href") or ""
            answer = furnished.owner.session.get(furnished.owner.url + address, timeout=20)
            rows = list(csv.DictReader(io.StringIO(answer.text)))
            costs = [int(Decimal(row["cost_usd"]) * NANODOLLARS) for row in rows]

            title = f"{name}: {part.get_by_role('heading').first.inner_text()}, {address}"
            assert answer.headers["Content-Type"].startswith("text/csv"), title
            assert costs_in(part) == Counter(each for each in costs if each), title
            compared += 1
    assert compared >= len(OF_COSTS)
