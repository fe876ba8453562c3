"""Infrastructure costs over REST: each counted once, beside what calls cost and never in it."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from api_service.resources.infrastructure import InfrastructureView
from metering.infrastructure import ROWS_MAX
from metering.stores import DocumentStore
from tests.builders import AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.test_events_and_usage import record

SignUp = Callable[..., Person]
COSTS, MAP = "/v1/infrastructure/costs", "/v1/infrastructure/namespace-map"


def row(row_id: str, cost: str = "1", hour: int = 9, **changes: Any) -> dict[str, Any]:
    return {
        "id": row_id,
        "event_type": "gpu_compute",
        "service": "kubernetes",
        "start_time": f"2026-11-20T{hour:02d}:00:00Z",
        "end_time": f"2026-11-20T{hour:02d}:30:00Z",
        "cost_usd": cost,
    } | changes


def send(person: Person, *rows: dict[str, Any]) -> Any:
    return person.write("POST", COSTS, {"rows": list(rows)})


def shown(person: Person, query: str = "start_time=2026-11-19&end_time=2026-11-22") -> Any:
    response = person.get(f"/v1/infrastructure?{query}")
    assert response.status_code == 200, response.text
    return InfrastructureView.model_validate_json(response.text)


def costs(lines: Any, name: str) -> dict[str, int]:
    return {str(getattr(each, name)): each.cost_nanodollars for each in lines}


@pytest.fixture
def person(make_app: MakeApp, store: DocumentStore, sign_up: SignUp) -> Person:
    """Somebody on each kind of store."""
    return sign_up(on=make_app(store))


def test_services_teams_and_days_each_add_up_to_the_total(person: Person) -> None:
    person.write("PUT", MAP, {"ml": "search"})
    day: dict[str, Any] = {"start_time": "2026-11-21T00:00:00Z", "end_time": "2026-11-22T00:00:00Z"}
    taken = send(
        person,
        row("a", "1.5", namespace="ml"),
        row("b", "0.000000001", namespace="elsewhere"),
        row("c", "2", service="SageMaker", event_type="aws_infrastructure", team="ops", namespace="ml"),
        row("d", "-0.5", service="SageMaker", **day),
    )

    assert taken.get_json() == {"added": 4, "replaced": 0}
    report = shown(person)
    assert report.cost_nanodollars == 3_000_000_001
    assert str(report.cost_usd) == "3.000000001"
    assert costs(report.by_service, "service") == {"kubernetes": 1_500_000_001, "SageMaker": 1_500_000_000}
    assert costs(report.by_team, "team") == {"ops": 2_000_000_000, "search": 1_500_000_000, "": -499_999_999}
    assert report.unallocated_nanodollars == -499_999_999
    assert costs(report.daily_trend, "day") == {
        "2026-11-19": 0,
        "2026-11-20": 3_500_000_001,
        "2026-11-21": -500_000_000,
    }


def test_costs_as_csv_are_the_same(person: Person) -> None:
    send(person, row("a", "1.5", team="search"), row("b", "2.000000001"))
    query = "start_time=2026-11-19&end_time=2026-11-22"

    body = person.get(f"/v1/infrastructure?{query}").get_json()
    text = person.get(f"/v1/infrastructure?{query}&format=csv").text
    found = [(each["section"], each["value"], each["cost_usd"]) for each in csv.DictReader(io.StringIO(text))]

    assert found[:2] == [("total", "", "3.500000001"), ("unallocated", "", "2.000000001")]
    for section, name in (("service", "by_service"), ("team", "by_team"), ("day", "daily_trend")):
        rows = [(section, each[section], Decimal(str(each["cost_usd"]))) for each in body[name]]
        assert [(kind, value, Decimal(cost)) for kind, value, cost in found if kind == section] == rows


def test_a_row_that_comes_again_counts_once_and_a_correction_alone(person: Person) -> None:
    send(person, row("a", "1"), row("b", "2"))

    assert send(person, row("a", "1"), row("b", "5"), row("c")).get_json() == {"added": 1, "replaced": 2}

    assert shown(person).cost_nanodollars == 7_000_000_000


def test_what_machines_cost_is_no_part_of_what_calls_cost(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    record(store, clock, make_event(account_id=person.account_id, cost_nanodollars=7))
    send(person, row("a", "1000", team="search"))

    usage = person.get("/v1/usage?start_time=2026-11-20&end_time=2026-11-22").get_json()
    overview = person.get("/v1/stats/overview").get_json()

    assert sum(each["cost_nanodollars"] for day in usage["data"] for each in day["results"]) == 7
    assert overview["month"]["cost_nanodollars"] == 7
    assert shown(person).cost_nanodollars == 1_000 * 10**9


def test_the_use_of_gpus_is_the_average_over_time_and_gpus(ada: Person) -> None:
    gpu: dict[str, Any] = {"resource_id": "i-1", "gpu_type": "A100"}
    send(
        ada,
        row("a", gpu_utilization_percent="90", gpu_count=3, **gpu),
        row("b", hour=10, gpu_utilization_percent="10.05", gpu_count=1, **gpu),
        row("c", "0", gpu_utilization_percent=0, resource_id="i-2"),
        row("d"),
    )

    report = shown(ada)

    assert [
        (each.resource_id, str(each.utilization_percent), each.gpu_count, each.measured_seconds)
        for each in report.gpu_utilization
    ] == [("i-2", "0", 0, 1_800), ("i-1", "70.01", 3, 3_600)]


def test_a_change_of_the_map_holds_for_what_was_handed_in_before(person: Person) -> None:
    send(person, row("a", namespace="ml"), row("b", namespace="default"))
    before = costs(shown(person).by_team, "team")

    answered = person.write("PUT", MAP, {"ml": "search", "default": ""}).get_json()

    assert answered == person.get(MAP).get_json() == {"ml": "search", "default": ""}
    assert before == {"": 2_000_000_000}
    assert costs(shown(person).by_team, "team") == {"": 1_000_000_000, "search": 1_000_000_000}


def test_a_map_is_replaced_whole_and_is_of_its_account_alone(ada: Person, sign_up: SignUp) -> None:
    ada.write("PUT", MAP, {"ml": "search"})
    ada.write("PUT", MAP, {"batch": "research"})
    send(ada, row("a"))
    bob = sign_up("bob@example.com")

    assert ada.get(MAP).get_json() == {"batch": "research"}
    assert bob.get(MAP).get_json() == {}
    assert shown(bob).cost_nanodollars == 0


@pytest.mark.parametrize(
    "body", [{"ml": 1}, {"": "search"}, {"x" * 201: "search"}, {"ml": "x" * 201}, {"ml": None}]
)
def test_a_map_that_makes_no_sense_is_refused_and_the_one_before_stays(ada: Person, body: Any) -> None:
    ada.write("PUT", MAP, {"ml": "search"})

    assert ada.write("PUT", MAP, body).status_code == 422
    assert ada.get(MAP).get_json() == {"ml": "search"}


def test_the_machines_own_file_is_the_map_and_is_not_changed_here(ada: Person, tmp_path: Path) -> None:
    ada.write("PUT", MAP, {"ml": "search"})
    (tmp_path / "namespace_map.json").write_text('{"ml": "research"}')

    assert ada.get(MAP).get_json() == {"ml": "research"}
    assert ada.write("PUT", MAP, {}).status_code == 409


@pytest.mark.battery("I2")
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"id": ""}, "rows.1.id"),
        ({"id": "two words"}, "rows.1.id"),
        ({"id": "a"}, "rows.1.id"),
        ({"event_type": "other"}, "rows.1.event_type"),
        ({"service": " "}, "rows.1.service"),
        ({"end_time": "2026-11-20T09:00:00Z"}, "rows.1.end_time"),
        ({"end_time": "2026-11-21T00:00:01Z"}, "rows.1.end_time"),
        ({"start_time": "2026-11-22T00:00:00Z", "end_time": "2026-11-22T01:00:00Z"}, "rows.1.start_time"),
        ({"start_time": "2025-10-01T00:00:00Z", "end_time": "2025-10-01T01:00:00Z"}, "rows.1.start_time"),
        ({"cost_usd": "1e3"}, "rows.1.cost_usd"),
        ({"cost_usd": "0.0000000001"}, "rows.1.cost_usd"),
        ({"gpu_utilization_percent": "100.01"}, "rows.1.gpu_utilization_percent"),
        ({"gpu_utilization_percent": "0.001"}, "rows.1.gpu_utilization_percent"),
        ({"gpu_count": -1}, "rows.1.gpu_count"),
        ({"cost": 1}, "rows.1.cost"),
    ],
)
def test_one_bad_row_refuses_the_batch(ada: Person, change: dict[str, Any], param: str) -> None:
    response = send(ada, row("a"), row("b") | change)

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == param
    assert shown(ada).cost_nanodollars == 0


def test_a_batch_is_of_three_days_and_a_thousand_rows_at_most(ada: Person) -> None:
    def on(number: int) -> dict[str, Any]:
        day = (AT - timedelta(days=number)).date()
        return row("a", start_time=f"{day}T00:00:00Z", end_time=f"{day + timedelta(days=1)}T00:00:00Z")

    assert send(ada, on(0), on(1), on(2)).status_code == 200
    assert send(ada, on(0), on(1), on(2), on(3)).status_code == 422
    assert send(ada, *(row(f"{number}") for number in range(ROWS_MAX))).status_code == 200
    assert send(ada, *(row(f"{number}") for number in range(ROWS_MAX + 1))).status_code == 422


def test_a_day_that_is_full_refuses_the_batch_and_keeps_what_it_has(ada: Person) -> None:
    def batch(number: int) -> Any:
        return send(ada, *(row(f"{number}-{each}", "0.1", pod_name="x" * 150) for each in range(ROWS_MAX)))

    statuses = [batch(number).status_code for number in range(4)]

    assert statuses[0] == 200
    assert statuses[-1] == 422
    assert shown(ada).cost_nanodollars == statuses.count(200) * ROWS_MAX * 100_000_000


def test_costs_of_a_day_stay_within_what_is_summed_exactly(ada: Person) -> None:
    assert send(ada, row("a", "100000000")).status_code == 200
    assert send(ada, row("b", "-0.000000001")).status_code == 422


def test_what_looks_like_a_key_is_not_kept(ada: Person) -> None:
    send(ada, row("a", job_name="x", resource_id="AKIAABCDEFGHIJKLMNOP", gpu_utilization_percent=1))

    assert shown(ada).gpu_utilization[0].resource_id == "[redacted]"


def test_more_services_than_an_answer_names_are_other_and_none_is_lost(ada: Person) -> None:
    for start in (0, 600):
        send(
            ada,
            *(
                row(f"{n}", "1", service=f"s{n}", team=f"t{n}" if n else "")
                for n in range(start, start + 600)
            ),
        )

    report = shown(ada)

    assert len(report.by_service) <= 1_000
    assert sum(costs(report.by_service, "service").values()) == report.cost_nanodollars == 1_200 * 10**9
    assert sum(costs(report.by_team, "team").values()) == report.cost_nanodollars
    assert costs(report.by_team, "team")[""] == report.unallocated_nanodollars == 10**9


def test_a_key_hands_costs_in_with_the_scope_for_it(
    ada: Person, bearer: Callable[..., dict[str, str]]
) -> None:
    def status(*scopes: Any, **terms: Any) -> int:
        headers = bearer(ada.account_id, *scopes, **terms)
        return ada.client.post(COSTS, json={"rows": [row("a")]}, headers=headers).status_code

    assert status("ingest") == 200
    assert status("read", "write", "proxy") == 403
    assert status("ingest", app="web") == 403


def test_thirty_full_days_are_at_most_a_hundred_reads(
    make_app: MakeApp, sqlite_store: DocumentStore, sign_up: SignUp
) -> None:
    counting = CountingStore(sqlite_store)
    person = sign_up(on=make_app(counting))
    for number in range(30):
        day = (AT - timedelta(days=number)).date()
        send(person, row("a", start_time=f"{day}T00:00:00Z", end_time=f"{day}T12:00:00Z"))
    counting.documents_read = 0

    report = shown(person, "")

    assert report.cost_nanodollars == 30 * 10**9
    assert counting.documents_read <= 40
    counting.check_limits()
