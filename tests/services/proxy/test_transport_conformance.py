"""h1spec's cases, and more of their kind, against the whole proxy: the exact status, and a silent upstream.

The suite: https://github.com/uNetworking/h1spec (33 checks of servers, 2026-11). Where each is held:

| its cases | here |
|---|---|
| fragments of a request, 15 of them | `test_a_request_is_waited_for_wherever_it_breaks_off` |
| a valid GET, one with edge cases, an empty value, Expect without a body, POST, chunks | `SERVED` |
| no version, a wrong one, an invalid prefix | `LINES` |
| a name or a value with invalid characters, a bare carriage return | `HEADERS` |
| no Host, two Hosts | `MALFORMED_HEADS` of test_http1 |
| a Content-Length negative, overflowing, without digits | `LENGTHS` |
| a Content-Length beside chunks, in varying case | `CODINGS` |

What upstreams send is held to the same standard below. The readers alone: test_http1.py;
limits and time: test_transport_strictness.py; other readers of the bytes: test_transport_differential.py.
"""

from collections.abc import Iterator

import pytest

from tests.doubles.raw_upstream import (
    OK,
    RawUpstream,
    ReceivedAnswer,
    ReceivedRequest,
    Script,
    Wire,
    answering,
    call,
    closing,
    dialled,
    rest_of,
    take_answer,
)
from tests.doubles.waiting import until
from tests.services.proxy.running import RunningProxy
from tests.unit.proxy_service.test_http1 import MALFORMED_CHUNKS, MALFORMED_HEADS, REFUSED_HEADS

HOST = b"Host: a\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n" + HOST
POST = b"POST /v1/messages HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
PUMPED = b"POST /v1/files HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /v1/models?smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
JSON_BODY = b'{"model":"claude-sonnet-4-5","max_tokens":1,"messages":[]}'


def line(text: bytes) -> bytes:
    return text + b"\r\n" + HOST + b"\r\n"


LINES = {
    "no version but its blank": (b"GET / \r\n\r\n", 400),
    "version 9.9": (line(b"GET / HTTP/9.9"), 400),
    "version 1.2": (line(b"GET / HTTP/1.2"), 400),
    "version 0.9": (line(b"GET / HTTP/0.9"), 505),
    "version 3.0": (line(b"GET / HTTP/3.0"), 400),
    "version 1.10": (line(b"GET / HTTP/1.10"), 400),
    "version 01.1": (line(b"GET / HTTP/01.1"), 400),
    "half a version": (line(b"GET / HTTP/1."), 400),
    "a version in mixed case": (line(b"GET / Http/1.1"), 400),
    "RTSP": (line(b"DESCRIBE / RTSP/1.0"), 400),
    "an invalid prefix": (line(b"Extra lineGET / HTTP/1.1"), 400),
    "a blank before the method": (line(b" GET / HTTP/1.1"), 400),
    "no method": (line(b" / HTTP/1.1"), 400),
    "a method with a colon": (line(b"GET: / HTTP/1.1"), 400),
    "a method with NUL": (line(b"GE\0T / HTTP/1.1"), 400),
    "an endless method": (b"G" * 70_000, 400),
    "tabs between the parts": (line(b"GET\t/\tHTTP/1.1"), 400),
    "vertical tabs between the parts": (line(b"GET\x0b/\x0bHTTP/1.1"), 400),
    "no target": (line(b"GET HTTP/1.1"), 400),
    "an absolute target of https": (line(b"GET https://a/v1/models HTTP/1.1"), 400),
    "a target of authority form": (line(b"GET a:443 HTTP/1.1"), 400),
    "GET of an asterisk": (line(b"GET * HTTP/1.1"), 400),
    "a target that is a query": (line(b"GET ?a HTTP/1.1"), 400),
    "a fragment behind a query": (line(b"GET /v1/models?a#b HTTP/1.1"), 400),
    "NUL in the target": (line(b"GET /v1/models\0 HTTP/1.1"), 400),
    "DEL in the target": (line(b"GET /v1/models\x7f HTTP/1.1"), 400),
    "a tab in the target": (line(b"GET /v1/mo\tdels HTTP/1.1"), 400),
    "a carriage return in the target": (line(b"GET /v1/mo\rdels HTTP/1.1"), 400),
    "UTF-8 in the target": (line(b"GET /\xe5\x9b\xa2 HTTP/1.1"), 400),
    "a target over its limit": (line(b"GET /" + b"x" * 16 * 1024 + b" HTTP/1.1"), 414),
    "HTTP/2 with settings": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), 505),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x7f" * 500, 400),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n", 400),
    "SMTP": (b"EHLO a\r\n", 400),
    "SOCKS": (b"\x05\x01\x00", 400),
    "PROXY in text": (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + GET + b"\r\n", 400),
    "PROXY in binary": (b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12), 400),
    "an answer": (OK, 400),
}

HEADERS = {
    "brackets in a name": (GET + b"X-Invalid[]: test\r\n\r\n", 400),
    "a blank in a name": (GET + b"X Y: b\r\n\r\n", 400),
    "a tab before the colon": (GET + b"X\t: b\r\n\r\n", 400),
    "a name above ASCII": (GET + b"X\xe9: b\r\n\r\n", 400),
    "a quoted name": (GET + b'"X": b\r\n\r\n', 400),
    "BEL in a value": (GET + b"X-Bad-Control-Char: test\x07\r\n\r\n", 400),
    "DEL in a value": (GET + b"A: b\x7f\r\n\r\n", 400),
    "ESC in a value": (GET + b"A: \x1b[2J\r\n\r\n", 400),
    "a vertical tab in a value": (GET + b"A: b\x0bc\r\n\r\n", 400),
    "a carriage return before a line": (GET + b"\rSome-Header: Test\r\n\r\n", 400),
    "two carriage returns at an end": (b"GET /v1/models HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
    "a line feed for the empty line": (GET + b"\n", 400),
    "only carriage returns": (b"GET /v1/models HTTP/1.1\rHost: a\r\r", 400),
    "a line of blanks": (GET + b" \r\n\r\n", 400),
    "a name over the head's limit": (GET + b"x" * 65 * 1024 + b": b\r\n\r\n", 431),
    "a Host with a blank": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a Host with a query": (b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400),
    "a Host with a scheme": (b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400),
    "a Host that is a port": (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
    "a Host above ASCII": (b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n", 400),
    "a Host and a folded one": (b"GET / HTTP/1.1\r\nHost: a\r\n Host: b\r\n\r\n", 400),
    "no Host but a length": (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 400),
    "an empty expectation": (POST + b"Expect:\r\nContent-Length: 0\r\n\r\n", 417),
    "two expectations in one": (POST + b"Expect: 100-continue, x\r\nContent-Length: 0\r\n\r\n", 417),
}


def length(value: bytes) -> tuple[bytes, int]:
    return POST + b"Content-Length: " + value + b"\r\n\r\n", 400


LENGTHS = {
    "negative and overflowing": length(b"-123456789123456789123456789"),
    "negative": length(b"-1234"),
    "no digits": length(b"abc"),
    "two to the 64th and one": length(b"18446744073709551617"),
    "nineteen digits": length(b"1000000000000000000"),
    "25 digits, most of them zeros": length(b"0" * 24 + b"1"),
    "a fraction": length(b"1.0"),
    "an exponent": length(b"1e1"),
    "an underscore": length(b"1_0"),
    "quoted": length(b'"1"'),
    "a parameter": length(b"1;a"),
    "two figures": length(b"1 1"),
    "a vertical tab before": length(b"\x0b1"),
    "NUL behind": length(b"1\0"),
    "digits of another script": length("١".encode()),
    "a second one with a blank before its colon": (
        POST + b"Content-Length: 1\r\nContent-Length : 2\r\n\r\n",
        400,
    ),
}


def coding(value: bytes, status: int = 400) -> tuple[bytes, int]:
    return POST + b"Transfer-Encoding:" + value + b"\r\n\r\n0\r\n\r\n", status


CODINGS = {
    "beside a length, in varying case": (
        POST + b"content-LengtH: 5\r\nTransFer-Encoding: chunked\r\n\r\nc\r\nHellO world1\r\n0\r\n\r\n",
        400,
    ),
    "none": coding(b""),
    "identity": coding(b" identity"),
    "identity and a length": coding(b" identity\r\nContent-Length: 5"),
    "chunked twice in one": coding(b" chunked, chunked"),
    "a comma before": coding(b" , chunked", 501),
    "a comma behind": coding(b" chunked,"),
    "a parameter": coding(b" chunked;a=b"),
    "quoted": coding(b' "chunked"'),
    "gzip in a line of its own": coding(b" gzip\r\nTransfer-Encoding: chunked", 501),
    "a tab behind": coding(b" chunked\t"),
    "a vertical tab behind": coding(b" chunked\x0b"),
    "NUL behind": coding(b" chunked\0"),
    "a byte above ASCII before": coding(b" \xffchunked"),
    "folded": coding(b"\r\n chunked"),
    "behind a bare line feed": coding(b"\n chunked"),
}

KNOWN_STATUSES = {"HTTP/2": 505}
KNOWN = {name: (raw, KNOWN_STATUSES.get(name, 400)) for name, raw in MALFORMED_HEADS.items()} | REFUSED_HEADS
REFUSED = {
    f"{group}: {name}": case
    for group, cases in {
        "line": LINES,
        "header": HEADERS,
        "length": LENGTHS,
        "coding": CODINGS,
        "known": KNOWN,
    }.items()
    for name, case in cases.items()
}
CHUNKS = MALFORMED_CHUNKS | {
    "negative": b"-1\r\nabc\r\n",
    "sixteen digits": b"0000000000000003\r\nabc\r\n0\r\n\r\n",
    "the largest size": b"ffffffffffffffff\r\nabc\r\n",
    "a tab behind the size": b"3\t\r\nabc\r\n",
    "a blank before the extension": b"3 ;a=b\r\nabc\r\n",
    "NUL in the extension": b"3;\0\r\nabc\r\n",
    "a bare line feed in the extension": b"3;a\nabc\r\n0\r\n\r\n",
    "a line end within quotes": b'3;a="\r\n"\r\nabc\r\n',
    "a line feed at the end": b"0\n\n",
    "a half line end at the end": b"0\r\n\n",
    "a blank in a trailer's name": b"0\r\nA : b\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "a bare line feed in a trailer": b"0\r\nA: b\n\r\n",
}


def echoing(wire: Wire, request: ReceivedRequest) -> None:
    wire.take_body(request)
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body) + request.body)


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path_factory.mktemp("proxy"), upstream, cache_enabled=False) as proxy:
        yield proxy


@pytest.fixture
def proxy(running: RunningProxy, upstream: RawUpstream) -> RunningProxy:
    """The same proxy for all cases, as for all callers; the upstream's ear is cleaned for each."""
    upstream.script = echoing
    upstream.requests.clear()
    return running


# Callers


@pytest.mark.battery("P4")
@pytest.mark.parametrize(("raw", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_malformed_gets_its_status_and_reaches_no_upstream(
    proxy: RunningProxy, upstream: RawUpstream, raw: bytes, status: int
) -> None:
    with dialled(proxy.port, raw + SMUGGLED) as wire:
        answer = take_answer(wire)
        rest = rest_of(wire)

    assert (answer.status, answer.header(b"connection"), rest) == (status, b"close", b"")
    assert upstream.requests == []


@pytest.mark.battery("P4")
@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
def test_a_malformed_chunk_is_a_400_and_reaches_no_upstream(
    proxy: RunningProxy, upstream: RawUpstream, chunks: bytes
) -> None:
    with dialled(proxy.port, CHUNKED + chunks + b"\r\n\r\n" + SMUGGLED) as wire:
        answer = take_answer(wire)
        rest = rest_of(wire)

    assert (answer.status, answer.header(b"connection"), rest) == (400, b"close", b"")
    assert upstream.requests == []


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
def test_a_malformed_chunk_of_a_body_that_is_passed_on_leaves_the_upstream_a_request_without_an_end(
    proxy: RunningProxy, upstream: RawUpstream, chunks: bytes
) -> None:
    ends: list[bytes] = []

    def script(wire: Wire, request: ReceivedRequest) -> None:
        try:
            echoing(wire, request)
        finally:
            ends.append(request.body)

    upstream.script = script
    with dialled(proxy.port, PUMPED + b"5\r\nhello\r\n") as wire:
        until(lambda: len(upstream.requests) == 1)
        wire.send(chunks + b"\r\n\r\n" + SMUGGLED)
        answer = take_answer(wire)
        rest = rest_of(wire)
        until(lambda: bool(ends))

    assert (answer.status, answer.header(b"connection"), rest) == (400, b"close", b"")
    assert ([each.line for each in upstream.requests], ends) == ([b"POST /v1/files HTTP/1.1"], [b""])


@pytest.mark.battery("P4")
def test_a_request_is_waited_for_wherever_it_breaks_off(proxy: RunningProxy, upstream: RawUpstream) -> None:
    raw = GET + b"\r\n"
    for end in range(1, len(raw)):
        with dialled(proxy.port, raw[:end]) as wire:
            assert call(proxy.port, raw).status == 200  # by then the fragment has been read
            wire.connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                wire.receive()
            wire.connection.settimeout(10)
            assert len(upstream.requests) == 2 * end - 1
            wire.send(raw[end:])
            assert take_answer(wire).status == 200


@pytest.mark.parametrize("end", [1, len(POST), len(CHUNKED), len(CHUNKED) + 4, len(CHUNKED) + 8])
def test_a_caller_that_closes_early_leaves_nothing_to_the_upstream(
    proxy: RunningProxy, upstream: RawUpstream, end: int
) -> None:
    with dialled(proxy.port, (CHUNKED + b"2\r\n{}\r\n0\r\n\r\n")[:end]) as wire:
        wire.connection.shutdown(1)
        rest_of(wire)

    assert call(proxy.port, GET + b"\r\n").status == 200
    assert [each.line[:4] for each in upstream.requests] == [b"GET "]


SERVED = {
    "a GET": (GET + b"\r\n", b""),
    "edge cases of a GET": (b"GET /v1/models HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n", b""),
    "an empty value": (GET + b"X-Empty-Header: \r\n\r\n", b""),
    "an expectation without a body": (GET + b"Expect: 100-continue\r\n\r\n", b""),
    "an expectation twice": (GET + b"Expect: 100-continue\r\nexpect: 100-Continue\r\n\r\n", b""),
    "an expectation of an old caller": (b"GET /v1/models HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", b""),
    "empty lines before": (b"\r\n" * 5 + GET + b"\r\n", b""),
    "a Host with an empty port": (b"GET /v1/models HTTP/1.1\r\nHost: a:\r\n\r\n", b""),
    "a name of 60 kB": (GET + b"x" * 60_000 + b": b\r\n\r\n", b""),
    "a length with a tab": (POST + b"Content-Length:\t%d\r\n\r\n%b" % (len(JSON_BODY), JSON_BODY), JSON_BODY),
    "a name like a length": (
        POST + b"Content_Length: 5\r\nContent-Length: %d\r\n\r\n%b" % (len(JSON_BODY), JSON_BODY),
        JSON_BODY,
    ),
    "chunks": (CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(JSON_BODY), JSON_BODY), JSON_BODY),
    "chunks in mixed case": (
        POST + b"Transfer-Encoding: cHuNkEd\r\n\r\n%X\r\n%b\r\n0\r\n\r\n" % (len(JSON_BODY), JSON_BODY),
        JSON_BODY,
    ),
    "an empty extension": (CHUNKED + b"%x;\r\n%b\r\n0;\r\n\r\n" % (len(JSON_BODY), JSON_BODY), JSON_BODY),
    "fifteen digits of a size": (
        CHUNKED + b"%015x\r\n%b\r\n0\r\n\r\n" % (len(JSON_BODY), JSON_BODY),
        JSON_BODY,
    ),
    "framing in a trailer": (
        CHUNKED + b"%x\r\n%b\r\n0\r\nHost: b\r\nContent-Length: 9\r\n\r\n" % (len(JSON_BODY), JSON_BODY),
        JSON_BODY,
    ),
    "HTTP/2 offered": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        b"",
    ),
    "a header named as the connection's": (GET + b"Connection: close, x-a\r\nX-A: b\r\n\r\n", b""),
}


@pytest.mark.parametrize(("raw", "body"), SERVED.values(), ids=SERVED.keys())
def test_what_is_well_formed_is_served(
    proxy: RunningProxy, upstream: RawUpstream, raw: bytes, body: bytes
) -> None:
    answer = call(proxy.port, raw)

    (request,) = upstream.requests
    assert (answer.status, answer.body, request.body, request.trailer) == (200, body, body, b"")
    framing = {name.lower() for name, _ in request.headers} & {b"expect", b"upgrade", b"connection", b"te"}
    assert framing == set()


@pytest.mark.battery("P4")
def test_what_is_malformed_behind_a_request_costs_the_connection_and_not_that_requests_answer(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    whole = POST + b"Content-Length: %d\r\n\r\n%b" % (len(JSON_BODY), JSON_BODY)

    with dialled(
        proxy.port, whole + b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n" + SMUGGLED
    ) as wire:
        answers = [take_answer(wire) for _ in range(2)]
        rest = rest_of(wire)

    assert [(each.status, each.header(b"connection")) for each in answers] == [(200, None), (400, b"close")]
    assert (rest, len(upstream.requests)) == (b"", 1)


# Upstreams

STATUS = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n"
IN_CHUNKS = STATUS + b"Transfer-Encoding: chunked\r\n\r\n"


def status_line(text: bytes) -> bytes:
    return text + b"\r\n" + LENGTH + b"\r\nok"


def with_header(text: bytes) -> bytes:
    return STATUS + LENGTH + text + b"\r\n\r\nok"


BROKEN_HEADS = {
    "a status of two digits": status_line(b"HTTP/1.1 20 OK"),
    "a status of four digits": status_line(b"HTTP/1.1 2000 OK"),
    "a status below 100": status_line(b"HTTP/1.1 099 OK"),
    "a status of letters": status_line(b"HTTP/1.1 abc OK"),
    "a negative status": status_line(b"HTTP/1.1 -20 OK"),
    "two blanks before the status": status_line(b"HTTP/1.1  200 OK"),
    "no blank behind the status": status_line(b"HTTP/1.1 200OK"),
    "a tab behind the version": status_line(b"HTTP/1.1\t200 OK"),
    "a version in small letters": status_line(b"http/1.1 200 OK"),
    "version 0.9": status_line(b"HTTP/0.9 200 OK"),
    "version 1.2": status_line(b"HTTP/1.2 200 OK"),
    "version 3.0": status_line(b"HTTP/3.0 200 OK"),
    "another protocol": status_line(b"ICY 200 OK"),
    "a blank before the version": status_line(b" HTTP/1.1 200 OK"),
    "a carriage return in the reason": status_line(b"HTTP/1.1 200 O\rSet-Cookie: evil"),
    "a line feed in the reason": status_line(b"HTTP/1.1 200 O\nSet-Cookie: evil"),
    "NUL in the reason": status_line(b"HTTP/1.1 200 O\0K"),
    "ESC in the reason": status_line(b"HTTP/1.1 200 \x1b[2J"),
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"<html>ok</html>",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "a carriage return in a value": with_header(b"A: b\rSet-Cookie: evil"),
    "a line feed in a value": with_header(b"A: b\nSet-Cookie: evil"),
    "NUL in a value": with_header(b"A: b\0c"),
    "BEL in a value": with_header(b"A: \x07"),
    "DEL in a value": with_header(b"A: \x7f"),
    "a folded value": with_header(b"A: b\r\n c"),
    "a blank before the colon": with_header(b"A : b"),
    "a blank before the first header": STATUS + b" A: b\r\n" + LENGTH + b"\r\nok",
    "a header without colon": with_header(b"A"),
    "a header without name": with_header(b": b"),
    "a name above ASCII": with_header(b"\xe9: b"),
    "bare line feeds": STATUS.replace(b"\r", b"") + b"A: b\n\n",
    "a length twice": with_header(b"Content-Length: 2"),
    "two lengths": with_header(b"Content-Length: 3"),
    "a list of lengths": STATUS + b"Content-Length: 2, 2\r\n\r\nok",
    "a signed length": STATUS + b"Content-Length: +2\r\n\r\nok",
    "a negative length": STATUS + b"Content-Length: -2\r\n\r\nok",
    "a hexadecimal length": STATUS + b"Content-Length: 0x2\r\n\r\nok",
    "an empty length": STATUS + b"Content-Length:\r\n\r\nok",
    "a length that overflows": STATUS + b"Content-Length: 18446744073709551618\r\n\r\nok",
    "length and chunks": with_header(b"Transfer-Encoding: chunked"),
    "chunks and length": STATUS + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks twice": STATUS + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks twice in one": STATUS + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks before a coding": STATUS + b"Transfer-Encoding: chunked, gzip\r\n\r\nok",
    "gzip under the chunks": STATUS + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "gzip in a line of its own": STATUS
    + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "identity": STATUS + b"Transfer-Encoding: identity\r\n\r\nok",
    "an unknown coding": STATUS + b"Transfer-Encoding: xchunked\r\n\r\nok",
    "a vertical tab before the coding": STATUS
    + b"Transfer-Encoding: \x0bchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a tab behind the coding": STATUS + b"Transfer-Encoding: chunked\t\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a folded coding": STATUS + b"Transfer-Encoding:\r\n chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a body behind an interim answer": b"HTTP/1.1 100 C\r\nContent-Length: 5\r\n\r\nhello" + OK,
    "a switch of protocols": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a switch to nothing": b"HTTP/1.1 101 S\r\n\r\n" + OK,
}


def asked(proxy: RunningProxy) -> ReceivedAnswer:
    return call(proxy.port, POST + b"Content-Length: %d\r\n\r\n%b" % (len(JSON_BODY), JSON_BODY))


@pytest.mark.parametrize("raw", BROKEN_HEADS.values(), ids=BROKEN_HEADS.keys())
def test_an_answer_whose_head_is_malformed_is_a_502_and_nothing_of_it_passes(
    proxy: RunningProxy, upstream: RawUpstream, raw: bytes
) -> None:
    upstream.script, used = noting(answering(raw))

    answer = asked(proxy)

    assert (answer.status, len(upstream.requests)) == (502, 1)
    assert b"evil" not in answer.body + answer.reason
    assert answer.header(b"set-cookie") is None
    assert_next_call_is_served_elsewhere(proxy, upstream, used)


def noting(script: Script) -> tuple[Script, list[int]]:
    """The script, and the connections that it is asked on."""
    used: list[int] = []

    def noted(wire: Wire, request: ReceivedRequest) -> None:
        used.append(wire.number)
        script(wire, request)

    return noted, used


def assert_next_call_is_served_elsewhere(proxy: RunningProxy, upstream: RawUpstream, used: list[int]) -> None:
    """The connection of the call before was not kept."""
    upstream.script, used_next = noting(echoing)
    assert asked(proxy).body == JSON_BODY
    assert used_next != used


BROKEN_BODIES: dict[str, Script] = {
    f"chunks: {name}": answering(IN_CHUNKS + raw)
    for name, raw in CHUNKS.items()
    if name not in {"sixteen digits", "an endless extension", "an endless trailer", "the largest size"}
} | {
    "a length in the trailer": answering(IN_CHUNKS + b"2\r\nok\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "the largest size, cut": closing(IN_CHUNKS + b"ffffffffffffffff\r\nok"),
    "a length of twenty digits, cut": closing(STATUS + b"Content-Length: 18446744073709551615\r\n\r\nok"),
    "a length not reached": closing(STATUS + b"Content-Length: 3\r\n\r\nok"),
    "no last chunk": closing(IN_CHUNKS + b"2\r\nok\r\n"),
    "no end of the last chunk": closing(IN_CHUNKS + b"2\r\nok\r\n0\r\n"),
}


@pytest.mark.parametrize("script", BROKEN_BODIES.values(), ids=BROKEN_BODIES.keys())
def test_an_answer_whose_body_is_malformed_is_a_visible_cut(
    proxy: RunningProxy, upstream: RawUpstream, script: Script
) -> None:
    upstream.script, used = noting(script)

    with pytest.raises((EOFError, ConnectionError)):
        asked(proxy)

    assert_next_call_is_served_elsewhere(proxy, upstream, used)


# What the caller gets: status, reason, body. Then whether the connection may be used again.
PASSED = {
    "no reason": (b"HTTP/1.1 200\r\n" + LENGTH + b"\r\nok", (200, b"", b"ok"), True),
    "a reason above ASCII": (status_line(b"HTTP/1.1 200 \xe9"), (200, b"\xe9", b"ok"), True),
    "a status nobody knows": (status_line(b"HTTP/1.1 999 X"), (999, b"X", b"ok"), True),
    "interim answers": (
        b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 199 ?\r\n\r\n" + OK,
        (200, b"OK", b"ok"),
        True,
    ),
    "a length with zeros": (STATUS + b"Content-Length: 0002\r\n\r\nok", (200, b"OK", b"ok"), True),
    "chunks in capitals": (
        STATUS + b"Transfer-Encoding: CHUNKED \r\n\r\n2\r\nok\r\n0\r\n\r\n",
        (200, b"OK", b"ok"),
        True,
    ),
    "twenty digits of a size": (IN_CHUNKS + b"%020x\r\nok\r\n0\r\n\r\n" % 2, (200, b"OK", b"ok"), True),
    "a trailer": (IN_CHUNKS + b"2;a=b\r\nok\r\n0\r\nSet-Cookie: a\r\n\r\n", (200, b"OK", b"ok"), True),
    "an upgrade offered": (with_header(b"Connection: upgrade\r\nUpgrade: h2c"), (200, b"OK", b"ok"), True),
    "HTTP/1.0, kept": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH + b"\r\nok",
        (200, b"OK", b"ok"),
        True,
    ),
    "HTTP/1.0 with chunks": (
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        (200, b"OK", b"ok"),
        False,
    ),
    "close and keep-alive": (with_header(b"Connection: close, keep-alive"), (200, b"OK", b"ok"), False),
    "204": (b"HTTP/1.1 204 N\r\n\r\n", (204, b"N", b""), True),
    "204 with a body": (b"HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\nhello", (204, b"N", b""), False),
    "204 with chunks": (
        b"HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        (204, b"N", b""),
        False,
    ),
    "304 with the length it would have": (
        b"HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n",
        (304, b"N", b""),
        True,
    ),
    "304 with a body": (b"HTTP/1.1 304 N\r\n\r\nhello", (304, b"N", b""), False),
    "a second answer": (
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        (200, b"OK", b"ok"),
        False,
    ),
    "bytes behind": (OK + b"\0", (200, b"OK", b"ok"), False),
}


@pytest.mark.parametrize(("raw", "told", "is_reusable"), PASSED.values(), ids=PASSED.keys())
def test_an_odd_answer_that_has_one_meaning_passes_and_nothing_behind_it_does(
    proxy: RunningProxy, upstream: RawUpstream, raw: bytes, told: tuple[int, bytes, bytes], is_reusable: bool
) -> None:
    upstream.script, used = noting(answering(raw))

    with dialled(proxy.port) as wire:
        answers = [asked_on(wire) for _ in range(3)]

    assert [(each.status, each.reason, each.body) for each in answers] == [told] * 3
    assert all(each.header(b"transfer-encoding") is None or each.body for each in answers)
    assert len(set(used)) == (1 if is_reusable else 3)


def asked_on(wire: Wire) -> ReceivedAnswer:
    wire.send(POST + b"Content-Length: %d\r\n\r\n%b" % (len(JSON_BODY), JSON_BODY))
    return take_answer(wire)
