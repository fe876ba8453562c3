"""Single fields of an answer, read with suspicion: what is not plainly what it should be is absent.

Fields are declared as `msgspec.Raw`, so that a wrong type in one of them costs only that one, and numbers are
never turned into floats on the way.
"""

import math
import re
from typing import TypeVar

import msgspec

from metering.tags import TAG_CHARACTERS_MAX, normalised_tag
from metering.usage import TOKENS_MAX

Raw = msgspec.Raw
ABSENT = Raw()
_NOTHING = (Raw(), Raw(b"null"))
_TEXT = msgspec.json.Decoder(str)

_DIGITS_MAX = len(str(TOKENS_MAX))
_FLAGS = {b"true": True, b"false": False}
_NUMBER = re.compile(rb"-?[0-9]{1,32}(?:\.[0-9]{1,32})?(?:[eE][+-]?[0-9]{1,3})?")
_WORD = re.compile(rb'"([A-Za-z0-9_.-]{1,32})"')
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_T = TypeVar("_T")


def parsed(decoder: msgspec.json.Decoder[_T], data: bytes | bytearray) -> _T:
    """The declared fields of a JSON text.

    A text with half a surrogate pair is no JSON to our decoder, though some senders write it: surrogates are
    read as other characters then, as no field of ours can hold one. Raises: msgspec.DecodeError.
    """
    try:
        return _decoded(decoder, data)
    except msgspec.DecodeError:
        if _SURROGATE.search(data) is None:
            raise
        # Plain replacement, since a text may hold millions: \ud800 becomes \u0800, and nothing moves.
        return _decoded(decoder, data.replace(b"\\ud", b"\\u0").replace(b"\\uD", b"\\u0"))


def _decoded(decoder: msgspec.json.Decoder[_T], data: bytes | bytearray) -> _T:
    try:
        return decoder.decode(data)
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deeply") from error
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("not UTF-8") from error


def count(field: Raw) -> int | None:
    """A count of tokens or calls. Negative, fractional, quoted or implausibly large ones are absent."""
    if field is ABSENT:
        return None
    digits = bytes(field)
    if not digits.isdigit() or len(digits) > _DIGITS_MAX:
        return None
    figure = int(digits)
    return figure if figure <= TOKENS_MAX else None


def word(field: Raw) -> str | None:
    """A short word such as a service tier."""
    if field is ABSENT:
        return None
    found = _WORD.fullmatch(field)
    return found[1].decode() if found else None


def name(field: Raw) -> str | None:
    """A model's name, made harmless as tags are; an empty or very long one is absent."""
    if field is ABSENT or len(field) > 8 * TAG_CHARACTERS_MAX:
        return None
    try:
        return normalised_tag(_TEXT.decode(field)) or None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def flag(field: Raw) -> bool | None:
    """A plain `true` or `false`."""
    return None if field is ABSENT else _FLAGS.get(bytes(field))


def number(field: Raw) -> float | None:
    """A finite number, whole or not."""
    if field is ABSENT or not _NUMBER.fullmatch(field):
        return None
    figure = float(bytes(field))
    return figure if math.isfinite(figure) else None


def is_given(field: Raw) -> bool:
    """Whether the field is there and not null."""
    return field is not ABSENT and field not in _NOTHING


def opened(field: Raw, decoder: msgspec.json.Decoder[_T]) -> _T | None:
    """The object in a field; None where it is absent, null or of another shape."""
    if not is_given(field):
        return None
    try:
        return decoder.decode(field)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
