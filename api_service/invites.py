"""Invites: an e-mail address that may join an account, as soon as whoever reads its mail says so.

The link that was mailed is the only thing that takes an invite up; the store holds its keyed hash. It works
once, for seven days, and for the address that it was mailed to alone; and only as long as whoever made it
may still give what it gives, so that nobody who is removed or has lost a role leaves a door behind.
"""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

import msgspec

from api_service.errors import Refused
from api_service.guarded import commit_guarded
from api_service.members import Members
from api_service.people import (
    MEMBERSHIPS_OF_PERSON_MAX,
    Membership,
    NewPerson,
    People,
    Person,
    Seat,
    creation_of_place,
    new_place,
    place_from,
    present_place,
)
from api_service.roles import Role, may_give, role_may
from api_service.tokens import TOKEN_BYTES, token_invalid
from metering.accounts import Account
from metering.clock import Clock
from metering.collections import INVITES, invite_path, membership_path
from metering.directory import Directory
from metering.errors import Conflict, Forbidden, NotFound
from metering.ids import new_id
from metering.stores import Create, Delete, Document, DocumentStore, Query, Write

LIFETIME_SECONDS = 7 * 24 * 3600
INVITES_MAX = 100  # an account's open ones; two made at the same moment may make it one more


class Invite(msgspec.Struct, frozen=True, kw_only=True):
    """An address that may join an account, as what, and who said so."""

    invite_id: str
    account_id: str
    email: str
    role: Role
    invited_by: str
    created_at: datetime
    expires_at: datetime


class Invites:
    """The invites in a store. Every method raises StoreUnavailable."""

    def __init__(
        self,
        store: DocumentStore,
        directory: Directory,
        people: People,
        members: Members,
        clock: Clock,
        secret: bytes,
    ) -> None:
        self._store = store
        self._directory = directory
        self._people = people
        self._members = members
        self._clock = clock
        self._key = hmac.new(secret, b"modeltrack api: invites", hashlib.sha256).digest()

    def make(self, email: str, role: Role, by: Membership) -> tuple[str, Invite]:
        """A new invite to the account of `by`, and the text of its link's token, never to be had again.

        An earlier invite of the same address is void. Raises: Forbidden (only owners invite owners),
        Conflict (too many, the address belongs to a member, or the account was closed).
        """
        return commit_guarded(self._store, lambda: self._making(email, role, by))

    def _making(self, email: str, role: Role, by: Membership) -> tuple[list[Write], tuple[str, Invite]]:
        maker, maker_stays = present_place(self._store, by)
        if not may_give(maker.role, role):
            own = role_may(maker.role, "people")
            raise Forbidden("only an owner invites an owner" if own else "your role does not allow this")
        self._directory.open_account(by.account_id)
        self._members.refuse_full(by.account_id)
        if any(each.person.email == email for each in self._members.of(by.account_id)):
            raise Conflict("somebody with this e-mail address is a member already")
        now, plain = self._clock.now(), secrets.token_urlsafe(TOKEN_BYTES)
        documents = self._documents(by.account_id)
        void = [
            each for each in documents if each.fields["email"] == email or each.fields["expires_at"] <= now
        ]
        if len(documents) - len(void) >= INVITES_MAX:
            raise Conflict(f"an account has at most {INVITES_MAX} open invites; withdraw one first")
        invite = Invite(
            invite_id=new_id("invite"),
            account_id=by.account_id,
            email=email,
            role=role,
            invited_by=by.person_id,
            created_at=now,
            expires_at=now + timedelta(seconds=LIFETIME_SECONDS),
        )
        fields = msgspec.to_builtins(invite, builtin_types=(datetime,))
        voiding = [Delete(each.path) for each in void]
        return [Create(self._path(plain), fields), maker_stays, *voiding], (plain, invite)

    def of(self, account_id: str) -> list[Invite]:
        """The account's open invites, newest first."""
        now = self._clock.now()
        found = [_invite(each) for each in self._documents(account_id)]
        paths = {each.invite_id: membership_path(each.invited_by, account_id) for each in found}
        places = self._store.get_many([*dict.fromkeys(paths.values())])
        live = [
            each
            for each in found
            if now < each.expires_at and _may_give_still(places.get(paths[each.invite_id]), each)
        ]
        return sorted(live, key=lambda each: (each.created_at, each.invite_id), reverse=True)

    def withdraw(self, account_id: str, invite_id: str) -> None:
        """End an invite of the account; its link is void. Raises: NotFound."""
        for document in self._documents(account_id):
            if document.fields["invite_id"] == invite_id:
                self._store.commit([Delete(document.path)])
                return
        raise NotFound("there is no such invite")

    def look_up(self, plain: str) -> tuple[Invite, Account]:
        """The open invite whose link has that token, and the account it leads to. Raises: Refused (400)."""
        _, invite, account = self._found(plain)
        return invite, account

    def join(self, plain: str, person_id: str) -> Seat:
        """Make the person a member, by the invite that was mailed to their address.

        Raises: Refused (400, or 403: it was mailed to another address), Conflict (a member already, or too
        many members or accounts).
        """

        def prepare() -> tuple[list[Write], Seat]:
            document, invite, account = self._found(plain)
            joining, noting = self._people.confirmation_of(person_id)  # they read mail to their address
            if invite.email != joining.email:
                raise Refused(
                    403, "invite_of_another", "this invite was mailed to another address than yours"
                )
            places = self._people.places_of(person_id)
            if any(each.account_id == account.account_id for each in places):
                raise Conflict("you are a member of this account already")
            if len(places) >= MEMBERSHIPS_OF_PERSON_MAX:
                raise Conflict(
                    f"a person is in at most {MEMBERSHIPS_OF_PERSON_MAX} accounts; leave one first"
                )
            return self._joining(document, invite, account, joining, [noting])

        return commit_guarded(self._store, prepare)

    def sign_up(self, plain: str, password_hash: str, name: str) -> Seat:
        """Make a person with the address that the invite was mailed to, and a member of its account.

        Raises: Refused (400), Conflict (the address has an account already, or too many members).
        """

        def prepare() -> tuple[list[Write], Seat]:
            document, invite, account = self._found(plain)
            newcomer = NewPerson(
                email=invite.email, password_hash=password_hash, name=name, is_confirmed=True
            )
            person, writes = self._people.creation_of(newcomer)
            return self._joining(document, invite, account, person, writes)

        return commit_guarded(self._store, prepare)

    def _joining(
        self, document: Document, invite: Invite, account: Account, person: Person, writes: list[Write]
    ) -> tuple[list[Write], Seat]:
        self._members.refuse_full(account.account_id)
        place = new_place(person.person_id, account.account_id, invite.role, self._clock.now())
        using = Delete(document.path, if_revision=document.revision)
        return [*writes, creation_of_place(place), using], Seat(person, account, place)

    def _found(self, plain: str) -> tuple[Document, Invite, Account]:
        document = self._store.get(self._path(plain))
        if document is None:
            raise token_invalid()
        invite = _invite(document)
        account = self._directory.account(invite.account_id)
        if account is None or account.closed_at is not None or self._clock.now() >= invite.expires_at:
            raise token_invalid()
        if not _may_give_still(
            self._store.get(membership_path(invite.invited_by, account.account_id)), invite
        ):
            raise token_invalid()
        return document, invite, account

    def _documents(self, account_id: str) -> list[Document]:
        query = Query(collection=INVITES, equal={"account_id": account_id}, limit=2 * INVITES_MAX)
        return self._store.query(query)

    def _path(self, plain: str) -> str:
        return invite_path(hmac.new(self._key, plain.encode(), hashlib.sha256).hexdigest())


def _may_give_still(place_of_maker: Document | None, invite: Invite) -> bool:
    return place_of_maker is not None and may_give(place_from(place_of_maker).role, invite.role)


def _invite(document: Document) -> Invite:
    return msgspec.convert(document.fields, Invite)
