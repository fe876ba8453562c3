"""How the jobs of this process fared since its start, for whoever watches it."""

import threading
from datetime import datetime

import msgspec


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How one job fared. `done_at`: when it was last done; None: never yet."""

    done: int = 0
    failed: int = 0
    overdue: int = 0
    done_at: datetime | None = None


class JobFigures:
    """Counts runs by job. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, JobRecord] = {}

    def note_done(self, job: str, at: datetime) -> None:
        """A run came to its end."""
        with self._lock:
            record = self._records.get(job, JobRecord())
            self._records[job] = msgspec.structs.replace(record, done=record.done + 1, done_at=at)

    def note_failed(self, job: str) -> None:
        """A run failed."""
        with self._lock:
            record = self._records.get(job, JobRecord())
            self._records[job] = msgspec.structs.replace(record, failed=record.failed + 1)

    def note_overdue(self, job: str) -> None:
        """A run took longer than any should."""
        with self._lock:
            record = self._records.get(job, JobRecord())
            self._records[job] = msgspec.structs.replace(record, overdue=record.overdue + 1)

    def records(self) -> dict[str, JobRecord]:
        """The record of each job that has run, by its name."""
        with self._lock:
            return dict(sorted(self._records.items()))
