"""What the status page shows: measured now, and kept in memory for a moment, so that asking costs nothing.

Whoever asks within `KEPT_SECONDS` of a measurement gets that one; one thread at a time measures, and the
others get what was measured before. So the store and the proxy are asked a few times a minute, however many
people look.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from api_service.addresses import Reach, networks_in
from api_service.outbound import CallFailed, Outbound
from metering.clock import Clock
from metering.errors import StoreUnavailable
from metering.status_history import (
    Answered,
    HistoryUnreadable,
    Sample,
    Slot,
    history_paths,
    samples_in,
    slots_of,
)
from metering.stores import Document, DocumentStore

KEPT_SECONDS: Final = 10.0
STALE_SECONDS_MAX: Final = 60.0  # older than that nobody is told, but waits for a new one
STORE_SECONDS_MAX: Final = 2.0
PROXY_SECONDS_MAX: Final = 2.0

Probe = Callable[[], Answered]

_EVERYWHERE: Final = networks_in("0.0.0.0/0, ::/0")  # what the operator names may lie anywhere
_HEALTH_PATH: Final = "/health"  # some platforms keep /healthz for themselves
_HEALTHY: Final = b'"ok"'


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What is known at `checked_at`. `last` is the last sample of the history, None where there is none."""

    checked_at: datetime
    store: Answered
    proxy: Answered
    last: Sample | None
    slots: tuple[Slot, ...]


class StatusBoard:
    """Measures when asked, at most every `KEPT_SECONDS`. For several threads."""

    def __init__(self, store: DocumentStore, clock: Clock, probe: Probe) -> None:
        self._store = store
        self._clock = clock
        self._probe = probe
        self._measuring = threading.Lock()
        self._kept: tuple[float, Board] | None = None

    def shown(self) -> Board:
        """What was measured last; measured anew where that is over its time."""
        kept = self._kept
        age = float("inf") if kept is None else self._clock.monotonic() - kept[0]
        if kept is not None and age < STALE_SECONDS_MAX:
            if age < KEPT_SECONDS or not self._measuring.acquire(blocking=False):
                return kept[1]
        else:
            self._measuring.acquire()
        try:
            if self._kept is not None and self._kept is not kept:
                return self._kept[1]  # measured while this thread waited
            board = self._measured()
            self._kept = (self._clock.monotonic(), board)
            return board
        finally:
            self._measuring.release()

    def _measured(self) -> Board:
        now = self._clock.now()
        store, documents = self._ask_store(now)
        try:
            samples = samples_in(documents)
        except HistoryUnreadable:  # told as a time of which nothing is known
            samples = ()
        return Board(
            checked_at=now,
            store=store,
            proxy=self._probe(),
            last=samples[-1] if samples else None,
            slots=slots_of(samples, now),
        )

    def _ask_store(self, now: datetime) -> tuple[Answered, Sequence[Document]]:
        """Whether it answers, and the documents of the history. Silent: it is down, and nothing is known."""
        began = self._clock.monotonic()
        try:
            found = self._store.get_many(history_paths(now), timeout_seconds=STORE_SECONDS_MAX)
        except StoreUnavailable:
            return Answered(state="down"), ()
        latency_ms = milliseconds(self._clock.monotonic() - began)
        return Answered(state="up", latency_ms=latency_ms), list(found.values())


def proxy_probe(url: str, clock: Clock) -> Probe:
    """What asks the proxy at that address for its health; empty: none was given, nothing is dialled."""
    outbound = Outbound(Reach(is_hosted=False, networks=_EVERYWHERE), seconds=PROXY_SECONDS_MAX)

    def ask() -> Answered:
        if not url:
            return Answered(state="unknown")
        began = clock.monotonic()
        try:
            answer = outbound.call("GET", url.rstrip("/") + _HEALTH_PATH, None, {})
        except CallFailed:
            return Answered(state="down")
        if answer.status != 200 or _HEALTHY not in answer.body:
            return Answered(state="down")
        return Answered(state="up", latency_ms=milliseconds(clock.monotonic() - began))

    return ask


def milliseconds(seconds: float) -> int:
    """Whole ones, and at least one: nothing answers in no time."""
    return max(1, round(seconds * 1000))
