"""Sessions of people: a random id in a cookie, everything else in the store.

The cookie holds the id and a signature, so that junk is refused without a read; the store holds the id's
keyed hash, so that a copy of the store opens no session. Each request asks the store, so a session that was
closed on one instance is closed on all at once.
"""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

import msgspec
from itsdangerous import BadSignature, Signer

from metering.clock import Clock
from metering.collections import SESSIONS, session_path
from metering.errors import DocumentMissing, Unauthenticated
from metering.stores import Create, Delete, DocumentStore, Query, Update

LIFETIME_SECONDS = 7 * 24 * 3600
IDLE_SECONDS_MAX = 24 * 3600
SEEN_RESOLUTION_SECONDS = 300
SESSIONS_OF_PERSON_MAX = 20
COOKIE_CHARACTERS_MAX = 200


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One log-in of a person into an account."""

    person_id: str
    account_id: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime

    def is_live(self, now: datetime) -> bool:
        """Whether the session may be used at that moment."""
        return now < self.expires_at and now - self.seen_at < timedelta(seconds=IDLE_SECONDS_MAX)


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

    def open(self, person_id: str, account_id: str) -> str:
        """A new session's id. The person's oldest sessions beyond `SESSIONS_OF_PERSON_MAX` end."""
        now = self._clock.now()
        session = Session(
            person_id=person_id,
            account_id=account_id,
            created_at=now,
            seen_at=now,
            expires_at=now + timedelta(seconds=LIFETIME_SECONDS),
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
        query = Query(collection=SESSIONS, equal={"person_id": person_id}, limit=2 * SESSIONS_OF_PERSON_MAX)
        found = self._store.query(query)
        ages = sorted((each.fields["created_at"], each.path) for each in found)
        dead = {each.path for each in found if not msgspec.convert(each.fields, Session).is_live(now)}
        live = [path for _, path in ages if path not in dead]
        return [*dead, *live[: max(0, len(live) - SESSIONS_OF_PERSON_MAX + 1)]]

    def _path(self, session_id: str) -> str:
        return session_path(hmac.new(self._hash_key, session_id.encode(), hashlib.sha256).hexdigest())


def _derived(secret: bytes, purpose: bytes) -> bytes:
    """A key of its own for each purpose, so that what is made for one means nothing for another."""
    return hmac.new(secret, b"modeltrack api: " + purpose, hashlib.sha256).digest()
