"""The battery's checks of fidelity, through a whole proxy in a process of its own."""

import gzip
import itertools
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from statistics import median
from typing import Any

import brotli
import pytest
import zstandard

from tests.doubles.raw_upstream import (
    ReceivedAnswer,
    ReceivedRequest,
    Wire,
    answering,
    closing,
    dialled,
    take_answer,
)
from tests.system.battery.rig import (
    IS_FULL,
    KILOBYTE,
    LAST_CHUNK,
    LATE_SECONDS,
    MEGABYTE,
    SSE,
    STALL_SECONDS,
    chat_piece,
    chunk,
    frame,
    headers_of,
    memory_kilobytes,
    peak_kilobytes,
    percentile,
    posted,
    request,
    scripted,
    times_at_a_rate,
    times_of_calls,
    usage_piece,
    whole,
)
from tests.system.calls import CHAT, MESSAGES, chat, message
from tests.system.deployment import Deployment, Tenant
from tests.system.processes import Process
from tests.unit.proxy_service.answers import Recording, recordings

RECORDINGS = recordings()
OWN = b"x-modeltrack-"
FRAMING = {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"host"}


@pytest.fixture
def tenant(sqlite_deployment: Deployment) -> Tenant:
    return sqlite_deployment.tenant()


def end_to_end(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What is not of one connection, and not of the proxy's own."""
    kept = (each for each in headers if each[0].lower() not in FRAMING)
    return [each for each in kept if not each[0].lower().startswith(OWN)]


@pytest.mark.battery("P1")
def test_what_was_recorded_of_providers_crosses_byte_for_byte(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    turns = iter(RECORDINGS)
    now: list[Recording] = []

    def script(wire: Wire, received: ReceivedRequest) -> None:
        answering(recorded_answer(now[-1]))(wire, received)

    with scripted(sqlite_deployment, script) as (proxy, upstream):
        for case in turns:
            now.append(case)
            asked = asked_of(case)
            direct = ask(upstream.port, case.path.decode(), tenant, asked)
            path = prefix_of(case) + case.path.decode()
            proxied = ask(proxy.port, path, tenant, asked)

            of_direct, of_proxied = upstream.requests[-2:]
            assert (proxied.status, proxied.body) == (direct.status, direct.body), case.name
            assert end_to_end(proxied.headers) == end_to_end(direct.headers), case.name
            assert of_proxied.body == of_direct.body == asked, case.name
            assert end_to_end(of_proxied.headers) == end_to_end(of_direct.headers), case.name


def recorded_answer(case: Recording) -> bytes:
    heads = [name + b": " + value for name, value in case.headers[1:]]
    return whole(case.body, *heads, kind=case.content_type)


def asked_of(case: Recording) -> bytes:
    """A body of the case's provider that the proxy has no reason to add a question to."""
    if b"completions" in case.path:
        return json.dumps(chat(stream_options={"include_usage": True}, stream=True)).encode()
    if b"/v1/" in case.path:
        return json.dumps(message(input="Hello", stream=True)).encode()
    return b'{"messages":[{"role":"user","content":[{"text":"Hello"}]}]}'


def prefix_of(case: Recording) -> str:
    """Where the proxy serves the case's provider."""
    if case.name.startswith("bedrock"):
        return "/bedrock" if not case.path.startswith(b"/bedrock") else ""
    return "/azure" if case.name.startswith("azure") and not case.path.startswith(b"/azure") else ""


def ask(port: int, path: str, tenant: Tenant, body: bytes) -> ReceivedAnswer:
    with dialled(port, posted(path, headers_of(tenant), body)) as wire:
        return take_answer(wire)


@pytest.mark.battery("P2")
@pytest.mark.parametrize("expects", [True, False], ids=["asking first", "not asking"])
def test_an_upload_in_odd_chunks_with_a_trailer_arrives_whole(
    sqlite_deployment: Deployment, tenant: Tenant, *, expects: bool
) -> None:
    body = json.dumps(message("x" * 5 * MEGABYTE)).encode()
    more = {"expect": "100-continue"} if expects else {}
    heads = {**headers_of(tenant), "transfer-encoding": "chunked", "trailer": "x-sum", **more}
    sizes = itertools.cycle([1, 7, 4093, 65_537, 3, 200_003])
    at = 0

    with (
        scripted(sqlite_deployment, closing(whole(b"{}"))) as (proxy, upstream),
        dialled(proxy.port, request(b"POST /v1/messages", heads)) as wire,
    ):
        if expects:
            assert take_answer(wire).status == 100
        while at < len(body):
            size = next(sizes)
            wire.send(chunk(body[at : at + size]))
            at += size
        wire.send(b"0\r\nx-sum: 1\r\n\r\n")
        answer = take_answer(wire)

    assert answer.status == 200
    assert [received.body for received in upstream.requests] == [body]


@pytest.mark.battery("P3")
def test_each_piece_reaches_the_caller_as_it_comes_and_pings_fill_a_silence(
    sqlite_deployment: Deployment, tenant: Tenant, record_property: Callable[[str, object], None]
) -> None:
    apart, silence = (0.2, 15.0) if IS_FULL else (0.03, 0.3)
    sent: list[float] = []
    pieces = [frame(chat_piece(f"piece {at}")) for at in range(10)] + [b": ping\n\n"] * 4
    pieces += [frame(chat_piece("", "stop")), frame(usage_piece(None)), frame("[DONE]")]

    def script(wire: Wire, received: ReceivedRequest) -> None:
        wire.take_body(received)
        wire.send(SSE)
        for at, piece in enumerate(pieces):
            time.sleep(apart if at < 10 else silence if at < 14 else 0)  # as providers pause
            sent.append(time.monotonic())
            wire.send(chunk(piece))
        wire.send(LAST_CHUNK)

    heard: list[float] = []
    with scripted(sqlite_deployment, script) as (proxy, _):
        body = json.dumps(chat(stream=True, stream_options={"include_usage": True})).encode()
        with dialled(proxy.port, posted(CHAT, headers_of(tenant), body)) as wire:
            wire.connection.settimeout(60)
            wire.take_head()
            got = b""
            for piece in pieces:
                while len(got) < len(piece):
                    size = int(wire.take_until(b"\r\n"), 16)
                    got += wire.take(size + 2)[:-2]
                heard.append(time.monotonic())
                assert got.startswith(piece)
                got = got[len(piece) :]
            assert wire.take_until(b"\r\n\r\n") == LAST_CHUNK

    delays = [later - earlier for earlier, later in zip(sent, heard, strict=True)]
    record_property("battery_figure", f"P3 {median(delays) * 1000:.1f} ms")
    assert median(delays) <= 0.05


HOPS = {
    "Connection": "keep-alive, X-Foo",
    "X-Foo": "1",
    "TE": "trailers",
    "Proxy-Authorization": "z",
    "Upgrade": "h2c",
    "Keep-Alive": "5",
}


@pytest.mark.battery("P5")
def test_headers_of_one_connection_end_there(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    answer = whole(b"{}", b"Connection: X-Bar", b"X-Bar: 1", b"Keep-Alive: timeout=5", b"X-Kept: yes")
    body = json.dumps(message()).encode()

    with (
        scripted(sqlite_deployment, answering(answer)) as (proxy, upstream),
        dialled(proxy.port, posted(MESSAGES, headers_of(tenant) | HOPS, body)) as wire,
    ):
        got = take_answer(wire)

    (received,) = upstream.requests
    named = {name.lower() for name, _ in received.headers}
    assert named.isdisjoint({name.lower().encode() for name in HOPS} - {b"connection"})
    assert not any(name.startswith(OWN) for name in named)
    assert (received.header(b"connection") or b"").lower() in {b"", b"keep-alive"}
    assert (got.header(b"x-bar"), got.header(b"keep-alive"), got.header(b"x-kept")) == (None, None, b"yes")


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "deflate": zlib.compress,
}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
ANSWERS = {
    "whole": (b"200 OK", b"application/json", json.dumps({"model": "gpt-4o", "usage": USAGE}).encode()),
    "streamed": (
        b"200 OK",
        b"text/event-stream",
        frame(chat_piece("x", "stop")) + frame(usage_piece(USAGE)) + frame("[DONE]"),
    ),
    "refused": (b"400 Bad Request", b"application/json", b'{"error":{"message":"no","type":"invalid"}}'),
}


@pytest.mark.battery("P6")
def test_every_coding_crosses_untouched_and_costs_the_same(sqlite_deployment: Deployment) -> None:
    now: list[bytes] = []

    def script(wire: Wire, received: ReceivedRequest) -> None:
        answering(now[-1])(wire, received)

    costs: dict[str, set[object]] = {}
    with scripted(sqlite_deployment, script) as (proxy, _):
        for (kind, (status, content_type, plain)), (coding, encode) in itertools.product(
            ANSWERS.items(), ENCODERS.items()
        ):
            tenant = sqlite_deployment.tenant()
            encoded = encode(plain)
            heads = [] if coding == "identity" else [b"Content-Encoding: " + coding.encode()]
            now.append(whole(encoded, *heads, status=status, kind=content_type))
            options: dict[str, Any] = (
                {"stream_options": {"include_usage": True}} if kind == "streamed" else {}
            )
            asked = json.dumps(chat(stream=kind == "streamed", **options)).encode()

            got = ask(proxy.port, CHAT, tenant, asked)

            assert (got.body, got.status) == (encoded, int(status[:3])), (kind, coding)
            assert got.header(b"content-encoding") == (heads[0].partition(b": ")[2] if heads else None)
            event = sqlite_deployment.event(tenant)
            costs.setdefault(kind, set()).add((event["cost_usd"] * 10**9, event["estimated"]))

    assert costs == {"whole": {(4_500_000, False)}, "streamed": {(4_500_000, False)}, "refused": {(0, False)}}


OVERSIZED = {
    "300 headers": (b"A: b\r\n" * 300, b"/v1/messages", 431),
    "a header of 64 kB": (b"A: " + b"x" * 65_536 + b"\r\n", b"/v1/messages", 431),
    "an address of 1 MB": (b"", b"/v1/messages?" + b"x" * 1_000_000, 414),
}


@pytest.mark.battery("P7")
def test_what_is_too_large_is_refused_at_once_in_little_memory(
    sqlite_deployment: Deployment, tenant: Tenant, record_property: Callable[[str, object], None]
) -> None:
    heads = headers_of(tenant)
    with scripted(sqlite_deployment, answering(whole(b"{}"))) as (proxy, upstream):
        before = memory_kilobytes(proxy)
        for more, path, status in OVERSIZED.values():
            raw = request(b"POST " + path, {**heads, "content-length": "2"})[:-2] + more + b"\r\n{}"
            with dialled(proxy.port, raw) as wire:
                assert take_answer(wire).status == status
        with dialled(
            proxy.port, request(b"POST /v1/messages", {**heads, "content-length": "100000000"})
        ) as wire:
            began = time.monotonic()
            assert take_answer(wire).status == 413
            assert time.monotonic() - began < 1 + LATE_SECONDS  # the body is never sent
        assert status_of_endless_chunks(proxy, heads) == 413
        packed = gzip.compress(b'{"model":"' + b"x" * 64 * MEGABYTE)
        swelling = posted(MESSAGES, heads | {"content-encoding": "gzip"}, packed)
        with dialled(proxy.port, swelling) as wire:
            assert take_answer(wire).status == 413
        growth = peak_kilobytes(proxy) - before

    record_property("battery_figure", f"P7 {growth / KILOBYTE:.0f} MiB")
    assert upstream.requests == []
    assert growth < 64 * KILOBYTE


def status_of_endless_chunks(proxy: Process, heads: dict[str, str]) -> int:
    """What a chunked upload of 100 MB is answered, which is not taken to its end."""
    piece = chunk(b"x" * MEGABYTE)
    with dialled(
        proxy.port, request(b"POST /v1/messages", {**heads, "transfer-encoding": "chunked"})
    ) as wire:
        wire.connection.settimeout(5)
        try:
            for _ in range(100):
                wire.send(piece)
        except OSError:
            pass  # refused while it was still being sent
        return take_answer(wire).status


@pytest.mark.battery("P8")
def test_slow_heads_and_slow_readers_delay_nobody_and_cost_little_memory(
    sqlite_deployment: Deployment, tenant: Tenant, record_property: Callable[[str, object], None]
) -> None:
    trickling, reading, seconds = (500, 20, 10.0) if IS_FULL else (200, 6, 3.0)
    piece = chunk(frame(chat_piece("x" * 4000)))
    long = [SSE, *([piece * 256] * 50), LAST_CHUNK]

    def script(wire: Wire, received: ReceivedRequest) -> None:
        if b"slow" in received.line:
            wire.connection.settimeout(None)  # it has to wait for its reader
        answering(*long if b"slow" in received.line else (whole(b"{}"),))(wire, received)

    with scripted(sqlite_deployment, script) as (proxy, _), ExitStack() as open_ones:
        times_of_calls(proxy, tenant, 20)
        without = times_at_a_rate(proxy, tenant, seconds)
        before = memory_kilobytes(proxy)
        begun = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nA: "
        heads = [open_ones.enter_context(dialled(proxy.port, begun)) for _ in range(trickling)]
        asked = posted(f"{CHAT}?slow", headers_of(tenant), json.dumps(chat(stream=True)).encode())
        readers = [open_ones.enter_context(dialled(proxy.port, asked)) for _ in range(reading)]
        for wire in readers:
            wire.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            assert wire.connection.recv(KILOBYTE)
        times_of_calls(proxy, tenant, 20)  # what is of the long answers' beginning is over by then
        with ThreadPoolExecutor(1) as slow:
            is_over = threading.Event()
            going_on = slow.submit(go_on_slowly, heads, readers, is_over)
            beside = times_at_a_rate(proxy, tenant, seconds)
            is_over.set()
        assert going_on.result() >= seconds // 2
        growth = memory_kilobytes(proxy) - before

    slowest, usual = percentile(beside, 99), percentile(without, 99)
    figure = f"{growth / KILOBYTE:.0f} MiB; {slowest * 1000:.0f} ms and {usual * 1000:.0f} ms"
    record_property("battery_figure", f"P8 {figure}")
    assert growth <= reading * KILOBYTE + trickling * 64
    assert slowest <= 2 * usual + STALL_SECONDS


def go_on_slowly(heads: list[Wire], readers: list[Wire], is_over: threading.Event) -> int:
    """Send a byte of each head and take a kilobyte of each answer, once a second; how many times it was."""
    turns = 0
    while not is_over.wait(1.0):
        for wire in heads:
            with suppress(OSError):  # refused by now: a head has its time
                wire.send(b"x")
        assert all(wire.connection.recv(KILOBYTE) for wire in readers)
        turns += 1
    return turns


ODD_TAGS = {
    "another script and an emoji": (["团队💸"], "团队💸"),
    "Latin-1": (["\xe9quipe"], None),
    "twice": (["one", "two"], None),
    "a line break in percent": (["a%0d%0aX: y"], "a%0d%0aX: y"),
    "an escape": (["\x1b[2J"], None),
}


@pytest.mark.battery("P9")
@pytest.mark.not_behind_nginx("it writes its bytes to the proxy itself")
@pytest.mark.parametrize(("sent", "recorded"), ODD_TAGS.values(), ids=ODD_TAGS.keys())
def test_a_call_is_served_whatever_bytes_its_tag_is(
    sqlite_deployment: Deployment, tenant: Tenant, sent: list[str], recorded: str | None
) -> None:
    tags = b"".join(
        b"X-ModelTrack-Team: "
        + (each.encode("latin-1") if each.isascii() or "\xe9" in each else each.encode())
        + b"\r\n"
        for each in sent
    )
    body = json.dumps(message()).encode()
    head = posted(MESSAGES, headers_of(tenant), body).partition(b"\r\n\r\n")[0]

    with dialled(sqlite_deployment.proxy.port, head + b"\r\n" + tags + b"\r\n" + body) as wire:
        answer = take_answer(wire)

    # A control character is no header's: that request is refused like any malformed one.
    assert answer.status == (400 if "\x1b" in sent[0] else 200)
    if recorded is not None:
        assert sqlite_deployment.event(tenant)["team"] == recorded
