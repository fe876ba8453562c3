"""The nightly check: whether the books of a day are right, found out by other ways than they were kept.

Each account's UTC day is looked at once it has ended `SETTLED_AFTER` ago, and again each day as long as
something is wrong with it:

- law 4: the sums of the day's events equal those of its rollups, in each kind of cell, as statistics read
  them;
- law 4: of each budget whose period ended that day, what was spent (its counter and open leases) equals what
  was seeded and the charges of the period's events;
- law 5: every call admitted that day is settled or lost by now, and each of those has its event.

Events may be stored while this reads, so a difference counts only once it was found `ATTEMPTS_MAX` times.
What cannot be read is a difference, too.
What was found is kept, a document a day; where an account had nothing to check, nothing is.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import msgspec

from metering.accounts import Account
from metering.clock import Clock
from metering.collections import (
    LEASES,
    budget_periods_collection,
    checks_collection,
    segments_collection,
)
from metering.conservation import DayCounts, calls_of, counts_by_day
from metering.counters import OPEN, counter_totals, lease_totals
from metering.directory import all_accounts
from metering.errors import StoreUnavailable
from metering.events import CostEvent
from metering.ids import repeatable_digest
from metering.rollups import SUMS, sums_of
from metering.segments import EVENTS_KEPT_MIN, stored_events
from metering.stats import Statistics, UsageQuery
from metering.stores import Document, DocumentStore, Put, Query

SETTLED_AFTER: Final = timedelta(hours=6)  # longer than a call takes, and recovery after it
AGAIN_AFTER: Final = timedelta(hours=20)
DAYS_BACK: Final = 6  # looked at at the latest, where nothing ran in between
ATTEMPTS_MAX: Final = 3
DIFFERENCES_KEPT_MAX: Final = 100
CHECKS_READ_MAX: Final = 100
SEGMENTS_A_READ: Final = 50
SEGMENTS_READ_MAX: Final = 2_000_000
DOCUMENTS_A_READ: Final = 300
DOCUMENTS_READ_MAX: Final = 300_000

_DAY: Final = timedelta(days=1)
_GROUPED_BY: Final = {"main": (), "key": ("key_id",), "template": ("prompt_template_id",)}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What two ways of counting came to. `counter_id`: of the budget's counter, where it is about one."""

    what: str
    by_events: int
    by_books: int
    counter_id: str = ""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one account's UTC day. `in_flight`: calls that are neither settled nor lost."""

    day: str
    checked_at: datetime
    events: int = 0
    cost_nanodollars: int = 0
    counters: int = 0
    in_flight: int = 0
    differences: tuple[Difference, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with the day."""
        return not self.differences and not self.in_flight

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to check."""
        return self.is_sound and not self.events and not self.counters


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to."""

    days: int = 0
    events: int = 0
    counters: int = 0
    differences: int = 0
    calls_unaccounted: int = 0


OnUnsound = Callable[[str, Check], None]


def run(store: DocumentStore, clock: Clock, on_unsound: OnUnsound) -> CheckReport:
    """Check what is due, of all accounts; `on_unsound` hears of each account and day that is not right.

    A store failure passes to the caller: what was checked by then is kept, the next run goes on.
    """
    found: Counter[str] = Counter()
    for account in all_accounts(store):
        for day in _days_due(store, account, clock.now()):
            check = check_of(store, account, day, clock.now())
            if check.is_empty:
                continue
            store.commit([Put(check_path(account.account_id, check.day), _fields(check))])
            if not check.is_sound:
                on_unsound(account.account_id, check)
            found["days"] += 1
            found["events"] += check.events
            found["counters"] += check.counters
            found["differences"] += len(check.differences)
            found["calls_unaccounted"] += check.in_flight
    return CheckReport(**found)


def check_path(account_id: str, day: str) -> str:
    """Where the result for that day is kept."""
    return f"{checks_collection(account_id)}/{repeatable_digest('check', day)}"


def last_check(store: DocumentStore, account_id: str) -> Check | None:
    """The result for the latest day of the account that was checked; None where none was."""
    query = Query(collection=checks_collection(account_id), order_by="day", descending=True, limit=1)
    found = store.query(query)
    return msgspec.convert(found[0].fields, Check) if found else None


def checks_since(store: DocumentStore, account_id: str, day: date) -> list[Check]:
    """The results for the account's days from that one on, oldest first, at most `CHECKS_READ_MAX`."""
    query = Query(
        collection=checks_collection(account_id),
        order_by="day",
        at_least=day.isoformat(),
        limit=CHECKS_READ_MAX,
    )
    return [msgspec.convert(document.fields, Check) for document in store.query(query)]


def check_of(store: DocumentStore, account: Account, day: date, now: datetime) -> Check:
    """What is to be found of that day."""
    for _ in range(ATTEMPTS_MAX):
        try:
            check = _Look(store, account, day, now).check()
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a damaged document of one account leaves no other unchecked
            damage = Difference(what=f"unreadable: {type(error).__name__}", by_events=0, by_books=0)
            check = Check(day=day.isoformat(), checked_at=now, differences=(damage,))
        if check.is_sound:
            break
    return check


def _days_due(store: DocumentStore, account: Account, now: datetime) -> list[date]:
    latest = (now - SETTLED_AFTER).date() - _DAY
    days = [latest - number * _DAY for number in range(DAYS_BACK)]
    paths = {day: check_path(account.account_id, day.isoformat()) for day in days}
    kept = {
        path: msgspec.convert(each.fields, Check) for path, each in store.get_many([*paths.values()]).items()
    }
    return [
        day
        for day, path in paths.items()
        if day >= account.created_at.date() and (path not in kept or _is_due_again(kept[path], now))
    ]


def _is_due_again(check: Check, now: datetime) -> bool:
    return not check.is_sound and now - check.checked_at >= AGAIN_AFTER


class _Look:
    """One look at an account's day."""

    def __init__(self, store: DocumentStore, account: Account, day: date, now: datetime) -> None:
        self._store = store
        self._account_id = account.account_id
        self._day = day
        self._now = now
        self._start = datetime.combine(day, time(), UTC)
        self._end = self._start + _DAY
        kept = max(timedelta(days=account.settings.events_kept_days), EVENTS_KEPT_MIN)
        self._kept_since = now - kept
        self._events = 0
        self._sums = [0] * len(SUMS)
        self._calls = Counter[str]()
        self._charges = Counter[str]()

    def check(self) -> Check:
        """What it comes to."""
        counters = [each for each in self._counters() if self._is_ended(each)]
        self._read_events(min([self._start, *(each.fields["starts_at"] for each in counters)]))
        counts = counts_by_day(self._store, self._account_id, self._day, self._day)[0]
        differences = [*self._of_rollups(), *self._of_counts(counts), *self._of_counters(counters)]
        return Check(
            day=self._day.isoformat(),
            checked_at=self._now,
            events=self._events,
            cost_nanodollars=self._sums[SUMS.index("cost_nanodollars")],
            counters=len(counters),
            in_flight=counts.in_flight,
            differences=tuple(differences[:DIFFERENCES_KEPT_MAX]),
        )

    def _is_ended(self, counter: Document) -> bool:
        """Whether its period ended with the day, and all its events are kept."""
        is_of_day: bool = self._start < counter.fields["ends_at"] <= self._end
        return is_of_day and counter.fields["starts_at"] >= self._kept_since

    def _read_events(self, since: datetime) -> None:
        for document in self._segments(since):
            events = stored_events(document.fields)
            for event in events:
                for charge in event.charges:
                    self._charges[charge.lease_id.partition(".")[0]] += charge.nanodollars
            if self._start <= document.fields["last_at"]:
                self._count(events)

    def _count(self, events: Sequence[CostEvent]) -> None:
        """Count a segment of the day; one lies in one quarter hour, and so in one day."""
        self._events += len(events)
        for event in events:
            self._sums = [a + b for a, b in zip(self._sums, sums_of(event), strict=True)]
        settled, lost = calls_of(events)
        self._calls.update(settled=settled, lost=lost)

    def _of_rollups(self) -> Iterator[Difference]:
        for kind, group_by in _GROUPED_BY.items():
            query = UsageQuery(start=self._start, end=self._end, group_by=group_by)
            sums = Statistics(self._store).usage(self._account_id, query).sums
            for name, by_events in zip(SUMS, self._sums, strict=True):
                if sums[name] != by_events:
                    yield Difference(what=f"{kind} {name}", by_events=by_events, by_books=sums[name])

    def _of_counts(self, counts: DayCounts) -> Iterator[Difference]:
        for name in ("settled", "lost"):
            by_events, by_books = self._calls[name], getattr(counts, name)
            if by_events != by_books:
                yield Difference(what=f"calls {name}", by_events=by_events, by_books=by_books)

    def _of_counters(self, counters: Sequence[Document]) -> Iterator[Difference]:
        unreported = self._unreported() if counters else Counter[str]()
        for counter in counters:
            counter_id, totals = counter.document_id, counter_totals(counter.fields)
            by_events = self._charges[counter_id] + totals.seeded
            spent = totals.settled + unreported[counter_id]
            if by_events != spent:
                yield Difference(
                    what="budget spent", by_events=by_events, by_books=spent, counter_id=counter_id
                )

    def _unreported(self) -> Counter[str]:
        """What open leases were charged that their counters do not count yet, by counter."""
        found = Counter[str]()
        for lease in self._all(LEASES, {"account_id": self._account_id, "state": OPEN}):
            found[lease.fields["counter_id"]] += lease_totals(lease.fields).unreported
        return found

    def _counters(self) -> Iterator[Document]:
        return self._all(budget_periods_collection(self._account_id), {})

    def _all(self, collection: str, equal: dict[str, str]) -> Iterator[Document]:
        after: tuple[str, str] | None = None
        for _ in range(0, DOCUMENTS_READ_MAX, DOCUMENTS_A_READ):
            found = self._store.query(
                Query(collection=collection, equal=equal, after=after, limit=DOCUMENTS_A_READ)
            )
            yield from found
            if len(found) < DOCUMENTS_A_READ:
                return
            after = ("", found[-1].document_id)

    def _segments(self, since: datetime) -> Iterator[Document]:
        after: tuple[datetime, str] | None = None
        for _ in range(0, SEGMENTS_READ_MAX, SEGMENTS_A_READ):
            query = Query(
                collection=segments_collection(self._account_id),
                order_by="last_at",
                at_least=since,
                below=self._end,
                after=after,
                limit=SEGMENTS_A_READ,
            )
            found = self._store.query(query)
            yield from found
            if len(found) < SEGMENTS_A_READ:
                return
            after = (found[-1].fields["last_at"], found[-1].document_id)


def _fields(check: Check) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(check, builtin_types=(datetime,))
    return fields
