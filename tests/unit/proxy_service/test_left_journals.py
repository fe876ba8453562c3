"""What earlier processes left of the journal is counted, and stays."""

from pathlib import Path

from proxy_service.left_journals import LeftJournals, left_journals

INSTANCE = "p-00000000"


def test_files_of_earlier_processes_are_counted_with_their_lines_and_stay(tmp_path: Path) -> None:
    (tmp_path / "cost_events-p-1.jsonl").write_bytes(b"one\ntwo\n")
    (tmp_path / "cost_events-p-1-2.jsonl").write_bytes(b"three\nto")  # torn by a crash
    (tmp_path / f"cost_events-{INSTANCE}.jsonl").write_bytes(b"ours\n")
    (tmp_path / "cost_events-p-2.jsonl").write_bytes(b"")

    assert left_journals(f"file:{tmp_path}", INSTANCE) == LeftJournals(files=2, lines=4, size_bytes=16)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_first_start_finds_nothing(tmp_path: Path) -> None:
    assert left_journals(f"file:{tmp_path / 'not made yet'}", INSTANCE) == LeftJournals()


def test_a_journal_that_is_no_file_leaves_nothing_here(tmp_path: Path) -> None:
    (tmp_path / "cost_events-p-1.jsonl").write_bytes(b"one\n")

    assert left_journals("stdout", INSTANCE) == left_journals("off", INSTANCE) == LeftJournals()
