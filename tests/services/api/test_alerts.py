"""The job that looks for what to alert to, and alerts as people see to them."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from api_service.functions import alert
from metering.accounts import LOCAL_ACCOUNT_ID
from metering.budgets import Budget
from metering.collections import policy_path
from metering.counters import counter_key
from metering.ledger import Ledger
from metering.nightly_check import Check, Difference, check_path
from metering.periods import period_of
from metering.plans import plan_named
from metering.segments import Segment
from metering.stores import Increment, Put
from tests.builders import make_event
from tests.doubles.counting_store import CountingStore
from tests.doubles.receiver import Receiver, running_receiver
from tests.services.api.conftest import Person
from tests.services.api.telling import Machine, machine

__all__ = ["machine"]

DOLLAR = 1_000_000_000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def spend(machine: Machine) -> Callable[..., None]:
    """Counts that so much was spent of a budget, as an instance of the proxy tells it."""

    def count(budget: dict[str, Any], dollars: int) -> None:
        known = Budget(budget_id=budget["id"], limit_nanodollars=budget["limit_nanodollars"])
        key = counter_key(machine.ada.account_id, known, period_of("month", "UTC", machine.clock.now()))
        amount = dollars * DOLLAR
        machine.place.store.commit(
            [Increment(key.path, {("reserved",): amount, ("settled",): amount}, key.identity)]
        )

    return count


@pytest.fixture
def record(machine: Machine) -> Callable[..., None]:
    """Stores a call of so much at so many days before now."""
    numbers = iter(range(1, 10_000))

    def store_event(days: float, **fields: Any) -> None:
        at = machine.clock.now() - timedelta(days=days)
        account_id = machine.ada.account_id
        event = make_event(account_id=account_id, timestamp=at, **fields)
        segment = Segment(name=f"{'a' * 32}-{next(numbers)}", account_id=account_id, events=(event,))
        Ledger(machine.place.store, machine.clock).commit(segment)

    return store_event


def test_a_budgets_thresholds_are_told_once_each_by_whatever_the_account_has(
    machine: Machine, receiver: Receiver, spend: Callable[..., None]
) -> None:
    budget = machine.made("/v1/budgets", name="search", limit_usd="100")
    machine.made("/v1/webhooks", url=receiver.url)
    told = []
    for dollars in (79, 1, 0, 19, 1, 50):
        spend(budget, dollars)
        machine.alert()
        machine.deliver()
        told.append([json.loads(got.body)["data"]["title"] for got in receiver.got])
        receiver.got.clear()

    assert told == [
        [], ["80% of the budget search is spent"], [], [], ["100% of the budget search is spent"], []
    ]  # fmt: skip
    newest, oldest = machine.listed("/v1/alerts")
    assert (newest["level"], oldest["level"]) == ("critical", "warning")
    assert newest["data"]["spent_nanodollars"] == 100 * DOLLAR
    assert newest["subject_id"] == budget["id"]


def test_the_next_period_alerts_anew(machine: Machine, spend: Callable[..., None]) -> None:
    budget = machine.made("/v1/budgets", limit_usd="100")
    spend(budget, 90)
    machine.alert()
    machine.clock.advance(10 * 86_400)

    assert machine.alert().fired == 0
    spend(budget, 90)
    assert machine.alert().fired == 1
    assert [each["state"] for each in machine.listed("/v1/alerts")] == ["open", "resolved"]


def test_a_budget_of_a_file_alerts_as_well(
    machine: Machine, tmp_path: Path, spend: Callable[..., None]
) -> None:
    (tmp_path / "budgets.json").write_text(
        json.dumps({"budgets": [{"team": "search", "monthly_limit": 10, "action": "warn"}]})
    )
    budgets = machine.listed("/v1/budgets")
    assert budgets, machine.get("/v1/configuration-files").text
    spend(budgets[0], 10)

    assert machine.ada.account_id == LOCAL_ACCOUNT_ID
    assert machine.alert().fired == 1


@pytest.mark.battery("C7")
def test_a_model_without_a_price_alerts_once_a_month(machine: Machine, record: Callable[..., None]) -> None:
    record(0.1, model="new-model", unpriced=True, cost_nanodollars=0)
    machine.alert()
    machine.clock.advance(3600)
    record(0, model="new-model", unpriced=True, cost_nanodollars=0)
    machine.alert()

    (found,) = machine.listed("/v1/alerts")
    assert (found["kind"], found["subject_id"], found["period"]) == (
        "unpriced_model", "anthropic/new-model", "2026-11"
    )  # fmt: skip


def test_a_plan_that_is_nearly_used_up_and_then_is_alerts_once_a_step(
    machine: Machine, record: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(plan_named("free"), events_a_month=5, tracked_usd_a_month=None, teams=2)
    monkeypatch.setattr("api_service.functions.alert.plan_named", lambda _: small)

    def told() -> list[tuple[str, str, int]]:
        machine.alert()
        machine.clock.advance(3600)
        machine.alert()
        found = [each for each in machine.listed("/v1/alerts") if each["kind"] == "plan"]
        return [(each["subject_id"], each["level"], each["data"]["used"]) for each in found]

    for _ in range(3):
        record(0.1, team="search")
    assert told() == []
    record(0.1, team="support")
    assert told() == [("events_a_month", "warning", 4)]
    record(0.1, team="third")
    both = [("events_a_month", "critical", 5), ("events_a_month", "warning", 4), ("teams", "critical", 3)]
    assert sorted(told()) == both
    assert sorted(told()) == both
    titles = [each["title"] for each in machine.listed("/v1/notices") if each["kind"] == "alert.plan"]
    assert sorted(titles) == [
        "100% of the events a month of the plan Free are used",
        "150% of the teams of the plan Free are used",
        "80% of the events a month of the plan Free are used",
    ]

    machine.clock.advance(10 * 24 * 3600)  # another month
    record(0.1, team="search")
    assert sorted(told()) == both


def test_a_larger_plan_resolves_what_it_has_room_for(machine: Machine, record: Callable[..., None]) -> None:
    known = machine.app.extensions["modeltrack"].directory
    known.set_plan(machine.ada.account_id, "free")
    for team in ("search", "support"):
        record(0.1, team=team)
    machine.alert()
    (before,) = machine.listed("/v1/alerts")

    known.set_plan(machine.ada.account_id, "pro")
    machine.clock.advance(3600)
    machine.alert()

    (after,) = machine.listed("/v1/alerts")
    assert (before["subject_id"], before["state"], after["state"]) == ("teams", "open", "resolved")


def test_a_forecast_beyond_the_limit_alerts_before_it_is_spent(
    machine: Machine, record: Callable[..., None]
) -> None:
    for day in range(1, 41):
        record(day, team="search", cost_nanodollars=DOLLAR)
    machine.made("/v1/budgets", name="enough", scope={"team": "search"}, limit_usd="40")
    short = machine.made("/v1/budgets", name="short", scope={"team": "search"}, limit_usd="28")
    assert short["spent_nanodollars"] == 20 * DOLLAR  # counted when it was made

    machine.alert()

    (found,) = machine.listed("/v1/alerts")
    assert (found["kind"], found["subject_id"]) == ("forecast", short["id"])
    assert 28 * DOLLAR < found["data"]["predicted_nanodollars"] < 35 * DOLLAR


def test_an_odd_hour_alerts_once(machine: Machine, record: Callable[..., None]) -> None:
    for day in range(1, 29):
        for hour in (0, 1):
            record(day + hour / 24, team="search", cost_nanodollars=DOLLAR)
    record(1 / 24, team="search", cost_nanodollars=30 * DOLLAR)

    for _ in range(3):
        machine.alert()
        machine.clock.advance(1800)

    (found,) = machine.listed("/v1/alerts")
    assert (found["kind"], found["subject_id"], found["level"]) == ("anomaly", "search", "critical")
    assert found["data"]["spent_nanodollars"] == 30 * DOLLAR


def test_books_that_do_not_add_up_alert_and_are_over_once_they_do(machine: Machine) -> None:
    def check(*differences: Difference) -> None:
        found = Check(day="2026-11-20", checked_at=machine.clock.now(), differences=differences)
        path = check_path(machine.ada.account_id, found.day)
        fields = {
            "day": found.day,
            "checked_at": found.checked_at,
            "differences": [{"what": each.what, "by_events": 1, "by_books": 2} for each in differences],
        }
        machine.place.store.commit([Put(path, fields)])

    check(Difference(what="main requests", by_events=1, by_books=2))
    machine.alert()
    (found,) = machine.listed("/v1/alerts?state=open")
    assert (found["kind"], found["level"], found["period"]) == ("recording", "critical", "2026-11-20")

    check()
    machine.clock.advance(3600)
    assert machine.alert().settled == 1
    assert machine.listed("/v1/alerts?state=open") == []
    assert machine.listed("/v1/alerts")[0]["changed_by"] is None


def test_an_alert_is_acknowledged_put_off_and_resolved(machine: Machine, spend: Callable[..., None]) -> None:
    budget = machine.made("/v1/budgets", limit_usd="100")
    spend(budget, 90)
    machine.alert()
    (alert,) = machine.listed("/v1/alerts")
    path = f"/v1/alerts/{alert['id']}"

    acknowledged = machine.made(f"{path}/acknowledge")
    assert (acknowledged["state"], acknowledged["acknowledged_at"]) == (
        "acknowledged",
        "2026-11-21T09:30:00Z",
    )
    assert acknowledged["changed_by"].startswith("key_")
    asleep = machine.made(f"{path}/snooze", until="2026-11-22T09:30:00Z")
    assert (asleep["state"], asleep["snoozed_until"]) == ("snoozed", "2026-11-22T09:30:00Z")
    resolved = machine.made(f"{path}/resolve")
    assert machine.get(path).get_json() == resolved
    assert (resolved["state"], resolved["snoozed_until"]) == ("resolved", None)
    assert machine.write("POST", f"{path}/acknowledge", {}).status_code == 409


@pytest.mark.parametrize("until", ["2026-11-21T09:30:00Z", "2027-01-01T00:00:00Z", "soon", None])
def test_a_moment_that_makes_no_sense_is_refused(
    machine: Machine, spend: Callable[..., None], until: str | None
) -> None:
    spend(machine.made("/v1/budgets", limit_usd="100"), 90)
    machine.alert()
    (alert,) = machine.listed("/v1/alerts")

    response = machine.write("POST", f"/v1/alerts/{alert['id']}/snooze", {"until": until})

    assert response.status_code == 422
    assert response.get_json()["error"]["param"] == "until"
    assert machine.listed("/v1/alerts") == [alert]


def test_another_accounts_alert_answers_like_an_unknown_one(
    machine: Machine,
    spend: Callable[..., None],
    sign_up: Callable[..., Person],
    bearer: Callable[..., dict[str, str]],
) -> None:
    spend(machine.made("/v1/budgets", limit_usd="100"), 90)
    machine.alert()
    (alert,) = machine.listed("/v1/alerts")
    eve = sign_up("eve@example.com", on=machine.app)
    machine.key = bearer(eve.account_id, "read", "write")

    assert machine.listed("/v1/alerts") == []
    for name in (alert["id"], f"alert_{0:032x}", "x", "..%2f"):
        for method, path in (("GET", ""), ("POST", "/acknowledge"), ("POST", "/resolve")):
            response = machine.write(method, f"/v1/alerts/{name}{path}", None if method == "GET" else {})
            assert response.status_code == 404, (name, method, path)


def test_of_many_values_the_dearest_alert_at_once_and_all_within_the_hour(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = machine.made("/v1/budgets", limit_usd="1", each="team")
    machine.alert()
    known = Budget(budget_id=budget["id"], each="team", limit_nanodollars=DOLLAR)
    period = period_of("month", "UTC", machine.clock.now())
    for number in range(6):
        key = counter_key(machine.ada.account_id, known, period, f"team {number}")
        spent = (2 + number) * DOLLAR
        machine.place.store.commit(
            [Increment(key.path, {("reserved",): spent, ("settled",): spent}, key.identity)]
        )
    monkeypatch.setattr(alert, "VALUES_A_RUN_MAX", 2)

    assert [machine.alert().fired, machine.alert().fired] == [2, 0]
    assert {each["data"]["value"] for each in machine.listed("/v1/alerts")} == {"team 4", "team 5"}
    machine.clock.advance(3600)
    assert machine.alert().fired == 4


def test_one_accounts_damage_leaves_no_other_unlooked_at(
    machine: Machine, spend: Callable[..., None], sign_up: Callable[..., Person]
) -> None:
    eve = sign_up("eve@example.com", on=machine.app)
    machine.place.store.commit([Put(policy_path(eve.account_id), {"budgets": "damaged"})])
    spend(machine.made("/v1/budgets", limit_usd="100"), 90)

    report = machine.alert()

    assert (report.fired, report.broken) == (1, 1)


def test_between_two_hours_an_account_costs_few_reads(machine: Machine, spend: Callable[..., None]) -> None:
    budget = machine.made("/v1/budgets", limit_usd="100")
    spend(budget, 90)
    machine.alert()
    counting = CountingStore(machine.place.store)
    object.__setattr__(machine.place, "store", counting)

    machine.alert()

    assert counting.documents_read <= 8  # account, policy, leases, seeding, counter, the alert, the hour
    assert counting.commits == []
