"""Content encodings of the demo's answers: chosen by Accept-Encoding, every frame flushed on its own."""

import zlib
from collections.abc import Sequence
from typing import Protocol

import brotli
import zstandard

ENCODINGS = ("gzip", "br", "zstd", "deflate")


class _Compressor(Protocol):
    def add(self, data: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class _Zlib:
    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.compressobj(6, zlib.DEFLATED, window_bits)

    def add(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._stream.flush()


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Compressor(quality=4)

    def add(self, data: bytes) -> bytes:
        return bytes(self._stream.process(data) + self._stream.flush())

    def end(self) -> bytes:
        return bytes(self._stream.finish())


class _Zstandard:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(level=3).compressobj()

    def add(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


def _compressor(encoding: str) -> _Compressor:
    if encoding == "gzip":
        return _Zlib(31)
    if encoding == "deflate":
        return _Zlib(15)
    return _Brotli() if encoding == "br" else _Zstandard()


def encoded(frames: Sequence[bytes], encoding: str) -> tuple[bytes, ...]:
    """The frames under that encoding, as many as before; "" or identity leaves them as they are."""
    if encoding not in ENCODINGS or not frames:
        return tuple(frames)
    compressor = _compressor(encoding)
    pieces = [compressor.add(frame) for frame in frames]
    pieces[-1] += compressor.end()
    return tuple(pieces)


def chosen(accept_encoding: str) -> str:
    """The first encoding that the header lists, the demo knows, and no `q=0` forbids; "" for identity."""
    for listed in accept_encoding.lower().split(","):
        name, _, parameters = listed.replace(" ", "").partition(";")
        is_forbidden = parameters.startswith("q=") and not parameters.removeprefix("q=").strip("0.")
        if name in ENCODINGS and not is_forbidden:
            return name
    return ""
