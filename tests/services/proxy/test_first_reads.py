"""First reads: what a fresh process reads over REST is what the store holds."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.errors import StoreUnavailable
from metering.store_urls import DEFAULT_DATABASE, FirestoreAddress
from metering.stores import Document, DocumentStore, FieldPath, Increment, Put, WriteResult
from proxy_service.first_reads import FirstReads, emulator_origin
from proxy_service.relay import UpstreamClient
from proxy_service.wire import Origin
from tests.doubles.clock import ManualClock
from tests.doubles.raw_upstream import RawUpstream, answering
from tests.stores.strategies import FIELDS

T = TypeVar("T")
PATH, OTHER_PATH = "accounts/acct_1", "accounts/acct_2"
TOKEN = b'{"access_token":"a-token","expires_in":3600,"token_type":"Bearer"}'


def reading(work: Callable[[UpstreamClient], Awaitable[T]]) -> T:
    async def run() -> T:
        client = UpstreamClient(connect_seconds=2, first_byte_seconds=2, idle_seconds=2)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=FIELDS)
def test_a_document_is_read_as_the_store_reads_it(
    firestore_store: DocumentStore, firestore_project: str, emulator: str, fields: dict[str, object]
) -> None:
    firestore_store.commit([Put(PATH, fields)])

    found = _get(firestore_project, emulator, PATH)

    assert found == firestore_store.get(PATH)


def test_a_document_that_is_not_there_is_none(
    firestore_store: DocumentStore, firestore_project: str, emulator: str
) -> None:
    assert _get(firestore_project, emulator, "accounts/acct_2") is None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=FIELDS, amount=st.integers(-(2**31), 2**31))
def test_increments_come_to_what_they_come_to_in_the_store(
    firestore_store: DocumentStore,
    firestore_project: str,
    emulator: str,
    fields: dict[str, object],
    amount: int,
) -> None:
    amounts: dict[FieldPath, int] = {("counted",): amount, ("in", "a b`c"): 1}
    merge: dict[FieldPath, object] = {("beside", name): value for name, value in fields.items()}
    firestore_store.commit([Put(PATH, {"counted": 7}), Put(OTHER_PATH, {"counted": 7})])

    for path in (OTHER_PATH, OTHER_PATH):
        by_store = firestore_store.commit([Increment(path, amounts, merge)])
    for path in (PATH, PATH):
        by_rest = _increment(firestore_project, emulator, [Increment(path, amounts, merge)])

    assert by_rest == by_store
    assert _fields(firestore_store, PATH) == _fields(firestore_store, OTHER_PATH)


def test_a_document_that_is_not_there_is_counted_from_nothing(
    firestore_store: DocumentStore, firestore_project: str, emulator: str
) -> None:
    writes = [Increment(PATH, {("n",): 3}), Increment(OTHER_PATH, {("n",): 4, ("m",): 0})]

    assert _increment(firestore_project, emulator, writes) == [
        WriteResult({("n",): 3}),
        WriteResult({("n",): 4, ("m",): 0}),
    ]
    assert _fields(firestore_store, OTHER_PATH) == {"n": 4, "m": 0}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (b"409 Conflict", b""),
        (b"200 OK", b"{}"),
        (b"200 OK", b'{"writeResults":[]}'),
        (b"200 OK", b'{"writeResults":[{}]}'),
        (b"200 OK", b'{"writeResults":[{"transformResults":[{"doubleValue":1}]}]}'),
    ],
    ids=["refused", "no results", "too few", "no values", "a float"],
)
def test_increments_without_a_plain_answer_may_or_may_not_have_been_applied(
    status: bytes, body: bytes
) -> None:
    with RawUpstream(answering(_answer(status, body))) as upstream, pytest.raises(StoreUnavailable):
        _increment("demo-x", f"127.0.0.1:{upstream.port}", [Increment(PATH, {("n",): 1})])

    assert len(upstream.requests) == 1


def test_a_path_that_is_none_of_ours_is_never_asked_for() -> None:
    with pytest.raises(ValueError, match="not a path of ours"):
        _get("demo-x", "127.0.0.1:1", "accounts/a:b@c")


def test_a_store_that_cannot_be_reached_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        _get("demo-x", "127.0.0.1:1", PATH)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (b"403 Forbidden", b""),
        (b"200 OK", b"[]"),
        (b"200 OK", b'{"fields":{"a":{"doubleValue":1}}}'),
        (b"200 OK", b'{"fields":{"a":{}}}'),
        (b"200 OK", b'{"fields":{"a":{"timestampValue":"yesterday"}}}'),
    ],
    ids=["refused", "no object", "a float", "no value", "no moment"],
)
def test_an_answer_that_is_no_document_is_unavailable(status: bytes, body: bytes) -> None:
    with RawUpstream(answering(_answer(status, body))) as upstream, pytest.raises(StoreUnavailable):
        _get("demo-x", f"127.0.0.1:{upstream.port}", PATH)


def test_the_platform_is_asked_for_a_token_once_until_it_nears_its_end() -> None:
    clock = ManualClock()
    firestore = RawUpstream(answering(_answer(b"404 Not Found", b"")))
    metadata = RawUpstream(answering(_answer(b"200 OK", TOKEN)))

    async def ask(client: UpstreamClient) -> None:
        reads = FirstReads(
            client, _address("p-1"), clock, firestore=_origin(firestore), metadata=_origin(metadata)
        )
        for seconds in (3600 - 61, 1, 1):
            await reads.get(PATH)
            clock.advance(seconds)

    with firestore, metadata:
        reading(ask)

    assert [each.header(b"authorization") for each in firestore.requests] == [b"Bearer a-token"] * 3
    assert [each.header(b"metadata-flavor") for each in metadata.requests] == [b"Google"] * 2


@pytest.mark.parametrize("token", [b"", b"[]", b'{"access_token":"secret"}', b"{secret"])
def test_a_token_that_cannot_be_read_is_never_repeated(token: bytes) -> None:
    async def ask(client: UpstreamClient) -> Document | None:
        return await FirstReads(client, _address("p-1"), ManualClock(), metadata=_origin(metadata)).get(PATH)

    metadata = RawUpstream(answering(_answer(b"200 OK", token)))
    with metadata, pytest.raises(StoreUnavailable) as refused:
        reading(ask)

    assert "secret" not in "".join(traceback.format_exception(refused.value, chain=False))
    assert refused.value.__cause__ is None


def _get(project: str, address: str, path: str) -> Document | None:
    return reading(
        lambda client: FirstReads(
            client, _address(project), ManualClock(), firestore=emulator_origin(address), metadata=None
        ).get(path)
    )


def _increment(project: str, address: str, writes: list[Increment]) -> list[WriteResult]:
    return reading(
        lambda client: FirstReads(
            client, _address(project), ManualClock(), firestore=emulator_origin(address), metadata=None
        ).increment(writes)
    )


def _fields(store: DocumentStore, path: str) -> Mapping[str, object]:
    found = store.get(path)
    assert found is not None
    return found.fields


def _address(project: str) -> FirestoreAddress:
    return FirestoreAddress(project, DEFAULT_DATABASE)


def _origin(upstream: RawUpstream) -> Origin:
    return Origin(scheme="http", host="127.0.0.1", port=upstream.port)


def _answer(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
