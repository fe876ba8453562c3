"""Reading single documents, and counting, over Firestore's REST interface with the relay's own client.

A fresh process answers its first callers with this: who they are, what governs them and what their budgets
have left is known before gRPC is loaded. One document a read, and commits of increments alone, which demand
nothing of what they meet; whatever does not go well is StoreUnavailable, as from any store.

Who we are is told by the platform's metadata server, as Google's own libraries ask it
(https://cloud.google.com/run/docs/securing/service-identity, read 2026-11-21), or, on the emulator, by
nothing.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from metering.clock import Clock
from metering.documents import check_commit, location, quoted
from metering.errors import StoreUnavailable
from metering.store_urls import FirestoreAddress
from metering.stores import Document, Increment, WriteResult
from proxy_service.wire import Headers, Origin, Upstream, WireError

OK, NOT_FOUND = 200, 404
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024  # a document of 1 MiB, written out as JSON
TOKEN_MARGIN_SECONDS: Final = 60.0
FIRESTORE: Final = Origin(scheme="https", host="firestore.googleapis.com", port=443)
METADATA: Final = Origin(scheme="http", host="metadata.google.internal", port=80)
TOKEN_TARGET: Final = b"/computeMetadata/v1/instance/service-accounts/default/token"
_EMULATOR_AUTHORIZATION: Final = b"Bearer owner"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOSECOND_DIGITS = 9


class _Found(msgspec.Struct):
    fields: dict[str, Any] = {}
    updateTime: str = ""  # noqa: N815  # as the interface spells it


class _Result(msgspec.Struct):
    transformResults: list[dict[str, Any]] = []  # noqa: N815  # as above


class _Committed(msgspec.Struct):
    writeResults: list[_Result]  # noqa: N815  # as above


class _Token(msgspec.Struct):
    access_token: str
    expires_in: int


_FOUND = msgspec.json.Decoder(_Found)
_COMMITTED = msgspec.json.Decoder(_Committed)
_TOKEN = msgspec.json.Decoder(_Token)


class FirstReads:
    """Reads documents of one database, and counts there. On the loop.

    No `metadata`: the emulator, which trusts everybody.
    """

    def __init__(
        self,
        upstream: Upstream,
        address: FirestoreAddress,
        clock: Clock,
        *,
        firestore: Origin = FIRESTORE,
        metadata: Origin | None = METADATA,
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        self._firestore = firestore
        self._metadata = metadata
        self._names = f"projects/{address.project}/databases/{address.database}/documents"
        self._authorization = _EMULATOR_AUTHORIZATION
        self._authorized_until = 0.0
        self._asking = asyncio.Lock()

    async def get(self, path: str) -> Document | None:
        """The document as of now, or None. Raises: StoreUnavailable."""
        location(path)  # a path of ours needs no quoting
        status, body = await self._asked(b"GET", f"{self._names}/{path}")
        if status == NOT_FOUND:
            return None
        if status != OK:
            raise StoreUnavailable(f"Firestore answered {status}")
        try:
            found = _FOUND.decode(body)
            return Document(path, fields_from_json(found.fields), _revision(found.updateTime))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreUnavailable("Firestore's answer was not understood") from error

    async def increment(self, writes: Sequence[Increment]) -> list[WriteResult]:
        """Apply all of them or none; one result a write, in order.

        Raises: StoreUnavailable: they may have been applied or not.
        """
        check_commit(writes)
        asked = {"writes": [self._written(write) for write in writes]}
        status, body = await self._asked(b"POST", f"{self._names}:commit", msgspec.json.encode(asked))
        if status != OK:
            raise StoreUnavailable(f"Firestore answered {status}")
        try:
            results = _COMMITTED.decode(body).writeResults
            return [_result(write, result) for write, result in zip(writes, results, strict=True)]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreUnavailable("Firestore's answer was not understood") from error

    def _written(self, write: Increment) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for path, value in write.merge.items():
            into = fields
            for name in path[:-1]:
                into = into.setdefault(name, {})
            into[path[-1]] = value
        return {
            "update": {"name": f"{self._names}/{write.path}", "fields": fields_to_json(fields)},
            "updateMask": {"fieldPaths": [quoted(path) for path in write.merge]},
            "updateTransforms": [
                {"fieldPath": quoted(path), "increment": _typed(amount)}
                for path, amount in write.amounts.items()
            ],
        }

    async def _asked(self, method: bytes, name: str, body: bytes = b"") -> tuple[int, bytes]:
        headers = [(b"Authorization", await self._authorized())]
        if body:
            headers.append((b"Content-Type", b"application/json"))
        return await self._told(self._firestore, method, b"/v1/" + name.encode(), headers, body)

    async def _authorized(self) -> bytes:
        """What to authorize with; asked for once for all who wait. Raises: StoreUnavailable."""
        async with self._asking:
            now = self._clock.monotonic()
            if self._metadata is not None and now >= self._authorized_until:
                headers = [(b"Metadata-Flavor", b"Google")]
                status, body = await self._told(self._metadata, b"GET", TOKEN_TARGET, headers)
                if status != OK:
                    raise StoreUnavailable(f"the metadata server answered {status}")
                try:
                    token = _TOKEN.decode(body)
                except msgspec.MsgspecError:
                    # Without its cause, whose text may quote the token.
                    raise StoreUnavailable("the metadata server's answer was not understood") from None
                self._authorization = b"Bearer " + token.access_token.encode()
                self._authorized_until = now + token.expires_in - TOKEN_MARGIN_SECONDS
            return self._authorization

    async def _told(
        self, origin: Origin, method: bytes, target: bytes, headers: Headers, body: bytes = b""
    ) -> tuple[int, bytes]:
        try:
            answer = await self._upstream.open(origin, method, target, headers, body)
            return answer.head.status, await answer.read_whole(ANSWER_BYTES_MAX)
        except WireError as error:
            raise StoreUnavailable(f"no answer from {origin.host}") from error


def fields_from_json(fields: dict[str, Any]) -> dict[str, Any]:
    """A document's fields, from the interface's typed JSON.

    Raises: KeyError, TypeError, ValueError where it is none.
    """
    return {name: _value(value) for name, value in fields.items()}


def fields_to_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A document's fields as the interface's typed JSON."""
    return {name: _typed(value) for name, value in fields.items()}


def _typed(value: Any) -> dict[str, Any]:
    kind, told = "arrayValue", value
    match value:
        case None:
            kind = "nullValue"
        case bool():
            kind = "booleanValue"
        case int():
            kind, told = "integerValue", str(value)
        case str():
            kind = "stringValue"
        case bytes():
            kind, told = "bytesValue", base64.b64encode(value).decode()
        case datetime():
            kind, told = "timestampValue", value.isoformat().replace("+00:00", "Z")
        case Mapping():
            kind, told = "mapValue", {"fields": fields_to_json(value)}
        case _:
            told = {"values": [_typed(held) for held in value]}
    return {kind: told}


def _result(write: Increment, result: _Result) -> WriteResult:
    counted = (int(value["integerValue"]) for value in result.transformResults)
    return WriteResult(dict(zip(write.amounts, counted, strict=True)))


def _value(typed: dict[str, Any]) -> Any:
    ((kind, value),) = typed.items()
    match kind:
        case "nullValue":
            return None
        case "integerValue":
            return int(value)
        case "booleanValue" | "stringValue":
            return value
        case "bytesValue":
            return base64.b64decode(value, validate=True)
        case "timestampValue":
            return _moment(value)
        case "mapValue":
            return fields_from_json(value.get("fields", {}))
        case "arrayValue":
            return [_value(held) for held in value.get("values", [])]
    raise ValueError("a document of ours holds no such value")


def _moment(text: str) -> datetime:
    seconds, nanoseconds = _parts(text)
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)


def _revision(text: str) -> str:
    """The moment of the last change, as `metering.firestore` writes it."""
    seconds, nanoseconds = _parts(text)
    return f"{seconds}.{nanoseconds:09d}"


def _parts(text: str) -> tuple[int, int]:
    """Seconds since 1970, and nanoseconds, of a moment such as 2026-11-21T09:30:00.125Z."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(seconds=1), int(fraction.ljust(_NANOSECOND_DIGITS, "0") or "0")


def emulator_origin(address: str) -> Origin:
    """Where the emulator at `host:port` is dialled."""
    host, _, port = address.rpartition(":")
    return Origin(scheme="http", host=host.strip("[]"), port=int(port))
