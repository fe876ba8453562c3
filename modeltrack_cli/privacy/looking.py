"""What is looked at: one source after the other, and what is known of each afterwards."""

from collections.abc import Iterable
from typing import Final

import msgspec

from modeltrack_cli.calls import Answer
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.privacy.search import Search, Spot, Wanted
from modeltrack_cli.privacy.sending import Opens, Post, To, reason_of

KEPT_BYTES_MAX: Final = 4 * 1024 * 1024  # of an answer, for whoever reads on from it
SOURCE_BYTES_MAX: Final = 1024**3
EXPORT_BYTES_MAX: Final = 16 * 1024**3


class Looked(msgspec.Struct, frozen=True):
    """One source that was looked through. `trouble`: why that was not possible, or not in full.

    `times`: of so many answers, as where a page was asked for with several queries.
    """

    source: str
    bytes: int
    lines: int
    note: str = ""
    trouble: str = ""
    times: int = 1


def by_source(looked: Iterable[Looked]) -> list[Looked]:
    """Each source once, where it was first looked at: what it came to in all."""
    found: dict[str, Looked] = {}
    for each in looked:
        known = found.get(each.source)
        found[each.source] = each if known is None else _together(known, each)
    return list(found.values())


def _together(one: Looked, other: Looked) -> Looked:
    return Looked(
        one.source,
        one.bytes + other.bytes,
        one.lines + other.lines,
        _both(one.note, other.note),
        _both(one.trouble, other.trouble),
        one.times + other.times,
    )


def _both(one: str, other: str) -> str:
    return "; ".join(dict.fromkeys([*filter(None, one.split("; ")), *filter(None, [other])]))


class Gaze:
    """Looks through sources, and keeps what was found in which."""

    def __init__(self, post: Post, wanted: Wanted) -> None:
        self.post = post
        self.wanted = wanted
        self.looked: list[Looked] = []
        self.spots: list[Spot] = []
        self.troubles: list[str] = []  # of no single source

    def search(self, source: str, *, is_told_back: bool = False) -> Search:
        """A search through a source, to be handed to `keep`."""
        return Search(source, self.wanted, is_told_back=is_told_back)

    def keep(self, search: Search, note: str = "", trouble: str = "") -> None:
        """The source is looked through, as far as it goes."""
        search.close()
        self.spots += search.spots.values()
        if search.is_left_packed:
            trouble = trouble or "more is packed in it than is unpacked"
        self.looked.append(Looked(search.source, search.bytes, search.lines, note, trouble))

    def read(
        self, source: str, to: To, path: str, opens: Opens, bytes_max: int = SOURCE_BYTES_MAX
    ) -> tuple[Search, Answer | None, bytes, str]:
        """Look through what is answered there; the answer, its content's beginning, and what went wrong."""
        search, kept = self.search(source), bytearray()

        def take(piece: bytes) -> None:
            search.feed(piece)
            kept.extend(piece[: KEPT_BYTES_MAX - len(kept)])

        try:
            answer = self.post.read(to, path, opens, take, bytes_max)
        except CommandFailed as error:
            return search, None, bytes(kept), reason_of(error)
        search.feed(headers_of(answer))
        return search, answer, bytes(kept), ""


def headers_of(answer: Answer, names: Iterable[str] | None = None) -> bytes:
    """An answer's headers as lines behind it."""
    told = answer.headers.items() if names is None else ((name, answer.headers[name]) for name in names)
    lines = [f"{name}: {value}" for name, value in told]
    return "\n".join(["", *lines, *answer.cookies]).encode("utf-8", "replace")
