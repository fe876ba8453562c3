"""People and their places in accounts. An e-mail address belongs to one person at most.

The claim on an address is a document named by the address's keyed hash; creating it twice is impossible, so
two sign-ups at the same moment cannot both have it. The address itself stands in the person's document only.

`epoch` counts how often all of a person's sessions were ended; a session or mailed token of an earlier epoch
is void. So ending them is one write, with no list to get wrong and nobody slipping in between.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from api_service.errors import Refused
from api_service.guarded import commit_guarded
from api_service.roles import Role
from api_service.tokens import FoundToken, Purpose, Token, Tokens, token_invalid
from metering.accounts import LOCAL_ACCOUNT_ID, Account
from metering.clock import Clock
from metering.collections import (
    EMAILS,
    MEMBERSHIPS,
    account_path,
    email_path,
    identity_path,
    membership_path,
    person_path,
    second_factor_path,
)
from metering.directory import Change, Directory, account_from
from metering.errors import Conflict, Forbidden, NotFound, Unauthenticated
from metering.ids import new_id
from metering.stores import Create, Delete, Document, DocumentStore, Query, Update, Write
from metering.tags import normalised_tag

EMAIL_CHARACTERS_MAX = 254
MEMBERSHIPS_OF_PERSON_MAX = 100
CLAIMS_A_READ = 100
NOBODY = "nobody"  # the id of a person that does not exist

_EMAIL = re.compile(
    r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)


class LinkedIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """An identity at Google or GitHub that is somebody's. `email` is what the provider said then."""

    identity_hash: str
    email: str
    linked_at: datetime


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who logs in. `confirmed_at`: when they last showed that mail to `email` reaches them.

    `password_hash` empty: they have no password, and come in by one of their `identities`, by provider.
    """

    person_id: str
    email: str
    password_hash: str
    created_at: datetime
    name: str = ""
    confirmed_at: datetime | None = None
    epoch: int = 0
    identities: dict[str, LinkedIdentity] = {}


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A person's place in an account. Who comes back gets a new `place_id`: sessions of before stay void."""

    person_id: str
    account_id: str
    role: Role = "owner"
    created_at: datetime
    place_id: str = ""


class NewPerson(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who signs up."""

    email: str
    password_hash: str
    name: str = ""
    is_confirmed: bool = False
    identities: dict[str, LinkedIdentity] = {}


@dataclass(frozen=True)
class Seat:
    """A person in an account, all as of one moment."""

    person: Person
    account: Account
    place: Membership


def normalised_email(text: str) -> str:
    """The address as it is kept and compared: without blanks around it, in lower case.

    Raises: ValueError, which never repeats the text.
    """
    address = text.strip().lower()
    if len(address) > EMAIL_CHARACTERS_MAX or not _EMAIL.fullmatch(address):
        raise ValueError("give an e-mail address such as ada@example.com")
    return address


class People:
    """People and memberships in a store. Every method raises StoreUnavailable."""

    def __init__(
        self,
        store: DocumentStore,
        directory: Directory,
        clock: Clock,
        secret: bytes,
        *,
        is_hosted: bool,
    ) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self._tokens = Tokens(store, clock, secret)
        self._email_key = hmac.new(secret, b"modeltrack api: e-mail addresses", hashlib.sha256).digest()
        self._is_hosted = is_hosted

    # Signing up

    def sign_up(self, newcomer: NewPerson, account_name: str) -> Seat:
        """Make a person and an account of theirs, both or neither.

        On a self-hosted machine the first person becomes the owner of the local account, to which calls
        without a key belong. Raises: Conflict when the address is taken.
        """

        def prepare() -> Change[Seat]:
            person, writes = self.creation_of(newcomer)
            made = self._account_for_newcomer(account_name)
            place = self._owner_of(made.outcome, person)
            seat = Seat(person, made.outcome, place)
            return Change([*made.writes, *writes, creation_of_place(place)], made.touched, seat)

        return self._directory.change(prepare)

    def creation_of(self, newcomer: NewPerson) -> tuple[Person, list[Write]]:
        """A new person and the writes that make them. Raises: Conflict when the address is taken."""
        self.refuse_taken(newcomer.email)
        now = self._clock.now()
        person = Person(
            person_id=new_id("person"),
            email=newcomer.email,
            password_hash=newcomer.password_hash,
            name=normalised_tag(newcomer.name),
            created_at=now,
            confirmed_at=now if newcomer.is_confirmed else None,
            identities=newcomer.identities,
        )
        claims = [
            Create(path, {"person_id": person.person_id})
            for path in (self._email_path(person.email), *identity_paths(person))
        ]
        return person, [*claims, Create(person_path(person.person_id), _fields(person))]

    def refuse_taken(self, email: str) -> None:
        """Raises: Conflict when somebody has that address already."""
        if self.is_taken(email):
            raise Conflict("this e-mail address has an account already; log in instead")

    def is_taken(self, email: str) -> bool:
        """Whether somebody has that address."""
        return self._store.get(self._email_path(email)) is not None

    # Looking up

    def by_email(self, email: str) -> Person | None:
        """The person with that address, or None; either answer takes the same reads."""
        claim = self._store.get(self._email_path(email))
        return self.person(NOBODY if claim is None else claim.fields["person_id"])

    def person(self, person_id: str) -> Person | None:
        """The person, or None."""
        document = self._store.get(person_path(person_id))
        return None if document is None else person_from(document)

    def seat(self, person_id: str, account_id: str) -> Seat | None:
        """The person in the account, by one read; None where either is gone or they have no place there."""
        paths = (person_path(person_id), account_path(account_id), membership_path(person_id, account_id))
        found = self._store.get_many(paths)
        if len(found) < len(paths):
            return None
        person, account, place = (found[path] for path in paths)
        return Seat(person_from(person), account_from(account), place_from(place))

    def place(self, person_id: str, account_id: str) -> Membership | None:
        """The person's place in the account, None without any."""
        document = self._store.get(membership_path(person_id, account_id))
        return None if document is None else place_from(document)

    def places_of(self, person_id: str) -> list[Membership]:
        """The person's places, the oldest first."""
        query = Query(collection=MEMBERSHIPS, equal={"person_id": person_id}, limit=MEMBERSHIPS_OF_PERSON_MAX)
        places = (place_from(each) for each in self._store.query(query))
        return sorted(places, key=lambda each: (each.created_at, each.account_id))

    def seats_of(self, person: Person) -> list[Seat]:
        """The person in every account of theirs that is not closed, the oldest place first."""
        return [each for each in self._all_seats_of(person) if each.account.closed_at is None]

    def _all_seats_of(self, person: Person) -> list[Seat]:
        places = self.places_of(person.person_id)
        found = self._store.get_many([account_path(each.account_id) for each in places])
        accounts = {each.document_id: account_from(each) for each in found.values()}
        return [
            Seat(person, accounts[each.account_id], each) for each in places if each.account_id in accounts
        ]

    def seat_to_begin_in(self, person: Person) -> Seat:
        """Where a log-in leads: the account that the person has been in for longest.

        Whoever is in no account any more gets a new one of their own, so that everybody can log in, and
        take up an invite there. Raises: Refused (403), while all they are in is being erased: so are they.
        """

        def prepare() -> Change[Seat]:
            open_seat = self._open_seat_of(person)
            if open_seat is not None:
                return Change([], [], open_seat)
            document = self._store.get(person_path(person.person_id))
            if document is None:
                raise Unauthenticated("this session has ended; log in again")
            made = self._directory.creation_of_account(default_account_name(person.email))
            place = self._owner_of(made.outcome, person)
            seat = Seat(person, made.outcome, place)
            writes = [*made.writes, creation_of_place(place), _staying(document)]
            return Change(writes, made.touched, seat)

        return self._open_seat_of(person) or self._directory.change(prepare)

    def _open_seat_of(self, person: Person) -> Seat | None:
        seats = self._all_seats_of(person)
        found = next((each for each in seats if each.account.closed_at is None), None)
        if found is None and seats:
            raise Refused(
                403,
                "account_closed",
                "your account was closed and is being erased, and so are you; in some minutes you may sign up"
                " with this address anew",
            )
        return found

    def claim_addresses(self) -> tuple[int, list[str]]:
        """Have everybody found by their address under the present secret: how many were not before.

        For whoever has changed the deployment's secret. May be cut off and run again. Second come the ids of
        those whose address somebody else has signed up with since; these are left as they are.
        """
        moved, taken, after = 0, list[str](), None
        while page := self._store.query(Query(collection=EMAILS, after=after, limit=CLAIMS_A_READ)):
            for claim in page:
                person_id = claim.fields["person_id"]
                document = self._store.get(person_path(person_id))
                if document is None or claim.path == (path := self._email_path(person_from(document).email)):
                    continue
                held = self._store.get(path)
                if held is not None and held.fields["person_id"] != person_id:
                    taken.append(person_id)
                    continue
                writes = [] if held is not None else [Create(path, {"person_id": person_id})]
                self._store.commit([*writes, _staying(document), Delete(claim.path)])
                moved += 1
            after = ("", page[-1].document_id)
        return moved, taken

    # Changing somebody

    def change(self, person_id: str, edit: Callable[[Person], Person]) -> Person:
        """Replace the person by what `edit` makes of them as they now are.

        For all but the address, which `change_address` changes. Raises: NotFound, and what `edit` raises.
        """

        def prepare() -> tuple[list[Write], Person]:
            document = self._store.get(person_path(person_id))
            if document is None:
                raise NotFound("there is no such person")
            before = person_from(document)
            after = edit(before)
            return ([] if after == before else [_rewriting(document, after)]), after

        return commit_guarded(self._store, prepare)

    def renew_password_hash(self, person: Person, password_hash: str) -> None:
        """Replace the hash by another of the same password, unless the password was changed meanwhile."""

        def edit(now: Person) -> Person:
            if now.password_hash != person.password_hash:
                return now
            return msgspec.structs.replace(now, password_hash=password_hash)

        self.change(person.person_id, edit)

    def change_password(self, person: Person, password_hash: str) -> Person:
        """Give the person another password; all their sessions and mailed tokens are void from then on.

        Raises: Conflict when the password was changed meanwhile.
        """

        def edit(now: Person) -> Person:
            if now.password_hash != person.password_hash:
                raise Conflict("the password was changed at the same moment; log in again")
            return msgspec.structs.replace(now, password_hash=password_hash, epoch=now.epoch + 1)

        return self.change(person.person_id, edit)

    def end_all_sessions(self, person_id: str) -> Person:
        """End the person's sessions everywhere, with all mailed tokens; gives the person."""
        return self.change(person_id, lambda now: msgspec.structs.replace(now, epoch=now.epoch + 1))

    def confirmation_of(self, person_id: str) -> tuple[Person, Write]:
        """The person as they now are, whom mail to their address reaches, and the write that notes so.

        It demands that nobody changes them meanwhile. Raises: Unauthenticated, where they are gone.
        """
        document = self._store.get(person_path(person_id))
        if document is None:
            raise Unauthenticated("this session has ended; log in again")
        now = person_from(document)
        confirmed = now if now.confirmed_at is not None else self._confirmed(now)
        return confirmed, _rewriting(document, confirmed)

    # By a token that came by mail

    def token(self, purpose: Purpose, person: Person, email: str = "") -> str:
        """A token for the person, to be mailed to their address, or to the one they want."""
        return self._tokens.make(purpose, person.person_id, email or person.email, person.email, person.epoch)

    def person_of_token(self, purpose: Purpose, plain: str) -> Person | None:
        """Who was mailed the token, be it void by now; None where nothing is known of it."""
        person_id = self._tokens.person_of(purpose, plain)
        return None if person_id is None else self.person(person_id)

    def check_token(self, purpose: Purpose, plain: str) -> None:
        """Raises: Refused (400) where the token is good for nothing."""
        self._found(purpose, plain)

    def confirm_address(self, plain: str) -> Person:
        """Note that mail to the person's address reaches them. Raises: Refused (400)."""
        return self._by_token("confirm", plain, self._confirmed)

    def reset_password(self, plain: str, password_hash: str) -> Person:
        """Give the person another password; all their sessions and mailed tokens are void from then on.

        Whoever reads mail to the address has shown that it is theirs. If nobody had before, it may have been
        another who signed up with it: the identities and the second factor that were set up until now go.
        Raises: Refused (400).
        """

        def prepare() -> tuple[list[Write], Person]:
            found, document, before = self._found("reset_password", plain)
            after = msgspec.structs.replace(before, password_hash=password_hash, epoch=before.epoch + 1)
            ended: list[str] = []
            if before.confirmed_at is None:
                after = msgspec.structs.replace(after, identities={})
                ended = [*identity_paths(before), second_factor_path(before.person_id)]
            after = self._confirmed(after)
            return [_rewriting(document, after), found.using, *(Delete(path) for path in ended)], after

        return commit_guarded(self._store, prepare)

    def change_address(self, plain: str) -> tuple[str, Person]:
        """Give the person the address that the token was mailed to: the one before, and the person now.

        Raises: Refused (400), Conflict when somebody else has that address by now.
        """

        def prepare() -> tuple[list[Write], tuple[str, Person]]:
            found, document, before = self._found("change_address", plain)
            if self.is_taken(found.token.email):
                raise Conflict("somebody else has this e-mail address by now")
            after = self._confirmed(msgspec.structs.replace(before, email=found.token.email))
            writes: list[Write] = [
                Create(self._email_path(after.email), {"person_id": after.person_id}),
                Delete(self._email_path(before.email)),
                _rewriting(document, after),
                found.using,
            ]
            return writes, (before.email, after)

        return commit_guarded(self._store, prepare)

    def _by_token(self, purpose: Purpose, plain: str, edit: Callable[[Person], Person]) -> Person:
        def prepare() -> tuple[list[Write], Person]:
            found, document, before = self._found(purpose, plain)
            after = edit(before)
            return [_rewriting(document, after), found.using], after

        return commit_guarded(self._store, prepare)

    def _found(self, purpose: Purpose, plain: str) -> tuple[FoundToken, Document, Person]:
        found = self._tokens.find(purpose, plain)
        document = self._store.get(person_path(found.token.person_id))
        person = None if document is None else person_from(document)
        if document is None or person is None or not _is_for(found.token, person):
            raise token_invalid()
        return found, document, person

    def _confirmed(self, person: Person) -> Person:
        return msgspec.structs.replace(person, confirmed_at=self._clock.now())

    def _owner_of(self, account: Account, person: Person) -> Membership:
        return new_place(person.person_id, account.account_id, "owner", self._clock.now())

    def _account_for_newcomer(self, name: str) -> Change[Account]:
        if self._is_hosted or self._is_local_account_owned():
            return self._directory.creation_of_account(name)
        local = self._directory.account(LOCAL_ACCOUNT_ID)
        if local is None or local.closed_at is not None:
            return self._directory.creation_of_account(name, LOCAL_ACCOUNT_ID if local is None else None)
        return self._directory.edition_of_account(
            LOCAL_ACCOUNT_ID, lambda local: msgspec.structs.replace(local, name=normalised_tag(name))
        )

    def _is_local_account_owned(self) -> bool:
        query = Query(collection=MEMBERSHIPS, equal={"account_id": LOCAL_ACCOUNT_ID}, limit=1)
        return bool(self._store.query(query))

    def _email_path(self, email: str) -> str:
        return email_path(hmac.new(self._email_key, email.encode(), hashlib.sha256).hexdigest())


def default_account_name(email: str) -> str:
    """What an account is called that nobody gave a name."""
    return normalised_tag(f"Account of {email.partition('@')[0]}")


def new_place(person_id: str, account_id: str, role: Role, now: datetime) -> Membership:
    """A place for somebody who has none in that account."""
    return Membership(
        person_id=person_id, account_id=account_id, role=role, created_at=now, place_id=new_id("place")
    )


def present_place(store: DocumentStore, place: Membership) -> tuple[Membership, Update]:
    """The place as it is now, and the write by which a commit demands that it stays so until then.

    Raises: Forbidden, where they have left it since.
    """
    document = store.get(membership_path(place.person_id, place.account_id))
    if document is None or (now := place_from(document)).place_id != place.place_id:
        raise Forbidden("you belong to this account no more")
    return now, Update(document.path, {"role": now.role}, if_revision=document.revision)


def creation_of_place(place: Membership) -> Create:
    """The write that gives somebody that place; AlreadyExists where they have one."""
    return Create(membership_path(place.person_id, place.account_id), _fields(place))


def identity_paths(person: Person) -> list[str]:
    """Where it is kept that the person's identities are theirs."""
    return [identity_path(each.identity_hash) for each in person.identities.values()]


def person_from(document: Document) -> Person:
    """The person that a document of `people` holds."""
    return msgspec.convert(document.fields, Person)


def place_from(document: Document) -> Membership:
    """The place that a document of `memberships` holds."""
    return msgspec.convert(document.fields, Membership)


def _is_for(token: Token, person: Person) -> bool:
    return token.epoch == person.epoch and token.email_then == person.email


def _staying(document: Document) -> Update:
    """The write by which a commit demands that the person is there still, as read."""
    return Update(document.path, {"person_id": document.document_id}, if_revision=document.revision)


def _rewriting(document: Document, person: Person) -> Update:
    return Update(document.path, _fields(person), if_revision=document.revision)


def _fields(record: Person | Membership) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(record, builtin_types=(datetime,))
    return fields
