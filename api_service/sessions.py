"""Sessions of people: a random id in a cookie, everything else in the store.

The cookie holds the id and a signature, so that junk is refused without a read; the store holds the id's
keyed hash, so that a copy of the store opens no session. Each request asks the store, so a session that was
closed on one instance is closed on all at once. A session of an earlier epoch of its person is void, and so
is one of an earlier stay in its account; whoever reads person and place decides that (`api_service.access`).
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from itsdangerous import BadSignature, Signer

from api_service.people import Membership
from metering.clock import Clock
from metering.collections import SESSIONS, session_path
from metering.errors import DocumentMissing, Unauthenticated
from metering.stores import Create, Delete, Document, DocumentStore, Query, Update

LIFETIME_SECONDS = 7 * 24 * 3600
IDLE_SECONDS_MAX = 24 * 3600
SEEN_RESOLUTION_SECONDS = 300
SESSIONS_OF_PERSON_MAX = 20
COOKIE_CHARACTERS_MAX = 200
PUBLIC_ID_CHARACTERS = 32  # of the hash that the session is kept under


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One log-in of a person into an account, from somewhere on the network.

    `place_id` is of the place that they had there then. `signed_in_at` is when they last showed who they
    are: moving to another account makes a session of its own, but shows nothing.
    """

    person_id: str
    account_id: str
    place_id: str = ""
    signed_in_at: datetime | None = None
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    epoch: int = 0
    network: str = ""

    def is_live(self, now: datetime) -> bool:
        """Whether the session may be used at that moment."""
        return now < self.expires_at and now - self.seen_at < timedelta(seconds=IDLE_SECONDS_MAX)


@dataclass(frozen=True)
class ListedSession:
    """A session as its person is shown it. `public_id` names it and opens nothing."""

    public_id: str
    path: str
    session: Session


class Sessions:
    """The sessions in a store. Every method but the two on cookies raises StoreUnavailable."""

    def __init__(self, store: DocumentStore, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._hash_key = _derived(secret, b"session ids")
        self._csrf_key = _derived(secret, b"csrf tokens")
        self._signer = Signer(
            _derived(secret, b"session cookies"), key_derivation="hmac", digest_method=hashlib.sha256
        )

    def open(
        self, place: Membership, epoch: int, network: str, *, signed_in_at: datetime | None = None
    ) -> str:
        """A new session's id. The person's oldest sessions beyond `SESSIONS_OF_PERSON_MAX` end.

        `signed_in_at` None: just now.
        """
        now, person_id = self._clock.now(), place.person_id
        session = Session(
            person_id=person_id,
            account_id=place.account_id,
            place_id=place.place_id,
            signed_in_at=signed_in_at or now,
            created_at=now,
            seen_at=now,
            expires_at=now + timedelta(seconds=LIFETIME_SECONDS),
            epoch=epoch,
            network=network,
        )
        session_id = secrets.token_urlsafe(32)
        fields = msgspec.to_builtins(session, builtin_types=(datetime,))
        ended = [Delete(path) for path in self._surplus(person_id, now)]
        self._store.commit([Create(self._path(session_id), fields), *ended])
        return session_id

    def find(self, session_id: str) -> Session:
        """The live session with that id; its time of last use moves on. Raises: Unauthenticated."""
        now = self._clock.now()
        document = self._store.get(self._path(session_id))
        if document is None:
            raise Unauthenticated("this session has ended; log in again")
        session = msgspec.convert(document.fields, Session)
        if not session.is_live(now):
            raise Unauthenticated("this session has ended; log in again")
        if now - session.seen_at >= timedelta(seconds=SEEN_RESOLUTION_SECONDS):
            self._see(document.path, now)
        return session

    def close(self, session_id: str) -> None:
        """End the session, on every instance."""
        self._store.commit([Delete(self._path(session_id))])

    def of(self, person_id: str, epoch: int) -> list[ListedSession]:
        """The person's sessions of that epoch that may be used now, the newest first."""
        now = self._clock.now()
        listed = [_listed(each) for each in self._documents(person_id)]
        live = [each for each in listed if each.session.epoch == epoch and each.session.is_live(now)]
        return sorted(live, key=lambda each: (each.session.created_at, each.public_id), reverse=True)

    def end(self, listed: ListedSession) -> None:
        """End the session, on every instance."""
        self._store.commit([Delete(listed.path)])

    def forget_all(self, person_id: str) -> None:
        """Remove what is kept of the person's sessions, once they are void."""
        deletions = [Delete(each.path) for each in self._documents(person_id)]
        if deletions:
            self._store.commit(deletions)

    def public_id(self, session_id: str) -> str:
        """What names the session in lists."""
        return _public_id(self._path(session_id))

    def csrf_token(self, session_id: str) -> str:
        """What a page of ours sends along with each write, and no other page knows."""
        return hmac.new(self._csrf_key, session_id.encode(), hashlib.sha256).hexdigest()

    def cookie_value(self, session_id: str) -> str:
        """The id, signed."""
        return self._signer.sign(session_id).decode()

    def session_id_in(self, cookie_value: str) -> str:
        """The id in a cookie of ours. Raises: Unauthenticated."""
        try:
            return self._signer.unsign(cookie_value[:COOKIE_CHARACTERS_MAX]).decode()
        except (BadSignature, UnicodeError) as error:
            raise Unauthenticated("this session's cookie is damaged; log in again") from error

    def _see(self, path: str, now: datetime) -> None:
        try:
            self._store.commit([Update(path, {"seen_at": now})])
        except DocumentMissing as error:
            raise Unauthenticated("this session has ended; log in again") from error

    def _surplus(self, person_id: str, now: datetime) -> list[str]:
        found = self._documents(person_id)
        ages = sorted((each.fields["created_at"], each.path) for each in found)
        dead = {each.path for each in found if not msgspec.convert(each.fields, Session).is_live(now)}
        live = [path for _, path in ages if path not in dead]
        return [*dead, *live[: max(0, len(live) - SESSIONS_OF_PERSON_MAX + 1)]]

    def _documents(self, person_id: str) -> list[Document]:
        query = Query(collection=SESSIONS, equal={"person_id": person_id}, limit=2 * SESSIONS_OF_PERSON_MAX)
        return self._store.query(query)

    def _path(self, session_id: str) -> str:
        return session_path(hmac.new(self._hash_key, session_id.encode(), hashlib.sha256).hexdigest())


def _listed(document: Document) -> ListedSession:
    return ListedSession(_public_id(document.path), document.path, msgspec.convert(document.fields, Session))


def _public_id(path: str) -> str:
    return f"session_{path.rpartition('/')[2][:PUBLIC_ID_CHARACTERS]}"


def _derived(secret: bytes, purpose: bytes) -> bytes:
    """A key of its own for each purpose, so that what is made for one means nothing for another."""
    return hmac.new(secret, b"modeltrack api: " + purpose, hashlib.sha256).digest()
