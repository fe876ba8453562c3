"""The kinds of values that settings have, and how each is read from the text that an environment holds.

A kind is a type, or a type and rules: `Annotated[int, Range(1, 65535)]`. A rule takes the value and gives it
back, or raises ValueError. What a ValueError says is what to give instead, never the value. Without pydantic,
which a starting proxy waits for longer than for all that is ours (docs/decisions/0032).
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

Reader = Callable[[Any], Any]

_TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE: Final = frozenset({"0", "false", "f", "no", "n", "off"})
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER_CHARACTERS_MAX: Final = 100


class Secret:
    """A text that does not show where settings are printed."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """The text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)"


class Range(NamedTuple):
    """A rule: a number of at least, or of more than, so much, and of at most so much."""

    least: float | None = None
    most: float | None = None
    above: float | None = None

    def __call__(self, number: Any) -> Any:
        """The number. Raises: ValueError."""
        if self.least is not None and number < self.least:
            raise ValueError(f"give a number of at least {self.least:.0f}")
        if self.above is not None and number <= self.above:
            raise ValueError(f"give a number greater than {self.above:.0f}")
        if self.most is not None and number > self.most:
            raise ValueError(f"give a number of at most {self.most:.0f}")
        return number


def reader_of(kind: Any) -> Reader:
    """What reads a value of this kind from a text, or takes one that is such a value already.

    Raises from the reader: ValueError. Raises: TypeError where there are no settings of this kind.
    """
    origin = get_origin(kind)
    if origin is Annotated:
        plain, *rules = get_args(kind)
        return _ruled(reader_of(plain), rules)
    if origin is Literal:
        return _one_of(get_args(kind))
    if origin in {Union, UnionType}:
        (plain,) = (each for each in get_args(kind) if each is not type(None))
        return _or_none(reader_of(plain))
    if kind not in _READERS:
        raise TypeError(f"no setting is of the kind {kind}")
    return _READERS[kind]


def _ruled(read: Reader, rules: list[Reader]) -> Reader:
    def ruled(given: Any) -> Any:
        value = read(given)
        for rule in rules:
            value = rule(value)
        return value

    return ruled


def _or_none(read: Reader) -> Reader:
    return lambda given: None if given is None else read(given)


def _one_of(words: tuple[str, ...]) -> Reader:
    *first, last = (f"'{word}'" for word in words)

    def one_of(given: Any) -> Any:
        if given not in words:
            raise ValueError(f"give {', '.join(first)} or {last}")
        return given

    return one_of


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("give a text")  # noqa: TRY004 - each complaint is of this kind
    return given


def _truth(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    word = given.lower() if isinstance(given, str) else ""
    if word not in _TRUE | _FALSE:
        raise ValueError("give true or false")
    return word in _TRUE


def _whole_number(given: Any) -> int:
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    text = given.strip() if isinstance(given, str) else ""
    if _WHOLE_NUMBER.fullmatch(text) is None:
        raise ValueError("give a whole number")
    return int(text)


def _number(given: Any) -> float:
    wanted = "give a number"
    is_long = isinstance(given, str) and len(given) > _NUMBER_CHARACTERS_MAX
    if is_long or isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError(wanted)
    try:
        number = float(given)
    except (ValueError, OverflowError):
        raise ValueError(wanted) from None
    if not math.isfinite(number):
        raise ValueError(wanted)
    return number


def _path(given: Any) -> Path:
    if not isinstance(given, str | Path):
        raise ValueError("give a path")  # noqa: TRY004 - as above
    return Path(given)


def _secret(given: Any) -> Secret:
    return given if isinstance(given, Secret) else Secret(_text(given))


_READERS: Final[dict[Any, Reader]] = {
    str: _text,
    bool: _truth,
    int: _whole_number,
    float: _number,
    Path: _path,
    Secret: _secret,
}
