"""What the traffic of all accounts tells of providers, on both stores, and what it must not tell."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from metering import compaction
from metering.events import CostEvent
from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.provider_health import (
    ACCOUNTS_MIN,
    CALLS_MIN,
    Health,
    ProviderHealth,
    Recording,
    Window,
    health_of_traffic,
)
from metering.segments import SegmentPacker
from metering.stores import DocumentStore
from tests.builders import AT, make_event, make_id
from tests.doubles.clock import ManualClock

NOW = AT + timedelta(hours=2)
FAILED: dict[str, Any] = {"state": "upstream_error", "status_code": 529}


def keep(store: DocumentStore, events: Sequence[CostEvent], clock: ManualClock | None = None) -> None:
    packer, ledger = SegmentPacker(new_instance_name()), Ledger(store, clock or ManualClock(NOW))
    for event in events:
        packer.add(event, 0.0)
    for segment in packer.drain():
        ledger.commit(segment)


def calls(number: int, minutes_ago: int = 10, **changes: Any) -> list[CostEvent]:
    at = NOW - timedelta(minutes=minutes_ago)
    return [make_event(timestamp=at, latency_ms=900, **changes) for _ in range(number)]


def of_accounts(*numbers: int, **changes: Any) -> list[CostEvent]:
    """So many calls of as many accounts, each of its own."""
    return [event for number in numbers for event in calls(number, account_id=make_id("acct"), **changes)]


def hosted(store: DocumentStore) -> Health:
    return health_of_traffic(store, NOW, is_hosted=True)


def test_a_machine_of_ones_own_is_told_of_all_its_calls(store: DocumentStore) -> None:
    refused: dict[str, Any] = {"state": "refused", "status_code": 429}
    memory: dict[str, Any] = {"state": "cache_hit", "cache_hit": True, "latency_ms": 1}
    events = [*calls(3), *calls(1, **FAILED), *calls(5, minutes_ago=300), *calls(1, **refused)]
    keep(store, [*events, *[make_event(timestamp=NOW, **memory)], *calls(2, 60 * 30)])

    found = health_of_traffic(store, NOW, is_hosted=False)

    assert found.providers == (
        ProviderHealth(
            provider="anthropic",
            hour=Window(calls=4, errors_per_mille=250, p50_ms=1024, p95_ms=1024),
            day=Window(calls=9, errors_per_mille=111, p50_ms=1024, p95_ms=1024),
        ),
    )
    assert (found.accounts, found.recording.instances) == (1, 1)


def test_it_is_the_same_once_the_day_is_compacted(store: DocumentStore) -> None:
    keep(store, [*calls(3), *calls(5, minutes_ago=300)])
    before = health_of_traffic(store, NOW, is_hosted=False)

    compaction.run(store, ManualClock(NOW))

    assert health_of_traffic(store, NOW, is_hosted=False) == before


HIDDEN = {
    "one account": [CALLS_MIN],
    "too few accounts": [CALLS_MIN] * (ACCOUNTS_MIN - 1),
    "too few calls": [CALLS_MIN // ACCOUNTS_MIN] * (ACCOUNTS_MIN - 1) + [CALLS_MIN // ACCOUNTS_MIN - 1],
    "one makes more than half": [101, 25, 25, 25, 24],
}


@pytest.mark.parametrize("numbers", HIDDEN.values(), ids=list(HIDDEN))
def test_hosted_nothing_is_told_that_may_be_one_accounts(
    sqlite_store: DocumentStore, numbers: list[int]
) -> None:
    keep(sqlite_store, of_accounts(*numbers))

    assert hosted(sqlite_store).providers == (ProviderHealth(provider="anthropic", hour=None, day=None),)


def test_hosted_enough_calls_of_enough_accounts_are_told_without_their_number(
    sqlite_store: DocumentStore,
) -> None:
    keep(sqlite_store, of_accounts(100, 25, 25, 25, 25))

    (found,) = hosted(sqlite_store).providers

    assert found.hour == found.day == Window(calls=None, errors_per_mille=0, p50_ms=1024, p95_ms=1024)


def test_calls_that_were_not_made_count_for_no_account(sqlite_store: DocumentStore) -> None:
    refused = of_accounts(*[1] * ACCOUNTS_MIN, state="refused", status_code=429)
    keep(sqlite_store, [*of_accounts(CALLS_MIN), *refused])

    assert hosted(sqlite_store).providers[0].day is None


def test_when_something_was_recorded_last_is_told_of_enough_accounts_only(
    sqlite_store: DocumentStore,
) -> None:
    keep(sqlite_store, of_accounts(*[1] * (ACCOUNTS_MIN - 1)))
    alone = hosted(sqlite_store).recording
    keep(sqlite_store, of_accounts(1), ManualClock(NOW - timedelta(seconds=30)))

    assert alone == Recording()
    assert hosted(sqlite_store).recording == Recording(recorded_at=NOW, instances=2)


def test_where_nobody_calls_nothing_is_told(store: DocumentStore) -> None:
    assert health_of_traffic(store, NOW, is_hosted=False) == Health()
