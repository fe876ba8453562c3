"""Stores that can be cut off from the services, while the test itself still reaches them."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Protocol

from tests.doubles.tcp_relay import TcpRelay
from tests.emulator import new_project
from tests.system.deployment import Deployment, Faults

LOCK_SECONDS_MAX = 30.0  # that the store's other writers may take before the lock is ours


class CutOff(Protocol):
    """A store of its own, and how the services lose it and get it back."""

    def deployment(self, folder: Path, *, lost_replies_percent: int = 0) -> Deployment:
        """Services on the store, still to be started, that share one folder of data."""

    def begin(self) -> None:
        """Cut the services off."""

    def end(self) -> None:
        """Let them through again; what was on its way all the time may still arrive."""


class RelayedFirestore:
    """The emulator, reached by the services through a relay that stops passing bytes: nothing is answered."""

    def __init__(self, relay: TcpRelay) -> None:
        self._relay = relay

    def deployment(self, folder: Path, *, lost_replies_percent: int = 0) -> Deployment:
        """On a project of its own."""
        settings = {"FIRESTORE_EMULATOR_HOST": self._relay.address, "DATA_DIR": str(folder / "data")}
        faults = Faults(lost_replies_percent, folder / "never")
        return Deployment(folder, f"firestore://{new_project()}", settings, faults)

    def begin(self) -> None:
        """Pass nothing on; connections stay open."""
        self._relay.stop()

    def end(self) -> None:
        """Go on with what was under way."""
        self._relay.resume()


class LockedSqlite:
    """A file whose write lock this process takes: others still read it, and cannot commit."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "modeltrack.db"
        self._lock: sqlite3.Connection | None = None

    def deployment(self, folder: Path, *, lost_replies_percent: int = 0) -> Deployment:
        """On the file."""
        faults = Faults(lost_replies_percent, folder / "never")
        return Deployment(folder, f"sqlite:///{self._file}", {"DATA_DIR": str(folder / "data")}, faults)

    def begin(self) -> None:
        """Take the lock, once the writers before us have had it."""
        self._lock = sqlite3.connect(
            self._file, timeout=LOCK_SECONDS_MAX, isolation_level=None, check_same_thread=False
        )
        self._lock.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        """Give it back."""
        if self._lock is not None:
            with closing(self._lock):
                self._lock.execute("ROLLBACK")
            self._lock = None


class SilencedSqlite:
    """A file that answers the services nothing, not even when they read."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "modeltrack.db"
        self._silencing = folder / "silencing"

    def deployment(self, folder: Path, *, lost_replies_percent: int = 0) -> Deployment:
        """On the file."""
        faults = Faults(lost_replies_percent, self._silencing)
        return Deployment(folder, f"sqlite:///{self._file}", {"DATA_DIR": str(folder / "data")}, faults)

    def begin(self) -> None:
        """Let no question through."""
        self._silencing.touch()

    def end(self) -> None:
        """Let them all through."""
        self._silencing.unlink(missing_ok=True)
