"""The list of active days on both stores: who put what when, and that each is found once."""

from datetime import UTC, datetime, timedelta

from metering.active_days import DAYS_A_READ, DAYS_KNOWN_MAX, ActiveDay, DayMarks, active_days
from metering.stores import DocumentStore
from tests.builders import ACCOUNT_ID

DAY = datetime(2026, 11, 20, tzinfo=UTC)


def test_each_day_is_found_once_wherever_the_round_begins(sqlite_store: DocumentStore) -> None:
    days = {DAY + timedelta(days=number) for number in range(DAYS_A_READ + 5)}
    sqlite_store.commit([ActiveDay(account_id=ACCOUNT_ID, day=day).put("open") for day in days])

    for begin_at in ("", "0", "8", "f" * 32):
        found = [active.day for active in active_days(sqlite_store, "open", begin_at=begin_at)]
        assert len(found) == len(days)
        assert set(found) == days


def test_a_day_is_listed_in_its_state_only(store: DocumentStore) -> None:
    store.commit([ActiveDay(account_id=ACCOUNT_ID, day=DAY).put("open")])
    (day,) = active_days(store, "open", begin_at="8")
    store.commit([day.put("compacted", DAY + timedelta(days=2))])

    assert list(active_days(store, "open")) == []
    (compacted,) = active_days(store, "compacted")
    assert (compacted.account_id, compacted.day) == (ACCOUNT_ID, DAY)
    assert compacted.compacted_at == DAY + timedelta(days=2)


def test_what_is_known_of_days_is_bounded_and_may_be_put_again() -> None:
    marks = DayMarks()
    for number in range(DAYS_KNOWN_MAX + 1):
        marks.noted(f"acct_{number}", DAY)

    assert marks.writes("acct_1", DAY, DAY) == []
    assert len(marks.writes("acct_0", DAY, DAY)) == 1
