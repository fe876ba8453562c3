"""The content encodings of the demo's answers."""

import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from demo.encodings import chosen, encoded

FRAMES = (b"event: one\n\n" * 40, b"event: two\n\n", b"", b"event: three\n\n" * 900)
_DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


@pytest.mark.parametrize("encoding", _DECODE)
def test_each_encoding_decodes_to_what_went_in(encoding: str) -> None:
    frames = encoded(FRAMES, encoding)

    assert len(frames) == len(FRAMES)
    assert _DECODE[encoding](b"".join(frames)) == b"".join(FRAMES)


def test_a_frame_can_be_read_before_the_next_has_come() -> None:
    first, *_ = encoded(FRAMES, "gzip")

    assert zlib.decompressobj(31).decompress(first) == FRAMES[0]


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", ""),
        ("identity", ""),
        ("gzip, deflate, br, zstd", "gzip"),
        ("BR;q=1.0, gzip;q=0.8", "br"),
        ("gzip;q=0, zstd", "zstd"),
        ("gzip; q=0.0, *", ""),
        ("compress, deflate;q=0.5", "deflate"),
    ],
)
def test_the_first_encoding_that_is_allowed_and_known_is_chosen(header: str, encoding: str) -> None:
    assert chosen(header) == encoding
