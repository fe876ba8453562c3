"""The journal's files on one machine: their names, whose they are, and whether that process still lives.

| file | what it holds |
|---|---|
| `cost_events-<instance>.jsonl`, `…-<n>.jsonl` | all lines of a process: needed should it die |
| `cost_events-<instance>-left-<n>.jsonl` | settled lines that are in no memory: recovery alone stores them |
| `cost_events-<instance>.lock` | locked from before the first line until the process ends, however it ends |
| `….bad` | lines of the file of that name which recovery could not store, kept for a person to look at |

**Who lives.** The kernel gives a lock (`flock`) back when its process dies, so whoever gets an instance's
lock knows that it is dead, and keeps other recoverers out. Only the holder removes the lock's file, and
whoever has just got a lock looks whether its file is still there.

**Left lines** are read while their process lives and writes. Both sides lock the file: the writer for each
batch, the recoverer from its first look until the file is removed. A writer that finds it locked or removed
begins another.
"""

import fcntl
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from metering.journal import LINE_BYTES_MAX

FILES: Final = "cost_events*.jsonl"
BAD_LINES_BYTES_MAX: Final = 64 * 1024 * 1024  # kept aside in one directory; more are counted and dropped

_OWN_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW  # what a link leads to is not ours to write to
_LIFE_LOCK_ATTEMPTS: Final = 10
_LEFT_ATTEMPTS: Final = 10
_STEM: Final = "cost_events-"
_LOCK_SUFFIX: Final = ".lock"
_BAD_SUFFIX: Final = ".bad"
_NAME: Final = re.compile(r"cost_events-([0-9a-f]{32})(?:(-left)?-([0-9]{1,9}))?\.(?:jsonl|lock)")


def journal_path(directory: Path, instance: str, number: int) -> Path:
    """Where the instance's file of that number is; they count from 1."""
    suffix = f"-{number}" if number > 1 else ""
    return directory / f"{_STEM}{instance}{suffix}.jsonl"


def left_path(directory: Path, instance: str, number: int) -> Path:
    """Where the instance's lines for recovery are, file by file."""
    return directory / f"{_STEM}{instance}-left-{number}.jsonl"


def instances_in(directory: Path) -> list[str]:
    """The instances that have any file there. Raises: OSError."""
    named = {_named(path.name).instance for path in directory.glob(f"{_STEM}*")}
    return sorted(named - {""})


class LifeLock:
    """Tells that an instance lives, for as long as its process does."""

    def __init__(self, directory: Path, instance: str) -> None:
        self._path = directory / f"{_STEM}{instance}{_LOCK_SUFFIX}"
        self._directory = directory
        self._instance = instance
        self._descriptor = -1

    @property
    def is_held(self) -> bool:
        """Whether it is held here."""
        return self._descriptor >= 0

    def take(self) -> None:
        """Begin to live. Raises: OSError."""
        for _ in range(_LIFE_LOCK_ATTEMPTS):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # a recoverer that looks holds it for a moment only
            except OSError:
                os.close(descriptor)
                raise
            if _is_removed(descriptor):  # by one who took us for dead before we held it
                os.close(descriptor)
                continue
            self._descriptor = descriptor
            return
        raise OSError("the journal's lock cannot be had")

    def release(self) -> None:
        """End in order; what is left of the files is recovery's from here on."""
        if not self.is_held:
            return
        if not _paths_of(self._directory, self._instance):
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1


class LeftLines:
    """Where a living instance puts lines for recovery to store. For one thread."""

    def __init__(self, directory: Path, instance: str, file_bytes_max: int) -> None:
        self._directory = directory
        self._instance = instance
        self._file_bytes_max = file_bytes_max
        self._number = 0
        self._descriptor = -1

    def append(self, data: bytes) -> None:
        """Hand the lines to the kernel. Raises: OSError; its last line may be torn then."""
        for _ in range(_LEFT_ATTEMPTS):
            if self._descriptor < 0:
                self._begin()
            if self._is_ours():
                self._write(data)
                return
            self.close()
        raise OSError("no file for lines left to recovery can be had")

    def close(self) -> None:
        """End the current file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin(self) -> None:
        self._number += 1
        path = left_path(self._directory, self._instance, self._number)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _is_ours(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # it is being recovered
            return False
        return not _is_removed(self._descriptor)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            self.close()  # a torn line is to be followed by none
            raise
        is_full = os.fstat(self._descriptor).st_size >= self._file_bytes_max
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        if is_full:
            self.close()


class DeadJournal:
    """The files of an instance that is dead, held so that nobody else recovers them meanwhile."""

    def __init__(self, directory: Path, instance: str, lock: int) -> None:
        self.instance = instance
        self._directory = directory
        self._lock = lock

    def paths(self) -> list[Path]:
        """Its files, in the order in which they were begun; lines left to recovery come first."""
        return _paths_of(self._directory, self.instance)

    def found_dead_at(self, now: datetime) -> datetime:
        """When it was first found dead; kept in the lock's file. Raises: OSError."""
        with suppress(ValueError):
            found = datetime.fromisoformat(os.pread(self._lock, 64, 0).decode("ascii"))
            if found.tzinfo is not None and found <= now:  # else nobody wrote it, or the clock went back
                return found
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, now.isoformat().encode(), 0)
        return now

    def close(self) -> None:
        """Let go; without files there is nothing left to tell of."""
        if not self.paths():
            (self._directory / f"{_STEM}{self.instance}{_LOCK_SUFFIX}").unlink(missing_ok=True)


@contextmanager
def dead_journal(directory: Path, instance: str) -> Iterator[DeadJournal | None]:
    """The instance's files, while entered; None where it lives, or another recovers it. Raises: OSError."""
    descriptor = os.open(directory / f"{_STEM}{instance}{_LOCK_SUFFIX}", _OWN_FILE, 0o600)
    try:
        if not _is_locked(descriptor):
            yield None
            return
        journal = DeadJournal(directory, instance, descriptor)
        try:
            yield journal
        finally:
            journal.close()
    finally:
        os.close(descriptor)


@contextmanager
def left_lines(path: Path) -> Iterator[bool]:
    """Whether the file is ours to recover, while entered: nobody writes to it then, nor recovers it."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # recovered meanwhile
        yield False
        return
    try:
        yield _is_locked(descriptor)
    finally:
        os.close(descriptor)


def left_paths(directory: Path, instance: str) -> list[Path]:
    """The instance's files of lines left to recovery."""
    return [path for path in _paths_of(directory, instance) if _named(path.name).is_left]


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines as they stand there, the last one maybe torn. Raises: OSError, also where it is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would keep us waiting
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # a device may never end
            raise OSError("no regular file")
        while line := file.readline(LINE_BYTES_MAX + 1):
            yield line


def keep_aside(path: Path, lines: Sequence[bytes]) -> int:
    """Keep lines of that file for a person to look at, instead of what was kept of it before.

    How many were kept: fewer than all where there is no room. Raises: OSError.
    """
    target = path.with_suffix(_BAD_SUFFIX)
    others = [each for each in path.parent.glob(f"{_STEM}*{_BAD_SUFFIX}") if each != target]
    room = BAD_LINES_BYTES_MAX - sum(map(size_bytes, others))
    kept: list[bytes] = []
    for line in lines:
        ended = line if line.endswith(b"\n") else line + b"\n"
        room -= len(ended)
        if room < 0:
            break
        kept.append(ended)
    # Written anew each time, so that whoever recovers the file again keeps nothing twice.
    descriptor = os.open(target, _OWN_FILE | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(kept)
    return len(kept)


def size_bytes(path: Path) -> int:
    """The file's size; 0 where it has gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _paths_of(directory: Path, instance: str) -> list[Path]:
    found = [path for path in directory.glob(FILES) if _named(path.name).instance == instance]
    return sorted(found, key=lambda path: (not _named(path.name).is_left, _named(path.name).number))


class _Name(msgspec.Struct, frozen=True):
    """What a file's name says; nothing where it is no name of ours."""

    instance: str = ""
    is_left: bool = False
    number: int = 0


def _named(name: str) -> _Name:
    found = _NAME.fullmatch(name)
    return _Name() if found is None else _Name(found[1], bool(found[2]), int(found[3] or 1))


def _is_locked(descriptor: int) -> bool:
    """Whether we have got the lock of a file that is still there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return not _is_removed(descriptor)


def _is_removed(descriptor: int) -> bool:
    return os.fstat(descriptor).st_nlink == 0
