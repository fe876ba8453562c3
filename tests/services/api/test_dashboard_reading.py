"""What pages read is what the API answers: the same figures, the same refusals."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, Response, g
from msgspec import structs

from api_service.access import somebody_logged_in
from api_service.dashboard.reading import answer_of, section_of, whole_list_of
from api_service.resources.audit_events import list_audit_events
from api_service.resources.budgets import list_budgets, show_budget
from api_service.resources.comparison import show_comparison
from api_service.resources.conservation import show_conservation
from api_service.resources.forecasts import show_forecast
from api_service.resources.keys import list_keys
from api_service.resources.savings import show_savings
from api_service.resources.statistics import show_models, show_teams
from api_service.resources.usage import sum_up_usage
from metering.errors import NotFound
from metering.stores import DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import Person
from tests.services.api.test_events_and_usage import record

RANGE = {"start_time": "2026-11-18", "timezone": "Asia/Kolkata"}


@pytest.fixture
def asking(app: Flask, ada: Person) -> Callable[..., Any]:
    """Runs something as a page does, within a request of ada's."""

    def run(read: Callable[[], Any]) -> Any:
        cookie = ada.client.get_cookie("modeltrack_session")
        assert cookie is not None
        with app.test_request_context("/overview", headers={"Cookie": f"modeltrack_session={cookie.value}"}):
            g.visitor = somebody_logged_in()
            return read()

    return run


@pytest.fixture(autouse=True)
def calls(ada: Person, sqlite_store: DocumentStore, clock: ManualClock) -> None:
    for number in range(12):
        event = make_event(
            account_id=ada.account_id,
            timestamp=clock.now() - timedelta(hours=7 * number),
            team="" if number % 4 == 0 else f"team {number % 3}",
            cost_nanodollars=123_456_789 + number,
        )
        record(sqlite_store, clock, event)


@pytest.mark.parametrize(
    ("operation", "path", "query"),
    [
        (sum_up_usage, "/v1/usage", {**RANGE, "group_by": ["team", "model"]}),
        (
            show_comparison,
            "/v1/stats/comparison",
            {**RANGE, "compare_to": "week", "team": ["team 1", "team 2"]},
        ),
        (show_models, "/v1/stats/models", {**RANGE, "limit": 3}),
        (show_teams, "/v1/stats/teams", {**RANGE, "team": [""]}),
        (show_savings, "/v1/stats/savings", RANGE),
        (show_forecast, "/v1/forecast", {"horizon_days": 9}),
        (show_conservation, "/v1/conservation", {}),
        (list_budgets, "/v1/budgets", {}),
        (list_keys, "/v1/keys", {}),
    ],
)
def test_a_page_reads_what_the_api_answers(
    asking: Callable[..., Any],
    ada: Person,
    operation: Callable[..., Response],
    path: str,
    query: dict[str, object],
) -> None:
    ada.write("POST", "/v1/budgets", {"limit_usd": "5", "scope": {"team": "team 1"}})

    read = asking(lambda: answer_of(operation, query=query))

    assert as_floats(read) == ada.get(path, query_string=query).get_json()


def as_floats(value: Any) -> Any:
    """As `get_json` reads an answer: with floats for numbers with a fraction."""
    if isinstance(value, dict):
        return {name: as_floats(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_floats(each) for each in value]
    return float(value) if not isinstance(value, int | str | None) else value


def test_what_the_api_refuses_is_refused_alike(asking: Callable[..., Any], ada: Person) -> None:
    section = asking(lambda: section_of(show_models, query={"start_time": "yesterday", "strat": 1}))

    refused = ada.get("/v1/stats/models?start_time=yesterday&strat=1").get_json()["error"]
    assert not section.is_answered
    assert section["data"] is None
    assert section.refusal.message == refused["message"]
    assert [each.param for each in section.refusal.details] == [each["param"] for each in refused["details"]]


def test_what_is_not_there_is_not_there(asking: Callable[..., Any]) -> None:
    with pytest.raises(NotFound):
        asking(lambda: answer_of(show_budget, path={"budget_id": "budget_1"}))


def test_nobody_reads_what_a_person_may(app: Flask) -> None:
    with app.test_request_context("/login"):
        section = section_of(list_keys)

    assert section.refusal is not None
    assert section.refusal.status == 401


def test_what_the_role_does_not_show_says_so(asking: Callable[..., Any]) -> None:
    def as_viewer() -> Any:
        seat = g.visitor.seat
        g.visitor = replace(g.visitor, seat=replace(seat, place=structs.replace(seat.place, role="viewer")))
        return section_of(list_audit_events)

    section = asking(as_viewer)

    assert section.is_out_of_role
    assert section.refusal.status == 403


def test_a_long_list_is_read_to_its_end(asking: Callable[..., Any], ada: Person) -> None:
    query = {"start_time": "2026-09-01", "bucket_width": "1d"}

    whole = asking(lambda: whole_list_of(sum_up_usage, query))

    assert len(whole["data"]) == 82
    assert whole["has_more"] is False
    first = ada.get("/v1/usage", query_string=query).get_json()
    assert as_floats(whole["data"][:31]) == first["data"]


def test_a_chart_has_the_figures_of_its_csv(ada: Person) -> None:
    query = {"start_time": "2026-09-01", "bucket_width": "1d", "timezone": "Asia/Kolkata"}

    csv = ada.get("/v1/usage", query_string=query | {"format": "csv"})

    assert "X-Next-Page" not in csv.headers
    costs = [line.split(",") for line in csv.text.splitlines()]
    place = costs[0].index("cost_nanodollars")
    assert sum(int(line[place]) for line in costs[1:]) == sum(123_456_789 + number for number in range(12))
