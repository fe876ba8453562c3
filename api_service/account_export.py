"""An export: everything an account holds, one JSON object a line, made as fast as it is taken.

Each line is `{"kind": …, "data": …}`. The first is of the kind `export`, the last of the kind `end` and says
how many there are, so that a cut export is known as one. What is read from the store is read in pages and not
kept. Secrets are not in it: no key, no hash, nothing sealed, no password. What was never set is in it,
with the value that holds then, so that nobody has to know what is usual here.

An export that is under way ends where its account is suspended or closed, or whoever asked may no longer.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from api_service.channels import Channel
from metering.accounts import Account
from metering.clock import Clock
from metering.collections import (
    ACCOUNTS,
    IDENTITIES,
    MEMBERSHIPS,
    SESSIONS,
    person_path,
)
from metering.directory import Directory
from metering.errors import MeteringError, NotFound
from metering.events import wire_fields
from metering.infrastructure import InfrastructureCost
from metering.ledger import Ledger
from metering.plans import at_limit, plan_named
from metering.rollups import DIMENSIONS
from metering.stats import Statistics, UsageQuery
from metering.stores import Document, DocumentStore, Query

FORMAT: Final = 1
DOCUMENTS_A_READ: Final = 100
EVENTS_A_READ: Final = 1_000
MEMBERS_MAX: Final = 1_000
LINES_A_PIECE: Final = 200
USAGE_DAYS_A_READ: Final = 31

# Collections below an account that are exported document by document → the kind of their lines.
EXPORTED: Final[Mapping[str, str]] = {
    "audit_events": "audit_event",
    "alerts": "alert",
    "notices": "notice",
    "channels": "channels",
    "budget_periods": "budget_period",
    "checks": "check",
    "reconciliations": "reconciliation",
    "infrastructure_days": "infrastructure_day",
    "namespace_maps": "namespace_map",
}
# Collections beside the accounts' own that are, too, by the account's id in their documents.
EXPORTED_BESIDE: Final[Mapping[str, str]] = {
    "deliveries": "delivery",
    "invites": "invite",
    "report_schedules": "report_schedules",
}
# All others → where their content is in the export, or why it is not.
OTHERWISE: Final[Mapping[str, str]] = {
    "accounts": "a line `account`",
    "policies": "lines `budget` and `routing_rule`",
    "keys": "lines `key`, without what opens anything",
    "people": "in lines `member`",
    "emails": "the address is in lines `member`; this is its hash",
    "identities": "lines `identity`",
    "second_factors": "sealed",
    "sign_ins": "open something; gone within a day",
    "sessions": "lines `session`, without what opens one",
    "memberships": "lines `member`",
    "tokens": "opens something; gone within a day",
    "changes": "of the service",
    "segments": "lines `event`",
    "quarters": "lines `usage`",
    "days": "lines `usage`",
    "active_days": "of the service: which days there are",
    "session_hours": "packs of what lines `event` say",
    "seedings": "of the service: how far a budget's counting is",
    "leases": "of the service: what its instances hold for a minute",
    "counts": "of the service: that no call is missing",
    "recovery": "of the service",
    "alert_looks": "of the service: when it looked last",
    "rates": "counts by keyed hashes; gone within hours",
    "idempotency": "sealed; opened by nobody but whoever repeats a request; gone within a day",
    "erasures": "of accounts that are no more",
    "status_days": "of the service: how it was up",
}

_SECRET_WORDS: Final = ("hash", "secret", "sealed", "password")  # `input_tokens` are none
_DAY: Final = timedelta(days=1)

Line = tuple[str, object]


class ExportEnded(MeteringError):
    """Whoever asked for the export may have it no longer."""


@dataclass(frozen=True)
class Source:
    """What an export is read from."""

    store: DocumentStore
    directory: Directory
    ledger: Ledger
    statistics: Statistics
    clock: Clock


def pieces_of_export(source: Source, account_id: str, may_go_on: Callable[[], bool]) -> Iterator[bytes]:
    """The export, in pieces. A store failure, or `ExportEnded`, passes to the caller and cuts it."""
    count, piece = 0, bytearray()
    for kind, data in _lines(source, account_id):
        if not piece and not may_go_on():
            raise ExportEnded("the account or the right to it has ended")
        piece += msgspec.json.encode({"kind": kind, "data": data}) + b"\n"
        count += 1
        if count % LINES_A_PIECE == 0:
            yield bytes(piece)
            piece.clear()
    piece += msgspec.json.encode({"kind": "end", "data": {"lines": count + 1}}) + b"\n"
    yield bytes(piece)


def _lines(source: Source, account_id: str) -> Iterator[Line]:
    account = source.directory.account(account_id)
    if account is None:
        raise NotFound("there is no such account")
    begun_at = source.clock.now()
    yield "export", {"format": FORMAT, "account_id": account_id, "begun_at": begun_at}
    yield "account", spelled_out(account)
    yield "plan", {"name": account.plan, **spelled_out(plan_named(account.plan)), "at_limit": at_limit()}
    yield from _rules(source, account_id)
    yield from _people(source, account_id)
    for collection, kind in EXPORTED.items():
        query = Query(collection=f"{ACCOUNTS}/{account_id}/{collection}", limit=DOCUMENTS_A_READ)
        yield from _collection(source.store, account_id, query, kind)
    for collection, kind in EXPORTED_BESIDE.items():
        query = Query(collection=collection, equal={"account_id": account_id}, limit=DOCUMENTS_A_READ)
        yield from _collection(source.store, account_id, query, kind)
    yield from _usage(source, account, begun_at)
    yield from _events(source, account, begun_at)


def _rules(source: Source, account_id: str) -> Iterator[Line]:
    policy = source.directory.policy(account_id)
    if policy is not None:
        yield from (("budget", spelled_out(each)) for each in policy.budgets)
        yield from (("routing_rule", spelled_out(each)) for each in policy.routing_rules)
    for key in source.directory.keys_of(account_id):
        yield "key", without_secrets(spelled_out(key))


def _people(source: Source, account_id: str) -> Iterator[Line]:
    of_account = {"account_id": account_id}
    places = source.store.query(Query(collection=MEMBERSHIPS, equal=of_account, limit=MEMBERS_MAX))
    for place in places:
        person_id = place.fields["person_id"]
        person = source.store.get(person_path(person_id))
        told = {} if person is None else without_secrets(person.fields)
        yield "member", {**told, **without_secrets(place.fields)}
        of_person = {"person_id": person_id}
        identities = Query(collection=IDENTITIES, equal=of_person, limit=DOCUMENTS_A_READ)
        yield from _documents(source.store, identities, "identity")
        sessions = Query(collection=SESSIONS, equal=of_person, limit=DOCUMENTS_A_READ)
        for each in source.store.query(sessions):
            if each.fields["account_id"] == account_id:
                yield "session", without_secrets(each.fields)


def _collection(store: DocumentStore, account_id: str, query: Query, kind: str) -> Iterator[Line]:
    """A collection's documents; where there is none, what holds without one."""
    name = query.collection.rpartition("/")[2]
    field, read = _SPELLED.get(name, ("", dict))
    is_empty = True
    for document in _pages(store, query):
        is_empty = False
        told = dict(document.fields)
        if field in told:
            told[field] = spelled_out(read(told[field]))
        yield kind, without_secrets(told)
    if is_empty and name in _WITHOUT_ANY:
        yield kind, _WITHOUT_ANY[name](account_id)


def _documents(store: DocumentStore, query: Query, kind: str) -> Iterator[Line]:
    yield from ((kind, without_secrets(each.fields)) for each in _pages(store, query))


def _pages(store: DocumentStore, query: Query) -> Iterator[Document]:
    after: tuple[str, str] | None = None
    while True:
        found = store.query(msgspec.structs.replace(query, after=after))
        yield from found
        if len(found) < query.limit:
            return
        after = ("", found[-1].document_id)


def _usage(source: Source, account: Account, now: datetime) -> Iterator[Line]:
    """A line a day and combination, in UTC; days without any usage have none."""
    start = account.created_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while start < now:
        end = min(start + USAGE_DAYS_A_READ * _DAY, now)
        query = UsageQuery(start=start, end=end, group_by=DIMENSIONS["main"])
        for bucket in source.statistics.usage(account.account_id, query).buckets:
            for group in bucket.groups:
                yield "usage", {"start_time": bucket.start, **group.values, **group.sums}
        start += USAGE_DAYS_A_READ * _DAY


def _events(source: Source, account: Account, now: datetime) -> Iterator[Line]:
    cursor: str | None = None
    while True:
        page = source.ledger.events(
            account.account_id,
            cursor=cursor,
            limit=EVENTS_A_READ,
            end=now,
            kept_since=account.settings.events_kept_since(source.clock.now()),
        )
        yield from (("event", spelled_out(wire_fields(event))) for event in page.events)
        cursor = page.next_cursor
        if cursor is None:
            return


def spelled_out(value: Any) -> Any:
    """The value as plain fields, with those that have their usual value, which is stored for none of them."""
    if isinstance(value, msgspec.Struct):
        return {name: spelled_out(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {name: spelled_out(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [spelled_out(held) for held in value]
    return value


# Collections whose documents keep a field shorter than it is told → that field, and what reads it in full.
_SPELLED: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "channels": ("channels", lambda kept: msgspec.convert(kept, list[Channel])),
    "infrastructure_days": ("rows", lambda kept: msgspec.json.decode(kept, type=list[InfrastructureCost])),
    "namespace_maps": ("teams", msgspec.json.decode),
}
# Collections that have a document of an account only once somebody set something → what holds until then.
_WITHOUT_ANY: Final[Mapping[str, Callable[[str], dict[str, Any]]]] = {
    "channels": lambda account_id: {"account_id": account_id, "channels": []},
    "namespace_maps": lambda _: {"teams": {}},
    "report_schedules": lambda account_id: {"account_id": account_id, "next_at": None, "schedules": []},
}


def without_secrets(value: Any) -> Any:
    """The value without what is sealed, packed or a hash: no bytes, and no field that is named so."""
    if isinstance(value, Mapping):
        return {
            name: without_secrets(held)
            for name, held in value.items()
            if not isinstance(held, bytes) and not any(word in name for word in _SECRET_WORDS)
        }
    if isinstance(value, list | tuple):
        return [without_secrets(held) for held in value if not isinstance(held, bytes)]
    return value
