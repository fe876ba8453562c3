"""Identities at Google and GitHub, and whose they are.

An identity is linked to one person for good, by what the provider calls its subject, never by its address: an
address may be given to somebody else one day. It is linked when the person who is logged in says so, or when
it comes for the first time with an address that the provider has verified, and somebody here has confirmed to
be theirs. An address that only one side knows to be true links nothing: whoever signs up with another's
address gets no door into what that other makes later, and none into what they made before.

That an identity is somebody's is a document named by its keyed hash; creating it twice is impossible.
"""

import hashlib
import hmac
from datetime import datetime

import msgspec

from api_service.errors import Refused
from api_service.guarded import commit_guarded
from api_service.people import (
    LinkedIdentity,
    NewPerson,
    People,
    Person,
    Seat,
    default_account_name,
    person_from,
)
from metering.clock import Clock
from metering.collections import identity_path, person_path
from metering.errors import Conflict, NotFound
from metering.stores import Create, Delete, Document, DocumentStore, Update, Write


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a provider says somebody is. `email` is verified by the provider; empty: there is no such one."""

    provider: str
    issuer: str
    subject: str
    email: str
    name: str = ""


class Recognised(msgspec.Struct, frozen=True):
    """The person whose identity it is, and whether it was linked just now."""

    person: Person
    is_new: bool = False


class Identities:
    """The identities in a store. Every method raises StoreUnavailable."""

    def __init__(self, store: DocumentStore, people: People, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._people = people
        self._clock = clock
        self._key = hmac.new(secret, b"modeltrack api: identities", hashlib.sha256).digest()

    def recognise(self, identity: Identity) -> Recognised | None:
        """Whose identity it is; linked, if that is told by an address that both sides know to be theirs.

        None: nobody's, and its address is free. Raises: Refused (403).
        """

        def prepare() -> tuple[list[Write], Recognised | None]:
            owner = self._owner_of(identity)
            if owner is not None:
                return [], Recognised(owner)
            if not identity.email:
                raise Refused(
                    403,
                    "address_unverified",
                    "there is no verified e-mail address; verify it there, or log in and link it here",
                )
            known = self._people.by_email(identity.email)
            if known is None:
                return [], None
            if known.confirmed_at is None or identity.provider in known.identities:
                raise Refused(
                    403,
                    "link_first",
                    "somebody with this e-mail address logs in otherwise; do so, and link it there",
                )
            document = self._document(known.person_id)
            person = person_from(document)
            if person.email != identity.email or person.confirmed_at is None:
                raise Conflict("the address was changed at the same moment; begin again")
            writes, linked = self._linking(document, person, identity)
            return writes, Recognised(linked, is_new=True)

        return commit_guarded(self._store, prepare)

    def sign_up(self, identity: Identity) -> Seat:
        """Make a person whose identity it is, and an account of theirs. Its address counts as confirmed.

        Raises: Conflict when the address is taken by now.
        """
        newcomer = NewPerson(
            email=identity.email,
            password_hash="",  # nosec B106 # whoever comes by a provider has none
            name=identity.name,
            is_confirmed=True,
            identities={identity.provider: self._linked(identity)},
        )
        return self._people.sign_up(newcomer, default_account_name(identity.email))

    def link(self, person_id: str, epoch: int, identity: Identity) -> Person:
        """Link it to the person who asked for that, unless all their sessions were ended since.

        Raises: Refused (403), where it is somebody else's, or the person has another one there.
        """

        def prepare() -> tuple[list[Write], Person]:
            document = self._document(person_id)
            person = person_from(document)
            if person.epoch != epoch:
                raise Refused(403, "session_ended", "the session that asked for this has ended; log in again")
            owner = self._owner_of(identity)
            if owner is not None and owner.person_id == person_id:
                return [], person
            if owner is not None:
                raise Refused(403, "linked_elsewhere", "this identity is somebody else's here")
            if identity.provider in person.identities:
                raise Refused(403, "unlink_first", "another identity of this provider is linked; unlink it")
            return self._linking(document, person, identity)

        return commit_guarded(self._store, prepare)

    def unlink(self, person_id: str, provider: str) -> Person:
        """Let the identity be nobody's. Raises: NotFound, Conflict when nothing else would let them in."""

        def prepare() -> tuple[list[Write], Person]:
            document = self._document(person_id)
            person = person_from(document)
            linked = person.identities.get(provider)
            if linked is None:
                raise NotFound("there is no such identity")
            left = {name: each for name, each in person.identities.items() if name != provider}
            if not left and not person.password_hash:
                raise Conflict("this is your only way in; set a password first, by “forgotten password”")
            changed = msgspec.structs.replace(person, identities=left)
            return [_rewriting(document, changed), Delete(identity_path(linked.identity_hash))], changed

        return commit_guarded(self._store, prepare)

    def _owner_of(self, identity: Identity) -> Person | None:
        claim = self._store.get(identity_path(self._hash(identity)))
        return None if claim is None else self._people.person(claim.fields["person_id"])

    def _linking(self, document: Document, person: Person, identity: Identity) -> tuple[list[Write], Person]:
        linked = self._linked(identity)
        changed = msgspec.structs.replace(person, identities={**person.identities, identity.provider: linked})
        claim = Create(identity_path(linked.identity_hash), {"person_id": person.person_id})
        return [claim, _rewriting(document, changed)], changed

    def _linked(self, identity: Identity) -> LinkedIdentity:
        return LinkedIdentity(
            identity_hash=self._hash(identity), email=identity.email, linked_at=self._clock.now()
        )

    def _document(self, person_id: str) -> Document:
        document = self._store.get(person_path(person_id))
        if document is None:
            raise NotFound("there is no such person")
        return document

    def _hash(self, identity: Identity) -> str:
        text = "\0".join((identity.provider, identity.issuer, identity.subject)).encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()


def _rewriting(document: Document, person: Person) -> Update:
    identities = msgspec.to_builtins(person.identities, builtin_types=(datetime,))
    return Update(document.path, {"identities": identities}, if_revision=document.revision)
