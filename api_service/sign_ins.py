"""Sign-ins under way: what a browser has begun elsewhere, or has still to show a code for.

The browser holds a ticket in a cookie; the store holds the ticket's keyed hash and what was begun. A ticket
is good once, for minutes, and opens nothing but what it was made for. What binds a visit at a provider to the
browser (state, nonce, PKCE verifier) is derived from its ticket, so a copy of the store completes no sign-in.
"""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from api_service.errors import Refused
from metering.clock import Clock
from metering.collections import sign_in_path
from metering.errors import DocumentMissing, RevisionChanged
from metering.stores import Create, Delete, DocumentStore

TICKET_BYTES: Final = 32
TICKET_CHARACTERS_MAX: Final = 64

Purpose = Literal["log_in", "link", "second_factor"]
Bond = Literal["state", "nonce", "verifier"]

LIFETIME_SECONDS: Final[dict[Purpose, int]] = {"log_in": 600, "link": 600, "second_factor": 300}


class SignIn(msgspec.Struct, frozen=True, kw_only=True):
    """What was begun: to log in or to link by a provider, or a log-in that a code is awaited for.

    To link, `session` is the public id of the session that wants to; `epoch` is the person's of then.
    """

    purpose: Purpose
    provider: str = ""
    return_to: str = "/"
    person_id: str = ""
    epoch: int = 0
    session: str = ""


class FoundSignIn(msgspec.Struct, frozen=True):
    """A sign-in as it was read; using it up is a commit."""

    sign_in: SignIn
    using: Delete


class SignIns:
    """The sign-ins under way in a store. All but `bond` and `is_bond` raise StoreUnavailable."""

    def __init__(self, store: DocumentStore, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._key = hmac.new(secret, b"modeltrack api: sign-ins", hashlib.sha256).digest()

    def begin(self, sign_in: SignIn) -> str:
        """Note what was begun, and give the ticket for it."""
        ticket = secrets.token_urlsafe(TICKET_BYTES)
        expires_at = self._clock.now() + timedelta(seconds=LIFETIME_SECONDS[sign_in.purpose])
        fields = {**msgspec.to_builtins(sign_in), "expires_at": expires_at}
        self._store.commit([Create(self._path(ticket), fields)])
        return ticket

    def bond(self, bond: Bond, ticket: str) -> str:
        """What binds a visit at a provider to the ticket's browser."""
        return self._keyed(bond, ticket)

    def is_bond(self, bond: Bond, ticket: str, given: str) -> bool:
        """Whether what came back is what was sent with that ticket's browser."""
        return hmac.compare_digest(self.bond(bond, ticket).encode(), given.encode())

    def find(self, ticket: str) -> FoundSignIn | None:
        """What was begun with that ticket, None where it is over, was used, or never was."""
        if len(ticket) > TICKET_CHARACTERS_MAX:
            return None
        document = self._store.get(self._path(ticket))
        if document is None:
            return None
        fields = dict(document.fields)
        expires_at: datetime = fields.pop("expires_at")
        if self._clock.now() >= expires_at:
            return None
        using = Delete(document.path, if_revision=document.revision)
        return FoundSignIn(msgspec.convert(fields, SignIn), using)

    def use(self, found: FoundSignIn) -> None:
        """Use it up. Raises: Refused (400) where somebody was faster."""
        try:
            self._store.commit([found.using])
        except (RevisionChanged, DocumentMissing):
            raise sign_in_over() from None

    def _path(self, ticket: str) -> str:
        return sign_in_path(self._keyed("ticket", ticket))

    def _keyed(self, purpose: str, ticket: str) -> str:
        return hmac.new(self._key, f"{purpose}:{ticket}".encode(), hashlib.sha256).hexdigest()


def sign_in_over() -> Refused:
    """The refusal of whoever comes back with something that we did not begin with this browser."""
    return Refused(
        400,
        "sign_in_over",
        "this sign-in has expired, was completed already, or was begun in another browser; begin again",
    )
