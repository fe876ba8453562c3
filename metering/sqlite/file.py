"""The database file: made once, recognised again, opened with the settings we rely on.

`synchronous=FULL`: a commit that was acknowledged survives a power cut, as Firestore's do. The journal of
cost events is deleted on the strength of that, and a revoked key has to stay revoked. In WAL mode it costs
one fsync a commit, and commits are batches in the background; NORMAL may lose the last of them.
"""

import json
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from metering.collections import INDEXED_FIELDS
from metering.errors import StoreError, StoreUnavailable
from metering.sqlite.entries import rebuild_entries

APPLICATION_ID = 0x4D544B31  # "MTK1": tells our files from others
SCHEMA_VERSION = 1
OPENING_TIMEOUT_SECONDS = 10.0
OPENING_PAUSE_SECONDS = 0.02
WAL_BYTES_KEPT_MAX = 64 * 1024 * 1024
WAL_PAGES_MAX = 8_000  # of 4 KiB; a segment changes some 800, and copying them home each time is dear

_SCHEMA = """
CREATE TABLE documents (
    number INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    fields BLOB NOT NULL,
    UNIQUE (collection, id)
) STRICT;
CREATE TABLE entries (
    collection TEXT NOT NULL,
    field TEXT NOT NULL,
    value BLOB NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (collection, field, value, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE indexed (fields TEXT NOT NULL) STRICT;
"""


def prepare(path: Path) -> None:
    """Make the file where it is missing, readable by its owner only, and bring its index up to date.

    Raises: StoreError when the file is not ours or was written by a newer release; StoreUnavailable when it
    cannot be opened.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(path)
        with closing(connect(path)) as connection:
            _prepare_in_turn(connection, path)
    except OSError as error:
        raise StoreUnavailable(f"cannot open {path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StoreUnavailable(f"cannot open {path}: {error}") from error


def _make_private(path: Path) -> None:
    # SQLite gives its -wal and -shm files the mode of this one. A file that exists is not touched: closing
    # it would drop the locks that other connections of this process hold.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def connect(path: Path) -> sqlite3.Connection:
    """A connection with our settings. It starts no transaction by itself."""
    connection = sqlite3.connect(
        path, timeout=OPENING_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT_MAX}")
    return connection


def _prepare_in_turn(connection: sqlite3.Connection, path: Path) -> None:
    """Prepare once nobody else does: SQLite switches to WAL without waiting its turn, so we wait here."""
    deadline = time.monotonic() + OPENING_TIMEOUT_SECONDS
    while True:
        try:
            _prepare(connection, path)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(OPENING_PAUSE_SECONDS)
        else:
            return


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0]:
        _check_ours(connection, path)
        if _is_ready(connection):  # so that a process starts while another one writes, however long
            return
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            f"{path} cannot be shared between processes: its disk has no WAL mode; use a local disk"
        )
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have made it while this one waited.
    if not connection.execute("PRAGMA user_version").fetchone()[0]:
        _make(connection, path)
    _check_ours(connection, path)
    _bring_index_up_to_date(connection)
    connection.execute("COMMIT")


def _make(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreError(f"{path} is a database of something else; give another path")
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("INSERT INTO indexed VALUES ('')")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is a database of something else; give another path")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer ModelTrack (format {version}, this one knows {SCHEMA_VERSION}); "
            "run the newer release, or give another path"
        )


def _is_ready(connection: sqlite3.Connection) -> bool:
    """Whether nothing is left to be made in a file of ours."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return bool(mode == "wal" and _is_index_up_to_date(connection))


def _is_index_up_to_date(connection: sqlite3.Connection) -> bool:
    (fields,) = connection.execute("SELECT fields FROM indexed").fetchone()
    return bool(fields == _indexed())


def _bring_index_up_to_date(connection: sqlite3.Connection) -> None:
    if _is_index_up_to_date(connection):
        return
    rebuild_entries(connection)
    connection.execute("UPDATE indexed SET fields = ?", (_indexed(),))


def _indexed() -> str:
    return json.dumps(INDEXED_FIELDS, sort_keys=True)
