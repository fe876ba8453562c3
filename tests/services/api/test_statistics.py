"""Costs, breakdowns, latencies, savings and comparisons over REST: the same figures wherever shown."""

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from api_service.breakdowns import BreakdownView
from api_service.resources.comparison import ComparisonView
from api_service.resources.costs import CostsView
from api_service.resources.latency import LatenciesView
from api_service.resources.savings import SavingsView
from metering.events import CostEvent
from metering.stores import DocumentStore
from tests.builders import AT, make_event
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.test_events_and_usage import record

DAY = "start_time=2026-11-21&end_time=2026-11-22"
BREAKDOWNS = {
    "models": "model",
    "providers": "provider",
    "teams": "team",
    "apps": "app",
    "features": "feature",
    "customer-tiers": "customer_tier",
    "deployments": "deployment",
    "keys": "key_id",
}
ALL = [*(f"/v1/stats/{name}" for name in BREAKDOWNS), "/v1/prompts"]
ROUTES = [
    "/v1/usage", "/v1/costs", "/v1/stats/latency", "/v1/stats/savings", "/v1/stats/comparison", *ALL,
]  # fmt: skip


@pytest.fixture
def person(make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person]) -> Person:
    """Somebody on each kind of store."""
    return sign_up(on=make_app(store))


def of(person: Person, **changes: Any) -> CostEvent:
    return make_event(account_id=person.account_id, **changes)


def told(person: Person, path: str) -> Any:
    response = person.get(path)
    assert response.status_code == 200, response.text
    return json.loads(response.text, parse_float=Decimal)


def lines(person: Person, path: str) -> list[dict[str, str]]:
    response = person.get(path)
    assert response.status_code == 200, response.text
    assert response.content_type == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.text)))


def test_costs_come_in_the_shape_of_the_providers_own(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(store, clock, of(person, cost_nanodollars=26_100_001), of(person, team="", unpriced=True))

    body = told(person, f"/v1/costs?{DAY}&group_by[]=line_item&group_by[]=team")

    ((unallocated, search),) = ([*bucket["results"]][::-1] for bucket in body["data"])
    assert search["amount"] == {"value": Decimal("0.026100001"), "currency": "usd"}
    assert search["cost_nanodollars"] == 26_100_001
    assert search["line_item"] == "anthropic, claude-sonnet-4-5"
    assert (search["team"], unallocated["team"], search["app"]) == ("search", "", None)
    assert (search["unpriced_requests"], unallocated["unpriced_requests"]) == (0, 1)
    CostsView.model_validate(body)


def test_json_csv_and_events_agree_to_the_nanodollar(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    costs = [1, 26_100_001, 999_999_999_999, 7 * 10**15 + 3, 0]
    record(store, clock, *(of(person, team=f"t{n}", cost_nanodollars=cost) for n, cost in enumerate(costs)))

    by_events = sum(each["cost_usd"] for each in told(person, "/v1/events")["data"])
    for path in (
        f"/v1/usage?{DAY}&group_by=team",
        f"/v1/costs?{DAY}&group_by=team",
        f"/v1/stats/teams?{DAY}",
    ):
        (shown,) = [told(person, path)] if "stats" in path else told(person, path)["data"]
        rows = shown.get("results", shown.get("data"))
        in_json = {each["team"]: each["cost_usd"] for each in rows}
        in_csv = {each["team"]: each for each in lines(person, f"{path}&format=csv")}
        assert sum(in_json.values()) == by_events == Decimal(sum(costs)).scaleb(-9)
        assert {team: Decimal(each["cost_usd"]) for team, each in in_csv.items()} == in_json
        assert sum(int(each["cost_nanodollars"]) for each in in_csv.values()) == sum(costs)


def test_no_cell_of_a_csv_becomes_a_formula(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    teams = ["=1+1", "+1", "-1", "@x", 'a"b', "a,b", "plain"]
    record(sqlite_store, clock, *(of(ada, team=team) for team in teams))

    shown = {each["team"] for each in lines(ada, f"/v1/usage?{DAY}&group_by=team&format=csv")}

    assert shown == {"'=1+1", "'+1", "'-1", "'@x", 'a"b', "a,b", "plain"}


def test_a_csv_names_its_next_page(ada: Person, sqlite_store: DocumentStore, clock: ManualClock) -> None:
    record(sqlite_store, clock, *(of(ada, team=f"t{n}") for n in range(3)))

    first = ada.get(f"/v1/stats/teams?{DAY}&limit=2&format=csv")
    rest = ada.get(f"/v1/stats/teams?{DAY}&limit=2&format=csv&page={first.headers['X-Next-Page']}")

    assert [len(each.text.splitlines()) - 1 for each in (first, rest)] == [2, 1]
    assert "X-Next-Page" not in rest.headers


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("start_time=2026-11-20&starting_at=2026-11-20", "starting_at"),
        ("end_time=2026-11-20&ending_at=2026-11-20", "ending_at"),
        ("starting_at=yesterday", "starting_at"),
        ("start_time=2026-11-21&end_time=2026-11-21", "end_time"),
        ("start_time=2026-01-01&end_time=2026-06-01", "start_time"),
        ("timezone=Mars/Olympus", "timezone"),
        ("provider=acme", "provider.0"),
        ("nope=1", "nope"),
        ("page=!", "page"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_field(
    ada: Person, path: str, query: str, param: str
) -> None:
    if param == "page" and path == "/v1/stats/latency":
        return  # all its rows are on one page
    response = ada.get(f"{path}?{query}")

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ("bucket_width=1h", "2026-11-20T09:00:00Z", "2026-11-21T10:00:00Z"),
        ("bucket_width=1d", "2026-11-14T00:00:00Z", "2026-11-22T00:00:00Z"),
    ],
)
def test_buckets_are_whole_as_the_providers_are_so_the_last_one_may_end_ahead(
    ada: Person, clock: ManualClock, query: str, start: str, end: str
) -> None:
    clock.advance(61)

    buckets = told(ada, f"/v1/usage?{query}&limit=31")["data"]

    assert (buckets[0]["start_time"], buckets[-1]["end_time"]) == (start, end)


@pytest.mark.parametrize("path", ROUTES)
def test_both_families_of_names_mean_the_same(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, path: str
) -> None:
    record(sqlite_store, clock, of(ada))

    ours = told(ada, f"{path}?start_time=2026-11-20&end_time=2026-11-22&timezone=Asia/Tokyo")

    assert ours == told(ada, f"{path}?starting_at=2026-11-20&ending_at=2026-11-22&timezone=Asia/Tokyo")


@pytest.mark.parametrize(("width", "buckets"), [("1h", 25), ("1d", 8), ("1w", 5), ("1mo", 4)])
def test_each_width_has_a_range_of_its_own_by_default(ada: Person, width: str, buckets: int) -> None:
    found = 0
    path = f"/v1/costs?bucket_width={width}"
    page = ""
    while page is not None:
        body = told(ada, f"{path}{page and '&page=' + page}")
        found, page = found + len(body["data"]), body["next_page"]

    assert found == buckets


@pytest.mark.parametrize("path", ALL)
def test_rows_and_the_unallocated_line_add_up_to_the_total(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, path: str
) -> None:
    dimension = BREAKDOWNS.get(path.rpartition("/")[2], "prompt_template_id")
    named = [
        of(ada, **{dimension: name}, cost_nanodollars=cost)
        for name, cost in (("anthropic", 5), ("openai", 3))
    ]
    nameless = of(ada, **{dimension: "anthropic" if dimension == "provider" else ""}, cost_nanodollars=11)
    record(sqlite_store, clock, *named, nameless)

    body = told(ada, f"{path}?{DAY}")

    costs = {row[dimension]: row["cost_nanodollars"] for row in body["data"]}
    extra = 0 if body["unallocated"] is None else body["unallocated"]["cost_nanodollars"]
    assert sum(costs.values()) + extra == body["total"]["cost_nanodollars"] == 19
    if dimension in {"provider", "model", "deployment"}:
        assert body["unallocated"] is None
    else:
        assert (costs, extra) == ({"anthropic": 5, "openai": 3}, 11)
    BreakdownView.model_validate(body)


def test_a_row_tells_averages_shares_and_what_it_is_made_of(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(
        store,
        clock,
        of(
            person, cost_nanodollars=2, input_tokens=10, cache_read_tokens=5, output_tokens=3, status_code=500
        ),
        of(person, cost_nanodollars=3, input_tokens=20, output_tokens=4, model="gpt-4o"),
        of(person, cost_nanodollars=15, team="ads"),
    )

    search = told(person, f"/v1/stats/teams?{DAY}")["data"][1]
    models = told(person, f"/v1/stats/models?{DAY}")["data"]

    assert (search["team"], search["cost_per_request_nanodollars"]) == ("search", 2)  # 2.5, half to even
    assert search["cost_per_request_usd"] == Decimal("0.000000002")
    assert (search["cost_share"], search["error_rate"]) == (Decimal("0.25"), Decimal("0.5"))
    assert (search["average_input_tokens"], search["average_output_tokens"]) == (18, 4)
    assert [each["value"] for each in search["by_model"]] == ["gpt-4o", "claude-sonnet-4-5"]
    assert (search["by_team"], search["latency_ms"]) == (None, None)
    assert models[0]["latency_ms"]["p50"] == 1024
    assert models[0]["ttft_ms"] == {"p50": None, "p90": None, "p95": None, "p99": None}


@pytest.mark.parametrize(
    ("sort_by", "expected"),
    [
        ("cost", ["dear", "often", "bad"]),
        ("requests", ["often", "bad", "dear"]),
        ("errors", ["bad", "dear", "often"]),
        ("cost_per_request", ["dear", "bad", "often"]),
    ],
)
def test_rows_come_in_the_order_asked_for_page_by_page(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, sort_by: str, expected: list[str]
) -> None:
    events = [of(ada, team="dear", cost_nanodollars=90)]
    events += [of(ada, team="often", cost_nanodollars=10) for _ in range(4)]
    events += [of(ada, team="bad", cost_nanodollars=15, status_code=500) for _ in range(2)]
    record(sqlite_store, clock, *events)

    seen: list[str] = []
    page = ""
    while page is not None:
        body = told(ada, f"/v1/stats/teams?{DAY}&limit=1&sort_by={sort_by}{page and '&page=' + page}")
        seen += [row["team"] for row in body["data"]]
        assert body["has_more"] == (body["next_page"] is not None)
        page = body["next_page"]

    assert seen == expected


@pytest.mark.parametrize("page", ["gaE", "k_8C", "AAAA", "oA", "x" * 5000])
def test_a_page_that_there_is_not_is_refused(ada: Person, page: str) -> None:
    response = ada.get(f"/v1/stats/teams?page={page}")

    assert response.status_code in {200, 422}
    assert response.status_code == 200 or response.get_json()["error"]["param"] == "page"


def test_latencies_are_told_by_model_and_by_bucket(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(store, clock, of(person, latency_ms=100, ttft_ms=20), of(person, status_code=429, state="refused"))

    plain = told(person, f"/v1/stats/latency?{DAY}")
    (model,) = told(person, f"/v1/stats/latency?{DAY}&bucket_width=1h")["data"]

    assert plain["data"][0]["buckets"] == []
    (bucket,) = model["buckets"]
    assert bucket["start_time"] == "2026-11-21T09:00:00Z"
    assert (model["requests"], model["errors"], model["error_rate"], model["measured"]) == (
        2,
        1,
        Decimal("0.5"),
        1,
    )
    assert bucket["latency_ms"] == model["latency_ms"] == dict.fromkeys(("p50", "p90", "p95", "p99"), 128)
    assert model["ttft_ms"]["p99"] == 23
    LatenciesView.model_validate(plain)


def test_hours_of_latency_are_of_a_week_at_most(ada: Person) -> None:
    week = "start_time=2026-11-01&end_time=2026-11-08"

    assert ada.get(f"/v1/stats/latency?{week}&bucket_width=1h").status_code == 200
    longer = ada.get("/v1/stats/latency?start_time=2026-11-01&end_time=2026-11-09&bucket_width=1h")
    assert longer.get_json()["error"]["param"] == "start_time"


def test_savings_of_cache_and_routing_are_told_apart(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(
        store,
        clock,
        of(
            person,
            cache_hit=True,
            state="cache_hit",
            saved_nanodollars=100,
            cost_nanodollars=0,
            input_tokens=0,
        ),
        of(person, routed=True, saved_nanodollars=-30, team="ads"),
        of(person, cache_read_tokens=3000, cache_write_1h_tokens=1000, input_tokens=5000),
    )

    body = told(person, f"/v1/stats/savings?{DAY}&group_by=team")

    assert (body["cache"]["hits"], body["cache"]["saved_nanodollars"]) == (1, 100)
    assert body["cache"]["hit_rate"] == Decimal("0.333333")
    assert (body["routing"]["routed"], body["routing"]["saved_usd"]) == (1, Decimal("-0.00000003"))
    assert body["prompt_cache"] == {"read_tokens": 3000, "write_tokens": 1000, "read_share": Decimal("0.3")}
    assert [(row["team"], row["cache"]["hits"], row["routing"]["routed"]) for row in body["data"]] == [
        ("search", 1, 0),
        ("ads", 0, 1),
    ]
    assert told(person, f"/v1/stats/savings?{DAY}")["data"] == []
    SavingsView.model_validate(body)


def test_a_month_is_compared_with_the_month_before_whatever_their_lengths(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    november = AT.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for moment, cost in (
        (november, 12),
        (november - timedelta(days=31), 8),
        (november - timedelta(days=32), 99),
    ):
        record(store, clock, of(person, timestamp=moment, cost_nanodollars=cost))

    body = told(person, "/v1/stats/comparison?start_time=2026-11-01&end_time=2026-12-01&group_by=team")

    assert body["before"] == {"start_time": "2026-10-01T00:00:00Z", "end_time": "2026-11-01T00:00:00Z"}
    assert (body["sums"]["cost_nanodollars"], body["sums_before"]["cost_nanodollars"]) == (12, 8)
    assert (body["change_nanodollars"], body["change_usd"]) == (4, Decimal("0.000000004"))
    assert (body["change_rate"], body["data"][0]["change_rate"]) == (Decimal("0.5"), Decimal("0.5"))
    ComparisonView.model_validate(body)


@pytest.mark.parametrize(
    ("query", "start", "before"),
    [
        ("compare_to=month", "2026-11-01T00:00:00Z", ("2026-10-01T00:00:00Z", "2026-10-21T09:30:00Z")),
        (
            "compare_to=month&timezone=Asia/Kolkata",
            "2026-10-31T18:30:00Z",
            ("2026-09-30T18:30:00Z", "2026-10-21T09:30:00Z"),
        ),
        (
            "compare_to=month&end_time=2026-03-01",
            "2026-02-01T00:00:00Z",
            ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ),
        ("compare_to=week", "2026-11-14T09:30:00Z", ("2026-11-07T09:30:00Z", "2026-11-14T09:30:00Z")),
        ("compare_to=year", "2026-10-22T09:30:00Z", ("2025-10-22T09:30:00Z", "2025-11-21T09:30:00Z")),
    ],
)
def test_a_comparison_that_names_no_start_has_one_of_its_own(
    ada: Person, query: str, start: str, before: tuple[str, str]
) -> None:
    body = told(ada, f"/v1/stats/comparison?{query}")

    assert body["start_time"] == start
    assert (body["before"]["start_time"], body["before"]["end_time"]) == before


def test_nothing_before_gives_no_rate(ada: Person, sqlite_store: DocumentStore, clock: ManualClock) -> None:
    record(sqlite_store, clock, of(ada))

    body = told(ada, f"/v1/stats/comparison?{DAY}")

    assert (body["change_rate"], body["change_nanodollars"]) == (None, 10_000_000)


def test_the_overview_shows_what_names_no_team(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    record(sqlite_store, clock, of(ada, team="", cost_nanodollars=3), of(ada, cost_nanodollars=5))

    assert told(ada, "/v1/stats/overview")["unallocated"]["cost_nanodollars"] == 3


@pytest.mark.parametrize("path", ROUTES)
def test_another_accounts_figures_are_never_shown(
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    sign_up: Callable[..., Person],
    clock: ManualClock,
    path: str,
) -> None:
    app: Flask = make_app(sqlite_store)
    ada, bob = sign_up("ada@example.com", on=app), sign_up("bob@example.com", on=app)
    empty = told(bob, f"{path}?{DAY}")

    record(sqlite_store, clock, of(ada, prompt_template_id="t", feature="f"))

    assert told(bob, f"{path}?{DAY}") == empty
    assert told(ada, f"{path}?{DAY}") != empty


def test_prompts_are_told_by_template_else_by_fingerprint_and_add_up(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    named, found, dollar = {"prompt_template_id": "tpl"}, "f" * 32, 1_000_000_000
    day = "start_time=2026-11-21&end_time=2026-11-22"
    record(
        store,
        clock,
        of(person, **named, prompt_fingerprint=found, cost_nanodollars=9 * dollar),
        of(person, **named, cost_nanodollars=8 * dollar),
        of(person, prompt_fingerprint=found, cost_nanodollars=4 * dollar, model="m-1"),
        of(person, prompt_fingerprint=found, cost_nanodollars=3 * dollar, model="m-2"),
        of(person, cost_nanodollars=dollar),
    )

    body = told(person, f"/v1/prompts?{day}")

    rows = [
        (each["prompt_template_id"], each["prompt_fingerprint"], each["cost_usd"]) for each in body["data"]
    ]
    assert rows == [("tpl", "", 17), ("", found, 7)]
    assert [part["value"] for part in body["data"][1]["by_model"]] == ["m-1", "m-2"]
    assert (body["unallocated"]["cost_usd"], body["total"]["cost_usd"]) == (1, 25)
    only = told(person, f"/v1/prompts?{day}&prompt_fingerprint={found}")
    assert (len(only["data"]), only["total"]["requests"]) == (1, 2)
    by_template = told(person, "/v1/usage?group_by=prompt_template_id")["data"][-1]["results"]
    assert {each["prompt_template_id"]: each["cost_usd"] for each in by_template} == {"tpl": 17, "": 8}
