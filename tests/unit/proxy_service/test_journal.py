import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.journal import settled_line
from metering.journal_files import dead_journal, instances_in
from metering.segments import Segment
from proxy_service.journal import (
    DescriptorSink,
    Entry,
    FileSink,
    Journal,
    JournalEnded,
    NoSink,
    Sink,
    open_sink,
)
from proxy_service.tally import Tally
from tests.builders import ACCOUNT_ID, make_event
from tests.doubles.sinks import ThreadSink

T = TypeVar("T")
INSTANCE = "0" * 32


def admitted(call: str) -> Entry:
    return Entry(f"admitted {call}\n".encode(), call)


def settled(call: str, segment: str, *, is_held: bool = True) -> Entry:
    return Entry(f"settled {call} {segment}\n".encode(), call, segment, is_held)


class SlowSink(ThreadSink):
    """Writes when the gate opens, and fails where told to."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[bytes]] = []
        self.fails: Exception | None = None

    def write(self, entries: Sequence[Entry]) -> None:
        assert self.gate.wait(10)
        if self.fails:
            raise self.fails
        self.batches.append([entry.line for entry in entries])


class NarrowSink(SlowSink):
    """Takes one line of each batch at once, as a pipe that is nearly full."""

    def write_at_once(self, entries: Sequence[Entry]) -> int:
        self.batches.append([entry.line for entry in entries[:1]])
        return 1


def with_journal(sink: Sink, scenario: Callable[[Journal], Awaitable[T]]) -> tuple[T, Tally, list[Exception]]:
    tally, reported = Tally(), list[Exception]()

    async def run() -> T:
        journal = Journal(sink, tally, reported.append)
        journal.start()
        result = await scenario(journal)
        await journal.close(5)
        return result

    return asyncio.run(run()), tally, reported


def test_lines_of_one_turn_are_written_together_in_order_and_told() -> None:
    sink = SlowSink()

    async def scenario(journal: Journal) -> list[bool]:
        journal.append(admitted("a"))
        tickets = [journal.append_and_tell(settled(call, "s-1")) for call in ("a", "b")]
        return [await ticket for ticket in tickets]

    told, tally, _ = with_journal(sink, scenario)

    assert told == [True, True]
    assert sink.batches == [[b"admitted a\n", b"settled a s-1\n", b"settled b s-1\n"]]
    assert tally.journal_lines_lost == 0


def test_a_ticket_waits_no_longer_than_its_time() -> None:
    sink = SlowSink()
    sink.gate.clear()

    async def scenario(journal: Journal) -> bool:
        told = await journal.append_and_tell(settled("a", "s-1"))
        sink.gate.set()
        return told

    told, _, _ = with_journal(sink, scenario)

    assert told is False
    assert sink.batches == [[b"settled a s-1\n"]]


def test_a_caller_that_gives_up_waiting_takes_nobody_elses_ticket_with_it() -> None:
    sink = SlowSink()
    sink.gate.clear()

    async def scenario(journal: Journal) -> bool:
        first = asyncio.ensure_future(_wait(journal.append_and_tell(settled("a", "s-1"))))
        second = journal.append_and_tell(settled("b", "s-1"))
        await asyncio.sleep(0)
        first.cancel()
        sink.gate.set()
        return await second

    told, _, _ = with_journal(sink, scenario)

    assert told is True


async def _wait(ticket: "asyncio.Future[bool]") -> bool:
    return await ticket


@pytest.mark.parametrize(
    "fault", [OSError("full"), KeyError("a fault of ours")], ids=["a full disk", "a fault of ours"]
)
def test_what_cannot_be_written_is_counted_and_said_and_the_next_batch_goes_on(fault: Exception) -> None:
    sink = SlowSink()
    sink.fails = fault

    async def scenario(journal: Journal) -> tuple[bool, bool]:
        lost = [await journal.append_and_tell(settled(call, "s-1")) for call in ("a", "b")]
        sink.fails = None
        return any(lost), await journal.append_and_tell(settled("c", "s-1"))

    told, tally, reported = with_journal(sink, scenario)

    assert (told, tally.journal_lines_lost, len(reported)) == ((False, True), 2, 1)


def test_a_file_that_cannot_be_removed_and_a_log_that_cannot_be_written_stop_nothing() -> None:
    class Stubborn(SlowSink):
        def stored(self, segment: str) -> None:
            raise PermissionError("it stays")

    def report(error: Exception) -> None:
        raise BrokenPipeError("nobody reads the log")

    async def run() -> tuple[bool, bool]:
        sink = Stubborn()
        journal = Journal(sink, Tally(), report)
        journal.start()
        journal.stored("segment")
        before = await journal.append_and_tell(settled("a", "1"))
        sink.fails = OSError("full")
        refused = await journal.append_and_tell(settled("b", "1"))
        sink.fails = None
        after = await journal.append_and_tell(settled("c", "1"))
        await journal.close(5)
        return before and not refused, after

    assert asyncio.run(run()) == (True, True)


def test_a_line_that_comes_while_the_journal_closes_is_written_behind_those_that_wait() -> None:
    sink = SlowSink()
    sink.gate.clear()

    async def scenario(journal: Journal) -> bool:
        journal.append(admitted("a"))
        closing = asyncio.create_task(journal.close(10))
        await asyncio.sleep(0)
        journal.append(admitted("b"))
        await asyncio.sleep(0)
        last = journal.append_and_tell(settled("a", "s-1"))
        sink.gate.set()
        await closing
        return await last

    told, tally, reported = with_journal(sink, scenario)

    assert sink.batches == [[b"admitted a\n"], [b"admitted b\n"], [b"settled a s-1\n"]]
    assert (told, tally.journal_lines_lost, reported) == (True, 0, [])


def test_lines_that_are_not_out_when_the_time_is_over_are_counted_and_said() -> None:
    sink, tally, reported = SlowSink(), Tally(), list[Exception]()
    sink.gate.clear()

    async def run() -> int:
        journal = Journal(sink, tally, reported.append)
        journal.start()
        for call in ("a", "b", "c"):
            journal.append(admitted(call))
            await asyncio.sleep(0)
        await journal.close(0)
        lost = tally.journal_lines_lost
        sink.gate.set()
        return lost

    assert (asyncio.run(run()), tally.journal_lines_lost) == (3, 3)
    assert [type(each) for each in reported] == [JournalEnded]


def test_lines_that_come_after_the_end_are_counted_and_said_once() -> None:
    sink, tally, reported = SlowSink(), Tally(), list[Exception]()

    async def run() -> list[bool]:
        journal = Journal(sink, tally, reported.append)
        journal.start()
        await journal.close(10)
        tickets = [journal.append_and_tell(admitted(call)) for call in ("a", "b")]
        return [await ticket for ticket in tickets]

    assert asyncio.run(run()) == [False, False]
    assert (tally.journal_lines_lost, [type(each) for each in reported]) == (2, [JournalEnded])


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["line", "turn", "close"]), max_size=30),
    opens_after=st.integers(0, 30),
    is_pipe=st.booleans(),
)
def test_every_line_is_written_or_counted_whenever_the_journal_ends(
    steps: list[str], opens_after: int, is_pipe: bool
) -> None:
    sink, tally = (NarrowSink() if is_pipe else SlowSink()), Tally()
    sink.gate.clear()

    async def run() -> int:
        journal = Journal(sink, tally, lambda _: None)
        journal.start()
        closing: list[asyncio.Task[None]] = []
        for number, step in enumerate([*steps, "close"]):
            if number == opens_after:
                sink.gate.set()
            if step == "line":
                journal.append(admitted(str(number)))
            elif step == "turn":
                await asyncio.sleep(0)
            elif not closing:
                closing.append(asyncio.create_task(journal.close(10)))
        sink.gate.set()
        await closing[0]
        return tally.journal_lines_lost

    lost = asyncio.run(run())

    written = [line for batch in sink.batches for line in batch]
    lines = [admitted(str(number)).line for number, step in enumerate(steps) if step == "line"]
    assert written == lines[: len(written)]
    assert len(written) + lost == len(lines)


def test_waiting_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_service.journal.WAITING_BYTES_MAX", 30)

    async def scenario(journal: Journal) -> list[bool]:
        tickets = [journal.append_and_tell(settled(call, "s-1")) for call in ("a", "b", "c")]
        return [await ticket for ticket in tickets]

    told, tally, _ = with_journal(SlowSink(), scenario)

    assert (told, tally.journal_lines_lost) == ([True, True, False], 1)


def test_lines_that_are_out_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_service.journal.WAITING_BYTES_MAX", 30)

    async def scenario(journal: Journal) -> list[bool]:
        return [await journal.append_and_tell(settled(str(call), "s-1")) for call in range(10)]

    told, tally, _ = with_journal(SlowSink(), scenario)

    assert (told, tally.journal_lines_lost) == ([True] * 10, 0)


def lines_in(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.jsonl"))


def test_a_file_goes_once_its_calls_are_settled_and_their_segments_stored(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, INSTANCE)
    sink.write([admitted("a"), admitted("b"), settled("a", "s-1")])
    sink.stored("s-1")
    sink.write([settled("b", "s-2")])
    assert len(lines_in(tmp_path)) == 4

    sink.stored("s-2")
    sink.close()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "needed",
    [admitted("open"), settled("a", "s-unstored"), settled("a", "s-1", is_held=False)],
    ids=["a call still open", "a segment not stored", "an event that only the journal has"],
)
def test_a_file_with_anything_recovery_needs_stays(tmp_path: Path, needed: Entry) -> None:
    sink = FileSink(tmp_path, INSTANCE)
    sink.write([needed, settled("z", "s-1")])
    sink.stored("s-1")
    sink.close()

    assert needed.line.rstrip() in lines_in(tmp_path)


def left_in(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.glob("*-left-*")) for line in path.read_bytes().splitlines()]


def test_lines_that_recovery_alone_can_store_go_to_a_file_of_their_own(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, INSTANCE)
    sink.write([admitted("a"), admitted("b"), settled("a", "s-1"), settled("b", "s-2", is_held=False)])

    sink.stored("s-1")
    sink.close()

    assert lines_in(tmp_path) == left_in(tmp_path) == [b"settled b s-2"]


def test_lines_left_to_recovery_count_towards_the_bound_until_they_are_recovered(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, INSTANCE, files_bytes_max=38)
    sink.write([settled("a", "s-1", is_held=False), settled("b", "s-1", is_held=False)])
    with pytest.raises(OSError, match="full"):
        sink.write([admitted("c")])

    (tmp_path / f"cost_events-{INSTANCE}-left-1.jsonl").unlink()
    sink.write([admitted("c")])

    assert lines_in(tmp_path) == [b"admitted c"]


def test_a_call_whose_left_line_cannot_be_written_stays_admitted_for_recovery_to_find(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, INSTANCE, files_bytes_max=len(admitted("a").line))
    sink.write([admitted("a")])
    with pytest.raises(OSError, match="full"):
        sink.write([settled("a", "s-1", is_held=False)])

    sink.close()

    assert lines_in(tmp_path) == [b"admitted a"]


def test_a_process_is_seen_to_live_from_its_first_line_to_its_end(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, INSTANCE)
    assert instances_in(tmp_path) == []
    sink.write([admitted("a")])
    with dead_journal(tmp_path, INSTANCE) as living:
        pass

    sink.close()

    with dead_journal(tmp_path, INSTANCE) as dead:
        assert (living is None, dead is None) == (True, False)


def test_a_process_that_ends_with_all_stored_leaves_nothing(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, INSTANCE)
    sink.write([admitted("a"), settled("a", "s-1")])
    sink.stored("s-1")

    sink.close()

    assert list(tmp_path.iterdir()) == []


def test_a_segment_that_nobody_here_will_store_is_written_for_recovery() -> None:
    events = (make_event(), make_event())
    segment = Segment(name=f"{INSTANCE}-1", account_id=ACCOUNT_ID, events=events)
    sink = SlowSink()

    async def scenario(journal: Journal) -> None:
        journal.leave(segment)

    with_journal(sink, scenario)

    assert sink.batches == [[settled_line(event, segment.name) for event in events]]


def test_a_full_file_is_followed_by_another_and_removed_by_itself(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, INSTANCE, file_bytes_max=20)
    sink.write([admitted("a"), settled("a", "s-1")])
    sink.write([admitted("b"), settled("b", "s-2")])
    names = names_in(tmp_path)

    sink.stored("s-1")

    assert names == [f"cost_events-{INSTANCE}-2.jsonl", f"cost_events-{INSTANCE}.jsonl"]
    assert names_in(tmp_path) == [f"cost_events-{INSTANCE}-2.jsonl"]


def test_a_call_admitted_in_one_file_and_settled_in_the_next_keeps_the_later_until_stored(
    tmp_path: Path,
) -> None:
    sink = FileSink(tmp_path, INSTANCE, file_bytes_max=5)
    sink.write([admitted("a")])
    sink.write([settled("a", "s-1")])
    assert len(names_in(tmp_path)) == 1  # what `admitted` was for is settled

    sink.stored("s-1")

    assert names_in(tmp_path) == []


def test_a_call_whose_last_line_was_refused_stays_admitted_until_its_event_is_stored(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, INSTANCE, files_bytes_max=len(admitted("a").line))
    sink.write([admitted("a")])
    with pytest.raises(OSError, match="full"):
        sink.write([settled("a", "s-1")])
    sink.close()
    assert lines_in(tmp_path) == [b"admitted a"]

    sink.stored("s-1")

    assert names_in(tmp_path) == []


def test_all_files_of_a_directory_are_bounded_together(tmp_path: Path) -> None:
    (tmp_path / "cost_events-older.jsonl").write_bytes(b"x" * 90)
    sink = FileSink(tmp_path, INSTANCE, files_bytes_max=101)
    sink.write([admitted("a")])

    with pytest.raises(OSError, match="full"):
        sink.write([settled("a", "s-1")])


def test_another_process_may_remove_its_file_at_any_moment(tmp_path: Path) -> None:
    (tmp_path / "cost_events-gone.jsonl").symlink_to(tmp_path / "removed")  # listed, and not there

    FileSink(tmp_path, INSTANCE).write([admitted("a")])

    own = tmp_path / f"cost_events-{INSTANCE}.jsonl"
    assert own.read_bytes() == admitted("a").line


def test_a_torn_line_is_followed_by_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = FileSink(tmp_path, INSTANCE)
    sink.write([admitted("a")])

    def tear(descriptor: int, data: bytes) -> int:
        if len(data) < len(torn.line):
            raise OSError("no space")
        return really_write(descriptor, data[:5])

    torn, really_write = settled("a", "s-1"), os.write
    with monkeypatch.context() as patch:
        patch.setattr("proxy_service.journal.os.write", tear)
        with pytest.raises(OSError, match="no space"):
            sink.write([torn])
    sink.write([admitted("b")])

    assert lines_in(tmp_path) == [b"admitted b", b"admitted a", b"settl"]


def test_a_disk_that_stays_full_leaves_no_pile_of_empty_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError("no space")

    sink = FileSink(tmp_path, INSTANCE)
    sink.write([admitted("a")])
    with monkeypatch.context() as patch:
        patch.setattr("proxy_service.journal.os.write", refuse)
        for _ in range(20):
            with pytest.raises(OSError, match="no space"):
                sink.write([admitted("b")])

    assert lines_in(tmp_path) == [b"admitted a"]
    assert len(names_in(tmp_path)) == 1


def test_files_are_their_owners_only(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "made", INSTANCE)
    sink.write([admitted("a")])

    assert [path.stat().st_mode & 0o077 for path in (tmp_path / "made").iterdir()] == [0, 0]


def test_a_descriptor_gets_everything_even_through_a_narrow_pipe() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    entries = [Entry(b"x" * 1000 + b"\n", str(number)) for number in range(500)]
    got: list[bytes] = []

    def read_all() -> None:
        while data := os.read(reading, 65536):
            got.append(data)

    reader = threading.Thread(target=read_all)
    reader.start()
    DescriptorSink(writing).write(entries)
    os.close(writing)
    reader.join(10)
    os.close(reading)

    assert b"".join(got) == b"".join(entry.line for entry in entries)


def test_no_line_is_torn_by_what_others_write_into_the_same_pipe() -> None:
    reading, writing = os.pipe()
    entries, got, other = lines_of(1000, 500), bytearray(), b"another line\n"

    def read_all() -> None:
        while data := os.read(reading, 4096):
            got.extend(data)

    def write_others() -> None:
        for _ in range(2000):
            os.write(writing, other)

    threads = [threading.Thread(target=each) for each in (read_all, write_others)]
    for each in threads:
        each.start()
    DescriptorSink(writing).write(entries)
    threads[1].join(10)
    os.close(writing)
    threads[0].join(10)
    os.close(reading)

    lines = bytes(got).splitlines(keepends=True)
    assert [line for line in lines if line != other] == [entry.line for entry in entries]


class Pipe:
    """A pipe, and what can be read of it without waiting."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)

    def fill(self) -> int:
        """Fill it to the last byte, as it is a slow reader's; how many that took."""
        count = 0
        os.set_blocking(self.writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                count += os.write(self.writing, b"x" * 4096)
        with contextlib.suppress(BlockingIOError):
            while True:
                count += os.write(self.writing, b"x")
        os.set_blocking(self.writing, True)
        return count

    def read(self) -> bytes:
        got = b""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.reading, 1024 * 1024):
                got += data
        return got


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    for descriptor in (made.reading, made.writing):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def lines_of(size_bytes: int, count: int) -> list[Entry]:
    return [
        Entry((b"%04d" % number).ljust(size_bytes - 1, b"y") + b"\n", str(number)) for number in range(count)
    ]


@pytest.mark.parametrize(("size_bytes", "count"), [(1000, 40), (1025, 30), (4096, 10), (6, 900)])
def test_a_pipe_with_room_takes_all_lines_at_once_and_whole(pipe: Pipe, size_bytes: int, count: int) -> None:
    entries = lines_of(size_bytes, count)

    assert DescriptorSink(pipe.writing).write_at_once(entries) == count
    assert pipe.read() == b"".join(entry.line for entry in entries)


def test_what_may_have_to_wait_for_a_pipe_is_not_written_at_once(pipe: Pipe) -> None:
    sink = DescriptorSink(pipe.writing)
    entries = [*lines_of(1000, 3), *lines_of(4097, 1), *lines_of(1000, 2)]

    assert sink.write_at_once(entries) == 3
    assert pipe.read() == b"".join(entry.line for entry in entries[:3])

    pipe.fill()
    assert sink.write_at_once(lines_of(10, 1)) == 0


def test_a_pipe_that_fills_up_takes_the_first_lines_and_no_part_of_others(pipe: Pipe) -> None:
    entries = lines_of(1000, 200)

    count = DescriptorSink(pipe.writing).write_at_once(entries)

    assert 0 < count < 200
    assert pipe.read() == b"".join(entry.line for entry in entries[:count])


def test_a_pipe_that_others_fill_at_the_same_moment_is_not_waited_for() -> None:
    lines = lines_of(4096, 1)

    def writes(begin: threading.Barrier, sink: DescriptorSink, took: list[int]) -> None:
        begin.wait(10)
        took.append(sink.write_at_once(lines))

    for _ in range(300):  # each time there is room for one
        pipe, begin, took = Pipe(), threading.Barrier(3), list[int]()
        pipe.fill()
        os.read(pipe.reading, 4096)
        sinks = [DescriptorSink(pipe.writing) for _ in range(3)]
        writers = [threading.Thread(target=writes, args=(begin, sink, took), daemon=True) for sink in sinks]
        for each in writers:
            each.start()
        for each in writers:
            each.join(10)
        waiting = sum(each.is_alive() for each in writers)
        os.close(pipe.reading)  # whoever waits goes on by that
        os.close(pipe.writing)
        assert (waiting, sum(took)) == (0, 1)


def test_nothing_is_written_at_once_where_nobody_reads_or_a_disk_may_be_waited_for(
    pipe: Pipe, tmp_path: Path
) -> None:
    os.close(pipe.reading)
    with (tmp_path / "out").open("wb") as file:
        assert DescriptorSink(file.fileno()).write_at_once(lines_of(10, 1)) == 0
    assert DescriptorSink(pipe.writing).write_at_once(lines_of(10, 1)) == 0
    assert FileSink(tmp_path, INSTANCE).write_at_once(lines_of(10, 1)) == 0
    assert (tmp_path / "out").read_bytes() == b""


def test_lines_keep_their_order_through_a_pipe_that_is_full_for_a_while(pipe: Pipe) -> None:
    async def scenario(journal: Journal) -> list[bool]:
        told = [await journal.append_and_tell(admitted("a"))]
        filled = pipe.fill()
        told.append(await journal.append_and_tell(admitted("b")))
        late = journal.append_and_tell(admitted("c"))
        got = pipe.read()
        while len(got) < filled + 3 * len(admitted("a").line):
            await asyncio.sleep(0)
            got += pipe.read()
        told += [await late, await journal.append_and_tell(admitted("d"))]
        assert (got + pipe.read()).replace(b"x", b"") == b"".join(admitted(call).line for call in "abcd")
        return told

    told, tally, _ = with_journal(DescriptorSink(pipe.writing), scenario)

    assert (told[0], told[1], told[3], tally.journal_lines_lost) == (True, False, True, 0)


def test_a_reader_that_is_gone_is_said_and_its_lines_are_counted_as_lost(pipe: Pipe) -> None:
    os.close(pipe.reading)

    async def scenario(journal: Journal) -> bool:
        return await journal.append_and_tell(admitted("a"))

    told, tally, reported = with_journal(DescriptorSink(pipe.writing), scenario)

    assert (told, tally.journal_lines_lost, [type(each) for each in reported]) == (
        False,
        1,
        [BrokenPipeError],
    )


def test_the_setting_names_the_sink(tmp_path: Path) -> None:
    assert isinstance(open_sink("stdout", INSTANCE), DescriptorSink)
    assert isinstance(open_sink("off", INSTANCE), NoSink)
    assert isinstance(open_sink(f"file:{tmp_path}", INSTANCE), FileSink)
