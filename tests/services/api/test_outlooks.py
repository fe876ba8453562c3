"""Forecasts, scenarios, odd hours, estimates and suggestions over REST: the same figures as the events."""

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from api_service.resources.anomalies import AnomaliesView
from api_service.resources.estimates import EstimateView, EstimatorModelsView
from api_service.resources.forecasts import ForecastView, ScenariosView
from api_service.resources.suggestions import SuggestionsView
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.segments import SegmentPacker
from metering.stores import DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import MakeApp, Person

DOLLAR = 1_000_000_000
DAY = timedelta(days=1)
NOW = ManualClock().now()
CALL = {
    "provider": "anthropic",
    "model": "claude-sonnet-4-5",
    "input_tokens": 3_000,
    "output_tokens": 400,
    "requests_per_day": 1_000,
}
GETS = ["/v1/forecast", "/v1/forecast/scenarios", "/v1/anomalies", "/v1/estimator/models", "/v1/suggestions"]


@pytest.fixture
def person(make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person]) -> Person:
    """Somebody on each kind of store."""
    return sign_up(on=make_app(store))


def record(store: DocumentStore, clock: ManualClock, events: list[CostEvent]) -> None:
    """Store the events as the proxy does, each day by itself."""
    for event in events:
        packer = SegmentPacker(event.request_id[4:])
        packer.add(event, clock.monotonic())
        for segment in packer.drain():
            Ledger(store, clock).commit(segment)


def daily(person: Person, days: int, **changes: Any) -> list[CostEvent]:
    """A call of a dollar on each of the last days, at half past eight."""
    fields: dict[str, Any] = {"account_id": person.account_id, "cost_nanodollars": DOLLAR} | changes
    return [
        make_event(timestamp=NOW - age * DAY - timedelta(hours=1), **fields) for age in range(1, days + 1)
    ]


def told(person: Person, path: str) -> Any:
    response = person.get(path)
    assert response.status_code == 200, response.text
    return json.loads(response.text, parse_float=Decimal)


def refused(person: Person, path: str) -> Any:
    response = person.get(path)
    assert response.status_code == 422, response.text
    return response.get_json()["error"]["param"]


def estimated(person: Person, **changes: Any) -> Any:
    response = person.write("POST", "/v1/estimates", CALL | changes)
    assert response.status_code == 200, response.text
    return json.loads(response.text, parse_float=Decimal)


def test_a_forecast_stands_beside_its_past_and_its_error(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(store, clock, daily(person, 40))

    body = told(person, "/v1/forecast?horizon_days=10&bucket_width=1w")

    assert (body["status"], body["history_days"], body["method"]) == ("ok", 40, "average")
    assert sum(each["cost_nanodollars"] for each in body["history"]) == 40 * DOLLAR
    assert body["history"][-1] == {
        "start_date": "2026-11-16", "end_date": "2026-11-21", "cost_nanodollars": 5 * DOLLAR, "cost_usd": 5,
    }  # fmt: skip
    assert [(each["start_date"], each["end_date"], each["predicted_usd"]) for each in body["forecast"]] == [
        ("2026-11-21", "2026-11-23", 2),
        ("2026-11-23", "2026-11-30", 7),
        ("2026-11-30", "2026-12-01", 1),
    ]
    assert (body["total"]["low_usd"], body["total"]["predicted_usd"], body["total"]["high_usd"]) == (
        10,
        10,
        10,
    )
    assert (body["back_test"]["error_percent"], body["back_test"]["tested_days"]) == (0, 10)
    ForecastView.model_validate(json.loads(json.dumps(body, default=str)))


@pytest.mark.parametrize(
    ("days", "status"), [(0, "too_little_history"), (6, "too_little_history"), (7, "untested"), (16, "ok")]
)
def test_too_little_history_is_said_and_nothing_is_made_up(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, days: int, status: str
) -> None:
    record(sqlite_store, clock, daily(ada, days))

    body = told(ada, "/v1/forecast")

    assert body["status"] == status
    if status == "too_little_history":
        assert (body["forecast"], body["total"], body["back_test"], body["method"]) == ([], None, None, None)
    if status == "untested":
        assert (body["total"]["low_usd"], body["total"]["high_usd"], body["back_test"]) == (None, None, None)


@pytest.mark.parametrize(
    ("days", "status"), [(0, "too_little_history"), (6, "too_little_history"), (7, "untested"), (16, "ok")]
)
def test_scenarios_say_like_the_forecast_whether_the_past_is_long_enough(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, days: int, status: str
) -> None:
    record(sqlite_store, clock, daily(ada, days))

    body = told(ada, "/v1/forecast/scenarios")

    assert body["status"] == status
    assert (body["current_trend"] is None) == (status == "too_little_history")


def test_a_forecast_is_of_a_team_or_model_where_it_is_asked_for(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    record(
        sqlite_store, clock, daily(ada, 20, team="ads", cost_nanodollars=7) + daily(ada, 20, model="gpt-4o")
    )

    def predicted(query: str) -> int:
        found: int = told(ada, f"/v1/forecast?horizon_days=1&{query}")["total"]["predicted_nanodollars"]
        return found

    assert predicted("") == DOLLAR + 7
    assert predicted("team=ads") == 7
    assert predicted("model=gpt-4o") == DOLLAR
    assert predicted("team=ads&team=search") == DOLLAR + 7


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("horizon_days=0", "horizon_days"),
        ("horizon_days=366", "horizon_days"),
        ("bucket_width=1h", "bucket_width"),
        ("timezone=Mars", "timezone"),
        ("team=" + "x" * 900, "team.0"),
        ("prompt_template_id=x", "prompt_template_id"),
        ("key_id=x&team=y", "team"),
    ],
)
def test_a_forecast_of_nothing_sensible_is_refused_by_field(ada: Person, query: str, param: str) -> None:
    assert refused(ada, f"/v1/forecast?{query}") == param


def test_months_of_a_forecast_are_those_of_the_calendar(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    record(sqlite_store, clock, daily(ada, 20))

    body = told(ada, "/v1/forecast?horizon_days=365&bucket_width=1mo&timezone=Asia/Kolkata")

    assert [each["start_date"] for each in body["forecast"][:3]] == ["2026-11-21", "2026-12-01", "2027-01-01"]
    assert body["forecast"][-1]["end_date"] == "2027-11-21"
    assert sum(each["predicted_nanodollars"] for each in body["forecast"]) == 365 * DOLLAR


def opus_and_haiku(person: Person) -> list[CostEvent]:
    """Calls at list prices: $10 a day of the one, a dime of the other, fifty-two of each and more."""
    opus = {"model": "claude-opus-4-5", "input_tokens": 1_000_000, "output_tokens": 200_000}
    haiku = {"model": "claude-haiku-4-5", "input_tokens": 50_000, "output_tokens": 10_000}
    return [
        *(e for _ in range(2) for e in daily(person, 29, **opus, cost_nanodollars=10 * DOLLAR)),
        *(e for _ in range(2) for e in daily(person, 29, **haiku, cost_nanodollars=DOLLAR // 10)),
    ]


def test_scenarios_price_the_tokens_that_were_used(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(store, clock, opus_and_haiku(person))

    body = told(person, "/v1/forecast/scenarios?horizon_days=10&traffic_factor=1.5")

    switch = body["switch"]
    assert (switch["from"]["model"], switch["to"]["model"]) == ("claude-opus-4-5", "claude-haiku-4-5")
    assert (switch["requests"], switch["recorded_usd"], switch["from_usd"]) == (58, 580, 580)
    assert (switch["to_usd"], switch["saved_usd"], switch["exact"]) == (116, 464, True)
    assert body["current_trend"]["predicted_usd"] == 202
    assert (body["traffic"]["factor"], body["traffic"]["total"]["predicted_usd"]) == (Decimal("1.5"), 303)
    assert switch["total"]["predicted_usd"] == pytest.approx(42)
    ScenariosView.model_validate(json.loads(json.dumps(body, default=str)))


def test_a_switch_may_be_named_and_be_dearer(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    record(sqlite_store, clock, opus_and_haiku(ada))
    there = "to_provider=anthropic&to_model=claude-opus-4-5"

    body = told(
        ada, f"/v1/forecast/scenarios?from_provider=anthropic&from_model=claude-haiku-4-5&{there}"
    )  # fmt: skip

    assert (body["switch"]["recorded_usd"], body["switch"]["saved_usd"]) == (Decimal("5.8"), Decimal("-23.2"))


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("traffic_factor=-1", "traffic_factor"),
        ("traffic_factor=1001", "traffic_factor"),
        ("traffic_factor=NaN", "traffic_factor"),
        ("from_provider=acme", "from_provider"),
        ("from_provider=openai&from_model=gpt-4o&to_provider=openai&to_model=gpt-4o-mini", "from_model"),
        (
            "from_provider=anthropic&from_model=claude-sonnet-4-5&to_provider=openai&to_model=unheard-of",
            "to_model",
        ),
    ],
)
def test_a_switch_between_unknown_models_is_refused_by_field(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock, query: str, param: str
) -> None:
    record(sqlite_store, clock, daily(ada, 1))

    assert refused(ada, f"/v1/forecast/scenarios?{query}") == param


def test_half_a_switch_is_refused(ada: Person) -> None:
    assert ada.get("/v1/forecast/scenarios?from_model=gpt-4o").status_code == 422


def test_an_odd_hour_is_shown_with_what_it_was_held_against(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    odd = daily(person, 1, cost_nanodollars=25_000_000_001, model="gpt-4o", provider="openai")
    record(store, clock, daily(person, 28) + odd)

    body = told(person, "/v1/anomalies?start_time=2026-11-20")

    (found,) = body["data"]
    assert (found["team"], found["level"], found["factor"]) == ("search", "critical", 26)
    assert found["spent_usd"] == Decimal("26.000000001")
    assert (found["expected_usd"], found["compared_hours"], found["requests"]) == (
        1,
        19,
        2,
    )  # working days only
    assert (found["start_time"], found["end_time"]) == ("2026-11-20T08:00:00Z", "2026-11-20T09:00:00Z")
    assert found["top_model"]["model"] == "gpt-4o"
    assert told(person, "/v1/anomalies?start_time=2026-11-20&minimum_usd=25.1")["data"] == []
    AnomaliesView.model_validate(json.loads(json.dumps(body, default=str)))


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("start_time=2026-11-01", "start_time"),
        ("start_time=2026-11-22", "start_time"),
        ("end_time=2026-11-20&start_time=2026-11-20", "start_time"),
        ("timezone=Mars", "timezone"),
        ("minimum_usd=-1", "minimum_usd"),
    ],
)
def test_hours_that_cannot_be_judged_are_refused_by_field(ada: Person, query: str, param: str) -> None:
    assert refused(ada, f"/v1/anomalies?{query}") == param


def test_an_estimate_keeps_the_two_ways_of_caching_apart(ada: Person) -> None:
    body = estimated(
        ada, cached_input_tokens=2_000, prompt_cache_hit_percent="90", answered_from_memory_percent=25
    )

    assert (body["request_usd"], body["fits"]) == (Decimal("0.015"), True)
    days = {name: body[name][0] for name in ("plain", "with_prompt_cache", "with_answers_from_memory")}
    assert {name: each["cost_usd"] for name, each in days.items()} == {
        "plain": 15,
        "with_prompt_cache": Decimal("10.29"),
        "with_answers_from_memory": Decimal("11.25"),
    }
    assert [(each["period"], each["days"], each["requests"]) for each in body["plain"]] == [
        ("day", 1, 1_000), ("week", 7, 7_000), ("month", 30, 30_000), ("quarter", 90, 90_000),
        ("year", 365, 365_000),
    ]  # fmt: skip
    EstimateView.model_validate(json.loads(json.dumps(body, default=str)))


def test_an_estimate_without_caches_shows_none(ada: Person) -> None:
    body = estimated(ada)

    assert (body["with_prompt_cache"], body["with_answers_from_memory"]) == (None, None)


def test_an_estimate_compares_the_providers_own_models_or_those_asked_for(ada: Person) -> None:
    own = estimated(ada)["comparison"]
    asked = estimated(ada, compare=[{"provider": "openai", "model": "gpt-4o"}])["comparison"]

    assert {each["provider"] for each in own} == {"anthropic"}
    assert [each["request_nanodollars"] for each in own] == sorted(
        each["request_nanodollars"] for each in own
    )
    (other,) = asked
    assert (other["model"], other["request_usd"], other["month_usd"]) == ("gpt-4o", Decimal("0.0115"), 345)


def test_an_estimate_knows_features_of_like_length_by_what_they_really_cost(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(store, clock, daily(person, 12, feature="chat", input_tokens=3_100, output_tokens=390))

    (found,) = estimated(person)["similar_features"]

    assert (found["feature"], found["answered"], found["cost_usd"]) == ("chat", 12, 12)
    assert (found["prompt_tokens"], found["output_tokens"], found["days"]) == (3_100, 390, 30)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": "unheard-of"}, "model"),
        ({"service_tier": "unheard_of"}, "service_tier"),
        ({"provider": "acme"}, "provider"),
        ({"input_tokens": -1}, "input_tokens"),
        ({"input_tokens": 1.5}, "input_tokens"),
        ({"requests_per_day": 0}, "requests_per_day"),
        ({"prompt_cache_hit_percent": 101}, "prompt_cache_hit_percent"),
        ({"cache_write": "2h"}, "cache_write"),
        ({"compare": [{"provider": "openai"}]}, "compare.0.model"),
        ({"description": "what it is for"}, "description"),
    ],
)
def test_an_estimate_of_nothing_sensible_is_refused_by_field(
    ada: Person, changes: dict[str, Any], param: str
) -> None:
    response = ada.write("POST", "/v1/estimates", CALL | changes)

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param


def test_no_more_of_a_prompt_is_cached_than_there_is(ada: Person) -> None:
    assert ada.write("POST", "/v1/estimates", CALL | {"cached_input_tokens": 3_001}).status_code == 422
    assert estimated(ada, cached_input_tokens=3_000)["with_prompt_cache"] is not None


def test_an_estimate_has_an_address_that_says_the_same(ada: Person) -> None:
    fields = CALL | {"cached_input_tokens": 2_000, "prompt_cache_hit_percent": "87.5"}

    assert told(ada, f"/v1/estimates?{urlencode(fields)}") == estimated(ada, **fields)
    assert refused(ada, f"/v1/estimates?{urlencode(CALL | {'model': 'no-such-model'})}") == "model"
    assert ada.get(f"/v1/estimates?{urlencode(CALL | {'cached_input_tokens': 3_001})}").status_code == 422


def test_an_estimate_can_be_set_beside_all_models_that_take_such_calls(ada: Person) -> None:
    address = f"/v1/estimates?{urlencode(CALL)}"

    own, everybody = told(ada, address), told(ada, f"{address}&compare=all")

    assert {each["provider"] for each in own["comparison"]} == {"anthropic"}
    assert {each["provider"] for each in everybody["comparison"]} == {
        "anthropic",
        "openai",
        "azure",
        "bedrock",
    }
    costs = [each["month_nanodollars"] for each in everybody["comparison"]]
    assert costs == sorted(costs)
    assert all(each["fits"] for each in everybody["comparison"])
    by_csv = list(csv.DictReader(io.StringIO(ada.get(f"{address}&compare=all&format=csv").text)))
    assert by_csv[0]["month_nanodollars"] == str(everybody["plain"][2]["cost_nanodollars"])
    assert [int(each["month_nanodollars"]) for each in by_csv[1:]] == costs


def test_a_forecast_as_csv_has_the_same_buckets(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    record(sqlite_store, clock, daily(ada, 20))

    body = told(ada, "/v1/forecast?bucket_width=1w")
    found = list(csv.DictReader(io.StringIO(ada.get("/v1/forecast?bucket_width=1w&format=csv").text)))

    past = [(each["start_date"], str(each["cost_nanodollars"])) for each in body["history"]]
    ahead = [(each["start_date"], str(each["predicted_nanodollars"])) for each in body["forecast"]]
    rows = {kind: [each for each in found if each["kind"] == kind] for kind in ("past", "forecast")}
    assert [(each["start_date"], each["cost_nanodollars"]) for each in rows["past"]] == past
    assert [(each["start_date"], each["predicted_nanodollars"]) for each in rows["forecast"]] == ahead
    assert len(found) == len(past) + len(ahead)


def test_every_priced_model_is_listed_with_exact_prices(ada: Person) -> None:
    body = told(ada, "/v1/estimator/models")
    listed = {(each["provider"], each["model"]): each for each in body["data"]}

    assert {provider for provider, _ in listed} == {"anthropic", "openai", "bedrock", "azure"}
    haiku = listed["anthropic", "claude-haiku-4-5"]
    assert haiku["context_tokens"] == 200_000
    assert haiku["prices"][0]["cache_write_5m_usd_per_million"] == Decimal("1.25")
    assert {each["service_tier"] for each in haiku["prices"]} >= {"standard", "batch"}
    only = told(ada, "/v1/estimator/models?provider=anthropic")["data"]
    assert {each["provider"] for each in only} == {"anthropic"}
    EstimatorModelsView.model_validate(json.loads(json.dumps(body, default=str)))


def test_each_listed_model_can_be_estimated(ada: Person) -> None:
    for each in told(ada, "/v1/estimator/models?provider=anthropic")["data"]:
        named = {"provider": each["provider"], "model": each["model"]}
        assert ada.write("POST", "/v1/estimates", CALL | named).status_code == 200, named


def test_a_suggestion_says_how_it_was_reckoned_and_from_what(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(store, clock, opus_and_haiku(person))

    body = told(person, "/v1/suggestions")

    found = next(each for each in body["data"] if each["kind"] == "cheaper_model")
    assert (found["model"], found["target"]["model"]) == ("claude-opus-4-5", "claude-haiku-4-5")
    assert (found["saving_usd"], found["saving_is"], found["used"]["cost_usd"]) == (464, "exact", 580)
    assert found["feature"] is None
    assert "$580.00" in found["how"]
    assert "$116.00" in found["how"]
    assert found["rollups"]["group_by"] == ["provider", "model"]
    usage = told(
        person,
        f"/v1/usage?start_time={found['rollups']['start_time']}&end_time={found['rollups']['end_time']}"
        "&bucket_width=1d&model=claude-opus-4-5&limit=31",
    )
    spent = sum(each["cost_nanodollars"] for bucket in usage["data"] for each in bucket["results"])
    assert spent == found["used"]["cost_nanodollars"]
    SuggestionsView.model_validate(json.loads(json.dumps(body, default=str)))


def test_an_account_that_has_spent_nothing_is_suggested_nothing(ada: Person) -> None:
    assert told(ada, "/v1/suggestions")["data"] == []
    assert told(ada, "/v1/forecast/scenarios")["switch"] is None
    assert told(ada, "/v1/anomalies")["data"] == []


def test_another_accounts_calls_play_no_part(
    app: Flask, sign_up: Callable[..., Person], ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    before = [ada.get(path).get_json() for path in GETS]
    bob = sign_up("bob@example.com")
    odd = daily(bob, 1, cost_nanodollars=90 * DOLLAR)
    record(sqlite_store, clock, opus_and_haiku(bob) + odd)

    assert [ada.get(path).get_json() for path in GETS] == before


@pytest.mark.parametrize("path", GETS)
def test_a_key_that_may_read_is_enough_and_one_that_may_not_is_refused(
    ada: Person, app: Flask, bearer: Callable[..., dict[str, str]], path: str
) -> None:
    client = app.test_client()

    assert client.get(path, headers=bearer(ada.account_id, "read")).status_code == 200
    assert client.get(path, headers=bearer(ada.account_id, "proxy")).status_code == 403
    assert client.get(path).status_code == 401


def test_an_estimate_takes_a_key_that_may_read(
    ada: Person, app: Flask, bearer: Callable[..., dict[str, str]]
) -> None:
    client = app.test_client()

    answers = [
        client.post("/v1/estimates", json=CALL, headers=bearer(ada.account_id, scope)).status_code
        for scope in ("read", "proxy")
    ]
    assert answers == [200, 403]
