"""What rules did, and what one would have done, over REST."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from api_service.resources.routing_dry_runs import DryRunView
from api_service.resources.rule_figures import AllRuleFiguresView
from metering.events import CostEvent
from metering.stores import DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.test_events_and_usage import record

PROPOSED = {"threshold": 50, "from_models": ["claude-sonnet-4-6"], "to_model": "claude-haiku-4-5"}
DOLLAR = 1_000_000_000


@pytest.fixture
def person(make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person]) -> Person:
    """Somebody on each kind of store."""
    return sign_up(on=make_app(store))


@pytest.fixture
def spent(person: Person, store: DocumentStore, clock: ManualClock) -> Person:
    """They with a budget of ten dollars, of which three calls spent nine."""
    made = person.write("POST", "/v1/budgets", {"name": "all", "limit_usd": "10", "period": "month"})
    assert made.status_code == 201, made.text
    record(store, clock, *(call(person, clock, hours) for hours in (5, 4, 3)))
    return person


def call(person: Person, clock: ManualClock, hours_ago: float, **changes: Any) -> CostEvent:
    fields = {
        "account_id": person.account_id,
        "timestamp": clock.now() - timedelta(hours=hours_ago),
        "model": "claude-sonnet-4-6",
        "input_tokens": 1_000_000,
        "output_tokens": 0,
        "cost_nanodollars": 3 * DOLLAR,
    }
    return make_event(**fields | changes)


def dry(person: Person, **fields: Any) -> dict[str, Any]:
    response = person.write("POST", "/v1/routing-rules/dry-run", fields)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.get_json()
    DryRunView.model_validate(body)
    return body


def test_a_proposed_rule_is_run_and_not_kept(spent: Person) -> None:
    body = dry(spent, **PROPOSED)

    assert (body["calls_named"], body["calls"], body["cost_usd"], body["saved_usd"]) == (3, 1, 3, 2)
    assert [each["reached_at"] for each in body["budgets"]] == ["2026-11-21T06:30:00Z"]
    assert body["rule"]["id"] is None
    assert body["how"]
    assert body["unknown"]
    assert spent.get("/v1/routing-rules").get_json()["data"] == []
    audited = spent.get("/v1/audit-events").get_json()["data"]
    assert "run_routing_rule_dry" not in str(audited)


def test_a_rule_there_is_runs_as_it_is_or_with_changes(
    spent: Person, store: DocumentStore, clock: ManualClock
) -> None:
    terms = {"name": "cheaper", "enabled": False, **PROPOSED}
    rule = spent.write("POST", "/v1/routing-rules", terms).get_json()
    turned = {"routed": True, "routing_rule": "cheaper", "saved_nanodollars": 2 * DOLLAR}
    record(store, clock, call(spent, clock, 1, model="claude-haiku-4-5", **turned))

    as_it_is, later = dry(spent, rule_id=rule["id"]), dry(spent, rule_id=rule["id"], threshold=91)

    assert (as_it_is["calls"], later["calls"]) == (1, 0)
    assert (as_it_is["rule"]["threshold"], later["rule"]["threshold"]) == (50, 91)
    assert (as_it_is["done"]["calls"], as_it_is["done"]["saved_usd"]) == (1, 2)
    assert not spent.get(f"/v1/routing-rules/{rule['id']}").get_json()["enabled"]


def test_a_place_behind_another_rule_shows_what_that_one_takes(spent: Person) -> None:
    other = {"name": "first", "threshold": 50, "from_models": ["claude-sonnet-4-6"]}
    spent.write("POST", "/v1/routing-rules", {**other, "to_model": "claude-opus-4-6"})

    behind, before = dry(spent, **PROPOSED), dry(spent, position=0, **PROPOSED)

    assert (behind["calls"], behind["taken"]) == (0, [{"name": "first", "calls": 1}])
    assert (before["calls"], before["taken"]) == (1, [])


BAD = {
    "nothing": ({}, 422, "threshold"),
    "half": ({"threshold": 50}, 422, "from_models"),
    "to itself": (PROPOSED | {"to_model": "claude-sonnet-4-6"}, 422, "to_model"),
    "out of reach": (PROPOSED | {"to_model": "gpt-4o-mini"}, 422, "to_model"),
    "unknown": ({"rule_id": "rule_1"}, 404, None),
    "101 %": (PROPOSED | {"threshold": 101}, 422, "threshold"),
}


@pytest.mark.parametrize(("fields", "status", "param"), BAD.values(), ids=list(BAD))
def test_what_makes_no_sense_is_refused_by_its_field(
    ada: Person, fields: Any, status: int, param: str | None
) -> None:
    response = ada.write("POST", "/v1/routing-rules/dry-run", fields)

    assert (response.status_code, response.get_json()["error"]["param"]) == (status, param)


def test_a_key_that_reads_runs_dry(
    ada: Person, client: FlaskClient, bearer: Callable[..., dict[str, str]]
) -> None:
    key = bearer(ada.account_id, "read")

    assert client.post("/v1/routing-rules/dry-run", json=PROPOSED, headers=key).status_code == 200


def test_another_accounts_calls_and_rules_play_no_part(
    spent: Person, sign_up: Callable[..., Person], make_app: MakeApp, store: DocumentStore
) -> None:
    rule = spent.write("POST", "/v1/routing-rules", {"name": "cheaper", **PROPOSED}).get_json()
    bob = sign_up("bob@example.com", on=spent.client.application)

    assert dry(bob, **PROPOSED)["calls_named"] == 0
    foreign = bob.write("POST", "/v1/routing-rules/dry-run", {"rule_id": rule["id"]})
    assert foreign.status_code == 404


def test_what_each_rule_did_is_told_by_name(person: Person, store: DocumentStore, clock: ManualClock) -> None:
    rule = person.write("POST", "/v1/routing-rules", {"name": "cheaper", **PROPOSED}).get_json()
    turned = {"routed": True, "model": "claude-haiku-4-5", "cost_nanodollars": DOLLAR}
    saved = [("cheaper", 2 * DOLLAR), ("cheaper", 1), ("gone", -5)]
    events = [
        call(person, clock, 1, routing_rule=name, saved_nanodollars=amount, **turned)
        for name, amount in saved
    ]
    record(
        store, clock, *events, call(person, clock, 1, state="refused", status_code=429, cost_nanodollars=0)
    )

    body = person.get("/v1/stats/routing-rules").get_json()

    AllRuleFiguresView.model_validate(body)
    assert (body["calls"], body["routed"], body["blocked"], body["routed_share"]) == (4, 3, 1, 0.75)
    assert [(each["rule"], each["rule_id"], each["calls"]) for each in body["data"]] == [
        ("cheaper", rule["id"], 2),
        ("gone", None, 1),
    ]
    assert sum(each["saved_nanodollars"] for each in body["data"]) == body["saved_nanodollars"]
    assert body["data"][0]["unrouted_cost_nanodollars"] == 4 * DOLLAR + 1


def test_the_csv_has_the_same_figures(person: Person, store: DocumentStore, clock: ManualClock) -> None:
    turned = {"routed": True, "routing_rule": "=1+1", "saved_nanodollars": 123_456_789}
    record(store, clock, call(person, clock, 1, **turned))

    (told,) = person.get("/v1/stats/routing-rules").get_json()["data"]
    (line,) = csv.DictReader(io.StringIO(person.get("/v1/stats/routing-rules?format=csv").text))

    assert line["rule"] == "'=1+1"
    assert line["saved_usd"] == "0.123456789"
    assert int(line["saved_nanodollars"]) == told["saved_nanodollars"]


def test_a_range_that_makes_no_sense_is_refused(ada: Person) -> None:
    response = ada.get("/v1/stats/routing-rules?start_time=2026-11-21&end_time=2026-11-20")

    assert (response.status_code, response.get_json()["error"]["param"]) == (422, "end_time")
