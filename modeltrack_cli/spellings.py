"""Canaries: texts that stand nowhere by chance, and every way in which they might have been written down.

Whoever looks for one looks for its spellings, in the data itself and in whatever in it unpacks.
"""

import base64
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import quote

try:
    import zstandard
except ImportError:  # the command `modeltrack` does without it
    zstandard = None  # type: ignore[assignment]  # as above

PART_CHARACTERS: Final = 12  # of its end: what it begins with may say only what kind of canary it is
UNPACKED_BYTES_MAX: Final = 1 << 20
PACKED_BYTES_MAX: Final = UNPACKED_BYTES_MAX  # whatever comes behind it is not copied for each

UNPACKS_ZSTD: Final = zstandard is not None

_PACKED = re.compile(rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|\x78[\x01\x5e\x9c\xda]")


def spellings(canary: str) -> list[bytes]:
    """The canary as it might have been written down, each way once.

    Plain, in capitals, hexadecimal, base64 at any offset, in a URL, in UTF-16, backwards, its end alone.
    """
    plain = canary.encode()
    found = [plain, canary.upper().encode(), plain.hex().encode(), plain.hex().upper().encode()]
    found += [quote(canary, safe="").encode(), *_percent_encoded(plain), canary.encode("utf-16-le")]
    found += [plain[::-1], plain[-PART_CHARACTERS:]]
    for shift in range(3):
        # Of the encoding with `shift` bytes before it, what depends on the canary alone.
        encoded = base64.b64encode(b"\0" * shift + plain + b"\0" * (-(shift + len(plain)) % 3))
        kept = encoded[-(-shift * 8 // 6) : len(encoded) - 4]
        found += [kept, kept.replace(b"+", b"-").replace(b"/", b"_")]
    return list(dict.fromkeys(found))


def layers(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The data, and everything in it that unpacks; each with where in the data it stands."""
    yield 0, data
    for found in _PACKED.finditer(data):
        packed = data[found.start() : found.start() + PACKED_BYTES_MAX]
        with suppress(zlib.error):
            yield found.start(), zlib.decompressobj(47).decompress(packed, UNPACKED_BYTES_MAX)
        if UNPACKS_ZSTD:
            with suppress(zstandard.ZstdError):
                yield (
                    found.start(),
                    zstandard.ZstdDecompressor().stream_reader(packed).read(UNPACKED_BYTES_MAX),
                )


def _percent_encoded(plain: bytes) -> tuple[bytes, bytes]:
    """Every byte of it so, as no address needs it."""
    whole = "".join(f"%{each:02X}" for each in plain)
    return whole.encode(), whole.lower().encode()
