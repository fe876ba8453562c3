"""The database file: made private, recognised, refused where it is not ours."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from metering import collections, sqlite
from metering.errors import StoreError, StoreUnavailable
from metering.sqlite import file
from metering.stores import Create, Query


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_the_file_and_what_lies_beside_it_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "modeltrack.db"

    store = sqlite.open_store(path)
    store.commit([Create("keys/k", {})])

    assert {found.name: _mode(found) for found in path.parent.iterdir()} == {
        "modeltrack.db": 0o600,
        "modeltrack.db-wal": 0o600,
        "modeltrack.db-shm": 0o600,
    }
    assert _mode(path.parent) == 0o700


def test_what_was_stored_is_there_when_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "modeltrack.db"
    with closing(sqlite.open_store(path)) as store:
        store.commit([Create("keys/k", {"n": 1})])

    with closing(sqlite.open_store(path)) as store:
        assert store.get("keys/k") is not None


def test_a_file_that_is_ready_opens_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "modeltrack.db"
    sqlite.open_store(path).close()
    monkeypatch.setattr(file, "OPENING_TIMEOUT_SECONDS", 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")

        with closing(sqlite.open_store(path)) as store:
            assert store.get("keys/k") is None


def test_a_file_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "modeltrack.db"
    sqlite.open_store(path).close()
    _execute(path, "PRAGMA user_version = 2")

    with pytest.raises(StoreError, match=r"written by a newer ModelTrack .* run the newer release"):
        sqlite.open_store(path)


@pytest.mark.parametrize("statement", ["CREATE TABLE theirs (x)", "PRAGMA user_version = 1"])
def test_a_database_of_something_else_is_left_alone(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "theirs.db"
    _execute(path, statement)

    with pytest.raises(StoreError, match="something else"):
        sqlite.open_store(path)


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "modeltrack.db"
    path.write_text("not a database, and long enough to be looked at" * 100)

    with pytest.raises(StoreUnavailable, match="not a database"):
        sqlite.open_store(path)


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    with pytest.raises(StoreUnavailable, match="cannot open"):
        sqlite.open_store(tmp_path / "data" / "modeltrack.db")


def test_a_field_that_comes_to_be_indexed_finds_older_documents(tmp_path: Path) -> None:
    path = tmp_path / "modeltrack.db"
    with pytest.MonkeyPatch.context() as before:
        before.setitem(collections.INDEXED_FIELDS, "memberships", ("account_id",))
        with closing(sqlite.open_store(path)) as store:
            store.commit([Create("memberships/m", {"account_id": "a", "person_id": "p"})])

    with closing(sqlite.open_store(path)) as store:
        assert len(store.query(Query(collection="memberships", equal={"person_id": "p"}))) == 1
        assert len(store.query(Query(collection="memberships", equal={"account_id": "a"}))) == 1
