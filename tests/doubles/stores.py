"""Stores that misbehave."""

from collections.abc import Mapping, Sequence
from typing import Literal

from metering.errors import StoreUnavailable
from metering.stores import Document, Query, Write, WriteResult


class StoreDown:
    """Answers nothing, and counts how often it was asked. `heal` makes it answer like an empty store."""

    def __init__(self) -> None:
        self.kind: Literal["sqlite", "firestore"] = "sqlite"
        self.calls = 0
        self.timeouts: list[float] = []
        self.is_down = True

    def heal(self) -> None:
        self.is_down = False

    def get(self, path: str, *, timeout_seconds: float = 10) -> Document | None:
        self._ask(timeout_seconds)
        return None

    def get_many(
        self, paths: Sequence[str], *, known: Mapping[str, str] | None = None, timeout_seconds: float = 10
    ) -> dict[str, Document]:
        self._ask(timeout_seconds)
        return {}

    def query(self, query: Query, *, timeout_seconds: float = 10) -> list[Document]:
        self._ask(timeout_seconds)
        return []

    def commit(self, writes: Sequence[Write], *, timeout_seconds: float = 10) -> list[WriteResult]:
        self._ask(timeout_seconds)
        return [WriteResult() for _ in writes]

    def close(self) -> None:
        """Nothing was open."""

    def _ask(self, timeout_seconds: float) -> None:
        self.calls += 1
        self.timeouts.append(timeout_seconds)
        if self.is_down:
            raise StoreUnavailable("this store is down")
