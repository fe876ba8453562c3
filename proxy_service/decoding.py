"""Decoding a copy of what a peer compressed, piece by piece and within bounds.

Bytes on their way are never decoded; this works on the meter's copy. Output goes to a sink in small pieces,
so that a few bytes that stand for gigabytes cost neither memory nor, beyond the limit, time.
"""

import zlib
from collections.abc import Callable
from typing import IO, Protocol, cast

import brotli
import zstandard

PIECE_BYTES_MAX = 64 * 1024
SLICE_BYTES_MAX = 16 * 1024  # of input at a time: decoders copy what they have not used yet at every step
CODINGS_MAX = 3
GZIP_MEMBERS_MAX = 100_000  # more of them than events in any stream are made to cost time
ZSTD_WINDOW_BYTES_MAX = 8 * 1024 * 1024  # what RFC 9659 allows a sender of this coding

Sink = Callable[[bytes], None]


class Undecodable(Exception):
    """The bytes are not what their `content-encoding` says, or that names nothing we know."""


class TooMuchDecoded(Undecodable):
    """What came out exceeds the limit."""


class _Coding(Protocol):
    def feed(self, data: bytes) -> None:
        """Decode the next bytes."""


def open_decoder(content_encoding: bytes | None, sink: Sink, limit_bytes: int) -> Sink:
    """A function to feed encoded bytes to; what they decode to goes to `sink`, in small pieces.

    No encoding, or `identity`, gives the sink itself. Several codings are undone in turn.
    Raises: Undecodable for a coding we do not know; the returned function raises Undecodable for broken
    bytes and TooMuchDecoded once more than `limit_bytes` have come out.
    """
    names = [name.strip().lower() for name in (content_encoding or b"").split(b",")]
    applied = [name for name in names if name not in (b"", b"identity")]
    if len(applied) > CODINGS_MAX:
        raise Undecodable("too many codings")
    feed = sink
    for name in applied:
        feed = _decoder(name, feed, limit_bytes)
    return feed


def decoded(data: bytes, content_encoding: bytes | None, limit_bytes: int) -> bytes:
    """The whole body decoded. Raises: Undecodable, TooMuchDecoded."""
    pieces: list[bytes] = []
    feed = open_decoder(content_encoding, pieces.append, limit_bytes)
    feed(data)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _decoder(name: bytes, sink: Sink, limit_bytes: int) -> Sink:
    room = limit_bytes

    def emit(piece: bytes) -> None:
        nonlocal room
        room -= len(piece)
        if room < 0:
            raise TooMuchDecoded
        if piece:
            sink(piece)

    make = _CODINGS.get(name)
    if make is None:
        raise Undecodable("unknown coding")
    coding = make(emit)

    def feed(data: bytes) -> None:
        try:
            for start in range(0, len(data), SLICE_BYTES_MAX):
                coding.feed(data[start : start + SLICE_BYTES_MAX])
        except (zlib.error, brotli.error, zstandard.ZstdError) as error:
            raise Undecodable(name.decode()) from error

    return feed


class _Gzip:
    """Gzip, in one or several members."""

    def __init__(self, emit: Sink) -> None:
        self._emit = emit
        self._members = 1
        self._inflate = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> None:
        while data:
            if self._inflate.eof:
                self._members += 1
                if self._members > GZIP_MEMBERS_MAX:
                    raise Undecodable("too many members")
                self._inflate = zlib.decompressobj(wbits=31)
            _inflate_all(self._inflate, data, self._emit)
            data = self._inflate.unused_data


class _Deflate:
    """`deflate` as the standard has it (in a zlib wrapper) and as some servers send it (bare)."""

    def __init__(self, emit: Sink) -> None:
        self._emit = emit
        self._inflate: zlib._Decompress | None = None
        self._start = b""

    def feed(self, data: bytes) -> None:
        if self._inflate is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            self._inflate = zlib.decompressobj(wbits=15 if _has_zlib_header(data) else -15)
        if not self._inflate.eof:
            _inflate_all(self._inflate, data, self._emit)


def _inflate_all(inflate: "zlib._Decompress", data: bytes, emit: Sink) -> None:
    """Everything that `data` yields up to the stream's end; a full piece may hide more of the same input."""
    piece = inflate.decompress(data, PIECE_BYTES_MAX)
    emit(piece)
    while not inflate.eof and (inflate.unconsumed_tail or len(piece) == PIECE_BYTES_MAX):
        piece = inflate.decompress(inflate.unconsumed_tail, PIECE_BYTES_MAX)
        emit(piece)


def _has_zlib_header(data: bytes) -> bool:
    return data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0


class _Brotli:
    def __init__(self, emit: Sink) -> None:
        self._emit = emit
        self._decompressor = brotli.Decompressor()

    def feed(self, data: bytes) -> None:
        piece = self._decompressor.process(data, output_buffer_limit=PIECE_BYTES_MAX)
        self._emit(piece)
        while piece or not self._decompressor.can_accept_more_data():  # it holds back until it is asked again
            piece = self._decompressor.process(b"", output_buffer_limit=PIECE_BYTES_MAX)
            self._emit(piece)


class _Zstd:
    """Zstandard, in one or several frames."""

    def __init__(self, emit: Sink) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
        destination = cast("IO[bytes]", _Destination(emit))  # the writer only ever calls `write`
        self._writer = decompressor.stream_writer(destination, write_size=PIECE_BYTES_MAX, closefd=False)

    def feed(self, data: bytes) -> None:
        self._writer.write(data)


class _Destination:
    def __init__(self, emit: Sink) -> None:
        self._emit = emit

    def write(self, piece: bytes) -> int:
        self._emit(piece)
        return len(piece)


_CODINGS: dict[bytes, Callable[[Sink], _Coding]] = {
    b"gzip": _Gzip,
    b"x-gzip": _Gzip,
    b"deflate": _Deflate,
    b"br": _Brotli,
    b"zstd": _Zstd,
}
