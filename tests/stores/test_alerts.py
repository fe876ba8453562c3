"""Alerts, on both stores: fired and told of once, whoever finds them, and put through their states."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from api_service.alerts import TOLD_A_LOOK_MAX, Alerts, alert_from
from api_service.notices import Notices, notice_from
from api_service.pages import newest
from metering.alerting import Finding, acknowledged, resolved, snoozed
from metering.collections import DELIVERIES, alerts_collection, notices_collection
from metering.errors import NotFound
from metering.stores import DocumentStore, Query
from tests.builders import ACCOUNT_ID
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore

DAY = timedelta(days=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def alerts_in(store: DocumentStore, clock: ManualClock) -> Alerts:
    return Alerts(store, clock, Notices(store, clock))


@pytest.fixture
def alerts(store: DocumentStore, clock: ManualClock) -> Alerts:
    return alerts_in(store, clock)


def finding(clock: ManualClock, number: int = 1, step: str = "80") -> Finding:
    return Finding(
        kind="budget",
        subject_id=f"budget_{number}",
        period="2026-11",
        step=step,
        level="warning",
        title=f"{step}% of budget {number}",
        text="…",
        data={"percent": int(step)},
        ends_at=clock.now() + 9 * DAY,
    )


def titles(store: DocumentStore) -> list[str]:
    found = store.query(Query(collection=notices_collection(ACCOUNT_ID), limit=300))
    return sorted(notice_from(each).title for each in found)


def states(store: DocumentStore, state: str | None = None) -> Sequence[str]:
    equal = {} if state is None else {"state": state}
    page = newest(store, alerts_collection(ACCOUNT_ID), "fired_at", equal=equal)
    return [f"{alert_from(each).title}: {alert_from(each).state}" for each in page.documents]


def test_a_finding_fires_once_and_is_told_once(
    store: DocumentStore, clock: ManualClock, alerts: Alerts
) -> None:
    counts = []
    for step in ("80", "80", "100", "80"):
        counts.append(alerts.fire(ACCOUNT_ID, [finding(clock, step=step)]))
        clock.advance(60)

    assert counts == [1, 0, 1, 0]
    assert titles(store) == ["100% of budget 1", "80% of budget 1"]
    assert len(store.query(Query(collection=DELIVERIES, equal={"account_id": ACCOUNT_ID}))) == 2


def test_instances_that_find_the_same_at_the_same_moment_tell_it_once(
    store: DocumentStore, clock: ManualClock
) -> None:
    found = [finding(clock, number) for number in range(5)]

    with ThreadPoolExecutor(4) as threads:
        tasks = [threads.submit(alerts_in(store, clock).fire, ACCOUNT_ID, found) for _ in range(4)]
        counts = [task.result() for task in tasks]

    assert sum(counts) == 5
    assert len(titles(store)) == 5


def test_many_at_once_are_all_kept_and_told_in_few_notices(
    store: DocumentStore, clock: ManualClock, alerts: Alerts
) -> None:
    found = [finding(clock, number) for number in range(TOLD_A_LOOK_MAX + 3)]

    assert alerts.fire(ACCOUNT_ID, found) == TOLD_A_LOOK_MAX + 3

    assert len(titles(store)) == TOLD_A_LOOK_MAX + 1
    assert "3 more alerts" in titles(store)
    assert alerts.fire(ACCOUNT_ID, found) == 0
    assert len(titles(store)) == TOLD_A_LOOK_MAX + 1


def test_more_than_fire_in_one_look_fire_in_the_next(
    store: DocumentStore, clock: ManualClock, alerts: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_service.alerts.FIRED_A_LOOK_MAX", 4)
    monkeypatch.setattr("api_service.alerts.FINDINGS_A_READ", 3)
    found = [finding(clock, number) for number in range(10)]

    assert [alerts.fire(ACCOUNT_ID, found) for _ in range(4)] == [4, 4, 2, 0]


def test_looking_again_costs_a_read_a_finding_and_no_write(store: DocumentStore, clock: ManualClock) -> None:
    counting = CountingStore(store)
    alerts = alerts_in(counting, clock)
    found = [finding(clock, number) for number in range(3)]
    alerts.fire(ACCOUNT_ID, found)
    counting.documents_read, counting.commits = 0, []

    alerts.fire(ACCOUNT_ID, found)
    alerts.fire(ACCOUNT_ID, [])

    assert (counting.documents_read, counting.commits) == (3, [])


def test_what_is_put_off_is_told_once_more_when_that_ends(
    store: DocumentStore, clock: ManualClock, alerts: Alerts
) -> None:
    alerts.fire(ACCOUNT_ID, [finding(clock)])
    alert_id = finding(clock).alert_id(ACCOUNT_ID)
    until = clock.now() + DAY
    alerts.change(ACCOUNT_ID, alert_id, lambda alert: snoozed(alert, "person_1", until, clock.now()))

    alerts.fire(ACCOUNT_ID, [finding(clock, step="100")])
    assert titles(store) == ["80% of budget 1"]
    assert alerts.settle(ACCOUNT_ID, lambda _: False) == 0

    clock.advance(DAY.total_seconds())
    assert alerts.settle(ACCOUNT_ID, lambda _: False) == 2
    assert alerts.settle(ACCOUNT_ID, lambda _: False) == 0
    assert titles(store) == ["80% of budget 1", "Still: 100% of budget 1", "Still: 80% of budget 1"]
    assert len(states(store, "open")) == 2


def test_what_is_over_by_itself_is_resolved(store: DocumentStore, clock: ManualClock, alerts: Alerts) -> None:
    alerts.fire(ACCOUNT_ID, [finding(clock, number) for number in (1, 2, 3)])
    seen, done = (finding(clock, number).alert_id(ACCOUNT_ID) for number in (1, 2))
    alerts.change(ACCOUNT_ID, seen, lambda alert: acknowledged(alert, "person_1", clock.now()))
    alerts.change(ACCOUNT_ID, done, lambda alert: resolved(alert, "person_1", clock.now()))

    assert alerts.settle(ACCOUNT_ID, lambda alert: alert.subject_id == "budget_3") == 1
    assert sorted(states(store)) == [
        "80% of budget 1: acknowledged",
        "80% of budget 2: resolved",
        "80% of budget 3: resolved",
    ]
    clock.advance(9 * DAY.total_seconds())
    assert alerts.settle(ACCOUNT_ID, lambda _: False) == 1
    assert len(states(store, "resolved")) == 3


def test_two_changes_at_the_same_moment_both_count_in_some_order(
    store: DocumentStore, clock: ManualClock, alerts: Alerts
) -> None:
    alerts.fire(ACCOUNT_ID, [finding(clock)])
    alert_id = finding(clock).alert_id(ACCOUNT_ID)

    with ThreadPoolExecutor(4) as threads:
        tasks = [
            threads.submit(
                alerts.change, ACCOUNT_ID, alert_id, lambda alert: acknowledged(alert, "one", clock.now())
            )
            for _ in range(4)
        ]
        found = {task.result().state for task in tasks}

    assert found == {"acknowledged"}


def test_an_unknown_alert_is_not_found(alerts: Alerts) -> None:
    with pytest.raises(NotFound):
        alerts.find(ACCOUNT_ID, "alert_1")
