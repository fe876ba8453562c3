"""Tokens that are mailed to somebody: whoever has one has read what came to an address.

A token is used once, for one purpose, within its time, and only as long as the person it was made for has the
same address and has not ended all sessions since. The store holds its keyed hash.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from api_service.errors import Refused
from metering.clock import Clock
from metering.collections import TOKENS, token_path
from metering.stores import Create, Delete, DocumentStore, Query, Write

TOKENS_OF_PERSON_MAX = 10
TOKEN_BYTES = 32
TOKEN_CHARACTERS_MAX = 100

Purpose = Literal["confirm", "change_address", "reset_password"]

LIFETIME_SECONDS: dict[Purpose, int] = {
    "confirm": 24 * 3600,
    "change_address": 24 * 3600,
    "reset_password": 3600,  # nosec B105 # seconds
}


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a token. It was mailed to `email`, when the person's address was `email_then`."""

    purpose: Purpose
    person_id: str
    email: str
    email_then: str
    epoch: int
    created_at: datetime
    expires_at: datetime


class FoundToken(msgspec.Struct, frozen=True):
    """A token as it was read; using it is part of the commit of what it is good for."""

    token: Token
    using: Delete


class Tokens:
    """The tokens in a store. Every method raises StoreUnavailable."""

    def __init__(self, store: DocumentStore, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._key = hmac.new(secret, b"modeltrack api: mailed tokens", hashlib.sha256).digest()

    def make(self, purpose: Purpose, person_id: str, email: str, email_then: str, epoch: int) -> str:
        """A new token's text. The person's oldest tokens beyond `TOKENS_OF_PERSON_MAX` are void."""
        now, plain = self._clock.now(), secrets.token_urlsafe(TOKEN_BYTES)
        token = Token(
            purpose=purpose,
            person_id=person_id,
            email=email,
            email_then=email_then,
            epoch=epoch,
            created_at=now,
            expires_at=now + timedelta(seconds=LIFETIME_SECONDS[purpose]),
        )
        fields = msgspec.to_builtins(token, builtin_types=(datetime,))
        self._store.commit([Create(self._path(purpose, plain), fields), *self._surplus(person_id, now)])
        return plain

    def find(self, purpose: Purpose, plain: str) -> FoundToken:
        """The token with that text. Raises: Refused (400), the same for whatever is wrong with it."""
        document = self._store.get(self._path(purpose, plain))
        if document is None:
            raise token_invalid()
        token = msgspec.convert(document.fields, Token)
        if token.purpose != purpose or self._clock.now() >= token.expires_at:
            raise token_invalid()
        return FoundToken(token, Delete(document.path, if_revision=document.revision))

    def person_of(self, purpose: Purpose, plain: str) -> str | None:
        """Whom the token with that text was made for, be it void by now; None where it is not known."""
        document = self._store.get(self._path(purpose, plain))
        return None if document is None else document.fields["person_id"]

    def _surplus(self, person_id: str, now: datetime) -> Sequence[Write]:
        query = Query(collection=TOKENS, equal={"person_id": person_id}, limit=2 * TOKENS_OF_PERSON_MAX)
        found = sorted(self._store.query(query), key=lambda each: (each.fields["created_at"], each.path))
        kept = [each for each in found if now < each.fields["expires_at"]][-TOKENS_OF_PERSON_MAX + 1 :]
        return [Delete(each.path) for each in found if each not in kept]

    def _path(self, purpose: Purpose, plain: str) -> str:
        return token_path(hmac.new(self._key, f"{purpose}:{plain}".encode(), hashlib.sha256).hexdigest())


def token_invalid() -> Refused:
    """The refusal of a token, which says nothing of whether it ever was one."""
    return Refused(
        400, "token_invalid", "this link has expired, was used already, or is none of ours; ask for another"
    )
