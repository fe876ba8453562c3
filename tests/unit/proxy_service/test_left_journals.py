"""What dead processes left of the journal is counted, and stays."""

from pathlib import Path

from metering.journal_files import LifeLock, journal_path, left_path
from proxy_service.left_journals import LeftJournals, left_journals

DEAD, LIVING, OURS = "d" * 32, "e" * 32, "f" * 32


def test_files_of_dead_processes_are_counted_and_stay(tmp_path: Path) -> None:
    journal_path(tmp_path, DEAD, 1).write_bytes(b"one\ntwo\n")
    left_path(tmp_path, DEAD, 1).write_bytes(b"three\nto")  # torn by a crash
    journal_path(tmp_path, LIVING, 1).write_bytes(b"theirs\n")
    journal_path(tmp_path, OURS, 1).write_bytes(b"ours\n")
    life = LifeLock(tmp_path, LIVING)
    life.take()

    assert left_journals(f"file:{tmp_path}", OURS) == LeftJournals(files=2, size_bytes=16)
    assert len(list(tmp_path.glob("*.jsonl"))) == 4
    life.release()


def test_a_first_start_finds_nothing(tmp_path: Path) -> None:
    assert left_journals(f"file:{tmp_path / 'not made yet'}", OURS) == LeftJournals()


def test_a_journal_that_is_no_file_leaves_nothing_here(tmp_path: Path) -> None:
    journal_path(tmp_path, DEAD, 1).write_bytes(b"one\n")

    assert left_journals("stdout", OURS) == left_journals("off", OURS) == LeftJournals()
