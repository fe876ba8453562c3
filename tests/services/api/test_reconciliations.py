"""Providers' bills over REST: taken in once, whole or not at all, and held against what was recorded."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from api_service.resources.reconciliations import ReconciliationView
from metering.reconciliation import BILLED_DAYS_MAX, LINES_MAX
from metering.stores import DocumentStore
from tests.builders import AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.test_events_and_usage import record

SignUp = Callable[..., Person]
PATH = "/v1/reconciliations"


def bill(*days: tuple[str, dict[str, str]], provider: str = "openai") -> dict[str, Any]:
    return {
        "provider": provider,
        "days": [
            {"day": day, "models": [{"model": name, "cost_usd": cost} for name, cost in models.items()]}
            for day, models in days
        ],
    }


def drift(person: Person, query: str = "provider=openai&start_time=2026-11-20&end_time=2026-11-22") -> Any:
    response = person.get(f"{PATH}?{query}")
    assert response.status_code == 200, response.text
    return ReconciliationView.model_validate_json(response.text)


@pytest.fixture
def person(make_app: MakeApp, store: DocumentStore, sign_up: SignUp) -> Person:
    """Somebody on each kind of store."""
    return sign_up(on=make_app(store))


def test_drift_is_what_was_recorded_less_what_was_billed(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    of = {"account_id": person.account_id, "provider": "openai"}
    record(
        store,
        clock,
        make_event(**of, model="gpt-4o-2024-08-06", cost_nanodollars=1_000_000_001),
        make_event(**of, model="gpt-4o-mini", cost_nanodollars=5, unpriced=False),
        make_event(**of | {"provider": "azure"}, model="gpt-4o", cost_nanodollars=7_000),
    )
    lines = {"gpt-4o-2024-08-06": "0.75", "gpt-4o": "0.5", "": "0.000000001"}

    assert person.write("POST", PATH, bill(("2026-11-21", lines))).get_json() == {
        "provider": "openai",
        "days": 1,
    }

    shown = drift(person)
    assert [(each.model, each.billed_nanodollars, each.recorded_nanodollars) for each in shown.models] == [
        ("gpt-4o", 1_250_000_000, 1_000_000_001),
        ("", 1, 0),
        ("gpt-4o-mini", 0, 5),
    ]
    assert shown.total.drift_nanodollars == 1_000_000_006 - 1_250_000_001
    assert str(shown.total.drift_usd) == "-0.249999995"
    assert shown.total.drift_rate == -0.2
    assert shown.models[2].drift_rate is None


def test_a_day_without_a_bill_is_shown_and_plays_no_part(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    yesterday = AT - timedelta(days=1)
    record(store, clock, make_event(account_id=person.account_id, provider="openai", timestamp=yesterday))
    person.write("POST", PATH, bill(("2026-11-21", {})))

    shown = drift(person)

    first = shown.days[0]
    assert (str(first.day), first.posted_at, first.total) == ("2026-11-20", None, None)
    assert shown.days_billed == 1
    assert shown.days[1].total.billed_nanodollars == 0
    assert shown.total.recorded_nanodollars == 0


def test_drift_as_csv_is_the_same(person: Person) -> None:
    person.write("POST", "/v1/reconciliations", bill(("2026-11-20", {"gpt-4o": "2.5", "o3": "0.000000001"})))
    query = "provider=openai&start_time=2026-11-20&end_time=2026-11-22"

    body, text = drift(person, query), person.get(f"/v1/reconciliations?{query}&format=csv").text
    found = list(csv.DictReader(io.StringIO(text)))

    assert [(each["section"], each["value"], each["billed_usd"]) for each in found] == [
        ("total", "", "2.500000001"), ("model", "gpt-4o", "2.5"), ("model", "o3", "0.000000001"),
        ("day", "2026-11-20", "2.500000001"),
    ]  # fmt: skip
    assert [int(each["drift_nanodollars"]) for each in found[1:3]] == [
        each.drift_nanodollars for each in body.models
    ]


def test_a_repeat_counts_once_and_a_correction_alone(person: Person) -> None:
    for lines in ({"gpt-4o": "2"}, {"gpt-4o": "2"}, {"gpt-4o-mini": "3"}):
        person.write("POST", PATH, bill(("2026-11-21", lines)))

    shown = drift(person)

    assert {each.model: each.billed_nanodollars for each in shown.models} == {"gpt-4o-mini": 3_000_000_000}


def test_bills_of_one_provider_are_none_of_another(person: Person) -> None:
    person.write("POST", PATH, bill(("2026-11-21", {"claude-sonnet-4-5": "2"}), provider="anthropic"))

    assert drift(person).days_billed == 0


@pytest.mark.battery("I2")
@pytest.mark.parametrize(
    ("days", "param"),
    [
        ([("2026-11-21", {}), ("2026-11-21", {})], "days.1.day"),
        ([("2026-11-21", {}), ("2026-11-22", {})], "days.1.day"),
        ([("2026-11-21", {}), ("2026-02-30", {})], "days.1.day"),
        ([("2026-11-21", {}), ("yesterday", {})], "days.1.day"),
        ([("2026-11-21", {"gpt-4o": "0.0000000001"})], "days.0.models.0.cost_usd"),
        ([("2026-11-21", {"gpt-4o": "NaN"})], "days.0.models.0.cost_usd"),
        ([("2026-11-21", {"gpt-4o": "100000000.1"})], "days.0.models.0.cost_usd"),
        ([("2026-11-21", {"gpt-4o": "99999999", "gpt-4": "-2"})], "days.0.models"),
        ([("2026-11-21", {"x" * 201: "1"})], "days.0.models.0.model"),
        ([("2026-11-21", {f"m{number}": "1" for number in range(LINES_MAX + 1)})], "days.0.models"),
        ([], "days"),
        ([("2026-11-21", {})] * (BILLED_DAYS_MAX + 1), "days"),
    ],
)
def test_what_makes_no_sense_is_refused_whole(ada: Person, days: Any, param: str) -> None:
    response = ada.write("POST", PATH, bill(*days))

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param
    assert drift(ada).days_billed == 0


def test_the_largest_bills_are_taken_in(ada: Person, clock: ManualClock) -> None:
    models = {f"{number:0100d}": "499999.999999999" for number in range(LINES_MAX)}
    days = [(str((AT - timedelta(days=each)).date()), models) for each in range(BILLED_DAYS_MAX)]

    assert ada.write("POST", PATH, bill(*days)).status_code == 200

    shown = drift(ada, "provider=openai&end_time=2026-11-22&start_time=2026-10-22")
    assert shown.total.billed_nanodollars == BILLED_DAYS_MAX * LINES_MAX * 499_999_999_999_999


def test_a_key_hands_bills_in_with_the_scope_for_it_and_no_other(
    ada: Person, bearer: Callable[..., dict[str, str]]
) -> None:
    def status(*scopes: Any, **terms: Any) -> int:
        headers = bearer(ada.account_id, *scopes, **terms)
        return ada.client.post(PATH, json=bill(("2026-11-21", {})), headers=headers).status_code

    assert status("ingest") == 200
    assert status("write", "read") == 403
    assert status("ingest", team="search") == 403


def test_nobody_sees_anothers_bills(ada: Person, sign_up: SignUp) -> None:
    ada.write("POST", PATH, bill(("2026-11-21", {"gpt-4o": "2"})))

    assert drift(sign_up("bob@example.com")).days_billed == 0


@pytest.mark.parametrize(
    "query",
    [
        "",
        "provider=azure",
        "provider=openai&start_time=2026-11-21&end_time=2026-11-21",
        "provider=openai&start_time=2026-08-01&end_time=2026-11-21",
        "provider=openai&start_time=2026-11-20&starting_at=2026-11-20",
    ],
)
def test_a_range_that_makes_no_sense_is_refused(ada: Person, query: str) -> None:
    assert ada.get(f"{PATH}?{query}").status_code == 422


def test_thirty_days_are_at_most_a_hundred_reads(
    make_app: MakeApp, sqlite_store: DocumentStore, sign_up: SignUp
) -> None:
    counting = CountingStore(sqlite_store)
    person = sign_up(on=make_app(counting))
    counting.documents_read = 0

    drift(person, "provider=openai")

    assert counting.documents_read <= 100
