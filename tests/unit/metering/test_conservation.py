"""Counting what was admitted, and what of it is stored."""

from datetime import UTC, datetime, timedelta

import pytest

from metering import conservation
from metering.conservation import Admissions, DayCounts, count_writes
from metering.events import State
from tests.builders import ACCOUNT_ID, AT, make_event

INSTANCE = "a" * 32
OTHER_ACCOUNT = f"acct_{2:032x}"


def test_admissions_are_counted_by_account_and_day() -> None:
    admissions = Admissions()

    for account_id, hours in ((ACCOUNT_ID, 0), (ACCOUNT_ID, 1), (ACCOUNT_ID, 24), (OTHER_ACCOUNT, 0)):
        admissions.note(account_id, AT + timedelta(hours=hours))

    assert admissions.of(ACCOUNT_ID, "2026-11-21") == 2
    assert admissions.of(ACCOUNT_ID, "2026-11-22") == 1
    assert admissions.of(OTHER_ACCOUNT, "2026-11-21") == 1
    assert admissions.of(OTHER_ACCOUNT, "2026-11-22") is None


@pytest.mark.parametrize(("microseconds", "day"), [(-1, "2026-11-21"), (0, "2026-11-22")])
def test_a_day_begins_at_midnight_utc(microseconds: int, day: str) -> None:
    admissions = Admissions()

    admissions.note(ACCOUNT_ID, datetime(2026, 11, 22, tzinfo=UTC) + timedelta(microseconds=microseconds))

    assert admissions.of(ACCOUNT_ID, day) == 1


def test_two_days_are_kept_so_that_memory_is_bounded() -> None:
    admissions = Admissions()

    for days in range(3):
        admissions.note(ACCOUNT_ID, AT + timedelta(days=days))

    assert admissions.of(ACCOUNT_ID, "2026-11-21") is None
    assert admissions.of(ACCOUNT_ID, "2026-11-22") == admissions.of(ACCOUNT_ID, "2026-11-23") == 1


def test_accounts_beyond_the_bound_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conservation, "ACCOUNTS_A_DAY_MAX", 1)
    admissions = Admissions()

    for account_id in (ACCOUNT_ID, OTHER_ACCOUNT, ACCOUNT_ID):
        admissions.note(account_id, AT)

    assert admissions.of(ACCOUNT_ID, "2026-11-21") == 2
    assert admissions.of(OTHER_ACCOUNT, "2026-11-21") is None


def test_a_commit_adds_what_it_stores_and_says_how_many_were_admitted() -> None:
    events = [make_event(), make_event(state="client_closed"), make_event(state="lost")]

    (write,) = count_writes(ACCOUNT_ID, INSTANCE, events, admitted=7, now=AT)

    assert write.amounts == {("settled",): 2, ("lost",): 1}
    assert write.merge["admitted",] == 7
    assert (write.merge["instance",], write.merge["day",]) == (INSTANCE, "2026-11-21")


def test_who_stores_anothers_events_says_nothing_of_admissions() -> None:
    (write,) = count_writes(ACCOUNT_ID, INSTANCE, [make_event()], now=AT)

    assert ("admitted",) not in write.merge


@pytest.mark.parametrize("state", ["refused", "cache_hit"])
def test_calls_that_cost_nothing_by_nature_were_never_admitted(state: State) -> None:
    assert count_writes(ACCOUNT_ID, INSTANCE, [make_event(state=state)], admitted=1, now=AT) == []


def test_items_of_batches_were_not_admitted_one_by_one() -> None:
    item = make_event(service_tier="batch", latency_ms=0)

    assert count_writes(ACCOUNT_ID, INSTANCE, [item], now=AT) == []
    assert count_writes(ACCOUNT_ID, INSTANCE, [make_event(service_tier="batch")], now=AT) != []
    assert count_writes(ACCOUNT_ID, INSTANCE, [make_event(latency_ms=0)], now=AT) != []
    hung_up = make_event(service_tier="batch", latency_ms=0, state="client_closed")
    assert count_writes(ACCOUNT_ID, INSTANCE, [hung_up], now=AT) != []


def test_each_instance_and_day_has_a_count_of_its_own() -> None:
    paths = {
        count_writes(ACCOUNT_ID, instance, [make_event(timestamp=AT + timedelta(days=days))], now=AT)[0].path
        for instance in (INSTANCE, "b" * 32)
        for days in (0, 1)
    }

    assert len(paths) == 4


def test_what_was_admitted_on_a_day_is_settled_lost_or_in_flight() -> None:
    assert DayCounts(day="2026-11-21", settled=5, lost=2, in_flight=3).admitted == 10
