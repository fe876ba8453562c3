"""Every recorded answer is read to the token, whatever way its bytes arrive."""

import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.proxy_service.answers import Recording, cut_at, read, recordings

CASES = recordings()
ENCODERS = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recorded_answer_is_read_as_expected(case: Recording) -> None:
    reading = read([case.body], path=case.path, headers=case.headers)

    assert reading == case.expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_byte_by_byte_gives_the_same_reading(case: Recording) -> None:
    pieces = [case.body[at : at + 1] for at in range(len(case.body))]

    assert read(pieces, path=case.path, headers=case.headers) == case.expected


@pytest.mark.battery_class("bytes split anywhere")
@given(st.sampled_from(CASES), st.lists(st.integers(min_value=0), max_size=8))
@settings(max_examples=300)
def test_any_split_gives_the_same_reading(case: Recording, places: list[int]) -> None:
    pieces = cut_at(case.body, places)

    assert read(pieces, path=case.path, headers=case.headers) == case.expected


@pytest.mark.battery_class("bodies cut anywhere")
@given(st.sampled_from(CASES), st.data())
def test_a_cut_anywhere_gives_the_same_reading_whatever_the_split(
    case: Recording, data: st.DataObject
) -> None:
    body = case.body[: data.draw(st.integers(min_value=0, max_value=len(case.body)))]
    pieces = cut_at(body, data.draw(st.lists(st.integers(min_value=0), max_size=6)))

    whole = read([body], path=case.path, headers=case.headers)

    assert read(pieces, path=case.path, headers=case.headers) == whole
    assert whole.usage is not None


@pytest.mark.parametrize("coding", ENCODERS, ids=bytes.decode)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_compressed_answer_is_read_like_a_plain_one(case: Recording, coding: bytes) -> None:
    headers = [*case.headers, (b"Content-Encoding", coding)]
    encoded = ENCODERS[coding](case.body)

    assert read(cut_at(encoded, range(0, len(encoded), 7)), path=case.path, headers=headers) == case.expected


@pytest.mark.parametrize(
    "case", [case for case in CASES if b"event-stream" in case.content_type], ids=lambda case: case.name
)
@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_line_ends_of_every_kind_are_read(case: Recording, line_end: bytes) -> None:
    body = case.body.replace(b"\n", line_end)

    assert read(cut_at(body, range(0, len(body), 11)), path=case.path, headers=case.headers) == case.expected
