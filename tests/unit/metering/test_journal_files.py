"""The journal's files: who lives, who recovers, and what is kept aside."""

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from metering.journal import LINE_BYTES_MAX
from metering.journal_files import (
    LeftLines,
    LifeLock,
    dead_journal,
    instances_in,
    journal_path,
    keep_aside,
    left_lines,
    left_path,
    left_paths,
    lines_of,
)
from tests.builders import AT

INSTANCE, OTHER = "a" * 32, "b" * 32


@pytest.mark.parametrize(
    "name",
    ["cost_events-older.jsonl", "cost_events.jsonl", f"cost_events-{INSTANCE}.txt", f"{INSTANCE}.jsonl"],
)
def test_files_that_are_not_ours_are_no_instances(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")

    assert instances_in(tmp_path) == []


def test_an_instance_is_seen_by_any_of_its_files(tmp_path: Path) -> None:
    journal_path(tmp_path, INSTANCE, 2).touch()
    left_path(tmp_path, OTHER, 1).touch()

    assert instances_in(tmp_path) == [INSTANCE, OTHER]


def test_of_two_recoverers_one_gets_a_dead_instances_files(tmp_path: Path) -> None:
    journal_path(tmp_path, INSTANCE, 1).touch()

    with dead_journal(tmp_path, INSTANCE) as first, dead_journal(tmp_path, INSTANCE) as second:
        assert (first is None, second is None) == (False, True)
    with dead_journal(tmp_path, INSTANCE) as third:
        assert third is not None


def test_a_process_whose_lock_is_removed_while_it_begins_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_lock = __import__("fcntl").flock
    removals = iter([True, False])

    def lock(descriptor: int, operation: int) -> None:
        really_lock(descriptor, operation)
        if next(removals):  # a recoverer that found it dead, just before
            (path,) = tmp_path.glob("*.lock")
            path.unlink()

    life = LifeLock(tmp_path, INSTANCE)
    with monkeypatch.context() as patch:
        patch.setattr("metering.journal_files.fcntl.flock", lock)
        life.take()

    with dead_journal(tmp_path, INSTANCE) as journal:
        assert journal is None
    life.release()


def test_when_an_instance_was_found_dead_is_told_the_same_each_time(tmp_path: Path) -> None:
    journal_path(tmp_path, INSTANCE, 1).touch()

    for seconds in (0, 5, 9):
        with dead_journal(tmp_path, INSTANCE) as journal:
            assert journal is not None
            assert journal.found_dead_at(AT + timedelta(seconds=seconds)) == AT


def test_a_writer_that_finds_its_left_lines_being_recovered_begins_another_file(tmp_path: Path) -> None:
    left = LeftLines(tmp_path, INSTANCE, 1000)
    left.append(b"one\n")
    with left_lines(left_path(tmp_path, INSTANCE, 1)) as is_ours:
        left.append(b"two\n")

    assert is_ours
    assert [path.read_bytes() for path in left_paths(tmp_path, INSTANCE)] == [b"one\n", b"two\n"]
    left.close()


def test_a_writer_never_writes_to_left_lines_that_were_recovered(tmp_path: Path) -> None:
    left = LeftLines(tmp_path, INSTANCE, 1000)
    left.append(b"one\n")
    left_path(tmp_path, INSTANCE, 1).unlink()

    left.append(b"two\n")

    assert [path.read_bytes() for path in left_paths(tmp_path, INSTANCE)] == [b"two\n"]
    left.close()


@pytest.mark.parametrize(("limit", "files"), [(8, 1), (4, 2)])
def test_left_lines_go_on_in_another_file_once_one_is_full(tmp_path: Path, limit: int, files: int) -> None:
    left = LeftLines(tmp_path, INSTANCE, limit)
    left.append(b"one\n")

    left.append(b"two\n")

    assert len(left_paths(tmp_path, INSTANCE)) == files
    left.close()


def test_a_torn_left_line_is_followed_by_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_write = os.write

    def tear(descriptor: int, data: bytes) -> int:
        if len(data) < len(b"torn line\n"):
            raise OSError("no space")
        return really_write(descriptor, data[:4])

    left = LeftLines(tmp_path, INSTANCE, 1000)
    with monkeypatch.context() as patch:
        patch.setattr("metering.journal_files.os.write", tear)
        with pytest.raises(OSError, match="no space"):
            left.append(b"torn line\n")
    left.append(b"two\n")

    assert [path.read_bytes() for path in left_paths(tmp_path, INSTANCE)] == [b"torn", b"two\n"]
    left.close()


def test_no_left_line_is_lost_between_a_writer_and_recoverers(tmp_path: Path) -> None:
    written = [f"{number}\n".encode() for number in range(300)]
    recovered: list[bytes] = []
    left, is_over = LeftLines(tmp_path, INSTANCE, 50), threading.Event()

    def recover() -> None:
        while not is_over.is_set() or left_paths(tmp_path, INSTANCE):
            for path in left_paths(tmp_path, INSTANCE):
                with left_lines(path) as is_ours:
                    if is_ours:
                        recovered.extend(lines_of(path))
                        path.unlink()

    recoverers = [threading.Thread(target=recover) for _ in range(2)]
    for each in recoverers:
        each.start()
    for line in written:
        left.append(line)
    left.close()
    is_over.set()
    for each in recoverers:
        each.join(20)

    assert sorted(recovered) == sorted(written)


def test_a_line_without_an_end_is_read_in_pieces_that_are_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"x" * (2 * LINE_BYTES_MAX + 10))

    assert [len(piece) for piece in lines_of(path)] == [LINE_BYTES_MAX + 1, LINE_BYTES_MAX + 1, 8]


def test_lines_kept_aside_replace_what_was_kept_of_the_same_file(tmp_path: Path) -> None:
    path = journal_path(tmp_path, INSTANCE, 1)
    keep_aside(path, [b"one\n", b"two"])

    keep_aside(path, [b"one\n", b"two"])

    (aside,) = tmp_path.iterdir()
    assert aside.read_bytes() == b"one\ntwo\n"
    assert aside.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("room", "kept"), [(12, 2), (11, 1)])
def test_lines_kept_aside_are_bounded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, kept: int
) -> None:
    monkeypatch.setattr("metering.journal_files.BAD_LINES_BYTES_MAX", room)
    keep_aside(journal_path(tmp_path, OTHER, 1), [b"abc\n"])

    assert keep_aside(journal_path(tmp_path, INSTANCE, 1), [b"one\n", b"two\n"]) == kept
