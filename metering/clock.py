"""The one source of time. Everything that asks what time it is gets a `Clock` handed in."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how much of it has passed."""

    def now(self) -> datetime:
        """The moment, as aware UTC."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never runs backwards."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The moment, as aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never runs backwards."""
        return time.monotonic()
