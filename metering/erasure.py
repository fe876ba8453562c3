"""Erasure: an account is closed at once, and everything of it deleted soon after.

**Closing** is one commit: the account is suspended for good and has lost its name, settings, budgets and
rules, its keys are revoked, and it is written down that it is to be erased. Every instance of the proxy
refuses its keys within a second, the API from that moment on.

**Erasing** goes on from there in runs of a bounded size, each of which may be cut off: what it has cost by
month is added up, its people who are in no other account are deleted with their addresses and sessions, then
everything that lies under it or carries its id, at last its keys, policy and the account itself.

**Looking again**, `LOOK_AGAIN_AFTER` later, deletes what instances and journals that had not heard of it
brought since. Recovery takes no line of an account that is gone, and none so old.

What is left is the record of the erasure: ids that name nobody any more, and calls and costs by month.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from metering.accounts import AccountSettings, Policy
from metering.active_days import day_mark_path
from metering.clock import Clock
from metering.collections import (
    ACCOUNTS,
    ERASURES,
    INDEXED_FIELDS,
    MEMBERSHIPS,
    account_path,
    erasure_path,
    key_path,
    membership_path,
    person_path,
    policy_path,
    seeding_path,
)
from metering.directory import Change, Demands, Directory, account_from, nothing_more
from metering.errors import Conflict, DocumentMissing, NotFound, RevisionChanged
from metering.keys import KeyRecord
from metering.stats import Statistics, UsageQuery
from metering.stores import Delete, Document, DocumentStore, Put, Query, Update, Write

LOOK_AGAIN_AFTER: Final = timedelta(days=8)  # recovery accepts no older lines
ERASURES_A_RUN_MAX: Final = 20
DELETED_AT_ONCE: Final = 50  # a segment may have a megabyte
DELETED_A_RUN_MAX: Final = 5_000
MEMBERS_AT_ONCE: Final = 50
BOOKS_MONTHS_MAX: Final = 240
MARKS_AT_ONCE: Final = 300

State = Literal["open", "erased", "done"]

# Collections beside the accounts' own whose documents carry the account's id, but for those deleted last.
_CARRYING: Final = tuple(
    name
    for name, fields in INDEXED_FIELDS.items()
    if "account_id" in fields and name not in {"keys", MEMBERSHIPS}
)

# Collections of what people have by themselves, beside their places.
_OF_PEOPLE: Final = tuple(
    name for name, fields in INDEXED_FIELDS.items() if "person_id" in fields and name != MEMBERSHIPS
)


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """How far the erasure of an account is. `books`: month → calls, and their cost in nanodollars.

    `open`: being erased; `erased`: everything is gone, one look is left to be taken; `done`.
    """

    account_id: str
    requested_at: datetime
    requested_by: str
    state: State = "open"
    account_made_at: datetime
    erased_at: datetime | None = None
    done_at: datetime | None = None
    books: dict[str, tuple[int, int]] | None = None

    @property
    def look_again_at(self) -> datetime:
        """When to look for what came late."""
        return (self.erased_at or self.requested_at) + LOOK_AGAIN_AFTER


class ErasureReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to. `left`: erasures that the next run goes on with."""

    accounts_erased: int = 0
    documents: int = 0
    people: int = 0
    left: int = 0


def close_account(
    store: DocumentStore,
    directory: Directory,
    clock: Clock,
    account_id: str,
    by: str,
    demanding: Demands = nothing_more,
) -> Erasure:
    """Close the account for good; the job does the rest. Closing twice changes nothing.

    Raises: NotFound, StoreUnavailable (it may be closed or not), and what `demanding` raises to refuse.
    """

    def prepare() -> Change[Erasure]:
        demanded = demanding()
        account = directory.account(account_id)
        if account is None:
            raise NotFound("there is no such account")
        document = store.get(erasure_path(account_id))
        if account.closed_at is not None and document is not None:
            return Change([], [], erasure_from(document))
        now = clock.now()
        erasure = Erasure(
            account_id=account_id, requested_at=now, requested_by=by, account_made_at=account.created_at
        )
        keys = directory.keys_of(account_id)
        policy = directory.policy(account_id)
        closed = msgspec.structs.replace(
            account, name="", status="suspended", closed_at=now, settings=AccountSettings()
        )
        change = directory.edition_of_account(account_id, lambda _: closed)
        writes = [
            *change.writes,
            *_emptied(policy),
            *(Update(key_path(each.key_hash), {"revoked_at": now}) for each in _live(keys)),
            Put(erasure_path(account_id), _fields(erasure)),
            *demanded,
        ]
        return Change(writes, [*change.touched, *(each.key_hash for each in keys)], erasure)

    return directory.change(prepare)


def erasure_from(document: Document) -> Erasure:
    """The erasure that a document of `erasures` holds."""
    fields = dict(document.fields)
    if fields["books"] is not None:
        fields["books"] = msgspec.json.decode(fields["books"])
    return msgspec.convert(fields, Erasure)


def run(store: DocumentStore, clock: Clock) -> ErasureReport:
    """Go on with what is to be erased. Raises: StoreUnavailable; what was deleted stays so."""
    total = ErasureReport()
    for state in ("open", "erased"):
        query = Query(collection=ERASURES, equal={"state": state}, limit=ERASURES_A_RUN_MAX)
        for document in store.query(query):
            total = _sum(total, _Run(store, clock, document).go_on())
    return total


class _Run:
    """One run at one erasure."""

    def __init__(self, store: DocumentStore, clock: Clock, document: Document) -> None:
        self._store = store
        self._clock = clock
        self._revision = document.revision
        self._erasure = erasure_from(document)
        self._account_id = self._erasure.account_id
        self._directory = Directory(store, clock, b"")  # nothing is hashed here
        self._deleted = 0
        self._people = 0

    def go_on(self) -> ErasureReport:
        if self._erasure.state == "erased" and self._clock.now() < self._erasure.look_again_at:
            return ErasureReport()
        with suppress(_Enough, RevisionChanged, DocumentMissing):  # another run is at it; the next goes on
            return self._erased() if self._erasure.state == "open" else self._looked_again()
        return ErasureReport(documents=self._deleted, people=self._people, left=1)

    def _erased(self) -> ErasureReport:
        if self._erasure.books is None:
            books = _books(self._store, self._erasure)
            self._note(msgspec.structs.replace(self._erasure, books=books))
        self._delete_people()
        self._delete_what_is_below()
        self._delete_last()
        self._note(msgspec.structs.replace(self._erasure, state="erased", erased_at=self._clock.now()))
        return ErasureReport(accounts_erased=1, documents=self._deleted, people=self._people)

    def _looked_again(self) -> ErasureReport:
        # On a machine of one's own the account may be there anew, and what lies under it is not ours then.
        if self._store.get(account_path(self._account_id)) is None:
            self._delete_what_is_below()
        self._note(msgspec.structs.replace(self._erasure, state="done", done_at=self._clock.now()))
        return ErasureReport(documents=self._deleted)

    def _note(self, erasure: Erasure) -> None:
        self._store.commit([Put(erasure_path(self._account_id), _fields(erasure), self._revision)])
        document = self._store.get(erasure_path(self._account_id))
        if document is None or erasure_from(document) != erasure:
            raise _Enough  # another run is further
        self._erasure, self._revision = erasure, document.revision

    def _delete_people(self) -> None:
        query = Query(collection=MEMBERSHIPS, equal={"account_id": self._account_id}, limit=MEMBERS_AT_ONCE)
        while found := self._store.query(query):
            for each in found:
                self._delete_person_or_place(each.fields["person_id"])

    def _delete_person_or_place(self, person_id: str) -> None:
        places = Query(collection=MEMBERSHIPS, equal={"person_id": person_id}, limit=2)
        is_elsewhere = len(self._store.query(places)) > 1
        for collection in _OF_PEOPLE:
            query = Query(collection=collection, equal={"person_id": person_id})
            found = self._store.query(query)
            self._delete(
                [each.path for each in found if not is_elsewhere or self._is_of_account(each.fields)]
            )
        person = [] if is_elsewhere else [person_path(person_id)]
        self._people += len(person)
        self._delete(
            [membership_path(person_id, self._account_id), *person]
        )  # at once: this is how they are found

    def _is_of_account(self, fields: dict[str, Any]) -> bool:
        return fields.get("account_id") == self._account_id

    def _delete_what_is_below(self) -> None:
        for name in INDEXED_FIELDS:
            self._delete_found(
                Query(collection=f"{ACCOUNTS}/{self._account_id}/{name}", limit=DELETED_AT_ONCE)
            )
        for name in _CARRYING:
            self._delete_found(
                Query(collection=name, equal={"account_id": self._account_id}, limit=DELETED_AT_ONCE)
            )
        for paths in self._day_marks():
            self._delete([*self._store.get_many(paths)])

    def _day_marks(self) -> Iterator[Sequence[str]]:
        """Where it may be noted that the account had events on a day."""
        day = self._erasure.account_made_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        paths: list[str] = []
        while day <= self._clock.now():
            paths.append(day_mark_path(self._account_id, day))
            day += timedelta(days=1)
        for start in range(0, len(paths), MARKS_AT_ONCE):
            yield paths[start : start + MARKS_AT_ONCE]

    def _delete_found(self, query: Query) -> None:
        while True:
            found = self._store.query(query)
            self._delete([each.path for each in found])
            if len(found) < query.limit:
                return

    def _delete(self, paths: Sequence[str]) -> None:
        if paths:
            self._store.commit([Delete(path) for path in paths])
        self._deleted += len(paths)
        if self._deleted >= DELETED_A_RUN_MAX:
            raise _Enough

    def _delete_last(self) -> None:
        """The keys, the policy and the account, so that every instance of the proxy hears of it."""

        def prepare() -> Change[int]:
            keys = self._directory.keys_of(self._account_id)
            paths = [key_path(each.key_hash) for each in keys]
            paths += [policy_path(self._account_id), account_path(self._account_id)]
            touched = [self._account_id, *(each.key_hash for each in keys)]
            return Change([Delete(path) for path in paths], touched, len(paths))

        document = self._store.get(account_path(self._account_id))
        if document is not None and account_from(document).closed_at is None:
            raise Conflict("an account that is not closed is not erased")
        self._deleted += self._directory.change(prepare)


class _Enough(Exception):
    """The run has done its share."""


def _books(store: DocumentStore, erasure: Erasure) -> dict[str, tuple[int, int]]:
    """The account's calls and their cost by month, from the first to the last that can have any."""
    statistics, books = Statistics(store), dict[str, tuple[int, int]]()
    month = _month_of(erasure.account_made_at.astimezone(UTC))
    for _ in range(BOOKS_MONTHS_MAX):
        if month > erasure.requested_at:
            break
        after = _month_of(month + timedelta(days=32))
        report = statistics.usage(erasure.account_id, UsageQuery(start=month, end=after))
        sums = [group.sums for bucket in report.buckets for group in bucket.groups]
        calls = sum(each["requests"] for each in sums)
        if calls:
            books[f"{month:%Y-%m}"] = (calls, sum(each["cost_nanodollars"] for each in sums))
        month = after
    return books


def _month_of(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _emptied(policy: Policy | None) -> list[Write]:
    """The writes that end an account's budgets and rules."""
    if policy is None:
        return []
    ending: list[Write] = [Delete(seeding_path(each.budget_id)) for each in policy.budgets]
    return [Update(policy_path(policy.account_id), {"budgets": "[]", "routing_rules": "[]"}), *ending]


def _live(keys: Sequence[KeyRecord]) -> list[KeyRecord]:
    return [each for each in keys if each.revoked_at is None]


def _fields(erasure: Erasure) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(erasure, builtin_types=(datetime,))
    books = fields["books"]
    return {**fields, "books": None if books is None else msgspec.json.encode(books).decode()}


def _sum(first: ErasureReport, second: ErasureReport) -> ErasureReport:
    return ErasureReport(
        **{name: getattr(first, name) + getattr(second, name) for name in ErasureReport.__struct_fields__}
    )
