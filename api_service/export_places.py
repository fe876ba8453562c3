"""Places for exports that are under way: so many an account, on all instances together.

Each export holds a place, says now and then that it still does, and gives it back when it ends. One whose
instance died holds it no longer than `LEASE_SECONDS`. An account's places are one document, rewritten by
whoever takes, keeps or gives back one, on the condition that nobody else did since it was read.
"""

import hashlib
import hmac
import math
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from api_service.errors import Refused
from api_service.guarded import commit_guarded
from metering.clock import Clock
from metering.collections import rate_path
from metering.errors import StoreError
from metering.ids import new_id
from metering.stores import Create, Document, DocumentStore, Put, Write

EXPORTS_MAX: Final = 3  # of an account at once
LEASE_SECONDS: Final = 60  # twice as long as a caller may take for one piece
KEPT_EACH_SECONDS: Final = 20  # how often an export says that it is under way


class ExportPlaces:
    """The places of accounts in a store. `take` raises StoreUnavailable; nothing else does."""

    def __init__(self, store: DocumentStore, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._key = hmac.new(secret, b"modeltrack api: exports under way", hashlib.sha256).digest()

    def take(self, account_id: str) -> "ExportPlace":
        """A place for an export of the account. Raises: Refused (429), where none is free."""
        digest = hmac.new(self._key, account_id.encode(), hashlib.sha256).hexdigest()[:32]
        place = ExportPlace(self._store, self._clock, rate_path(f"{digest}.exports"))
        place.take()
        return place


class ExportPlace:
    """One export's place, given back once."""

    def __init__(self, store: DocumentStore, clock: Clock, path: str) -> None:
        self._store = store
        self._clock = clock
        self._path = path
        self._place_id = new_id("place")
        self._kept_at = clock.now()
        self._is_held = False

    def take(self) -> None:
        """Take or keep the place. Raises: Refused (429), where others have them all."""

        def prepare() -> tuple[list[Write], None]:
            now = self._clock.now()
            document, others = self._others(now)
            if len(others) >= EXPORTS_MAX:
                wait = max(1, math.ceil((min(others.values()) - now).total_seconds()))
                raise Refused(
                    429,
                    "too_many_exports",
                    f"{EXPORTS_MAX} exports of this account are under way; try again when one has ended",
                    retry_after_seconds=wait,
                )
            held = {**others, self._place_id: now + timedelta(seconds=LEASE_SECONDS)}
            self._kept_at = now
            return [self._writing(document, held, now)], None

        commit_guarded(self._store, prepare)
        self._is_held = True

    def while_held(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces, as long as the place is held; it is given back when they end or fail.

        Whoever gives them up gives the place back. Raises: Refused, where the caller took so long that others
        have the place by now.
        """
        try:
            for piece in pieces:
                self._keep()
                yield piece
        except Exception:  # not being given up: who does that gives the place back in a thread of theirs
            self.give_back()
            raise
        self.give_back()

    def give_back(self) -> None:
        """Free the place; doing so twice is no harm."""
        if not self._is_held:
            return
        self._is_held = False

        def prepare() -> tuple[list[Write], None]:
            now = self._clock.now()
            document, others = self._others(now)
            return ([] if document is None else [self._writing(document, others, now)]), None

        with suppress(StoreError):  # then it is free when its time is over
            commit_guarded(self._store, prepare)

    def _keep(self) -> None:
        since = self._clock.now() - self._kept_at
        if timedelta() <= since < timedelta(seconds=KEPT_EACH_SECONDS):
            return
        with suppress(StoreError):  # the next piece is read from the same store, which then says so itself
            self.take()

    def _others(self, now: datetime) -> tuple[Document | None, dict[str, datetime]]:
        document = self._store.get(self._path)
        held: dict[str, datetime] = {} if document is None else document.fields["places"]
        # What is said to be held for longer was taken before a clock was set back.
        latest = now + 2 * timedelta(seconds=LEASE_SECONDS)
        return document, {
            name: until for name, until in held.items() if now < until <= latest and name != self._place_id
        }

    def _writing(self, document: Document | None, held: dict[str, datetime], now: datetime) -> Write:
        fields: dict[str, Any] = {"places": held, "ends_at": max(held.values(), default=now)}
        if document is None:
            return Create(self._path, fields)
        return Put(self._path, fields, if_revision=document.revision)
