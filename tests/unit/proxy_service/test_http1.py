import contextlib
import itertools

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_service.http1 import (
    ANSWER_OVERHEAD_BYTES_MAX,
    CHUNK_LINE_BYTES_MAX,
    CHUNK_OVERHEAD_BYTES_MAX,
    TRAILER_BYTES_MAX,
    HeadLimits,
    Refused,
    RequestReader,
    ResponseReader,
    Signal,
    chunk,
    request_head,
    response_head,
)
from proxy_service.wire import RequestHead

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def read_all(reader: RequestReader, *pieces: bytes) -> list[tuple[RequestHead, bytes]]:
    """Every request that is complete once the pieces have come, with its body."""
    requests: list[tuple[RequestHead, bytes]] = []
    head: RequestHead | None = None
    body = b""
    for piece in pieces:
        reader.feed(piece)
        while (event := reader.next_event()) is not Signal.NEED_DATA:
            if isinstance(event, RequestHead):
                head, body = event, b""
            elif isinstance(event, bytes):
                body += event
            else:
                assert head is not None
                requests.append((head, body))
    return requests


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start < end]


def refusal(*pieces: bytes, limits: HeadLimits | None = None) -> int:
    with pytest.raises(Refused) as caught:
        read_all(RequestReader(limits or HeadLimits()), *pieces)
    return caught.value.status


def in_chunks(body: bytes, size: int, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    sent = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    return sent + b"0\r\n" + trailer + b"\r\n"


# Requests


def test_a_request_keeps_names_values_order_and_case_of_its_headers() -> None:
    names = b"hOsT: a\r\nX-B:  2 \r\nx-b:\r\nX-A: caf\xe9\r\nContent-Length: 2\r\n\r\nhi"
    raw = b"POST /v1/x?a=%2F HTTP/1.1\r\n" + names

    ((head, body),) = read_all(RequestReader(), raw)

    assert (head.method, head.target, head.http_minor) == (b"POST", b"/v1/x?a=%2F", 1)
    assert [name for name, _ in head.headers] == [b"hOsT", b"X-B", b"x-b", b"X-A", b"Content-Length"]
    assert [value.strip() for _, value in head.headers] == [b"a", b"2", b"", b"caf\xe9", b"2"]
    assert (head.content_length, head.is_chunked, body) == (2, False, b"hi")


def test_pipelined_requests_come_one_after_another() -> None:
    first = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
    second = b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(b"second", 2)

    requests = read_all(RequestReader(), first + second + GET + b"\r\n")

    assert [(head.target, body) for head, body in requests] == [
        (b"/1", b"one"),
        (b"/2", b"second"),
        (b"/v1/models", b""),
    ]


def test_what_follows_a_request_stays_as_it_came_until_asked_for() -> None:
    reader = RequestReader()
    reader.feed(GET + b"\r\n" + b"\x16\x03\x01 not HTTP")

    assert isinstance(reader.next_event(), RequestHead)
    assert reader.next_event() is Signal.END
    assert reader.waiting_bytes == len(b"\x16\x03\x01 not HTTP")
    with pytest.raises(Refused):
        reader.next_event()


def test_empty_lines_before_a_request_are_no_request() -> None:
    reader = RequestReader()

    requests = read_all(reader, b"\r", b"\n\r\n", GET + b"\r\n\r\n")

    assert len(requests) == 1
    assert reader.is_between_requests


bodies = st.binary(max_size=300)
cuts = st.lists(st.integers(0, 2000), max_size=30)


@pytest.mark.battery_class("bytes split anywhere")
@given(bodies, bodies, st.integers(1, 70), cuts)
def test_any_split_of_the_bytes_gives_the_same_requests(
    first: bytes, second: bytes, size: int, where: list[int]
) -> None:
    raw = (
        b"POST /1?q HTTP/1.1\r\nHost: a.example:80\r\nX-Empty:\r\nX-Long: some value\r\n"
        b"Content-Length: %d\r\n\r\n%b"
        % (len(first), first)
        + b"PUT /2 HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: Chunked\r\n\r\n"
        + in_chunks(second, size, b";a=b", b"T: x\r\nU:\r\n")
        + GET
        + b"\r\n"
    )

    requests = read_all(RequestReader(), *split_at(raw, where))

    assert requests == read_all(RequestReader(), raw)
    assert [body for _, body in requests] == [first, second, b""]


def test_one_byte_at_a_time_gives_the_same_request() -> None:
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nA:\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(
        b"0123456789", 3
    )

    requests = read_all(RequestReader(), *[raw[at : at + 1] for at in range(len(raw))])

    assert requests == read_all(RequestReader(), raw)


@given(st.binary(max_size=200), cuts)
def test_nonsense_is_refused_or_awaited_and_never_a_crash(data: bytes, where: list[int]) -> None:
    requests: list[tuple[RequestHead, bytes]] = []
    with contextlib.suppress(Refused):
        requests = read_all(RequestReader(), *split_at(b"POST / HTTP/1.1\r\n" + data, where))

    assert all(head.target.startswith(b"/") for head, _ in requests)


@given(st.integers(0, 160), st.integers(0, 255))
def test_a_changed_byte_in_a_chunked_body_reads_as_llhttp_reads_it_or_is_refused(at: int, byte: int) -> None:
    chunks = bytearray(in_chunks(b"some body of a request, long enough", 9, b"", b"A: b\r\n"))
    chunks[at % len(chunks)] = byte
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    oracle = LlhttpBody()
    try:
        requests = read_all(RequestReader(), raw)
    except Refused:
        return

    with contextlib.suppress(httptools.HttpParserError):
        httptools.HttpRequestParser(oracle).feed_data(raw)

    assert [body for _, body in requests] == ([oracle.body] if oracle.is_complete else [])


class LlhttpBody:
    def __init__(self) -> None:
        self.body = b""
        self.is_complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


MALFORMED_HEADS = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "one length twice": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
    "a length with a sign": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "a hexadecimal length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n",
    "an empty length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
    "an endless length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000000000\r\n\r\n",
    "length and chunks": POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n",
    "an unknown coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "chunks before a coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    "a blank before the colon": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
    "a control before the coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n",
    "only bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n",
    "a header without colon": b"GET / HTTP/1.1\r\nHost: a\r\nA\r\n\r\n",
    "a header without name": b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "a blank before the first header": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nA: b\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    "an empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "a Host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a Host with a user": b"GET / HTTP/1.1\r\nHost: b@a\r\n\r\n",
    "a Host list": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "a Host with a wordy port": b"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n",
    "an absolute target": b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target without slash": b"GET v1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a byte above ASCII in the target": b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a control in the target": b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a blank in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "two blanks before the target": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two blanks behind the target": b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
    "a blank behind the version": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "no version": b"GET /\r\nHost: a\r\n\r\n",
    "a version in small letters": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "a method in small letters": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bare line feed before": b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bare line feed behind an empty line": b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bare carriage return before": b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("raw", MALFORMED_HEADS.values(), ids=MALFORMED_HEADS.keys())
def test_a_malformed_head_is_refused_whole_or_in_pieces(raw: bytes) -> None:
    assert refusal(raw) in {400, 501, 505}
    assert refusal(*[raw[at : at + 1] for at in range(len(raw))]) in {400, 501, 505}


REFUSED_HEADS = {
    "HTTP/2.0 in HTTP/1 form": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "gzip as transfer coding": (GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "a WebSocket": (GET + b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", 501),
    "another expectation": (GET + b"Expect: 200-ok\r\n\r\n", 417),
}


@pytest.mark.parametrize(("raw", "status"), REFUSED_HEADS.values(), ids=REFUSED_HEADS.keys())
def test_what_is_not_served_is_refused_with_its_own_status(raw: bytes, status: int) -> None:
    assert refusal(raw) == status


def test_an_upgrade_that_may_be_ignored_is_ignored() -> None:
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi"

    ((_, body),) = read_all(RequestReader(), raw)

    assert body == b"hi"


@pytest.mark.parametrize("over", [0, 1])
def test_the_limits_of_a_head_hold_at_the_limit_and_one_over(over: int) -> None:
    limits = HeadLimits(head_bytes_max=200, target_bytes_max=50, headers_max=3)
    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    padding = b"A: " + b"x" * (200 - len(start) - len(b"A: \r\n\r\n") + over) + b"\r\n\r\n"
    cases = {
        start + padding: 431,
        start + b"A: b\r\n" * (2 + over) + b"\r\n": 431,
        b"GET /" + b"x" * (49 + over) + b" HTTP/1.1\r\nHost: a\r\n\r\n": 414,
    }

    outcomes = {raw: outcome(raw, limits) for raw in cases}

    assert outcomes == {raw: status if over else "served" for raw, status in cases.items()}


def outcome(raw: bytes, limits: HeadLimits) -> int | str:
    try:
        return "served" if read_all(RequestReader(limits), raw) else "awaited"
    except Refused as refused:
        return refused.status


def test_a_head_that_never_ends_is_refused_at_its_limit() -> None:
    limits = HeadLimits(head_bytes_max=200)

    assert refusal(b"GET /" + b"x" * 195, limits=limits) == 414
    assert refusal(GET + b"A: " + b"x" * 170, limits=limits) == 431


MALFORMED_CHUNKS = {
    "no size": b"\r\nabc\r\n",
    "a sign": b"+3\r\nabc\r\n",
    "a prefix": b"0x3\r\nabc\r\n",
    "a blank before": b" 3\r\nabc\r\n",
    "a blank behind": b"3 \r\nabc\r\n",
    "an underscore": b"1_0\r\nabc\r\n",
    "a bare line feed behind the size": b"3\nabc\r\n",
    "a carriage return in the size": b"3\r\r\nabc\r\n",
    "a bare line feed behind the data": b"3\r\nabc\n0\r\n\r\n",
    "more data than said": b"3\r\nabcd\r\n0\r\n\r\n",
    "less data than said": b"3\r\nab\r\n0\r\n\r\n",
    "a size that overflows": b"10000000000000003\r\nabc\r\n",
    "a line break in the extension": b"3;a=\rb\r\nabc\r\n",
    "an endless extension": b"3;" + b"a" * CHUNK_LINE_BYTES_MAX,
    "a trailer without colon": b"0\r\nabc\r\n\r\n",
    "an endless trailer": b"0\r\n" + b"A: b\r\n" * (TRAILER_BYTES_MAX // 6 + 1),
}


@pytest.mark.parametrize("chunks", MALFORMED_CHUNKS.values(), ids=MALFORMED_CHUNKS.keys())
def test_a_malformed_chunk_is_refused(chunks: bytes) -> None:
    assert refusal(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks) == 400


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_chunks_of_a_byte_each_are_read_up_to_a_number() -> None:
    most = CHUNK_OVERHEAD_BYTES_MAX // 5 - 1  # and the empty one behind them

    ((_, body),) = read_all(RequestReader(), CHUNKED + in_chunks(b"x" * most, 1))

    assert len(body) == most
    assert refusal(CHUNKED + in_chunks(b"x" * (most + 1), 1)) == 400


def test_chunks_of_some_size_are_read_however_many_there_are() -> None:
    body = b"x" * 4 * 1024 * 1024

    assert read_all(RequestReader(), CHUNKED + in_chunks(body, 100))[0][1] == body


KEEP_ALIVE = {
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n": True,
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n": False,
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: y , close\r\n\r\n": False,
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: not-close\r\n\r\n": True,
    b"GET / HTTP/1.0\r\n\r\n": False,
    b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n": True,
}


@pytest.mark.parametrize(("raw", "expected"), KEEP_ALIVE.items())
def test_the_version_and_the_connection_header_say_whether_more_requests_follow(
    raw: bytes, expected: bool
) -> None:
    reader = RequestReader()

    read_all(reader, raw)

    assert reader.is_keep_alive is expected


def test_a_refusal_never_repeats_what_the_caller_sent() -> None:
    with pytest.raises(Refused) as caught:
        read_all(RequestReader(), b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: \x01secret-canary\r\n\r\n")

    assert "canary" not in caught.value.message


# Answers

ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-A: caf\xe9\r\n\r\n0123456789",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + in_chunks(b"0123456789", 4, b"", b"T: u\r\n"),
    "interim": b"HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
    b"Content-Length: 10\r\n\r\n0123456789",
}


@pytest.mark.battery_class("bytes split anywhere")
@pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS.keys())
@given(where=cuts)
def test_any_split_of_the_bytes_gives_the_same_answer(raw: bytes, where: list[int]) -> None:
    reader = ResponseReader()

    body = b"".join(reader.feed(piece) for piece in split_at(raw, where))

    assert body == b"0123456789"
    assert reader.head is not None
    assert (reader.head.status, reader.head.reason) == (200, b"OK")
    assert next(name for name, _ in reader.head.headers if name not in {b"X-A"}) in raw
    assert (reader.is_complete, reader.is_broken, reader.is_reusable) == (True, False, True)


def test_an_answer_that_is_over_leaves_nothing_but_what_the_next_one_needs() -> None:
    reader = ResponseReader()
    head = b"HTTP/1.1 200 a reason\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert reader.feed(head + b"1\r\na\r\n0\r\nX-Said: a trailer\r\n\r\n") == b"a"
    reader.forget()

    held = repr([getattr(reader, name) for name in ResponseReader.__slots__])
    assert "a reason" not in held
    assert "a trailer" not in held


def test_one_reader_reads_answer_after_answer() -> None:
    reader = ResponseReader()
    bodies_read = []

    for raw in [*ANSWERS.values(), *ANSWERS.values()]:
        reader.begin()
        bodies_read.append(reader.feed(raw))

    assert bodies_read == [b"0123456789"] * 6
    assert reader.is_reusable


BODILESS = {
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", False),
    "304 with the length it would have": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", False),
    "HEAD with a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", True),
    "HEAD with chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", True),
    "HEAD without framing": (b"HTTP/1.1 200 OK\r\n\r\n", True),
}


@pytest.mark.parametrize(("raw", "is_for_head"), BODILESS.values(), ids=BODILESS.keys())
def test_an_answer_without_body_is_complete_with_its_head(raw: bytes, is_for_head: bool) -> None:
    reader = ResponseReader()
    reader.begin(is_for_head=is_for_head)

    assert reader.feed(raw) == b""
    assert reader.is_complete


@pytest.mark.parametrize(
    ("framing", "is_reusable"),
    [
        (b"", True),
        (b"Content-Length: 0\r\n", True),
        (b"Content-Length: 5\r\n", False),
        (b"Transfer-Encoding: chunked\r\n", False),
    ],
)
def test_a_connection_on_which_a_body_may_follow_a_204_is_not_used_again(
    framing: bytes, is_reusable: bool
) -> None:
    reader = ResponseReader()

    reader.feed(b"HTTP/1.1 204 No Content\r\n" + framing + b"\r\n")

    assert (reader.is_complete, reader.is_reusable) == (True, is_reusable)


def test_an_answer_framed_by_closing_is_complete_when_the_upstream_closes() -> None:
    reader = ResponseReader()

    body = reader.feed(b"HTTP/1.0 200 OK\r\n\r\nsome") + reader.feed(b" body")

    assert (body, reader.is_complete) == (b"some body", False)
    reader.end_of_input()
    assert (reader.is_complete, reader.is_broken, reader.is_reusable) == (True, False, False)


@pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_that_ends_too_soon_is_broken(raw: bytes) -> None:
    for end in range(len(raw)):
        reader = ResponseReader()
        reader.feed(raw[:end])
        reader.end_of_input()

        assert (reader.is_complete, reader.is_broken) == (False, True)


BROKEN_ANSWERS = {
    "not HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a coding under the chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "chunks twice": b"HTTP/1.1 200 OK\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    "a tab behind the coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of zeros": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "a control in the reason": b"HTTP/1.1 200 O\x1bK\r\nContent-Length: 0\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nA: b\n\n",
    "another protocol": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a bad chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\nA: " + b"x" * ANSWER_OVERHEAD_BYTES_MAX,
    "endless interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * (ANSWER_OVERHEAD_BYTES_MAX // 25 + 1),
    "an endless chunk extension": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    + b"x" * ANSWER_OVERHEAD_BYTES_MAX,
    "an endless trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: "
    + b"x" * ANSWER_OVERHEAD_BYTES_MAX,
}


@pytest.mark.parametrize("raw", BROKEN_ANSWERS.values(), ids=BROKEN_ANSWERS.keys())
def test_an_answer_that_breaks_the_protocol_is_broken(raw: bytes) -> None:
    reader = ResponseReader()

    reader.feed(raw)

    assert (reader.is_broken, reader.is_complete) == (True, False)


def test_what_came_before_the_break_is_handed_over() -> None:
    reader = ResponseReader()

    body = reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n")

    assert (body, reader.is_broken) == (b"abc", True)


UNASKED = {
    "a second answer": ANSWERS["length"] + ANSWERS["length"],
    "the start of one": ANSWERS["length"] + b"H",
    "anything": ANSWERS["chunks"] + b"\x00",
    "bytes behind the last": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789X",
}


@pytest.mark.parametrize("raw", UNASKED.values(), ids=UNASKED.keys())
def test_bytes_behind_an_answer_cost_the_connection_and_never_the_answer(raw: bytes) -> None:
    reader = ResponseReader()

    body = reader.feed(raw)

    assert (body, reader.is_complete, reader.is_broken, reader.is_reusable) == (
        b"0123456789",
        True,
        False,
        False,
    )


# Writing


def test_a_written_request_reads_back_as_it_was() -> None:
    headers = [(b"X-A", b"caf\xe9"), (b"x-a", b""), (b"B", b" spaced ")]

    raw = request_head(b"POST", b"/v1?x", b"a:1", headers, b"Content-Length: 0\r\n")

    head = b"POST /v1?x HTTP/1.1\r\nHost: a:1\r\nX-A: caf\xe9\r\nx-a: \r\nB:  spaced \r\n"
    assert raw == head + b"Content-Length: 0\r\n\r\n"


def test_framing_of_another_connection_is_never_written() -> None:
    foreign = [
        (b"content-LENGTH", b"5"),
        (b"Connection", b"x"),
        (b"transfer-encoding", b"chunked"),
        (b"A", b"b"),
    ]

    raw = response_head(200, b"OK", foreign, b"Content-Length: 1\r\n")

    assert raw == b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 1\r\n\r\n"


@pytest.mark.parametrize("evil", [b"a\r\nB: c", b"a\nB: c", b"a\rb", b"a\r\n\r\nGET /", b"a\0"])
def test_a_value_that_would_break_out_of_its_line_is_never_written(evil: bytes) -> None:
    with pytest.raises(ValueError, match="line break"):
        response_head(200, b"OK", [(b"A", evil)], b"")
    with pytest.raises(ValueError, match="line break"):
        response_head(200, evil, [], b"")
    with pytest.raises(ValueError, match=r"line break|blank"):
        request_head(b"GET", b"/" + evil, b"a", [], b"")


def test_an_empty_piece_never_becomes_the_chunk_that_ends_a_body() -> None:
    assert (chunk(b""), chunk(b"a" * 26)) == (b"", b"1a\r\n" + b"a" * 26 + b"\r\n")
