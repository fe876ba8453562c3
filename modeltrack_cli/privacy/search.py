"""Looking through data of any length for what was sent: in blocks, in each spelling, and in what unpacks.

What is found is told by its place and where it was found, by line and path of JSON, and never repeated:
neither the canary nor anything around it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from modeltrack_cli.privacy.canaries import Canaries, Place
from modeltrack_cli.spellings import layers, spellings

BLOCK_BYTES: Final = 1 << 20
OVERLAP_BYTES: Final = 1 << 16  # what spans two blocks is seen in the second, with the line that it stands in
AROUND_BYTES: Final = 512
UNPACKED_BYTES_FREE: Final = 64 * 1024 * 1024  # of one source, and so many times its own bytes besides:
UNPACKED_TIMES_MAX: Final = 64  # fifty bytes may be made to unpack to a megabyte, over and over
SPOTS_MAX: Final = 1_000  # of one source; what else there is, is in the same places
PATH_DEPTH_MAX: Final = 20
SECRET_CHARACTERS_MIN: Final = 10  # a shorter one might stand anywhere by chance

REQUEST_ID: Final = re.compile(rb"req_[0-9a-f]{32}")
_ORDINARY_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")


class Spot(msgspec.Struct, frozen=True):
    """Where something was found: the line, counted from 1, and the path of JSON, where the line is that."""

    place: Place
    source: str
    line: int
    path: str = ""


class Wanted:
    """What is looked for: canaries, secrets of whoever runs this, and proof that it is the right place.

    `controls` are texts that are legitimately there; `request_ids` are of requests of this run.
    """

    def __init__(self, canaries: Canaries, secrets: Mapping[str, str]) -> None:
        self.canaries = canaries
        self.controls: set[str] = set()
        self.request_ids: set[bytes] = set()
        self._of_secrets = {
            spelled: Place("what was given to this command", name)
            for name, secret in secrets.items()
            if len(secret) >= SECRET_CHARACTERS_MIN
            for spelled in spellings(secret)
        }
        marks = {spelled for mark in canaries.marks for spelled in spellings(mark)}
        self.texts = tuple(marks | self._of_secrets.keys())

    def place(self, text: bytes, data: bytes, at: int) -> Place:
        """Where that text was put, which stands there in the data."""
        secret = self._of_secrets.get(text)
        if secret is not None:
            return secret
        begin = max(0, at - AROUND_BYTES)
        return self.canaries.place_at(data[begin : at + AROUND_BYTES], at - begin)

    def holds(self, text: str) -> bool:
        """Whether there is anything in it that is looked for."""
        data = text.encode("utf-8", "surrogatepass")
        return any(each in data for each in self.texts)


class Search:
    """Looks through one source. `is_told_back`: it is what senders were answered, which may name names."""

    def __init__(self, source: str, wanted: Wanted, *, is_told_back: bool = False) -> None:
        self.source = source
        self.bytes = 0
        self.lines = 0
        self.spots: dict[tuple[Place, int], Spot] = {}
        self.controls: set[str] = set()
        self.request_ids: set[bytes] = set()
        self.is_left_packed = False  # more of it unpacks than is looked at
        self._wanted = wanted
        self._is_told_back = is_told_back
        self._is_over = False
        self._unpacked_bytes = 0
        self._waiting = bytearray()
        self._looked_at = 0  # bytes at its beginning that were, in the block before
        self._lines_before = 0

    def feed(self, data: bytes) -> None:
        """Take more of it."""
        if self._is_over:
            return
        self.bytes += len(data)
        self.lines += data.count(b"\n")
        self._waiting += data
        if len(self._waiting) >= BLOCK_BYTES + OVERLAP_BYTES:
            self._look(len(self._waiting) - AROUND_BYTES)
            passed = len(self._waiting) - OVERLAP_BYTES
            self._lines_before += self._waiting.count(b"\n", 0, passed)
            del self._waiting[:passed]
            self._looked_at = OVERLAP_BYTES - AROUND_BYTES

    def close(self) -> None:
        """That was all of it; what comes later is not looked at."""
        if not self._is_over:
            self._is_over = True
            self._look(len(self._waiting))
            self._waiting.clear()

    def _look(self, end: int) -> None:
        data = bytes(self._waiting)
        self.controls.update(each for each in self._wanted.controls if each.encode() in data)
        self.request_ids |= self._wanted.request_ids.intersection(REQUEST_ID.findall(data))
        for begins_at, layer in layers(data):
            is_plain = layer is data
            if not is_plain and not self._unpacks(len(layer)):
                return
            span = (self._looked_at, end) if is_plain else (0, len(layer))
            for text, at in _found(layer, self._wanted.texts, *span):
                if len(self.spots) >= SPOTS_MAX:
                    return
                place = self._wanted.place(text, layer, at)
                self._keep(place, data, at if is_plain else begins_at, is_plain=is_plain)

    def _unpacks(self, size_bytes: int) -> bool:
        self._unpacked_bytes += size_bytes
        most = UNPACKED_BYTES_FREE + UNPACKED_TIMES_MAX * self.bytes
        self.is_left_packed = self.is_left_packed or self._unpacked_bytes > most
        return not self.is_left_packed

    def _keep(self, place: Place, data: bytes, at: int, *, is_plain: bool) -> None:
        line = self._lines_before + data.count(b"\n", 0, at) + 1
        if (place.is_told_back and self._is_told_back) or (place, line) in self.spots:
            return
        path = _path(data, at, self._wanted) if is_plain else ""
        self.spots[place, line] = Spot(place, self.source, line, path)


def _found(data: bytes, texts: tuple[bytes, ...], begin: int, end: int) -> Iterator[tuple[bytes, int]]:
    for text in texts:
        at = data.find(text, begin)
        while 0 <= at < end:
            yield text, at
            at = data.find(text, at + len(text))


def _path(data: bytes, at: int, wanted: Wanted) -> str:
    """Where in the line's JSON something that is wanted stands; empty: the line is none, or not whole."""
    begin = data.rfind(b"\n", 0, at) + 1
    end = data.find(b"\n", at)
    try:
        found = json.loads(data[begin : len(data) if end < 0 else end])
    except (ValueError, RecursionError):
        return ""
    return next(_paths(found, wanted, "$", 0), "") if isinstance(found, dict | list) else ""


def _paths(value: Any, wanted: Wanted, path: str, depth: int) -> Iterator[str]:
    if depth > PATH_DEPTH_MAX:
        return
    if isinstance(value, dict):
        for name, held in value.items():
            if wanted.holds(name):
                yield f"{path}.*"
            is_ordinary = _ORDINARY_NAME.fullmatch(name) and not wanted.holds(name)
            yield from _paths(held, wanted, f"{path}.{name if is_ordinary else '*'}", depth + 1)
    elif isinstance(value, list):
        for index, held in enumerate(value):
            yield from _paths(held, wanted, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str) and wanted.holds(value):
        yield path
