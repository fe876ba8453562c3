import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy_service.decoding import (
    GZIP_MEMBERS_MAX,
    PIECE_BYTES_MAX,
    TooMuchDecoded,
    Undecodable,
    decoded,
    open_decoder,
)
from tests.unit.proxy_service.answers import cut_at


def _raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


ENCODERS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b"x-gzip", gzip.compress),
    "deflate in zlib": (b"deflate", zlib.compress),
    "deflate bare": (b"deflate", _raw_deflate),
    "br": (b"br", brotli.compress),
    "zstd": (b"zstd", zstandard.ZstdCompressor().compress),
    "identity": (b"identity", bytes),
    "gzip in br": (b"gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    "upper case": (b"GZIP", gzip.compress),
}
BOMBS = [name for name in ENCODERS if name != "identity"]


@pytest.mark.battery_class("bytes split anywhere")
@given(
    st.sampled_from(sorted(ENCODERS)),
    st.binary(max_size=4000),
    st.lists(st.integers(min_value=0), max_size=5),
)
def test_any_split_decodes_to_what_was_encoded(name: str, data: bytes, places: list[int]) -> None:
    coding, encode = ENCODERS[name]
    pieces: list[bytes] = []
    feed = open_decoder(coding, pieces.append, 1_000_000)

    for piece in cut_at(encode(data), places):
        feed(piece)

    assert b"".join(pieces) == data


@pytest.mark.parametrize("name", ENCODERS)
def test_a_stream_that_is_cut_gives_as_much_however_it_was_split(name: str) -> None:
    coding, encode = ENCODERS[name]
    data = b"".join(b"data: %d\n\n" % (number**3 % 99_991) for number in range(10_000))
    cut = encode(data)[:-10]
    bytewise: list[bytes] = []
    feed = open_decoder(coding, bytewise.append, len(data))
    for byte in cut:
        feed(bytes((byte,)))
    at_once: list[bytes] = []
    open_decoder(coding, at_once.append, len(data))(cut)
    assert b"".join(at_once) == b"".join(bytewise)


@pytest.mark.parametrize("name", BOMBS)
def test_the_limit_is_exact(name: str) -> None:
    coding, encode = ENCODERS[name]
    body = encode(b"\0" * 200_000)

    assert len(decoded(body, coding, 200_000)) == 200_000
    with pytest.raises(TooMuchDecoded):
        decoded(body, coding, 199_999)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little_memory(name: str) -> None:
    coding, encode = ENCODERS[name]
    bomb = encode(b"\0" * (64 * 1024 * 1024))
    feed = open_decoder(coding, lambda _: None, 32 * 1024 * 1024)
    tracemalloc.start()

    with pytest.raises(TooMuchDecoded):
        feed(bomb)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024 + 16 * PIECE_BYTES_MAX


def test_many_gzip_members_are_read_up_to_a_limit() -> None:
    member = gzip.compress(b"x")

    assert decoded(member * GZIP_MEMBERS_MAX, b"gzip", 2 * GZIP_MEMBERS_MAX) == b"x" * GZIP_MEMBERS_MAX
    with pytest.raises(Undecodable):
        decoded(member * (GZIP_MEMBERS_MAX + 1), b"gzip", 2 * GZIP_MEMBERS_MAX)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"])
def test_broken_bytes_are_undecodable(coding: bytes) -> None:
    with pytest.raises(Undecodable):
        decoded(b"\xff\xfe this was never compressed " * 10, coding, 1_000)


@pytest.mark.parametrize("coding", [b"compress", b"gzip, gzip, gzip, gzip", b"br;q=1"])
def test_a_coding_that_we_do_not_know_is_undecodable(coding: bytes) -> None:
    with pytest.raises(Undecodable):
        decoded(b"", coding, 1_000)


def test_several_members_and_frames_are_read_through() -> None:
    zstd = zstandard.ZstdCompressor().compress

    assert decoded(gzip.compress(b"one ") + gzip.compress(b"two"), b"gzip", 100) == b"one two"
    assert decoded(zstd(b"one ") + zstd(b"two"), b"zstd", 100) == b"one two"
