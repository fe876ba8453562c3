"""Law 5: of the calls that were admitted, each is settled, still in flight, or lost.

What an instance admitted for an account on a UTC day (of admission) is kept beside what of it is stored: one
document an instance and day, its **count**, written in the same atomic commit as the segment.

| field | who writes it | how |
|---|---|---|
| `settled`, `lost` | whoever stores the events, also recovery | added to: each event once, as it is stored |
| `admitted` | the instance alone | as it stands there, replaced each time |

In flight is what is left: `admitted - settled - lost`. Once an instance is gone and its journal is drained,
that is 0, or a call vanished. A killed instance may not have written its last `admitted`: what it stored
beyond was admitted, too.

Counted are calls that may cost money: not those refused or answered from memory, and no items of batches,
which nobody admitted one by one.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from metering.collections import counts_collection
from metering.events import CostEvent
from metering.ids import repeatable_digest
from metering.rollups import BATCH_TIER
from metering.stores import DocumentStore, FieldPath, Increment, Query

ACCOUNTS_A_DAY_MAX = 100_000
COUNTS_A_READ = 300
COUNTS_READ_MAX = 30_000

_NEVER_ADMITTED = frozenset({"refused", "cache_hit"})
_SETTLED: FieldPath = ("settled",)
_LOST: FieldPath = ("lost",)


def day_of(moment: datetime) -> str:
    """The UTC day of the moment, aware UTC, as counts and checks name it: `2026-11-21`."""
    return moment.date().isoformat()


class Admissions:
    """How many calls this instance admitted, by account and UTC day of admission.

    Counted on one thread, read on any. Two days are kept. Accounts beyond `ACCOUNTS_A_DAY_MAX` are not
    counted, and a count without `admitted` is complete by definition.
    """

    def __init__(self) -> None:
        self._days: dict[str, dict[str, int]] = {}

    def note(self, account_id: str, at: datetime) -> None:
        """A call of the account was admitted at that moment."""
        day = day_of(at)
        counts = self._days.get(day)
        if counts is None:
            kept = sorted(self._days)[-1:]
            counts = {}
            self._days = {name: self._days[name] for name in kept} | {day: counts}
        if account_id in counts or len(counts) < ACCOUNTS_A_DAY_MAX:
            counts[account_id] = counts.get(account_id, 0) + 1

    def of(self, account_id: str, day: str) -> int | None:
        """How many calls of the account were admitted that day; None where that is not known (any more)."""
        return self._days.get(day, {}).get(account_id)


class DayCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the calls that were admitted on one UTC day."""

    day: str
    settled: int = 0
    lost: int = 0
    in_flight: int = 0

    @property
    def admitted(self) -> int:
        """All of them."""
        return self.settled + self.lost + self.in_flight


def calls_of(events: Iterable[CostEvent]) -> tuple[int, int]:
    """How many calls that were admitted one by one the events are of: settled ones, and lost ones."""
    settled = lost = 0
    for event in events:
        if event.state == "lost":
            lost += 1
        elif event.state not in _NEVER_ADMITTED and not _is_item_of_batch(event):
            settled += 1
    return settled, lost


def _is_item_of_batch(event: CostEvent) -> bool:
    """Whether nobody waited for it."""
    return event.service_tier == BATCH_TIER and event.state == "completed" and event.latency_ms == 0


def count_writes(
    account_id: str,
    instance: str,
    events: Sequence[CostEvent],
    *,
    admitted: int | None = None,
    now: datetime,
) -> list[Increment]:
    """What storing these events, all of one day, adds to their instance's count; nothing where none counts.

    `admitted` is for the instance itself to give.
    """
    settled, lost = calls_of(events)
    if not (settled or lost):
        return []
    day = day_of(events[0].timestamp)
    merge: dict[FieldPath, Any] = {("instance",): instance, ("day",): day, ("written_at",): now}
    if admitted is not None:
        merge[("admitted",)] = admitted
    path = f"{counts_collection(account_id)}/{repeatable_digest('count', instance, day)}"
    return [Increment(path, {_SETTLED: settled, _LOST: lost}, merge)]


def counts_by_day(store: DocumentStore, account_id: str, first: date, last: date) -> list[DayCounts]:
    """What became of the account's calls, by UTC day of admission, both days included; all days are there.

    A store failure passes to the caller: no figure is made up.
    """
    days = {
        date.fromordinal(number).isoformat(): DayCounts(day=date.fromordinal(number).isoformat())
        for number in range(first.toordinal(), last.toordinal() + 1)
    }
    for fields in _counts(store, account_id, first, last):
        before = days[fields["day"]]
        known = fields["settled"] + fields["lost"]
        days[before.day] = DayCounts(
            day=before.day,
            settled=before.settled + fields["settled"],
            lost=before.lost + fields["lost"],
            in_flight=before.in_flight + max(0, fields.get("admitted", 0) - known),
        )
    return list(days.values())


def _counts(store: DocumentStore, account_id: str, first: date, last: date) -> Iterable[dict[str, Any]]:
    after: tuple[str, str] | None = None
    for _ in range(0, COUNTS_READ_MAX, COUNTS_A_READ):
        found = store.query(
            Query(
                collection=counts_collection(account_id),
                order_by="day",
                at_least=first.isoformat(),
                below=date.fromordinal(last.toordinal() + 1).isoformat(),
                after=after,
                limit=COUNTS_A_READ,
            )
        )
        yield from (document.fields for document in found)
        if len(found) < COUNTS_A_READ:
            return
        after = (found[-1].fields["day"], found[-1].document_id)
