"""Retention: what nobody may see any more, or nobody needs any more, is deleted.

How long what is kept says `metering.retention_rules`. Most of it goes by a moment of its own; the rest here:
segments and packs of sessions when their account no longer shows them and recovery is done with them, shards
of rollups when they were compacted long ago (`metering.compaction`), counts and checks by their day, counters
by the end of their period, leases once they are closed.

Readers hide what is over its time at once (`AccountSettings.events_kept_since`), so deleting may come late,
be interrupted, or run twice. The documents of days stay: they say nothing of a single call. Fingerprints of
prompts are taken out of them when their events go.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from metering.accounts import Account
from metering.clock import Clock
from metering.collections import (
    ACCOUNTS,
    LEASES,
    budget_periods_collection,
    checks_collection,
    counts_collection,
    days_collection,
    segments_collection,
    session_hours_collection,
)
from metering.compaction import delete_old_shards
from metering.conservation import day_of
from metering.counters import CLOSED
from metering.day_documents import FINGERPRINTS_DAY, DayUnreadable, fields_without_fingerprints
from metering.directory import all_accounts
from metering.errors import DocumentMissing, RevisionChanged
from metering.retention_rules import RULES, Rule
from metering.segments import EVENTS_KEPT_MIN
from metering.session_packs import hour_text
from metering.stores import Delete, Document, DocumentStore, Put, Query

COUNTS_KEPT: Final = RULES["counts"].kept or timedelta.max
HISTORY_KEPT: Final = RULES["checks"].kept or timedelta.max
LEASES_KEPT: Final = RULES["leases"].kept or timedelta.max  # longer than recovery's charges come late
DELETED_AT_ONCE: Final = 50  # a segment may have a megabyte
DELETED_A_RUN_MAX: Final = 20_000  # of one kind and account; the next run goes on
DAYS_A_READ: Final = 20
DAYS_READ_MAX: Final = 5_000
COUNTERS_A_READ: Final = 300
COUNTERS_READ_MAX: Final = 300_000


class RetentionReport(msgspec.Struct, frozen=True, kw_only=True):
    """How many documents were deleted, and from how many `fingerprints` were taken out.

    `days_left`: 1 where shards are left for the next run.
    """

    segments: int = 0
    session_packs: int = 0
    fingerprints: int = 0
    shards: int = 0
    days_left: int = 0
    counts: int = 0
    checks: int = 0
    counters: int = 0
    leases: int = 0
    sessions: int = 0
    tokens: int = 0
    sign_ins: int = 0
    invites: int = 0
    repeats: int = 0
    rates: int = 0
    audit_events: int = 0
    notices: int = 0
    deliveries: int = 0
    alerts: int = 0
    reconciliations: int = 0
    infrastructure: int = 0
    measurements: int = 0
    books: int = 0


def run(store: DocumentStore, clock: Clock) -> RetentionReport:
    """Delete what is over its time, of all accounts.

    A store failure passes to the caller: what was deleted by then stays deleted, the next run goes on.
    """
    now = clock.now()
    shards = delete_old_shards(store, clock)
    total = RetentionReport(
        shards=shards.shards,
        days_left=shards.days_left,
        leases=_delete_found(store, _old_leases(now)),
        **_over(store, now, "", is_shared=True),
    )
    for account in all_accounts(store):
        total = _sum(total, _of_account(store, account, now))
    return total


def _of_account(store: DocumentStore, account: Account, now: datetime) -> RetentionReport:
    account_id = account.account_id
    needed_since = min(account.settings.events_kept_since(now), now - EVENTS_KEPT_MIN)
    return RetentionReport(
        segments=_delete_found(store, _below(segments_collection(account_id), "last_at", needed_since)),
        session_packs=_delete_found(
            store, _below(session_hours_collection(account_id), "hour", hour_text(needed_since))
        ),
        fingerprints=_take_out_fingerprints(store, account_id, needed_since),
        counts=_delete_found(store, _below(counts_collection(account_id), "day", day_of(now - COUNTS_KEPT))),
        checks=_delete_found(store, _below(checks_collection(account_id), "day", day_of(now - HISTORY_KEPT))),
        counters=_delete_old_counters(store, account_id, now - HISTORY_KEPT),
        **_over(store, now, f"{ACCOUNTS}/{account_id}/", is_shared=False),
    )


def _over(store: DocumentStore, now: datetime, place: str, *, is_shared: bool) -> dict[str, int]:
    """Delete what goes by a moment of its own, by rule."""
    rules = {name: rule for name, rule in RULES.items() if rule.moment and rule.is_shared == is_shared}
    return {
        name: sum(_delete_found(store, query) for query in _queries_of(rule, now, place))
        for name, rule in rules.items()
    }


def _queries_of(rule: Rule, now: datetime, place: str) -> Iterator[Query]:
    if rule.kept is not None:
        for collection in rule.collections:
            yield _below(f"{place}{collection}", rule.moment, now - rule.kept)


def _below(collection: str, field: str, bound: datetime | str) -> Query:
    return Query(collection=collection, order_by=field, below=bound, limit=DELETED_AT_ONCE)


def _old_leases(now: datetime) -> Query:
    return Query(
        collection=LEASES,
        equal={"state": CLOSED},
        order_by="expires_at",
        below=now - LEASES_KEPT,
        limit=DELETED_AT_ONCE,
    )


def _delete_found(store: DocumentStore, query: Query) -> int:
    """Delete what the query finds, again and again until there is nothing more; how many it were."""
    deleted = 0
    while deleted < DELETED_A_RUN_MAX:
        found = store.query(query)
        _delete(store, found)
        deleted += len(found)
        if len(found) < query.limit:
            break
    return deleted


def _delete(store: DocumentStore, found: list[Document]) -> None:
    if found:
        store.commit([Delete(document.path) for document in found])


def _take_out_fingerprints(store: DocumentStore, account_id: str, before: datetime) -> int:
    """Take them out of the documents of days that ended before that moment; of how many.

    A day that is damaged, or is being written by compaction, is left to the next run.
    """
    taken_out = 0
    after: tuple[str, str] | None = None
    for _ in range(0, DAYS_READ_MAX, DAYS_A_READ):
        found = store.query(
            Query(
                collection=days_collection(account_id),
                order_by=FINGERPRINTS_DAY,
                below=day_of(before),
                after=after,
                limit=DAYS_A_READ,
            )
        )
        for document in found:
            try:
                fields = fields_without_fingerprints(document.fields)
                store.commit([Put(document.path, fields, if_revision=document.revision)])
            except (DayUnreadable, RevisionChanged, DocumentMissing):
                continue
            taken_out += 1
        if len(found) < DAYS_A_READ:
            break
        after = (found[-1].fields[FINGERPRINTS_DAY], found[-1].document_id)
    return taken_out


def _delete_old_counters(store: DocumentStore, account_id: str, before: datetime) -> int:
    """Delete the counters whose period ended before that moment."""
    deleted = 0
    for found in _counters(store, account_id):
        old = [document for document in found if document.fields["ends_at"] < before]
        _delete(store, old)
        deleted += len(old)
    return deleted


def _counters(store: DocumentStore, account_id: str) -> Iterator[list[Document]]:
    collection = budget_periods_collection(account_id)
    after: tuple[str, str] | None = None
    for _ in range(0, COUNTERS_READ_MAX, COUNTERS_A_READ):
        found = store.query(Query(collection=collection, after=after, limit=COUNTERS_A_READ))
        yield found
        if len(found) < COUNTERS_A_READ:
            return
        after = ("", found[-1].document_id)


def _sum(first: RetentionReport, second: RetentionReport) -> RetentionReport:
    return RetentionReport(
        **{name: getattr(first, name) + getattr(second, name) for name in RetentionReport.__struct_fields__}
    )
