"""The audit log: who changed what of an account, and who was refused to.

Entries are only ever added, and deleted when their time is over (`metering.retention_rules`). They say who,
what, which one, from which network and with what result; never what was sent.
"""

import base64
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from metering.collections import audit_events_collection
from metering.errors import DocumentMissing, InvalidInput
from metering.stores import Create, Document, DocumentStore, Query, Update, Write

PAGE_MAX: Final = 200
CURSOR_CHARACTERS_MAX: Final = 128

ActorKind = Literal["person", "key", "operator", "nobody"]
Outcome = Literal["begun", "done", "refused", "failed"]

_EVENT_ID = re.compile(r"audit_[0-9a-f]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. `operation` names the route, `target_id` what it was about, where that has an id of ours."""

    event_id: str
    account_id: str
    at: datetime
    actor: ActorKind
    actor_id: str = ""
    operation: str
    target_id: str = ""
    outcome: Outcome = "begun"
    status: int = 0
    code: str = ""
    request_id: str = ""
    trace_id: str = ""
    network: str = ""


class AuditPage(msgspec.Struct, frozen=True):
    """Entries, newest first. `next_cursor` None: there are no more."""

    events: tuple[AuditEvent, ...]
    next_cursor: str | None = None


class AuditLog:
    """The audit logs of accounts in a store. Every method raises StoreUnavailable."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    def add(self, event: AuditEvent) -> None:
        """Add an entry."""
        self._store.commit([write_of(event)])

    def end(self, event: AuditEvent) -> None:
        """Note what became of what the entry is about."""
        fields = {name: getattr(event, name) for name in ("target_id", "outcome", "status", "code")}
        with suppress(DocumentMissing):  # the account was erased meanwhile
            self._store.commit([Update(_path(event), fields)])

    def page(
        self,
        account_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        cursor: str | None = None,
        limit: int = PAGE_MAX,
    ) -> AuditPage:
        """The account's entries from `start` on and before `end`. Raises: InvalidInput (a foreign cursor)."""
        query = Query(
            collection=audit_events_collection(account_id),
            order_by="at",
            descending=True,
            at_least=start,
            below=end,
            after=None if cursor is None else _read_cursor(cursor),
            limit=limit + 1,
        )
        found = self._store.query(query)
        events = tuple(event_from(each) for each in found[:limit])
        return AuditPage(events, _written_cursor(events[-1]) if len(found) > limit else None)


def event_from(document: Document) -> AuditEvent:
    """The entry that a document of `audit_events` holds."""
    return msgspec.convert(document.fields, AuditEvent)


def write_of(event: AuditEvent) -> Write:
    """The write that adds the entry, for a commit with what it is about."""
    fields: dict[str, Any] = msgspec.to_builtins(event, builtin_types=(datetime,))
    return Create(_path(event), fields)


def _path(event: AuditEvent) -> str:
    return f"{audit_events_collection(event.account_id)}/{event.event_id}"


def _written_cursor(event: AuditEvent) -> str:
    text = f"{(event.at - _EPOCH) // _MICROSECOND}.{event.event_id}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, _, event_id = text.partition(".")
        place = (_EPOCH + int(moment) * _MICROSECOND, event_id)
    except (ValueError, OverflowError):
        place = None
    if place is None or not _EVENT_ID.fullmatch(place[1]):
        raise InvalidInput("that is no page of this list; begin without one", "page")
    return place
