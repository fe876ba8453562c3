"""What the benchmarks' upstream serves is what providers serve, and our meter reads it to the token."""

import json
import zlib

import pytest

from bench.answers import PATHS, SERVED, TOKENS, WANTED, Answer, Wanted, prepare, request_body
from tests.unit.proxy_service.answers import read

NAMES = [f"{each.shape} {each.name}" for each in SERVED]


def _unframed(answer: Answer) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """The headers, and the pieces of the body."""
    head, _, body = b"".join(part for _, part in answer.parts).partition(b"\r\n\r\n")
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    headers = [(name, value) for name, _, value in lines]
    if b"content-length" in dict(headers):
        return headers, [body]
    pieces = []
    while body != b"0\r\n\r\n":
        size, _, body = body.partition(b"\r\n")
        pieces.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return headers, pieces


@pytest.mark.parametrize("wanted", SERVED, ids=NAMES)
def test_our_meter_reads_the_usage_that_is_billed(wanted: Wanted) -> None:
    headers, pieces = _unframed(prepare(wanted))

    path = PATHS[wanted.shape].encode()
    reading = read(pieces, path=path, headers=headers, is_streaming=wanted.chunks > 0)

    usage, tokens = reading.usage, TOKENS[wanted.shape]
    assert reading.is_complete
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (tokens.input_tokens, tokens.output_tokens)
    assert usage.cache_read_tokens == tokens.cache_read_tokens
    assert usage.cache_write_5m_tokens == tokens.cache_write_5m_tokens


@pytest.mark.parametrize("wanted", [each for each in SERVED if each.chunks], ids=lambda each: each.name)
def test_a_stream_comes_in_as_many_chunks_as_are_asked_for(wanted: Wanted) -> None:
    assert len(_unframed(prepare(wanted))[1]) == wanted.chunks


@pytest.mark.parametrize("chunks", [0, 50])
def test_a_packed_answer_unpacks_to_an_answer(chunks: int) -> None:
    headers, pieces = _unframed(prepare(Wanted(chunks=chunks, encoding="gzip")))

    assert (b"content-encoding", b"gzip") in headers
    body = zlib.decompress(b"".join(pieces), wbits=zlib.MAX_WBITS | 16)
    assert b"message" in body[:60]


@pytest.mark.parametrize("wanted", SERVED, ids=NAMES)
def test_a_request_has_the_size_and_names_the_answer(wanted: Wanted) -> None:
    body = request_body(wanted, 1_000)

    assert len(body) == 1_000
    found = WANTED.search(body)
    assert found is not None
    assert found[1].decode() == wanted.name
    assert json.loads(body).get("stream", False) == (wanted.chunks > 0)


def test_a_request_too_small_for_its_fields_is_as_small_as_they_are() -> None:
    assert 10 < len(request_body(Wanted(), 10)) < 200
