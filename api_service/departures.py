"""A person's own end: they leave every account, and nothing that is theirs stays but an id that names nobody.

It is one commit, which demands that nothing of what was read has changed: so nobody leaves an account
without an owner by it, and whoever adds something to the person at the same moment is seen or refused. What
is void without the person (sessions, mailed tokens, sign-ins under way) goes right after, or in its time.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from api_service.errors import Complaint, Refused
from api_service.guarded import commit_guarded
from api_service.members import other_owner_of
from api_service.people import MEMBERSHIPS_OF_PERSON_MAX, Person, person_from, place_from
from metering.collections import (
    EMAILS,
    IDENTITIES,
    INDEXED_FIELDS,
    MEMBERSHIPS,
    SECOND_FACTORS,
    account_path,
    person_path,
)
from metering.directory import account_from
from metering.errors import StoreError, Unauthenticated
from metering.stores import Delete, Document, DocumentStore, Query, Update, Write

FOUND_MAX: Final = 100  # documents of one kind that a person has; all kinds are bounded below it

_CLAIMS: Final = (EMAILS, IDENTITIES, SECOND_FACTORS)
_VOID_THEN: Final = tuple(
    name for name, fields in INDEXED_FIELDS.items() if "person_id" in fields and name not in {MEMBERSHIPS}
)


def erase_person(store: DocumentStore, person_id: str, noted: Callable[[str], list[Write]]) -> Person:
    """Delete the person with everything that is theirs; who they were.

    `noted` gives what notes it in the audit log of an account that they leave. Raises: Refused (409), naming
    the accounts of which they are the last owner; StoreUnavailable (it may have happened or not).
    """

    def prepare() -> tuple[list[Write], Person]:
        document = store.get(person_path(person_id))
        if document is None:
            raise Unauthenticated("this session has ended; log in again")
        places = store.query(_of(MEMBERSHIPS, person_id, MEMBERSHIPS_OF_PERSON_MAX))
        writes: list[Write] = [Delete(document.path, if_revision=document.revision)]
        writes += [Delete(each.path, if_revision=each.revision) for each in places]
        writes += _owners_who_stay(store, places)
        for name in _CLAIMS:
            writes += [Delete(each.path) for each in store.query(_of(name, person_id, FOUND_MAX))]
        for each in places:
            writes += noted(each.fields["account_id"])
        return writes, person_from(document)

    gone = commit_guarded(store, prepare)
    with suppress(StoreError):  # it opens nothing any more; retention deletes what is left
        for name in _VOID_THEN:
            _delete_all(store, _of(name, person_id, FOUND_MAX))
    return gone


def _owners_who_stay(store: DocumentStore, places: list[Document]) -> Iterator[Update]:
    """What demands of one other owner of each account to stay so. Raises: Refused, where there is none."""
    accounts = store.get_many([account_path(each.fields["account_id"]) for each in places])
    staying: list[Update] = []
    alone: list[Complaint] = []
    for place in map(place_from, places):
        document = accounts.get(account_path(place.account_id))
        if place.role != "owner" or document is None or account_from(document).closed_at is not None:
            continue
        other = other_owner_of(store, place)
        if other is None:
            text = "make somebody else owner of this account, or close it (DELETE /v1/account), first"
            alone.append(Complaint(place.account_id, text))
        else:
            staying.append(other)
    if alone:
        names = ", ".join(each.param for each in alone)
        raise Refused(409, "last_owner", f"you are the last owner of {names}", details=alone)
    return iter(staying)


def _delete_all(store: DocumentStore, query: Query) -> None:
    found = store.query(query)
    if found:
        store.commit([Delete(each.path) for each in found])


def _of(collection: str, person_id: str, most: int) -> Query:
    return Query(collection=collection, equal={"person_id": person_id}, limit=most)
