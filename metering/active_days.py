"""Which accounts have rollups of which UTC days: the list by which compaction and retention find their work.

One document an account and day. Every instance puts it with its first commit to that day, and again with each
commit to a day so old that it may be closed meanwhile: whatever comes late opens its day anew.

| state | since then |
|---|---|
| `open` | quarter hours are compacted as they end |
| `compacted` | the day ended long ago and all its shards are in its documents |
| `shards_gone` | the shards were deleted, the day's documents are what is left |

Nothing that is read rests on this list: what is missing here is only not compacted. For several threads.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

from metering.collections import ACTIVE_DAYS, active_day_path
from metering.ids import new_id, repeatable_digest
from metering.stores import Document, DocumentStore, Put, Query

State = Literal["open", "compacted", "shards_gone"]

CLOSED_AFTER: Final = timedelta(hours=24)  # from a day's end to its closing
PUT_AGAIN_AFTER: Final = timedelta(hours=12)  # well before, so that clocks may differ
DAYS_KNOWN_MAX: Final = 8_192
DAYS_A_READ: Final = 100

_DAY: Final = timedelta(days=1)


class ActiveDay(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC day, by its beginning, on which an account had events."""

    account_id: str
    day: datetime
    state: State = "open"
    compacted_at: datetime | None = None
    revision: str | None = None

    @property
    def ends_at(self) -> datetime:
        """The day's end, exclusive."""
        return self.day + _DAY

    def put(self, state: State, at: datetime | None = None) -> Put:
        """The write that says so; where the day was read, on condition that it has not changed since."""
        fields = {
            "account_id": self.account_id,
            "day": f"{self.day:%Y-%m-%d}",
            "state": state,
            "compacted_at": at or self.compacted_at,
            # Firestore takes a put of the same fields for no change; whoever closes the day meanwhile, on
            # condition that nothing has come, would not notice.
            "mark": new_id("mark"),
        }
        return Put(day_mark_path(self.account_id, self.day), fields, self.revision)


class DayMarks:
    """What this process knows to be on the list."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, datetime], None] = OrderedDict()

    def writes(self, account_id: str, day: datetime, now: datetime) -> list[Put]:
        """What a commit of events of that day has to put; `noted` when it has been applied."""
        with self._lock:
            is_known = (account_id, day) in self._known
        if is_known and now < day + _DAY + PUT_AGAIN_AFTER:
            return []
        return [ActiveDay(account_id=account_id, day=day).put("open")]

    def noted(self, account_id: str, day: datetime) -> None:
        """The day is on the list."""
        with self._lock:
            self._known[account_id, day] = None
            self._known.move_to_end((account_id, day))
            if len(self._known) > DAYS_KNOWN_MAX:
                self._known.popitem(last=False)


def day_mark_path(account_id: str, day: datetime) -> str:
    """Where it is noted that the account has rollups of that day."""
    return active_day_path(repeatable_digest("active_day", account_id, f"{day:%Y-%m-%d}"))


def active_days(store: DocumentStore, state: State, *, begin_at: str = "") -> Iterator[ActiveDay]:
    """The days in that state, each once, beginning behind the document id `begin_at` and going round.

    A store failure passes to the caller.
    """
    yield from _in_order(store, state, begin_at, None)
    if begin_at:
        yield from _in_order(store, state, "", begin_at)


def _in_order(store: DocumentStore, state: State, after: str, last: str | None) -> Iterator[ActiveDay]:
    is_more = True
    while is_more:
        query = Query(
            collection=ACTIVE_DAYS,
            equal={"state": state},
            after=("", after) if after else None,
            limit=DAYS_A_READ,
        )
        found = store.query(query)
        for document in found:
            if last is not None and document.document_id > last:
                return
            yield _active_day(document)
        is_more = len(found) == DAYS_A_READ
        after = found[-1].document_id if found else after


def _active_day(document: Document) -> ActiveDay:
    fields = document.fields
    return ActiveDay(
        account_id=fields["account_id"],
        day=datetime.strptime(fields["day"], "%Y-%m-%d").replace(tzinfo=UTC),
        state=fields["state"],
        compacted_at=fields["compacted_at"],
        revision=document.revision,
    )
