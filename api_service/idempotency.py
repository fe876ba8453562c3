"""`Idempotency-Key`: a POST that is sent again does nothing again, and is answered as it was the first time.

| what comes with a key that was used within `KEPT` | answer |
|---|---|
| the same request, the first one was answered with success | that answer, with `Idempotency-Replayed: true` |
| the same request, the first one is under way | 409 `idempotency_in_progress` |
| the same request, and nobody knows what became of the first one | 409 `idempotency_outcome_unknown` |
| another request | 409 `idempotency_key_reused` |

A first request that was refused leaves nothing behind: it may be put right and sent with the same key. So
does one that failed before it wrote anything. Only where something may have been written and its success is
not known (the store fell silent, the process died) the key stays taken: to try again might do it twice.

A key belongs to who sent it, to that account: others who send the same have nothing to do with it.

Answers may hold what is shown once, such as a key. They are kept sealed under a key that is derived from the
deployment's secret, the idempotency key and the whole request, none of which lies in the store; so the store
with the secret opens none of them, only whoever sends the same again does.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal

import msgspec
from flask import Flask, Response, g, has_app_context, request

from api_service.access import Visitor
from api_service.errors import Complaint, Refused
from api_service.logs import ApiLog
from api_service.services import services
from metering.clock import Clock
from metering.collections import idempotency_path
from metering.errors import AlreadyExists, RevisionChanged, StoreError, StoreUnavailable
from metering.sealing import Sealer
from metering.stores import (
    STORE_TIMEOUT_SECONDS,
    Create,
    Delete,
    Document,
    DocumentStore,
    Put,
    Query,
    Update,
    Write,
    WriteResult,
)

HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotency-Replayed"
KEPT: Final = timedelta(hours=24)
ANSWERED_WITHIN: Final = timedelta(seconds=90)  # no request takes longer
ANSWER_BYTES_MAX: Final = 512 * 1024

_FORM = re.compile(r"[!-~]{1,255}")
_WANTED = "give an Idempotency-Key of 1 to 255 printable ASCII characters, once, such as a UUID"
_HEADERS_KEPT = ("Content-Type", "Set-Cookie", "Location")
_RETRY_SECONDS = 1

State = Literal["under way", "answered", "too large"]


class Answer(msgspec.Struct, frozen=True):
    """What a request was answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Claim(msgspec.Struct, frozen=True):
    """A request's own hold on its idempotency key."""

    path: str
    sealer: Sealer


class Claims:
    """Claims on idempotency keys in a store. Every method raises StoreUnavailable."""

    def __init__(self, store: DocumentStore, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._secret = hmac.new(secret, b"modeltrack api: idempotency", hashlib.sha256).digest()

    def claim(self, whose: Sequence[str], key: str, asked: Sequence[bytes]) -> Claim | Answer:
        """The key for this request, or what it was answered before. Raises: Refused (409)."""
        name = self._keyed("key", *(each.encode() for each in (*whose, key)))
        fingerprint = self._keyed("request", *asked)
        path = idempotency_path(name)
        sealer = Sealer(bytes.fromhex(self._keyed("seal", key.encode(), *asked)), "answer kept for a retry")
        now = self._clock.now()
        fields = {
            "account_id": whose[0],
            "fingerprint": fingerprint,
            "state": "under way",
            "begun_at": now,
            "ends_at": now + KEPT,
        }
        try:
            self._store.commit([Create(path, fields)])
        except AlreadyExists:
            return self._met(path, sealer, fields)
        return Claim(path, sealer)

    def keep(self, claim: Claim, answer: Answer) -> None:
        """The request was answered so, and so will be those that repeat it."""
        packed = msgspec.msgpack.encode(answer)
        fields: dict[str, Any] = {"state": "too large"}
        if len(packed) <= ANSWER_BYTES_MAX:
            fields = {"state": "answered", "sealed": claim.sealer.sealed(packed, claim.path)}
        self._store.commit([Update(claim.path, fields)])

    def release(self, claim: Claim) -> None:
        """The request did nothing."""
        self._store.commit([Delete(claim.path)])

    def _met(self, path: str, sealer: Sealer, fields: dict[str, Any]) -> Claim | Answer:
        document = self._store.get(path)
        if document is None:
            raise _in_progress()  # it has just been released
        if document.fields["ends_at"] <= fields["begun_at"]:
            return self._taken_over(document, sealer, fields)
        if document.fields["fingerprint"] != fields["fingerprint"]:
            raise _conflict(
                "idempotency_key_reused", "this Idempotency-Key came with another request; use a new one"
            )
        if document.fields["state"] == "answered":
            return msgspec.msgpack.decode(sealer.opened(document.fields["sealed"], path), type=Answer)
        if document.fields["state"] == "too large":
            raise _conflict(
                "idempotency_answer_not_kept", "this was done; its answer was too large to be kept"
            )
        if fields["begun_at"] - document.fields["begun_at"] < ANSWERED_WITHIN:
            raise _in_progress()
        raise _conflict(
            "idempotency_outcome_unknown",
            "the first request with this Idempotency-Key may or may not have been done; look before you try"
            " again with a new one",
        )

    def _taken_over(self, document: Document, sealer: Sealer, fields: dict[str, Any]) -> Claim:
        try:
            self._store.commit([Put(document.path, fields, document.revision)])
        except RevisionChanged:
            raise _in_progress() from None
        return Claim(document.path, sealer)

    def _keyed(self, purpose: str, *parts: bytes) -> str:
        digest = hmac.new(self._secret, purpose.encode(), hashlib.sha256)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()


class CommitsNoted:
    """A `DocumentStore` that notes with the present request when something was, or may have been, written."""

    def __init__(self, store: DocumentStore) -> None:
        self.kind: Literal["sqlite", "firestore"] = store.kind
        self._store = store

    def get(self, path: str, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> Document | None:
        """As `DocumentStore.get`."""
        return self._store.get(path, timeout_seconds=timeout_seconds)

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        """As `DocumentStore.get_many`."""
        return self._store.get_many(paths, known=known, timeout_seconds=timeout_seconds)

    def query(self, query: Query, *, timeout_seconds: float = STORE_TIMEOUT_SECONDS) -> list[Document]:
        """As `DocumentStore.query`."""
        return self._store.query(query, timeout_seconds=timeout_seconds)

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        """As `DocumentStore.commit`."""
        try:
            results = self._store.commit(writes, timeout_seconds=timeout_seconds)
        except StoreUnavailable:
            _note_commit()
            raise
        _note_commit()
        return results

    def close(self) -> None:
        """Close the store behind."""
        self._store.close()


def answer_repeats(app: Flask, claims: Claims, log: ApiLog) -> None:
    """Answer what is sent again as it was before; once it is known who asks, before anything is done."""

    def begin() -> Response | None:
        sent = request.headers.getlist(HEADER)
        if not sent or request.method != "POST" or request.url_rule is None:
            return None
        if len(sent) > 1 or not _FORM.fullmatch(sent[0]):
            raise Refused(422, "invalid_input", _WANTED, HEADER, [Complaint(HEADER, _WANTED)])
        found = claims.claim(_whose(), sent[0], _asked())
        if isinstance(found, Answer):
            return _replayed(found)
        g.idempotency_claim = found
        g.may_have_written = False
        return None

    def end(response: Response) -> Response:
        claim: Claim | None = g.pop("idempotency_claim", None)
        if claim is None:
            return response
        try:
            if 200 <= response.status_code < 300:
                claims.keep(claim, _answer_in(response))
            elif response.status_code < 500 or not g.may_have_written:
                claims.release(claim)
        except StoreError:  # whoever repeats it is told that nobody knows
            log.caution("an answer could not be kept for its Idempotency-Key")
        return response

    app.before_request(begin)
    app.after_request(end)


def _whose() -> tuple[str, str]:
    asking: Visitor | None = g.get("visitor")
    if asking is None:
        return "", "anyone"
    if asking.key is not None:
        return asking.account_id, asking.key.key_id
    return asking.account_id, asking.session.person_id if asking.session else ""


def _asked() -> tuple[bytes, ...]:
    """What makes two requests the same."""
    body = request.get_data(cache=True)
    # Whoever owes a code is known by that cookie alone; nobody else is answered as they were.
    half = request.cookies.get(services().ticket_name("second_factor"), "")
    return request.path.encode(), request.query_string, request.mimetype.encode(), body, half.encode()


def _answer_in(response: Response) -> Answer:
    headers = tuple((name, value) for name in _HEADERS_KEPT for value in response.headers.getlist(name))
    return Answer(response.status_code, headers, response.get_data())


def _replayed(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.headers.clear()
    for name, value in answer.headers:
        response.headers.add(name, value)
    response.headers[REPLAYED_HEADER] = "true"
    return response


def _note_commit() -> None:
    if has_app_context():
        g.may_have_written = True


def _conflict(code: str, message: str) -> Refused:
    return Refused(409, code, message)


def _in_progress() -> Refused:
    return Refused(
        409,
        "idempotency_in_progress",
        "the first request with this Idempotency-Key is under way; try again in a moment",
        retry_after_seconds=_RETRY_SECONDS,
    )
