"""The logs that were given: files, folders, what comes by standard input; also packed by gzip.

They are read in blocks, however long a line is, and up to a bound in all.
"""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

BYTES_MAX: Final = 4 * 1024**3  # in all, unpacked
FILES_MAX: Final = 10_000
PIECE_BYTES: Final = 1 << 20
STANDARD_INPUT: Final = "-"


class LogFile(msgspec.Struct, frozen=True):
    """One file to read; None: standard input."""

    name: str
    path: Path | None


class Unread(Exception):
    """Why something that was given was not read, or not whole."""


def files_of(given: Sequence[str]) -> list[LogFile]:
    """The files that were named or lie in folders that were, each once. Raises: Unread, where one is none."""
    found: dict[Path | None, LogFile] = {}
    for name in given:
        if name == STANDARD_INPUT:
            found[None] = LogFile("standard input", None)
            continue
        path = Path(name)
        if path.is_dir():
            if not os.access(path, os.R_OK | os.X_OK):
                raise Unread(f"{name}: it cannot be read")
            files = sorted(each for each in path.rglob("*") if each.is_file() and not each.is_symlink())
        elif path.is_file():
            files = [path]
        else:
            raise Unread(f"{name}: there is no such file or folder")
        found |= {each: LogFile(str(each), each) for each in files}
    if len(found) > FILES_MAX:
        raise Unread(f"there are more than {FILES_MAX} files: name those of this run")
    return list(found.values())


def complaints(given: Sequence[str]) -> list[str]:
    """Why what was given cannot be read, for each that cannot; said before anything is sent."""
    found = []
    for name in dict.fromkeys(given):
        try:
            for file in files_of([name]):
                _begin(file)
        except Unread as unread:
            found.append(str(unread))
    if not found:
        try:
            files_of(given)
        except Unread as unread:  # too many in all
            found.append(str(unread))
    return found


def _begin(file: LogFile) -> None:
    try:
        if file.path is not None:
            with file.path.open("rb") as opened:
                opened.read(1)
    except OSError as error:
        raise Unread(f"{file.name}: it cannot be read ({type(error).__name__})") from None


def read(file: LogFile, standard_input: BinaryIO, take: Callable[[bytes], None], bytes_max: int) -> int:
    """Hand on all of the file; how many bytes that were. Raises: Unread, with what came before handed on."""
    try:
        if file.path is None:
            return _taken(standard_input, take, bytes_max)
        with file.path.open("rb") as opened:
            is_packed = opened.peek(2)[:2] == b"\x1f\x8b"
            with gzip.GzipFile(fileobj=opened) if is_packed else opened as plain:
                return _taken(plain, take, bytes_max)
    except (OSError, EOFError, zlib.error) as error:
        raise Unread(f"{file.name}: it cannot be read to its end ({type(error).__name__})") from None


def _taken(opened: BinaryIO | gzip.GzipFile, take: Callable[[bytes], None], bytes_max: int) -> int:
    taken = 0
    for piece in _pieces(opened):
        taken += len(piece)
        if taken > bytes_max:
            raise Unread(f"more than {BYTES_MAX // 1024**3} GiB of logs: what lies beyond was not read")
        take(piece)
    return taken


def _pieces(opened: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while piece := opened.read(PIECE_BYTES):
        yield piece
