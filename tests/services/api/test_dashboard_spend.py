"""The pages that tell where money goes: each figure is the API's, every range and zone is obeyed."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from api_service.dashboard.pages.breakdowns import SERIES_MAX, SHOWN
from metering.stores import DocumentStore
from tests.builders import AT, make_event
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import Person
from tests.services.api.test_dashboard import BROWSER, HOSTILE, Reader, read
from tests.services.api.test_events_and_usage import record

DIMENSIONS = {
    "/models": "model",
    "/teams": "team",
    "/features": "feature",
    "/customer-tiers": "customer_tier",
    "/prompts": "prompt_template_id",
}


def opened(person: Person, address: str) -> Reader:
    response = person.get(address, headers=BROWSER)
    assert response.status_code == 200, response.text
    return read(response)


def told(person: Person, address: str) -> Any:
    response = person.get(address)
    assert response.status_code == 200, response.text
    return response.get_json()


def lines(person: Person, address: str) -> list[dict[str, str]]:
    response = person.get(address)
    assert response.content_type == "text/csv; charset=utf-8", response.text
    return list(csv.DictReader(io.StringIO(response.text)))


def money_on(page: Reader) -> list[int]:
    return [int(each["value"]) for each in page.of("data") if each["class"] == "money" and each["value"]]


def drawn(page: Reader) -> list[int]:
    """The values that charts are drawn by."""
    return [int(each["data-value"]) for each in page.of("td") if each.get("data-value")]


def links(page: Reader, path: str) -> list[str]:
    return [each["href"] for each in page.of("a") if urlsplit(each.get("href", "")).path == path]


def downloads(page: Reader) -> Iterator[str]:
    return (each["href"] for each in page.of("a") if "download" in each)


def spend(person: Person, store: DocumentStore, clock: ManualClock, *changes: dict[str, Any]) -> None:
    """Store calls of the hour before now."""
    past = {"account_id": person.account_id, "timestamp": AT - timedelta(hours=1)}
    record(store, clock, *(make_event(**past | each) for each in changes))


@pytest.fixture
def furnished(ada: Person, sqlite_store: DocumentStore, clock: ManualClock) -> Person:
    """Somebody whose calls have every tag, and some that have none."""
    for number in range(1, 4):
        tags = {
            "model": f"model-{number}",
            "team": f"team {number}",
            "app": f"app {number}",
            "feature": f"feature {number}",
            "customer_tier": f"tier {number}",
            "prompt_template_id": f"template {number}",
            "session_id": f"session {number}",
        }
        spend(ada, sqlite_store, clock, {**tags, "cost_nanodollars": number * 1_000_000_007})
    tagless = dict.fromkeys(("team", "app", "feature", "customer_tier", "session_id"), "")
    spend(ada, sqlite_store, clock, {**tagless, "model": "model-1", "cost_nanodollars": 5_000_000_003})
    return ada


@pytest.mark.parametrize("path", DIMENSIONS)
def test_a_breakdown_shows_the_figures_of_the_api(furnished: Person, path: str) -> None:
    kind = next(each for each in SHOWN.values() if DIMENSIONS[path] in each.kinds[0].dimensions).kinds[0]
    answer = told(furnished, f"{kind.path}?start_time=2026-10-23")

    page = opened(furnished, path)

    shown = money_on(page)
    for row in [*answer["data"], *filter(None, [answer["unallocated"]]), answer["total"]]:
        assert row["cost_nanodollars"] in shown
        assert "cost_per_request_nanodollars" not in row or row["cost_per_request_nanodollars"] in shown
    for row in answer["data"]:
        assert row[kind.dimension] in page.words
    assert sum(drawn(page)) == sum(row["cost_nanodollars"] for row in answer["data"]) + (
        answer["unallocated"]["cost_nanodollars"] if answer["unallocated"] and path != "/prompts" else 0
    )


@pytest.mark.parametrize("path", DIMENSIONS)
def test_every_csv_of_a_breakdown_has_the_numbers_of_the_page(furnished: Person, path: str) -> None:
    page = opened(furnished, path)
    shown, of_charts = money_on(page), drawn(page)

    for address in downloads(page):
        costs = [int(each["cost_nanodollars"]) for each in lines(furnished, address)]
        if urlsplit(address).path == "/v1/usage":
            assert sorted(costs) == sorted(filter(None, of_charts))
        else:
            assert costs
            assert set(costs) <= set(shown)


@pytest.mark.parametrize(("path", "nameless"), [
    ("/teams", "No team named"), ("/features", "No feature named"), ("/customer-tiers", "No tier named"),
])  # fmt: skip
def test_what_names_nobody_is_a_line_of_its_own_that_leads_to_its_calls(
    furnished: Person, path: str, nameless: str
) -> None:
    page = opened(furnished, path)

    assert f"{nameless} " in " ".join(page.words)
    empty = [each for each in links(page, "/events") if parse_qs(each, keep_blank_values=True)]
    assert any(each.endswith(f"{DIMENSIONS[path]}=") for each in empty)


def test_every_model_has_a_name_so_that_nothing_of_them_is_unallocated(furnished: Person) -> None:
    page = opened(furnished, "/models")

    assert "unallocated" not in page.words


@pytest.mark.parametrize("path", DIMENSIONS)
def test_a_row_narrows_the_page_to_itself_and_keeps_range_and_zone(furnished: Person, path: str) -> None:
    page = opened(furnished, f"{path}?range=7d&tz=Asia%2FKolkata")

    narrowed = next(each for each in links(page, path) if f"{DIMENSIONS[path]}=" in each)
    assert parse_qs(urlsplit(narrowed).query).items() >= {"range": ["7d"], "tz": ["Asia/Kolkata"]}.items()
    alone = opened(furnished, narrowed)
    (value,) = parse_qs(urlsplit(narrowed).query)[DIMENSIONS[path]]
    assert value in alone.words
    assert "A call on average" in alone.words


@pytest.mark.parametrize("sort", ["cost", "requests", "errors", "cost_per_request", "no such thing"])
def test_rows_stand_in_the_order_that_is_asked_for(furnished: Person, sort: str) -> None:
    page = opened(furnished, f"/teams?sort={sort}")

    (asked, _) = (each for each in page.of("th") if "aria-sort" in each)
    assert asked == {"scope": "col", "class": "num", "aria-sort": "descending"}


@pytest.mark.parametrize(("zone", "day", "hours"), [
    ("Europe/Berlin", "2026-10-25", 25), ("Europe/Berlin", "2026-03-29", 23),
    ("America/New_York", "2026-11-01", 25), ("Asia/Kolkata", "2026-10-25", 24), ("UTC", "2026-10-25", 24),
])  # fmt: skip
def test_a_day_on_which_clocks_change_is_told_whole(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, zone: str, day: str, hours: int
) -> None:
    begins = datetime.fromisoformat(day).replace(tzinfo=UTC)
    moments = [datetime.fromtimestamp(begins.timestamp() + 3_600 * hour, UTC) for hour in range(-24, 48)]
    spend(ada, sqlite_store, clock, *({"timestamp": each, "cost_nanodollars": 1_000} for each in moments))

    page = opened(ada, f"/teams?range=custom&from={day}&to={day}&tz={zone}")

    assert len(drawn(page)) == hours
    assert sum(drawn(page)) == 1_000 * hours
    assert 1_000 * hours in money_on(page)


@pytest.mark.parametrize(("first", "last"), [("2026-08-21", "2026-11-20"), ("2026-02-01", "2026-05-03")])
def test_the_longest_range_there_is_is_told_where_clocks_change_within_it(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, first: str, last: str
) -> None:
    at = datetime.fromisoformat(f"{first}T12:00:00+00:00")
    spend(ada, sqlite_store, clock, {"timestamp": at, "cost_nanodollars": 7_000})

    page = opened(ada, f"/teams?range=custom&from={first}&to={last}&tz=Europe/Berlin")

    assert len(drawn(page)) == 92
    assert sum(drawn(page)) == 7_000


def test_no_more_are_drawn_than_there_are_colours_and_the_title_says_so(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    costs = range(1, SERIES_MAX + 3)
    spend(ada, sqlite_store, clock, *({"team": f"t{n}", "cost_nanodollars": n * 1_000} for n in costs))

    page = opened(ada, "/teams?range=today")

    assert f"Cost over time of the {SERIES_MAX} dearest teams" in page.words
    assert sum(drawn(page)) == 1_000 * sum(sorted(costs)[-SERIES_MAX:])


def test_more_rows_follow_on_further_pages(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    spend(ada, sqlite_store, clock, *({"feature": f"f{n}", "cost_nanodollars": n} for n in range(1, 61)))

    first = opened(ada, "/features?range=today")
    (following,) = [each for each in links(first, "/features") if "page=" in each]
    rest = opened(ada, following)

    assert {"f60", "f11"} <= set(first.words)
    assert {"f10", "f1"} <= set(rest.words)
    assert "f60" not in rest.words


def test_filters_that_figures_are_not_kept_by_are_named(furnished: Person) -> None:
    page = opened(furnished, "/prompts?team=search&model=model-1")

    assert any("Not narrowed by team" in each for each in page.words)
    assert not any("Not narrowed" in each for each in opened(furnished, "/teams?model=model-1").words)


@pytest.mark.parametrize("path", [*DIMENSIONS, "/sessions"])
def test_a_page_without_calls_says_what_to_do(ada: Person, path: str) -> None:
    page = opened(ada, path)
    narrowed = opened(ada, f"{path}?team=nobody&model=none&provider=openai")

    assert any(each.get("class") == "button primary" for each in page.of("a"))
    assert "Clear the filters" in narrowed.words


@pytest.mark.parametrize("path", [*DIMENSIONS, "/sessions"])
def test_what_callers_named_is_only_ever_text_there(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, path: str
) -> None:
    names = ("team", "app", "feature", "customer_tier", "prompt_template_id", "session_id", "model")
    spend(ada, sqlite_store, clock, dict.fromkeys(names, HOSTILE))

    page = opened(ada, path)

    assert HOSTILE in page.words
    assert not [each for each in page.of("img") if each.get("src") == "x"]


def test_prompts_say_which_are_named_and_which_are_fingerprints(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    prompts = ({"prompt_template_id": "greeting@v2"}, {"prompt_fingerprint": "f0" * 16})
    spend(ada, sqlite_store, clock, *prompts)

    page = opened(ada, "/prompts")

    assert {"template", "fingerprint", "greeting@v2", "f0" * 16} <= set(page.words)
    assert any(f"prompt_fingerprint={'f0' * 16}" in each for each in links(page, "/prompts"))


def test_sessions_lead_to_their_calls_in_order(furnished: Person) -> None:
    page = opened(furnished, "/sessions")

    (address,) = [each for each in links(page, "/sessions/view") if "session+3" in each]
    timeline = opened(furnished, address)
    answer = told(furnished, "/v1/sessions/timeline?session_id=session%203")
    assert answer["session"]["cost_nanodollars"] == 3_000_000_021
    assert money_on(timeline).count(3_000_000_021) == 2
    assert links(timeline, f"/events/{answer['data'][0]['event']['request_id']}")


def test_csvs_of_sessions_have_the_numbers_of_their_pages(furnished: Person) -> None:
    page = opened(furnished, "/sessions")
    timeline = opened(furnished, "/sessions/view?session_id=session%202")

    (address,), (calls,) = downloads(page), downloads(timeline)
    assert sorted(int(each["cost_nanodollars"]) for each in lines(furnished, address)) == sorted(
        cost for cost in money_on(page) if cost
    )
    assert [each["cost_nanodollars"] for each in lines(furnished, calls)] == ["2000000014"]


def test_a_month_with_a_day_of_25_hours_is_one_range_of_sessions(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    first = datetime(2026, 9, 30, 22, 5, tzinfo=UTC)  # in Berlin, the first of October
    spend(ada, sqlite_store, clock, {"session_id": "early", "timestamp": first})

    page = opened(ada, "/sessions?range=last-month&tz=Europe/Berlin")

    assert "early" in page.words


def test_too_long_a_range_of_sessions_leads_to_a_shorter_one(ada: Person) -> None:
    page = opened(ada, "/sessions?range=90d")

    assert "Ask for at most 31 days." in page.words
    assert "Show the last 30 days" in page.words


@pytest.mark.parametrize(("address", "status"), [
    ("/sessions/view", 200), ("/sessions/view?session_id=nobody", 404),
])  # fmt: skip
def test_a_session_that_there_is_not_is_told_so(ada: Person, address: str, status: int) -> None:
    assert ada.get(address, headers=BROWSER).status_code == status
