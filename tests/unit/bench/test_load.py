"""A caller of the load knows where an answer ends, however it comes."""

from hypothesis import given
from hypothesis import strategies as st

from bench.load import Caller, Load, request
from tests.unit.bench.connections import Wire
from tests.unit.proxy_service.answers import cut_at

OF_LENGTH = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 12\r\n\r\n0\r\n\r\n1234567"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\n0\r\r\n0\r\n\r\n"


def _called() -> tuple[Caller, list[bool]]:
    ended: list[bool] = []
    caller = Caller(b"a request", lambda _, is_whole: ended.append(is_whole))
    caller.connection_made(Wire())
    caller.call(0.0)
    return caller, ended


@given(answer=st.sampled_from([OF_LENGTH, CHUNKED]), places=st.lists(st.integers(min_value=0), max_size=12))
def test_an_answer_ends_with_its_last_byte_and_once(answer: bytes, places: list[int]) -> None:
    caller, ended = _called()

    for piece in cut_at(answer[:-1], places):
        caller.data_received(piece)
    assert not ended
    caller.data_received(answer[-1:])

    assert ended == [True]


def test_a_connection_carries_one_call_after_another() -> None:
    caller, ended = _called()

    caller.data_received(CHUNKED)
    caller.call(0.0)
    caller.data_received(OF_LENGTH)

    assert ended == [True, True]


def test_a_refusal_is_a_broken_call_and_its_words_are_kept() -> None:
    caller, ended = _called()

    caller.data_received(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
    caller.connection_lost(None)

    assert ended == [False]
    assert caller.refusal.startswith(b"HTTP/1.1 429")


def test_a_connection_that_ends_within_an_answer_breaks_the_call() -> None:
    caller, ended = _called()

    caller.data_received(CHUNKED[:-2])
    caller.connection_lost(None)

    assert ended == [False]


def test_a_connection_that_ends_between_calls_breaks_none_until_the_next() -> None:
    caller, ended = _called()
    caller.data_received(OF_LENGTH)

    caller.connection_lost(None)
    caller.close()
    caller.call(0.0)

    assert ended == [True, False]


def test_the_first_byte_is_of_the_body_and_not_of_the_head() -> None:
    caller, _ = _called()
    head, _, body = CHUNKED.partition(b"\r\n\r\n")

    caller.data_received(head + b"\r\n\r\n")
    assert not caller.first_at
    caller.data_received(body)

    assert caller.first_at


def test_a_request_says_how_long_it_is_and_a_gateways_headers_go_before_ours() -> None:
    sent = request("http://127.0.0.1:1", {"x-api-key": "theirs"}, b"12345").decode()

    assert sent.startswith("POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1:1\r\nx-api-key: theirs\r\n")
    assert "content-length: 5\r\n" in sent
    assert sent.endswith("\r\n\r\n12345")


def test_a_load_asks_for_the_coding_that_it_wants() -> None:
    assert b"accept-encoding: identity\r\n" in Load(url="http://127.0.0.1:1").sent
