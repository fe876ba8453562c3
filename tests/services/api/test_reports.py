"""Reports and their schedules over REST, and the job that sends them: each once, and what it says is true."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from threading import Thread
from typing import Any

import pytest
from flask import Flask

from api_service.functions import report
from metering.directory import Directory
from metering.errors import StoreUnavailable
from metering.report_schedules import SCHEDULES_MAX
from metering.stores import DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.unreliable_store import UnreliableStore
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.telling import Machine, machine
from tests.services.api.test_events_and_usage import record

__all__ = ["machine"]

SCHEDULE = {"name": "Mondays", "period": "weekly", "frequency": "weekly", "timezone": "Europe/Berlin"}


def shown(person: Person, path: str) -> dict[str, Any]:
    response = person.get(path)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = json.loads(response.text, parse_float=Decimal)
    return found


def spend(
    person: Person, store: DocumentStore, clock: ManualClock, *costs: tuple[str, int], **changes: Any
) -> None:
    for when, cost in costs:
        event = make_event(
            account_id=person.account_id,
            timestamp=datetime.fromisoformat(when).replace(tzinfo=UTC),
            cost_nanodollars=cost,
            **changes,
        )
        record(store, clock, event)


@pytest.fixture
def person(make_app: MakeApp, store: DocumentStore, sign_up: Callable[..., Person]) -> Person:
    """Somebody on each kind of store."""
    return sign_up(on=make_app(store))


def test_a_month_is_compared_with_the_whole_month_before_it(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    spend(
        person, store, clock,
        ("2026-08-31T23:59", 1), ("2026-09-01T00:00", 20), ("2026-09-30T23:59", 300),
        ("2026-10-01T00:00", 4_000), ("2026-10-31T23:59", 50_000), ("2026-11-01T00:00", 600_000),
    )  # fmt: skip

    month = shown(person, "/v1/reports/2026-10")
    quarter = shown(person, "/v1/reports/2026-Q3")

    assert (month["total"]["cost_nanodollars"], month["total_before"]["cost_nanodollars"]) == (54_000, 320)
    assert month["compared_with"]["period"] == "2026-09"
    assert month["change_usd"] == Decimal("0.00005368")
    assert len(month["by_day"]) == 31
    assert sum(day["cost_nanodollars"] for day in month["by_day"]) == 54_000
    assert (quarter["total"]["cost_nanodollars"], quarter["compared_with"]["period"]) == (321, "2026-Q2")


def test_a_period_is_cut_by_the_zones_own_calendar(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    spend(person, store, clock, ("2026-09-30T18:29", 1), ("2026-09-30T18:30", 20))

    there = shown(person, "/v1/reports/2026-10?timezone=Asia/Kolkata")

    assert there["total"]["cost_nanodollars"] == 20
    assert there["total_before"]["cost_nanodollars"] == 1
    assert there["start_time"] == "2026-09-30T18:30:00Z"


def test_a_running_period_is_compared_with_as_much_of_the_one_before(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    spend(person, store, clock, ("2026-10-20T00:00", 7), ("2026-10-25T00:00", 100), ("2026-11-20T00:00", 9))

    month = shown(person, "/v1/reports/2026-11")

    assert month["is_complete"] is False
    assert (month["total"]["cost_nanodollars"], month["total_before"]["cost_nanodollars"]) == (9, 7)
    assert month["covered"]["end_time"] == "2026-11-21T09:45:00Z"
    assert month["compared_with"]["end_time"] == "2026-10-21T09:45:00Z"


def test_the_dearest_of_both_periods_are_named_and_compared_with_themselves(
    person: Person, store: DocumentStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.usage_groups.GROUPS_MAX", 2)
    costs = {"a": (2, 1), "b": (1, 3), "y": (9, 0), "z": (1, 7)}
    for team, (before, now) in costs.items():
        spend(person, store, clock, ("2026-09-09T00:00", before), ("2026-10-09T00:00", now), team=team)

    cut = shown(person, "/v1/reports/2026-10")["by_team"]

    assert {
        each["value"]: (each["cost_before_nanodollars"], each["cost_nanodollars"]) for each in cut
    } == {"y": (9, 0), "z": (1, 7), "other": (3, 4)}  # fmt: skip


def test_json_csv_and_events_agree_to_the_nanodollar(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    costs = [(f"2026-10-{day:02}T12:00", 10**day % 999_999_937) for day in range(1, 29)]
    for number, cost in enumerate(costs):
        spend(person, store, clock, cost, team=f"=team {number}", feature=f"feature {number % 3}")

    body = shown(person, "/v1/reports/2026-10")
    rows = list(csv.DictReader(io.StringIO(person.get("/v1/reports/2026-10?format=csv").text)))

    spent = sum(cost for _, cost in costs)
    assert body["total"]["cost_nanodollars"] == spent
    for section in ("team", "model", "feature", "day"):
        in_json = body[f"by_{section}"]
        in_csv = [row for row in rows if row["section"] == section]
        assert sum(each["cost_nanodollars"] for each in in_json) == spent
        assert [Decimal(row["cost_usd"]) for row in in_csv] == [each["cost_usd"] for each in in_json]
    assert not any(cell.startswith("=") for row in rows for cell in row.values())
    assert rows[0]["section"] == "total"


def test_recommendations_say_from_which_figures(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    spend(person, store, clock, ("2026-09-10T12:00", 10**9), ("2026-10-10T12:00", 2 * 10**9), team="ads")
    spend(person, store, clock, ("2026-10-11T12:00", 0), unpriced=True, model="nobodys", team="ads")

    found = {each["kind"]: each for each in shown(person, "/v1/reports/2026-10")["recommendations"]}

    assert found.keys() == {"growth", "team_growth", "one_model", "unpriced"}
    assert found["growth"]["how"] == "$2.00 in this period, $1.00 in the one before."
    assert found["team_growth"]["subject"] == "ads"
    assert "100 %" in found["growth"]["title"]


def test_growth_below_a_fifth_is_worth_no_word(
    person: Person, store: DocumentStore, clock: ManualClock
) -> None:
    spend(person, store, clock, ("2026-09-10T12:00", 1_000), ("2026-10-10T12:00", 1_199))
    kinds = {each["kind"] for each in shown(person, "/v1/reports/2026-10")["recommendations"]}
    spend(person, store, clock, ("2026-10-10T12:00", 1))
    kinds_then = {each["kind"] for each in shown(person, "/v1/reports/2026-10")["recommendations"]}

    assert "growth" not in kinds
    assert "growth" in kinds_then


def test_the_reports_of_half_a_year_are_listed_and_each_is_there(ada: Person) -> None:
    listed = shown(ada, "/v1/reports?timezone=America/New_York")["data"]

    kinds = [each["kind"] for each in listed]
    assert (kinds.count("weekly"), kinds.count("monthly"), kinds.count("quarterly")) == (27, 7, 5)
    for each in listed:
        assert (
            shown(ada, f"/v1/reports/{each['period']}?timezone=America/New_York")["start_time"]
            == each["start_time"]
        )


@pytest.mark.parametrize("path", ["2026-12", "2026-W54", "x", "2026-Q9", "=1"])
def test_what_is_no_period_or_has_not_begun_is_not_found(ada: Person, path: str) -> None:
    assert ada.get(f"/v1/reports/{path}").status_code == 404


def test_a_month_is_at_most_a_hundred_reads(
    make_app: MakeApp, sqlite_store: DocumentStore, sign_up: Callable[..., Person], clock: ManualClock
) -> None:
    counting = CountingStore(sqlite_store)
    ada = sign_up(on=make_app(counting))
    spend(
        ada,
        sqlite_store,
        clock,
        *((f"2026-{month}-{day:02}T12:00", 5) for month in ("09", "10") for day in range(1, 31)),
    )
    before = counting.documents_read

    shown(ada, "/v1/reports/2026-10")

    assert (
        counting.documents_read - before <= 100 + 60
    )  # the open shards of 60 days that nobody has compacted


def made(person: Person, **changes: Any) -> dict[str, Any]:
    response = person.write("POST", "/v1/report-schedules", SCHEDULE | changes)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.get_json()
    return found


def test_a_schedule_is_made_shown_changed_and_deleted(person: Person) -> None:
    schedule = made(person)
    path = f"/v1/report-schedules/{schedule['id']}"

    assert schedule["next_at"] == "2026-11-23T08:00:00Z"
    assert shown(person, path) == schedule
    assert shown(person, "/v1/report-schedules")["data"] == [schedule]
    changed = person.write("PATCH", path, {"enabled": False}).get_json()
    assert (changed["next_at"], changed["name"]) == (None, "Mondays")
    assert person.write("DELETE", path).status_code == 204
    assert person.get(path).status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timezone", "Mars/Base"), ("hour", 24), ("hour", -1), ("hour", "9"), ("day_of_week", 0),
        ("day_of_week", 8),
        ("day_of_month", 32), ("period", "yearly"), ("frequency", "hourly"), ("name", ""), ("colour", "red"),
    ],
)  # fmt: skip
def test_a_bad_schedule_is_refused_by_its_field(ada: Person, field: str, value: object) -> None:
    response = ada.write("POST", "/v1/report-schedules", SCHEDULE | {field: value})

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == field
    assert shown(ada, "/v1/report-schedules")["data"] == []


def test_an_account_has_so_many_schedules_and_no_more(ada: Person) -> None:
    for number in range(SCHEDULES_MAX):
        made(ada, name=f"number {number}")

    assert ada.write("POST", "/v1/report-schedules", SCHEDULE).status_code == 409


def test_another_accounts_schedule_answers_like_an_unknown_one(
    app: Flask, sign_up: Callable[..., Person]
) -> None:
    ada, bob = sign_up("ada@example.com"), sign_up("bob@example.com")
    path = f"/v1/report-schedules/{made(ada)['id']}"

    for method in ("GET", "PATCH", "DELETE"):
        theirs = bob.write(method, path, {} if method == "PATCH" else None)
        assert theirs.status_code == 404
    assert shown(ada, path)["enabled"] is True


def until(clock: ManualClock, moment: str) -> None:
    """Let it be that moment."""
    clock.advance((datetime.fromisoformat(moment) - clock.now()).total_seconds())


def told(machine: Machine) -> list[dict[str, Any]]:
    return machine.listed("/v1/notices")


def test_a_report_is_sent_when_it_is_due_and_once_however_often_the_job_runs(machine: Machine) -> None:
    spend(machine.ada, machine.place.store, machine.clock, ("2026-11-17T12:00", 3 * 10**9), team="ads")
    machine.made("/v1/channels", kind="email", email="ada@example.com")
    schedule = machine.made("/v1/report-schedules", **SCHEDULE)
    until(machine.clock, "2026-11-23T07:59:59Z")
    assert report.run(machine.place).sent == 0
    until(machine.clock, "2026-11-23T08:00:00Z")

    assert [report.run(machine.place).sent for _ in range(3)] == [1, 0, 0]
    machine.deliver()

    (notice,) = told(machine)
    assert notice["kind"] == "report.ready"
    assert notice["title"] == "Mondays: 2026-W47, $3.00"
    assert "ads: $3.00" in notice["text"]
    assert machine.mailbox.to("ada@example.com")[-1].subject == notice["title"]
    now = machine.get(f"/v1/report-schedules/{schedule['id']}").get_json()
    assert (now["next_at"], now["last_sent_at"]) == ("2026-11-30T08:00:00Z", "2026-11-23T08:00:00Z")


def test_what_was_due_while_nothing_ran_is_sent_once_and_late(machine: Machine) -> None:
    machine.made("/v1/report-schedules", **SCHEDULE)
    until(machine.clock, "2026-12-16T12:00:00Z")

    assert [report.run(machine.place).sent for _ in range(2)] == [1, 0]

    assert "2026-W50" in told(machine)[0]["title"]


def test_many_instances_at_once_send_each_report_once(machine: Machine) -> None:
    for number in range(4):
        machine.made("/v1/report-schedules", **SCHEDULE | {"name": f"number {number}"})
    until(machine.clock, "2026-11-23T08:00:00Z")
    reports: list[report.ReportsSent] = []
    instances = [Thread(target=lambda: reports.append(report.run(machine.place))) for _ in range(4)]
    for each in instances:
        each.start()
    for each in instances:
        each.join()

    assert sum(each.sent for each in reports) == 4
    assert len(told(machine)) == 4


def test_a_store_that_falls_silent_sends_nothing_twice_and_nothing_never(machine: Machine) -> None:
    machine.made("/v1/report-schedules", **SCHEDULE)
    until(machine.clock, "2026-11-23T08:00:00Z")
    place = replace(machine.place, store=UnreliableStore(machine.place.store, ["reply_lost"]))

    with pytest.raises(StoreUnavailable):
        report.run(place)
    assert report.run(place).sent == 0

    assert len(told(machine)) == 1


def test_a_suspended_account_is_told_nothing(machine: Machine, directory: Directory) -> None:
    machine.made("/v1/report-schedules", **SCHEDULE)
    directory.set_status(machine.ada.account_id, "suspended")
    until(machine.clock, "2026-11-23T08:00:00Z")

    assert report.run(machine.place).sent == 0

    directory.set_status(machine.ada.account_id, "active")
    assert report.run(machine.place).sent == 0
    assert told(machine) == []
