import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_service.bodies import BODY_BYTES_MAX
from api_service.callers import HEAD_BYTES_MAX, Collector

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SIZED = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@given(st.sampled_from([GET, SIZED, CHUNKED]), st.data())
def test_a_request_is_whole_with_its_last_byte_however_it_is_split(raw: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(raw) - 1))
    collector = Collector()

    collector.feed(raw[:place])
    collector.feed(raw[place:-1])
    assert not collector.is_whole
    collector.feed(raw[-1:])

    assert (collector.is_whole, collector.is_last, bytes(collector.received)) == (True, False, raw)


@pytest.mark.parametrize("behind", [SIZED, b"\0 no request", b"X"])
def test_what_follows_a_request_changes_nothing_about_it(behind: bytes) -> None:
    collector = Collector()

    collector.feed(GET + behind)

    assert (collector.is_whole, collector.is_last) == (True, False)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HT/1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_nonsense_is_whole_with_its_head_and_nothing_follows_it(head: bytes) -> None:
    for size in (len(head), 7, 1):
        collector = Collector()
        for start in range(0, len(head), size):
            assert not collector.is_whole
            collector.feed(head[start : start + size])

        assert (collector.is_whole, collector.is_last) == (True, True)


@pytest.mark.parametrize("excess", [0, 1])
def test_a_body_that_is_too_large_is_not_waited_for(excess: int) -> None:
    collector = Collector()

    collector.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + excess))

    assert (collector.is_whole, collector.is_last) == (bool(excess), bool(excess))


def test_a_chunked_body_is_waited_for_up_to_a_size() -> None:
    collector = Collector()
    collector.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n")

    collector.feed(bytes(HEAD_BYTES_MAX + BODY_BYTES_MAX - len(collector.received)))
    assert not collector.is_whole
    collector.feed(b"x")

    assert (collector.is_whole, collector.is_last) == (True, True)


def test_a_head_is_taken_up_to_a_size() -> None:
    collector = Collector()

    collector.feed(b"GET / HTTP/1.1\r\nX: ".ljust(HEAD_BYTES_MAX, b"x"))
    assert not collector.is_head_too_large
    collector.feed(b"x")

    assert collector.is_head_too_large


@pytest.mark.parametrize(("length", "is_awaited"), [(5, True), (BODY_BYTES_MAX + 1, False)])
def test_a_caller_is_told_to_go_on_unless_its_body_is_refused(length: int, is_awaited: bool) -> None:
    collector = Collector()

    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: %d\r\n\r\n"
    collector.feed(head % length)

    assert (collector.is_continue_awaited and not collector.is_whole) == is_awaited
