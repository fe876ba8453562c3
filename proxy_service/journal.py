"""Writing the journal: lines go out in batches, and their tickets tell when they are.

The loop never waits for a disk or a pipe. A line goes with everything else that was written in the same turn
of the loop: straight into a pipe that takes it without waiting, and else to a thread of its own, in the order
in which lines came. Its ticket turns true once it has left this process (the kernel has it: killing us loses
nothing). An answer's last byte waits for its ticket, at most `TICKET_SECONDS`, then goes and is counted.

| `JOURNAL` | where lines go |
|---|---|
| `stdout` | the platform keeps them |
| `file:<directory>` | `cost_events-<instance>.jsonl` there, a new file each 64 MiB (`FileSink`) |
| `off` | nowhere: what is in memory when the process dies is lost |
"""

import asyncio
import contextlib
import errno
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Protocol

import msgspec

from metering.journal import settled_line
from metering.journal_files import FILES, LeftLines, LifeLock, journal_path, size_bytes
from metering.segments import Segment
from proxy_service.tally import Tally

TICKET_SECONDS: Final = 0.05
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
FILES_BYTES_MAX: Final = 1024 * 1024 * 1024  # of one directory
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024  # handed over and not yet written
STDOUT_WAIT_SECONDS: Final = 1.0


class JournalEnded(Exception):
    """Lines that were not out when the journal ended, or came later."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line, and what keeps it needed: a call still open, then its segment not yet stored.

    `segment` is the name by which `stored` speaks of its segment, and "" marks an `admitted` line. `is_held`
    false: the event is in no memory of ours, so the line is left to recovery, which alone can store it.
    """

    line: bytes
    request_id: str
    segment: str = ""
    is_held: bool = True


class Sink(Protocol):
    """Where lines go. Used by one thread; `write_at_once` by the loop, while that thread writes nothing."""

    def write_at_once(self, entries: Sequence[Entry]) -> int:
        """Hand the first of the lines to the kernel, as far as nothing is waited for; gives how many."""

    def write(self, entries: Sequence[Entry]) -> None:
        """Hand the lines to the kernel, in order. Raises: OSError."""

    def stored(self, segment: str) -> None:
        """The segment's events are in the store."""

    def close(self) -> None:
        """Nothing more comes."""


class Journal:
    """Hands lines to the writing thread. On the loop."""

    def __init__(self, sink: Sink, tally: Tally, report: Callable[[Exception], None]) -> None:
        self._sink = sink
        self._tally = tally
        self._report = report
        self._is_refused = False  # the last batch was; the thread's own
        self._batch: list[Entry] = []
        self._tickets: Tickets = []
        self._unwritten: deque[tuple[float, Tickets]] = deque()  # when each batch is late, in order
        self._look: asyncio.TimerHandle | None = None
        self._waiting_bytes = 0
        self._lines_at_thread = 0
        self._is_closed = False  # no line is taken any more
        self._is_end_said = False
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to write; call on the loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def append(self, entry: Entry) -> bool:
        """Hand a line over; whether there was room for it."""
        size_bytes = len(entry.line)
        if self._is_closed:
            self._lose(1)
            return False
        if self._waiting_bytes + size_bytes > WAITING_BYTES_MAX:
            self._tally.journal_lines_lost += 1
            return False
        self._waiting_bytes += size_bytes
        if not self._batch and self._loop is not None:
            self._loop.call_soon(self._hand_over)
        self._batch.append(entry)
        return True

    def append_and_tell(self, entry: Entry) -> "asyncio.Future[bool]":
        """Hand a line over; the ticket turns true when it is out, false when it is late or lost."""
        ticket: asyncio.Future[bool] = (self._loop or asyncio.get_running_loop()).create_future()
        if self.append(entry):
            self._tickets.append(ticket)
        else:
            ticket.set_result(False)
        return ticket

    def stored(self, segment: str) -> None:
        """The segment's events are in the store: its lines are no longer needed."""
        self._orders.put(lambda: self._sink.stored(segment))

    def leave(self, segment: Segment) -> None:
        """Nobody here will store the segment: its events are written once more, for recovery to find now."""
        for event in segment.events:
            line = settled_line(event, segment.name)
            self.append(Entry(line, event.request_id, segment.name, is_held=False))

    async def close(self, timeout_seconds: float) -> None:
        """Write what is left and what still comes, at most so long, and stop.

        What is not out by then is lost, and so is what comes later: it is counted, and said once.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._all_out()
        self._hand_over()
        self._is_closed = True
        self._orders.put(self._sink.close)
        self._orders.put(None)
        await asyncio.to_thread(self._thread.join, max(0.0, deadline - loop.time()))
        if self._lines_at_thread:  # they may come out yet, and nobody here will know
            self._lose(self._lines_at_thread)
            self._lines_at_thread = 0

    async def _all_out(self) -> None:
        """Wait until no line waits for the thread. While it writes others may come, and go behind them."""
        self._hand_over()
        while self._lines_at_thread:
            is_done = asyncio.Event()
            self._orders.put(partial(self._on_loop, is_done.set))
            await is_done.wait()
            self._hand_over()

    def _lose(self, lines: int) -> None:
        """Lines that the end of the journal leaves behind."""
        self._tally.journal_lines_lost += lines
        if not self._is_end_said:
            self._is_end_said = True
            self._say(JournalEnded())

    def _say(self, error: Exception) -> None:
        with contextlib.suppress(Exception):  # nobody reads the log; what is lost is counted all the same
            self._report(error)

    def _hand_over(self) -> None:
        batch, tickets = self._batch, self._tickets
        self._batch, self._tickets = [], []
        if not batch or self._loop is None:
            return
        if not self._lines_at_thread:  # else lines would go before others that came first
            count = self._sink.write_at_once(batch)
            self._waiting_bytes -= _bytes_of(batch[:count])
            batch = batch[count:]
        if not batch:
            _turn(tickets, True)
            return
        if tickets:
            self._unwritten.append((self._loop.time() + TICKET_SECONDS, tickets))
            self._look = self._look or self._loop.call_later(TICKET_SECONDS, self._turn_late_ones)
        self._lines_at_thread += len(batch)
        self._orders.put(lambda: self._write(batch, tickets))

    def _turn_late_ones(self) -> None:
        """One timer for all batches: making one for each costs more than the rest of handing it over."""
        self._look = None
        if self._loop is None:
            return
        now = self._loop.time()
        while self._unwritten and self._unwritten[0][0] <= now:
            _turn(self._unwritten.popleft()[1], False)
        if self._unwritten:
            self._look = self._loop.call_later(self._unwritten[0][0] - now, self._turn_late_ones)

    def _write(self, batch: list[Entry], tickets: "Tickets") -> None:
        """On the thread: write a batch; what cannot be written is lost, which is counted and said."""
        lost = 0
        try:
            self._sink.write(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, these lines are not out, and others follow
            lost = len(batch)
            if not self._is_refused:  # said once, not four thousand times a second
                self._say(error)
        self._is_refused = lost > 0
        self._on_loop(partial(self._written, tickets, len(batch), _bytes_of(batch), lost))

    def _on_loop(self, told: Callable[[], None]) -> None:
        """From the thread: what it has to tell, where anybody is left to hear it."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(told)

    def _written(self, tickets: "Tickets", lines: int, size: int, lost: int) -> None:
        if not self._lines_at_thread:  # the journal has ended, and counted them as lost already
            return
        self._lines_at_thread -= lines
        if self._unwritten and self._unwritten[0][1] is tickets:  # else it was late
            self._unwritten.popleft()
        self._waiting_bytes -= size
        self._tally.journal_lines_lost += lost
        _turn(tickets, not lost)

    def _work(self) -> None:
        """The thread: what fails ends one order and not the thread."""
        while (order := self._orders.get()) is not None:
            try:
                order()
            except Exception as error:  # noqa: BLE001 - without the thread every later line would be lost
                self._say(error)


Ticket = asyncio.Future[bool]
Tickets = list[Ticket]


def _bytes_of(batch: Sequence[Entry]) -> int:
    return sum([len(entry.line) for entry in batch])


def _turn(tickets: Tickets, is_out: bool) -> None:
    for ticket in tickets:
        if not ticket.done():
            ticket.set_result(is_out)


class NoSink:
    """Keeps nothing."""

    def write_at_once(self, entries: Sequence[Entry]) -> int:
        """Keep nothing."""
        return len(entries)

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep nothing."""

    def stored(self, segment: str) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Nothing to close."""


class DescriptorSink:
    """A descriptor that somebody else reads: standard output."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        self._takes_at_once = self._is_pipe and hasattr(os, "RWF_NOWAIT")  # Linux alone has it

    def write_at_once(self, entries: Sequence[Entry]) -> int:
        """Write what a pipe takes: `PIPE_BUF` bytes it takes whole or not at all (pipe(7), 2026-11).

        Others may fill it meanwhile, so it is not asked first whether it has room. A system that cannot write
        without waiting (Linux before 6.4) is asked once. A reader that is gone is `write`'s to say.
        """
        if not self._takes_at_once:
            return 0
        written = 0
        for part in _parts(entries):
            data = b"".join([entry.line for entry in part])
            if len(data) > select.PIPE_BUF:
                break
            try:
                os.pwritev(self._descriptor, [data], -1, os.RWF_NOWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                self._takes_at_once = error.errno == errno.EPIPE
                break
            written += len(part)
        return written

    def write(self, entries: Sequence[Entry]) -> None:
        """Write it all; a full pipe is waited for. Raises: OSError.

        What a pipe takes whole goes by itself, so that what others write there tears no line of it.
        """
        for part in _parts(entries) if self._is_pipe else (entries,):
            self._write_waiting(b"".join([entry.line for entry in part]))

    def _write_waiting(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # inherited as non-blocking
                select.select([], [self._descriptor], [], STDOUT_WAIT_SECONDS)

    def stored(self, segment: str) -> None:
        """What is out is the reader's."""

    def close(self) -> None:
        """The descriptor is not ours to close."""


def _parts(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """The lines in parts that a pipe takes whole; a line that is too long for it is a part of its own."""
    begin = size_bytes = 0
    for place, entry in enumerate(entries):
        size_bytes += len(entry.line)
        if size_bytes > select.PIPE_BUF and place > begin:
            yield entries[begin:place]
            begin, size_bytes = place, len(entry.line)
    yield entries[begin:]


class FileSink:
    """Files of one process in a directory, bounded together with what other processes left there.

    A file is removed once it is full (or the process ends) and nothing in it is needed any more: each call
    in it settled, each segment stored. What the store never got stays for recovery, which stores it when the
    process is dead. Lines that recovery alone can store go to files of their own, which it reads at once.
    """

    def __init__(
        self,
        directory: Path,
        instance: str,
        *,
        file_bytes_max: int = FILE_BYTES_MAX,
        files_bytes_max: int = FILES_BYTES_MAX,
    ) -> None:
        self._directory = directory
        self._instance = instance
        self._file_bytes_max = file_bytes_max
        self._files_bytes_max = files_bytes_max
        self._bytes_elsewhere = 0  # of other processes' files and of left lines, as found at the last look
        self._life = LifeLock(directory, instance)
        self._left = LeftLines(directory, instance, file_bytes_max)
        self._files: list[_File] = []
        self._numbers = 0
        self._open_calls: dict[str, _File] = {}
        self._segments: dict[str, list[_File]] = {}

    def write_at_once(self, entries: Sequence[Entry]) -> int:
        """Nothing: a disk may be waited for at any time."""
        return 0

    def write(self, entries: Sequence[Entry]) -> None:
        """Append the lines. Raises: OSError, also when the bound of all files is reached."""
        left = [entry for entry in entries if not entry.is_held]
        if not left:
            self._write_held(entries)
            return
        try:
            self._write_held([entry for entry in entries if entry.is_held])
        finally:
            self._write_left(left)

    def _write_held(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        try:
            file = self._append(b"".join([entry.line for entry in entries]))
        except OSError:
            for entry in entries:
                admitted_in = self._settle(entry)
                if admitted_in is not None:  # all the journal has of the call, so it stays until it is stored
                    self._note(entry, admitted_in)
            raise
        for entry in entries:
            if entry.segment:
                self._settle(entry)
            if entry.segment not in file.segments:
                self._note(entry, file)
        if file.size_bytes >= self._file_bytes_max:
            file.close()
            self._remove_unneeded()

    def _write_left(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        data = b"".join([entry.line for entry in entries])
        try:
            self._make_room(len(data))
            self._left.append(data)
        except OSError:
            for entry in entries:
                admitted_in = self._settle(entry)
                if admitted_in is not None:  # recovery will find the call lost
                    admitted_in.is_for_recovery = True
            raise
        self._bytes_elsewhere += len(data)
        for entry in entries:
            self._settle(entry)
        self._remove_unneeded()

    def stored(self, segment: str) -> None:
        """The segment's lines are no longer needed."""
        for file in self._segments.pop(segment, ()):
            file.segments.discard(segment)
        self._remove_unneeded()

    def close(self) -> None:
        """Close the current file, remove it where nothing in it is needed, and tell that we are gone."""
        for file in self._files:
            file.close()
        self._remove_unneeded()
        self._left.close()
        self._life.release()

    def _append(self, data: bytes) -> "_File":
        self._make_room(len(data))
        file = self._current()
        try:
            file.append(data)
        except OSError:
            file.close()  # its last line may be torn: nothing is to follow it
            if not file.size_bytes:  # a disk that stays full would else collect an empty file a batch
                self._remove(file)
            raise
        return file

    def _settle(self, entry: Entry) -> "_File | None":
        """The call is over, whether or not its line gets written; the file that it was admitted in."""
        admitted_in = self._open_calls.pop(entry.request_id, None) if entry.segment else None
        if admitted_in is not None:
            admitted_in.open_calls -= 1
        return admitted_in

    def _note(self, entry: Entry, file: "_File") -> None:
        if not entry.segment:
            self._open_calls[entry.request_id] = file
            file.open_calls += 1
        elif entry.segment not in file.segments:
            file.segments.add(entry.segment)
            self._segments.setdefault(entry.segment, []).append(file)

    def _current(self) -> "_File":
        if not self._files or self._files[-1].is_closed:
            self._numbers += 1
            path = journal_path(self._directory, self._instance, self._numbers)
            self._files.append(_File(path))
        return self._files[-1]

    def _make_room(self, count: int) -> None:
        """See that so many bytes may be written, by a process that lives. Raises: OSError."""
        if not self._life.is_held:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._life.take()
            self._look_elsewhere()
        if self._bytes() + count > self._files_bytes_max:
            self._look_elsewhere()  # recovery may have removed some
        if self._bytes() + count > self._files_bytes_max:
            raise OSError(f"the journal's {self._files_bytes_max} bytes are full")

    def _bytes(self) -> int:
        return self._bytes_elsewhere + sum(file.size_bytes for file in self._files)

    def _look_elsewhere(self) -> None:
        own = {file.path for file in self._files}
        others = [path for path in self._directory.glob(FILES) if path not in own]
        self._bytes_elsewhere = sum(map(size_bytes, others))

    def _remove_unneeded(self) -> None:
        for file in [each for each in self._files if each.is_closed and not each.is_needed]:
            self._remove(file)

    def _remove(self, file: "_File") -> None:
        file.path.unlink(missing_ok=True)
        self._files.remove(file)


class _File:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self.open_calls = 0
        self.segments: set[str] = set()
        self.is_for_recovery = False
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @property
    def is_closed(self) -> bool:
        return self._descriptor < 0

    @property
    def is_needed(self) -> bool:
        return bool(self.open_calls or self.segments or self.is_for_recovery)

    def append(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            written = os.write(self._descriptor, left)
            self.size_bytes += written
            left = left[written:]

    def close(self) -> None:
        if not self.is_closed:
            os.close(self._descriptor)
            self._descriptor = -1


def open_sink(journal: str, instance: str) -> Sink:
    """The sink that `JOURNAL` names: `stdout`, `off` or `file:<directory>`."""
    if journal == "stdout":
        return DescriptorSink(1)
    if journal == "off":
        return NoSink()
    return FileSink(Path(journal.removeprefix("file:")), instance)
