"""Logs are read whole or it is said that they were not."""

import gzip
import io
from pathlib import Path

import pytest

from modeltrack_cli.privacy import logs
from modeltrack_cli.privacy.logs import LogFile, Unread, files_of, read

NOTHING = io.BytesIO()


def taken(path: Path, bytes_max: int = 1000) -> bytes:
    found = bytearray()
    assert read(LogFile("a log", path), NOTHING, found.extend, bytes_max) == len(found)
    return bytes(found)


def test_files_and_folders_are_found_once_each_in_order(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.log", "a.log", "deep/c.log.gz"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "a.log")

    found = files_of([str(tmp_path), str(tmp_path / "a.log"), "-"])

    named = [each.path and each.path.relative_to(tmp_path).as_posix() for each in found]
    assert named == ["a.log", "b.log", "deep/c.log.gz", None]


def test_what_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(Unread, match=r"nowhere\.log: there is no such file"):
        files_of([str(tmp_path / "nowhere.log")])


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILES_MAX", 1)
    for name in "ab":
        (tmp_path / name).touch()

    with pytest.raises(Unread, match="more than 1 files"):
        files_of([str(tmp_path)])


def test_a_packed_log_is_unpacked_whatever_its_name(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(b"one\ntwo")
    packed.write_bytes(gzip.compress(b"three\n") + gzip.compress(b"four"))

    assert taken(plain) == b"one\ntwo"
    assert taken(packed) == b"three\nfour"


def test_a_packed_log_that_is_cut_is_read_as_far_as_it_goes_and_told(tmp_path: Path) -> None:
    path, found = tmp_path / "cut.gz", bytearray()
    path.write_bytes(gzip.compress(b"one")[:-4])

    with pytest.raises(Unread, match=r"cannot be read to its end \(EOFError\)"):
        read(LogFile("cut.gz", path), NOTHING, found.extend, 1000)


@pytest.mark.parametrize(("length", "is_whole"), [(10, True), (11, False)])
def test_more_than_the_bound_is_not_read_and_that_is_told(
    tmp_path: Path, length: int, is_whole: bool
) -> None:
    path = tmp_path / "long"
    path.write_bytes(gzip.compress(b"x" * length))

    if is_whole:
        assert len(taken(path, bytes_max=10)) == 10
    else:
        with pytest.raises(Unread, match="what lies beyond was not read"):
            taken(path, bytes_max=10)


def test_standard_input_is_read() -> None:
    found = bytearray()

    read(LogFile("standard input", None), io.BytesIO(b"said"), found.extend, 10)

    assert found == b"said"
