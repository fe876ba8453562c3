"""The canaries of one run: each stands in one place alone, and is known again by any part of it.

All begin and end alike, with text of this run that nothing else holds, so that two texts are looked for
however many canaries there are. What stands between tells which one it is.
"""

import re
import secrets
import zlib
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Final, Protocol

import msgspec

from modeltrack_cli.spellings import spellings

CANARIES_MAX: Final = 0x10000
_MARK_BYTES: Final = 6
_KEY_DIGITS: Final = 64

MARK: Final = re.compile(rf"[0-9a-f]{{{2 * _MARK_BYTES}}}")


class Place(msgspec.Struct, frozen=True):
    """Where a canary was put: by which route, and where in the request.

    `is_told_back`: it is a name and no value, and whoever sent it may be told it again.
    """

    route: str
    where: str
    is_told_back: bool = False


UNKNOWN_PLACE: Final = Place("some route", "a part of a canary, which one cannot be told")


class Mint(Protocol):
    """Makes canaries for one route."""

    def __call__(self, where: str, *, is_told_back: bool = False) -> str:
        """A canary for that place of a request."""


class Canaries:
    """Makes them, and tells which one a text holds.

    They are of hexadecimal digits, so that nothing has to escape them.
    """

    def __init__(self, marks: tuple[str, str] | None = None, places: Iterable[Place] = ()) -> None:
        self.marks = marks or (secrets.token_hex(_MARK_BYTES), secrets.token_hex(_MARK_BYTES))
        self.places: dict[str, Place] = {}
        self._spelled: dict[str, list[bytes]] = {}
        for place in places:
            self._add(place)

    def new(self, route: str, where: str, *, is_told_back: bool = False) -> str:
        """A canary for that place."""
        return self._add(Place(route, where, is_told_back))

    def _add(self, place: Place) -> str:
        if len(self.places) >= CANARIES_MAX:
            raise OverflowError("there are more places than canaries")
        canary = f"{self.marks[0]}{len(self.places):04x}{self.marks[1]}"
        self.places[canary] = place
        return canary

    def of(self, route: str) -> Mint:
        """What makes canaries for that route."""
        return partial(self.new, route)

    def __len__(self) -> int:
        return len(self.places)

    def by_route(self) -> Counter[str]:
        """How many were made for each route."""
        return Counter(place.route for place in self.places.values())

    def place_at(self, text: bytes, at: int) -> Place:
        """The place whose canary stands whole over that byte of the text, in any spelling."""
        for canary in self.places.keys() - self._spelled.keys():
            # not its end alone: that is the same of all
            self._spelled[canary] = [each for each in spellings(canary) if len(each) >= len(canary)]
        for canary, place in self.places.items():
            for spelled in self._spelled[canary]:
                if text.find(spelled, max(0, at - len(spelled) + 1), at + len(spelled)) >= 0:
                    return place
        return UNKNOWN_PLACE


def as_key(canary: str) -> str:
    """A key of ours that nobody made, well formed, which holds the canary."""
    body = "mt_" + canary + secrets.token_hex(_KEY_DIGITS)[: _KEY_DIGITS - len(canary)]
    return body + f"{zlib.crc32(body.encode()):08x}"
