"""How this process's requests fared since its start, for whoever watches it. Labels are our own words."""

import threading
from collections import Counter
from typing import Final

import msgspec

SECONDS_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHODS: Final = "other"


class RequestRecord(msgspec.Struct, frozen=True):
    """Counts by method and class of status; by how long answers took; of what the store failed."""

    requests: dict[tuple[str, str], int]
    seconds_counts: tuple[int, ...]  # up to each of `SECONDS_BOUNDS`, and above
    seconds_sum: float
    store_errors: dict[str, int]


class RequestFigures:
    """Counts requests. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._seconds_counts = [0] * (len(SECONDS_BOUNDS) + 1)
        self._seconds_sum = 0.0
        self._store_errors: Counter[str] = Counter({"read": 0, "write": 0})

    def note(self, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        place = sum(seconds > bound for bound in SECONDS_BOUNDS)
        with self._lock:
            self._requests[method if method in METHODS else OTHER_METHODS, f"{status // 100}xx"] += 1
            self._seconds_counts[place] += 1
            self._seconds_sum += seconds

    def note_store_error(self, *, is_read: bool) -> None:
        """A request failed because the store did not answer."""
        with self._lock:
            self._store_errors["read" if is_read else "write"] += 1

    def record(self) -> RequestRecord:
        """All of it by now."""
        with self._lock:
            return RequestRecord(
                dict(sorted(self._requests.items())),
                tuple(self._seconds_counts),
                self._seconds_sum,
                dict(self._store_errors),
            )
