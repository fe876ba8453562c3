"""Who belongs to an account, as what. An account always has an owner, whatever happens at the same moment.

Whoever ceases to be owner does so in a commit that demands of one other owner to be one still: of two who
leave at the same moment, the second finds that changed, looks again, and is refused. So does every change by
a member: it demands that its maker's place is as it was when their right was judged.
"""

import re
from collections.abc import Sequence

import msgspec

from api_service.guarded import commit_guarded
from api_service.people import Membership, Person, person_from, place_from, present_place
from api_service.roles import Role, may_give
from metering.collections import MEMBERSHIPS, membership_path, person_path
from metering.errors import Conflict, Forbidden, NotFound
from metering.ids import new_id
from metering.stores import Delete, Document, DocumentStore, Query, Update, Write

MEMBERS_MAX = 200  # two who join at the same moment may make it one more

_PERSON_ID = re.compile(r"person_[0-9a-f]{32}")


class Member(msgspec.Struct, frozen=True):
    """Somebody who belongs to an account."""

    person: Person
    place: Membership


class Members:
    """The members of accounts in a store. Every method raises StoreUnavailable."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    def of(self, account_id: str) -> list[Member]:
        """The account's members, who came first first."""
        places = [place_from(each) for each in self._places(account_id)]
        found = self._store.get_many([person_path(each.person_id) for each in places])
        people = {each.document_id: person_from(each) for each in found.values()}
        members = [Member(people[each.person_id], each) for each in places if each.person_id in people]
        return sorted(members, key=lambda each: (each.place.created_at, each.person.person_id))

    def refuse_full(self, account_id: str) -> None:
        """Raises: Conflict when the account has as many members as it may."""
        if len(self._places(account_id)) >= MEMBERS_MAX:
            raise Conflict(f"an account has at most {MEMBERS_MAX} members; remove one first")

    def change_role(self, account_id: str, person_id: str, role: Role, by: Membership) -> Member:
        """Give the member another role.

        Raises: NotFound, Forbidden (the role, or the member's present one, is not for `by` to give or take),
        Conflict (the last owner).
        """

        def prepare() -> tuple[Sequence[Write], Member]:
            document, member = self._member(account_id, person_id)
            before, after = member.place, msgspec.structs.replace(member.place, role=role)
            if after == before:
                return [], member
            maker, maker_stays = present_place(self._store, by)
            _require_may_give(maker.role, before.role, role)
            guards = self._other_owner_stays(before) if before.role == "owner" else []
            changing = Update(document.path, {"role": role}, if_revision=document.revision)
            return _one_a_document([changing, maker_stays, *guards]), Member(member.person, after)

        return commit_guarded(self._store, prepare)

    def end_sessions(self, account_id: str, person_id: str, by: Membership) -> None:
        """End the member's sessions in the account, on every instance; their place is another from then on.

        Raises: NotFound, Forbidden (an owner's are ended by owners alone).
        """

        def prepare() -> tuple[Sequence[Write], None]:
            document, member = self._member(account_id, person_id)
            maker, maker_stays = present_place(self._store, by)
            if by.person_id != person_id:
                _require_may_give(maker.role, member.place.role)
            moving = Update(document.path, {"place_id": new_id("place")}, if_revision=document.revision)
            return _one_a_document([moving, maker_stays]), None

        commit_guarded(self._store, prepare)

    def remove(self, account_id: str, person_id: str, by: Membership) -> None:
        """End the membership; whoever removes themselves leaves. Their sessions there end at once.

        Raises: NotFound, Forbidden (an owner is removed by owners alone), Conflict (the last owner).
        """

        def prepare() -> tuple[Sequence[Write], None]:
            document, member = self._member(account_id, person_id)
            maker, maker_stays = present_place(self._store, by)
            if by.person_id != person_id:
                _require_may_give(maker.role, member.place.role)
            guards = self._other_owner_stays(member.place) if member.place.role == "owner" else []
            ending = Delete(document.path, if_revision=document.revision)
            return _one_a_document([ending, maker_stays, *guards]), None

        commit_guarded(self._store, prepare)

    def _member(self, account_id: str, person_id: str) -> tuple[Document, Member]:
        unknown = NotFound("there is no such member")
        if not _PERSON_ID.fullmatch(person_id):
            raise unknown
        paths = membership_path(person_id, account_id), person_path(person_id)
        found = self._store.get_many(paths)
        if len(found) < len(paths):
            raise unknown
        place, person = (found[path] for path in paths)
        return place, Member(person_from(person), place_from(place))

    def _other_owner_stays(self, leaving: Membership) -> list[Update]:
        other = other_owner_of(self._store, leaving)
        if other is None:
            raise Conflict("an account needs an owner; make somebody else owner first")
        return [other]

    def _places(self, account_id: str) -> list[Document]:
        return _places_in(self._store, account_id)


def other_owner_of(store: DocumentStore, leaving: Membership) -> Update | None:
    """The write by which a commit demands that another owner of the account stays one; None: none is."""
    for document in _places_in(store, leaving.account_id):
        place = place_from(document)
        if place.role == "owner" and place.person_id != leaving.person_id:
            return Update(document.path, {"role": "owner"}, if_revision=document.revision)
    return None


def _places_in(store: DocumentStore, account_id: str) -> list[Document]:
    query = Query(collection=MEMBERSHIPS, equal={"account_id": account_id}, limit=2 * MEMBERS_MAX)
    return store.query(query)


def _one_a_document(writes: Sequence[Delete | Update]) -> list[Write]:
    """The writes, of several to one document the first: each demands what was read of it."""
    first: dict[str, Write] = {}
    for each in writes:
        first.setdefault(each.path, each)
    return [*first.values()]


def _require_may_give(giver: Role, *roles: Role) -> None:
    for role in roles:
        if not may_give(giver, role):
            raise Forbidden("only an owner makes somebody owner, or changes what an owner is")
