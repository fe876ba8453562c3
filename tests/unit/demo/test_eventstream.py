"""The demo's AWS event stream framing, read back by botocore."""

from typing import Any

from botocore.eventstream import EventStreamBuffer, EventStreamMessage
from hypothesis import given
from hypothesis import strategies as st

from demo import eventstream


def _headers(message: EventStreamMessage) -> dict[str, Any]:
    headers: dict[str, Any] = message.to_response_dict()["headers"]
    return headers


@given(st.lists(st.binary(max_size=2_000), max_size=5), st.integers(1, 300))
def test_botocore_reads_every_message_whatever_the_split(payloads: list[bytes], step: int) -> None:
    sent = b"".join(eventstream.event("chunk", payload) for payload in payloads)
    buffer = EventStreamBuffer()
    read = []
    for at in range(0, len(sent), step):
        buffer.add_data(sent[at : at + step])
        read += list(buffer)

    assert [message.to_response_dict()["body"] for message in read] == payloads
    assert all(_headers(message)[":event-type"] == "chunk" for message in read)


def test_an_exception_names_its_kind() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(eventstream.exception("throttlingException", b'{"message":"slow down"}'))

    (message,) = list(buffer)

    assert _headers(message)[":message-type"] == "exception"
    assert _headers(message)[":exception-type"] == "throttlingException"
