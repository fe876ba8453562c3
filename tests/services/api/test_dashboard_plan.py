"""Forecast, estimator, reports and infrastructure as pages: each figure is the API's, each CSV the page's."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from api_service.dashboard.pages.estimator import DEFAULTS
from api_service.roles import ROLES, Role, role_may
from metering.stores import DocumentStore
from tests.builders import AT
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import Person
from tests.services.api.operations import Place, running_world
from tests.services.api.test_dashboard import BROWSER, HOSTILE, read
from tests.services.api.test_dashboard_spend import (
    downloads,
    drawn,
    lines,
    links,
    money_on,
    opened,
    spend,
    told,
)

DOLLAR = 1_000_000_000
DAY = timedelta(days=1)


def live_through(person: Person, store: DocumentStore, clock: ManualClock, days: int, **changes: Any) -> None:
    """Store a call of some dollars on each of the days before today."""
    dearer = range(1, days + 1)
    moments = (AT - age * DAY for age in dearer)
    costs = (DOLLAR * (2 + age % 7) for age in dearer)
    calls = zip(moments, costs, strict=True)
    spend(person, store, clock, *({"timestamp": at, "cost_nanodollars": c} | changes for at, c in calls))


def hand_in(person: Person, *rows: dict[str, Any]) -> None:
    costs = [
        {"id": f"r{number}", "event_type": "gpu_compute", "service": "kubernetes", "cost_usd": "1.5",
         "start_time": "2026-11-20T09:00:00Z", "end_time": "2026-11-20T10:00:00Z"} | row
        for number, row in enumerate(rows)
    ]  # fmt: skip
    response = person.write("POST", "/v1/infrastructure/costs", {"rows": costs})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(("width", "days"), [("1d", 30), ("1w", 90), ("1mo", 365)])
def test_a_forecast_stands_beside_its_interval_and_its_error(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, width: str, days: int
) -> None:
    live_through(ada, sqlite_store, clock, 40)
    asked = {"horizon_days": days, "bucket_width": width, "timezone": "America/New_York"}
    answer = told(ada, f"/v1/forecast?{urlencode(asked)}")

    page = opened(ada, f"/forecast?days={days}&in={width}&tz=America/New_York")

    total = answer["total"]
    assert {total[f"{name}_nanodollars"] for name in ("predicted", "low", "high")} <= set(money_on(page))
    assert f"{answer['back_test']['error_percent']}%" in page.words
    amounts = [each["cost_nanodollars"] for each in answer["history"]]
    for each in answer["forecast"]:
        amounts += [each[f"{name}_nanodollars"] for name in ("predicted", "low", "high")]
    assert drawn(page) == amounts
    (address,) = downloads(page)
    in_csv = [row["cost_nanodollars"] or row["predicted_nanodollars"] for row in lines(ada, address)]
    assert len(in_csv) == len(answer["history"]) + len(answer["forecast"])
    assert set(map(int, in_csv)) <= set(amounts)


@pytest.mark.parametrize(("days", "words"), [
    (3, "A forecast needs seven days with calls behind it"), (10, "there is no interval yet"),
])  # fmt: skip
def test_what_cannot_be_forecast_is_not_made_up(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, days: int, words: str
) -> None:
    live_through(ada, sqlite_store, clock, days)

    page = opened(ada, "/forecast")

    assert any(words in each for each in page.words)


def test_a_forecast_is_of_those_calls_that_the_address_names(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    live_through(ada, sqlite_store, clock, 20, team="search")
    live_through(ada, sqlite_store, clock, 20, team="support")

    whole, part = opened(ada, "/forecast"), opened(ada, "/forecast?team=search&what_if=shown")

    assert sum(drawn(part)) == pytest.approx(sum(drawn(whole)) / 2, rel=0.01)
    assert "What if, for the whole account" in part.words


def test_scenarios_are_those_that_are_asked_for(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    live_through(ada, sqlite_store, clock, 20, model="claude-opus-4-6", input_tokens=500_000)
    sides = {"from_provider": "anthropic", "from_model": "claude-opus-4-6"}
    sides |= {"to_provider": "anthropic", "to_model": "claude-haiku-4-5"}
    answer = told(ada, f"/v1/forecast/scenarios?{urlencode(sides | {'traffic_factor': '1.5'})}")

    page = opened(
        ada,
        "/forecast?what_if=shown&times=1.5&switch_from=anthropic/claude-opus-4-6&switch_to=anthropic/claude-haiku-4-5",
    )

    assert "1.5 times the traffic" in page.words
    shown = set(money_on(page))
    assert answer["traffic"]["total"]["predicted_nanodollars"] in shown
    assert answer["switch"]["total"]["predicted_nanodollars"] in shown
    assert answer["switch"]["to_nanodollars"] in shown


@pytest.mark.parametrize("query", ["times=many", "switch_from=x/y&switch_to=openai/gpt-4o", "times=-1"])
def test_a_scenario_that_makes_no_sense_leaves_the_forecast_standing(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, query: str
) -> None:
    live_through(ada, sqlite_store, clock, 20)

    page = opened(ada, f"/forecast?what_if=shown&{query}")

    assert drawn(page)
    assert any(each.get("class") == "problem" for each in page.of("div"))


def test_an_estimate_is_the_apis_at_an_address_to_share(ada: Person) -> None:
    fields = {
        "input_tokens": "5000", "output_tokens": "800", "requests_per_day": "250",
        "cached_input_tokens": "4000", "prompt_cache_hit_percent": "62.5",
        "answered_from_memory_percent": "10",
    }  # fmt: skip
    answer = told(ada, f"/v1/estimates?{urlencode({'provider': 'openai', 'model': 'gpt-4o'} | fields)}")

    page = opened(ada, f"/estimator?{urlencode({'of': 'openai/gpt-4o'} | fields)}")

    shown = money_on(page)
    for name in ("plain", "with_prompt_cache", "with_answers_from_memory"):
        assert {each["cost_nanodollars"] for each in answer[name]} <= set(shown)
    (address,) = downloads(page)
    in_csv = lines(ada, address)
    assert in_csv[0]["model"] == "gpt-4o"
    assert {int(each["month_nanodollars"]) for each in in_csv} <= set(shown)


def test_every_priced_model_can_be_estimated(ada: Person) -> None:
    listed = told(ada, "/v1/estimator/models")["data"]

    page = opened(ada, "/estimator?compare=all")

    offered = {each["value"] for each in page.of("option") if "/" in each.get("value", "")}
    assert offered == {f"{each['provider']}/{each['model']}" for each in listed}
    beside = {parse_qs(urlsplit(each).query)["of"][0] for each in links(page, "/estimator") if "of=" in each}
    assert len({each.partition("/")[0] for each in beside}) == 4
    assert DEFAULTS["of"] in offered


@pytest.mark.parametrize(("query", "words"), [
    ("of=openai/no-such-model", "Model:"), ("of=nothing", "Provider:"),
    ("input_tokens=many", "Input tokens:"), ("requests_per_day=0", "Requests per day:"),
])  # fmt: skip
def test_what_cannot_be_estimated_is_said_by_field(ada: Person, query: str, words: str) -> None:
    page = opened(ada, f"/estimator?{query}")

    assert words in page.words


def test_reports_are_listed_and_read_beside_the_period_before(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    live_through(ada, sqlite_store, clock, 50, team="")
    listed = opened(ada, "/reports?tz=Europe/Berlin")
    answer = told(ada, "/v1/reports/2026-10?timezone=Europe/Berlin")

    (address,) = [each for each in links(listed, "/reports/2026-10")]
    page = opened(ada, address)

    assert "October 2026" in page.words
    shown = set(money_on(page))
    assert {answer["total"]["cost_nanodollars"], answer["change_nanodollars"]} <= shown
    assert {each["cost_before_nanodollars"] for each in answer["by_team"]} <= shown
    assert drawn(page) == [each["cost_nanodollars"] for each in answer["by_day"]]
    assert "No team named " in page.words
    in_csv = lines(ada, next(each for each in downloads(page) if "format=csv" in each))
    assert [int(each["cost_nanodollars"]) for each in in_csv if each["section"] == "day"] == drawn(page)


@pytest.mark.parametrize(("period", "heading"), [
    ("2026-W47", "Week 47 of 2026"), ("2026-Q4", "Fourth quarter of 2026"), ("2026-11", "November 2026"),
])  # fmt: skip
def test_a_period_is_called_as_people_call_it(ada: Person, period: str, heading: str) -> None:
    assert heading in opened(ada, f"/reports/{period}").words


@pytest.mark.parametrize(("period", "status"), [("2026-13", 404), ("yesterday", 404), ("2027-01", 404)])
def test_a_report_that_there_is_not_is_told_so(ada: Person, period: str, status: int) -> None:
    assert ada.get(f"/reports/{period}", headers=BROWSER).status_code == status


def test_everything_can_be_taken_away_of_the_range_that_is_chosen(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    live_through(ada, sqlite_store, clock, 10)

    page = opened(ada, "/reports?range=custom&from=2026-11-15&to=2026-11-17&tz=Asia/Tokyo&team=search")

    addresses = list(downloads(page))
    assert {urlsplit(each).path for each in addresses} == {
        "/v1/exports/events", "/v1/exports/focus", "/v1/usage",
    }  # fmt: skip
    for address in addresses:
        asked = parse_qs(urlsplit(address).query)
        assert (asked["start_time"], asked["end_time"]) == (["2026-11-15"], ["2026-11-18"])
        assert asked["timezone"] == ["Asia/Tokyo"]
        response = ada.get(address)
        assert response.status_code == 200
        assert len(response.text.splitlines()) >= 3


def test_schedules_are_listed_with_what_the_role_may_do(ada: Person) -> None:
    fields = {"name": HOSTILE, "period": "weekly", "frequency": "monthly", "day_of_month": 31}
    assert ada.write("POST", "/v1/report-schedules", fields).status_code == 201

    page = opened(ada, "/reports")

    assert HOSTILE in page.words
    operations = [each.get("data-operation", "").split(" ")[0] for each in page.of("form")]
    assert {"PATCH", "DELETE", "POST"} <= set(operations)


def test_the_collectors_commands_name_where_this_is(ada: Person) -> None:
    page = opened(ada, "/infrastructure")

    assert any("export MODELTRACK_URL=http://127.0.0.1:3001 " in each for each in page.words)


def test_machines_cost_what_the_api_says_and_what_is_of_nobody_is_a_line(ada: Person) -> None:
    hand_in(ada, {"team": "search"}, {"namespace": "ml-prod", "cost_usd": "2.000000001"})
    answer = told(ada, "/v1/infrastructure?start_time=2026-10-23")

    page = opened(ada, "/infrastructure")

    shown = money_on(page)
    assert {answer["cost_nanodollars"], answer["unallocated_nanodollars"]} <= set(shown)
    assert "No team " in page.words
    assert drawn(page) == [each["cost_nanodollars"] for each in answer["daily_trend"]]
    in_csv = lines(ada, next(downloads(page)))
    assert [int(each["cost_nanodollars"]) for each in in_csv if each["section"] == "day"] == drawn(page)


def test_drift_is_shown_of_the_provider_that_is_asked_for(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    spend(ada, sqlite_store, clock, {"timestamp": AT - DAY, "cost_nanodollars": 3 * DOLLAR})
    models = [{"model": "claude-sonnet-4-5", "cost_usd": "2.5"}]
    bill = {"provider": "anthropic", "days": [{"day": "2026-11-20", "models": models}]}
    assert ada.write("POST", "/v1/reconciliations", bill).status_code == 200

    openai, anthropic = opened(ada, "/infrastructure"), opened(ada, "/infrastructure?bill=anthropic")

    assert any("No bill of these days" in each for each in openai.words)
    assert {2_500_000_000, 500_000_000} <= set(money_on(anthropic))
    assert {2_500_000_000, 3_000_000_000} <= set(drawn(anthropic))


def test_the_map_of_namespaces_is_there_to_change_and_its_text_is_only_text(ada: Person) -> None:
    assert ada.write("PUT", "/v1/infrastructure/namespace-map", {HOSTILE: "search"}).status_code == 200
    measured = {"namespace": "batch", "gpu_type": "L4", "gpu_count": 1, "gpu_utilization_percent": "12.5"}
    hand_in(ada, measured)

    page = opened(ada, "/infrastructure")

    assert HOSTILE in [each.get("value") for each in page.of("input")]
    assert "batch" in [each.get("data-adds-namespace") for each in page.of("button")]
    assert not page.of("img")[1:]  # the brand's own


@pytest.mark.parametrize("path", ["/forecast", "/reports", "/infrastructure"])
def test_a_page_of_an_account_without_calls_says_what_to_do(ada: Person, path: str) -> None:
    page = opened(ada, path)

    assert page.of("h1")
    assert any("button" in each.get("class", "") for each in page.of("a"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_world(tmp_path_factory.mktemp("pages")) as world:
        yield world.place()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("path", "what"), [
    ("/reports", "POST /v1/report-schedules"), ("/infrastructure", "namespaces-form"),
])  # fmt: skip
def test_what_a_role_may_not_change_is_not_offered_to_it(
    place: Place, role: Role, path: str, what: str
) -> None:
    page = read(place.visitor(role).client.get(path, headers=BROWSER))

    offered = {value for each in page.of("form") for value in each.values()}
    assert (what in offered) == role_may(role, "write")
