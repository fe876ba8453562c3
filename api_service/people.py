"""People and their place in an account. An e-mail address belongs to one person at most.

The claim on an address is a document named by the address's keyed hash; creating it twice is impossible, so
two sign-ups at the same moment cannot both have it. The address itself stands in the person's document only.
"""

import hashlib
import hmac
import re
from datetime import datetime
from typing import Literal

import msgspec

from metering.accounts import LOCAL_ACCOUNT_ID, Account
from metering.clock import Clock
from metering.collections import MEMBERSHIPS, email_path, membership_path, person_path
from metering.directory import Change, Directory
from metering.errors import Conflict
from metering.ids import new_id
from metering.stores import Create, DocumentStore, Query, Update
from metering.tags import normalised_tag

EMAIL_CHARACTERS_MAX = 254
MEMBERSHIPS_OF_PERSON_MAX = 100
Role = Literal["owner"]
NOBODY = "nobody"  # the id of a person that does not exist

_EMAIL = re.compile(
    r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who logs in."""

    person_id: str
    email: str
    password_hash: str
    created_at: datetime


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A person's place in an account."""

    person_id: str
    account_id: str
    role: Role = "owner"
    created_at: datetime


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
        self._email_key = hmac.new(secret, b"modeltrack api: e-mail addresses", hashlib.sha256).digest()
        self._is_hosted = is_hosted

    def sign_up(
        self, email: str, password_hash: str, account_name: str
    ) -> tuple[Person, Account, Membership]:
        """Make a person and an account of theirs, both or neither.

        On a self-hosted machine the first person becomes the owner of the local account, to which calls
        without a key belong. Raises: Conflict when the address is taken.
        """

        def prepare() -> Change[tuple[Person, Account, Membership]]:
            self.refuse_taken(email)
            now = self._clock.now()
            made = self._account_for_newcomer(account_name)
            person = Person(
                person_id=new_id("person"), email=email, password_hash=password_hash, created_at=now
            )
            place = Membership(person_id=person.person_id, account_id=made.outcome.account_id, created_at=now)
            writes = [
                *made.writes,
                Create(self._email_path(email), {"person_id": person.person_id}),
                Create(person_path(person.person_id), _fields(person)),
                Create(membership_path(place.person_id, place.account_id), _fields(place)),
            ]
            return Change(writes, made.touched, (person, made.outcome, place))

        return self._directory.change(prepare)

    def refuse_taken(self, email: str) -> None:
        """Raises: Conflict when somebody has that address already."""
        if self._store.get(self._email_path(email)) is not None:
            raise Conflict("this e-mail address has an account already; log in instead")

    def by_email(self, email: str) -> Person | None:
        """The person with that address, or None; either answer takes the same reads."""
        claim = self._store.get(self._email_path(email))
        return self.person(NOBODY if claim is None else claim.fields["person_id"])

    def person(self, person_id: str) -> Person | None:
        """The person, or None."""
        document = self._store.get(person_path(person_id))
        return None if document is None else msgspec.convert(document.fields, Person)

    def place(self, person_id: str, account_id: str) -> Membership | None:
        """The person's place in the account, None without any."""
        document = self._store.get(membership_path(person_id, account_id))
        return None if document is None else msgspec.convert(document.fields, Membership)

    def first_place_of(self, person_id: str) -> Membership | None:
        """The person's place in the account that they have been in for longest, None without any."""
        query = Query(collection=MEMBERSHIPS, equal={"person_id": person_id}, limit=MEMBERSHIPS_OF_PERSON_MAX)
        places = [msgspec.convert(each.fields, Membership) for each in self._store.query(query)]
        return min(places, key=lambda each: (each.created_at, each.account_id), default=None)

    def change_password_hash(self, person_id: str, password_hash: str) -> None:
        """Replace the hash of the person's password."""
        writes = [Update(person_path(person_id), {"password_hash": password_hash})]
        self._store.commit(writes)

    def _account_for_newcomer(self, name: str) -> Change[Account]:
        if self._is_hosted or self._is_local_account_owned():
            return self._directory.creation_of_account(name)
        if self._directory.account(LOCAL_ACCOUNT_ID) is None:
            return self._directory.creation_of_account(name, LOCAL_ACCOUNT_ID)
        return self._directory.edition_of_account(
            LOCAL_ACCOUNT_ID, lambda local: msgspec.structs.replace(local, name=normalised_tag(name))
        )

    def _is_local_account_owned(self) -> bool:
        query = Query(collection=MEMBERSHIPS, equal={"account_id": LOCAL_ACCOUNT_ID}, limit=1)
        return bool(self._store.query(query))

    def _email_path(self, email: str) -> str:
        return email_path(hmac.new(self._email_key, email.encode(), hashlib.sha256).hexdigest())


def _fields(record: Person | Membership) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(record, builtin_types=(datetime,))
    return fields
