"""How often somebody did something lately: counts that all instances share, over a window that slides.

A window is cut into `SLOTS`. Each subject has a document a span of time as long as its window, with a count
a slot. Taking a place is one increment, whose answer tells what all instances counted before it, so of any
two at the same moment one is the later; what is still in the window of the span before is added from its
document, which no longer changes once that span is over. So no window of that length ever holds more than
the limit (it may hold a slot's length more than a window), on however many instances.

Who is refused does not count, and is told when the next place will be free; until then this process refuses
him without asking the store. Names are hashed under the deployment's secret before they become ids.
"""

import hashlib
import hmac
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec

from metering.clock import Clock
from metering.collections import rate_path
from metering.errors import StoreError
from metering.stores import Delete, DocumentStore, FieldPath, Fields, Increment

SLOTS: Final = 60
CLOCKS_APART_SECONDS: Final = 3  # between instances; a span that ended longer ago changes no more
REMEMBERED_MAX: Final = 20_000  # subjects, of whom one process knows something
KEPT_SECONDS: Final = 3600  # after a window has passed, or a span's end, whichever is later

Name = tuple[str, ...]
T = TypeVar("T")

_TOTAL: FieldPath = ("total",)


class Window(msgspec.Struct, frozen=True):
    """At most so many, within any so many seconds."""

    limit: int
    seconds: int = 60

    @property
    def slot_seconds(self) -> float:
        """The length of a slot."""
        return self.seconds / SLOTS


class Standing(msgspec.Struct, frozen=True):
    """How a subject stands with its window after it asked for a place.

    `reset_at`, in unix seconds, is when all places will be free if nobody takes one; `wait_seconds` is 0 for
    who got his place, else the time until one is free. `taken_at` is when, in unix seconds.
    """

    limit: int
    remaining: int
    reset_at: int
    wait_seconds: int = 0
    taken_at: float = 0.0


class Rates:
    """Counts subjects' doings in a store. Safe to share between threads, and with other processes.

    Every method raises StoreUnavailable; a place may then have been taken or not.
    """

    def __init__(self, store: DocumentStore, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._clock = clock
        self._key = hmac.new(secret, b"modeltrack api: rates", hashlib.sha256).digest()
        self._refused_until: _Memory[float] = _Memory()
        self._ended_spans: _Memory[tuple[int, ...]] = _Memory()

    def take(self, subjects: Sequence[tuple[Name, Window]], *, timeout_seconds: float = 10.0) -> Standing:
        """Take a place for each of the subjects, or for none; how the one stands who has least left."""
        now = self._clock.now().timestamp()
        spans = [_Span(self._digest(name), window, now) for name, window in subjects]
        refused = [each for each in map(self._known_refusal, spans) if each is not None]
        if refused:
            return max(refused, key=_wait)
        results = self._store.commit([each.increment(1) for each in spans], timeout_seconds=timeout_seconds)
        counts = [
            result.values[_TOTAL] + sum(self._before(span)[span.slot :])
            for span, result in zip(spans, results, strict=True)
        ]
        full = [span for span, count in zip(spans, counts, strict=True) if count > span.window.limit]
        if full:
            self._give_back(spans)
            return max((self._refusal(each) for each in full), key=_wait)
        standings = [span.standing(count) for span, count in zip(spans, counts, strict=True)]
        return min(standings, key=lambda each: each.remaining)

    def give_back(self, subjects: Sequence[tuple[Name, Window]], standing: Standing) -> None:
        """Free the places that were taken with that outcome. A failure leaves them taken."""
        self._give_back([_Span(self._digest(name), window, standing.taken_at) for name, window in subjects])

    def forget(self, name: Name, window: Window) -> None:
        """Free all places of a subject. Another instance that refuses it goes on until one would be free."""
        span = _Span(self._digest(name), window, self._clock.now().timestamp())
        self._store.commit([Delete(rate_path(span.document_id)), Delete(rate_path(span.document_id_before))])
        self._refused_until.forget(span.digest)
        self._ended_spans.forget(span.document_id_before)

    def _known_refusal(self, span: "_Span") -> Standing | None:
        until = self._refused_until.get(span.digest)
        # Further ahead than any window reaches, the clock was set back since: the store has to be asked anew.
        if until is None or not span.now < until <= span.reaches_until:
            return None
        return span.refusal(until)

    def _refusal(self, span: "_Span") -> Standing:
        """Of a subject that has no place left: read when its next one is free, and remember that."""
        document = self._store.get(rate_path(span.document_id))
        counts = (*self._before(span), *_slots(None if document is None else document.fields))
        until = span.free_at(counts)
        self._refused_until.put(span.digest, until)
        return span.refusal(until)

    def _before(self, span: "_Span") -> tuple[int, ...]:
        """The counts of the span before, by slot."""
        known = self._ended_spans.get(span.document_id_before)
        if known is not None:
            return known
        document = self._store.get(rate_path(span.document_id_before))
        counts = _slots(None if document is None else document.fields)
        if span.age_seconds >= CLOCKS_APART_SECONDS:
            self._ended_spans.put(span.document_id_before, counts)
        return counts

    def _give_back(self, spans: Sequence["_Span"]) -> None:
        with suppress(StoreError):  # then the refused one counts, until the window has passed
            self._store.commit([each.increment(-1) for each in spans])

    def _digest(self, name: Name) -> str:
        text = "\0".join(name).encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]


class _Span:
    """The span of time that a moment lies in, for one subject. Spans are numbered, slots from 0."""

    def __init__(self, digest: str, window: Window, now: float) -> None:
        self.digest = digest
        self.window = window
        self.now = now
        number = math.floor(now / window.seconds)
        self.began_at = number * window.seconds
        self.age_seconds = now - self.began_at
        self.slot = min(SLOTS - 1, int(self.age_seconds / window.slot_seconds))
        self.document_id = f"{digest}.{window.seconds}.{number}"
        self.document_id_before = f"{digest}.{window.seconds}.{number - 1}"

    def increment(self, by: int) -> Increment:
        # Windows reach back into the span before for as long as a span is.
        kept_seconds = max(self.window.seconds, 2 * self.window.seconds - KEPT_SECONDS)
        ends_at = datetime.fromtimestamp(self.began_at, UTC) + timedelta(seconds=kept_seconds)
        return Increment(
            rate_path(self.document_id),
            {_TOTAL: by, ("slots", _slot_name(self.slot)): by},
            {("ends_at",): ends_at},
        )

    @property
    def reaches_until(self) -> float:
        """When all that is taken by now is free again."""
        return self.now + self.window.seconds + self.window.slot_seconds

    def standing(self, count: int) -> Standing:
        return Standing(
            self.window.limit,
            max(0, self.window.limit - count),
            math.ceil(self.reaches_until),
            taken_at=self.now,
        )

    def refusal(self, until: float) -> Standing:
        wait = max(1, math.ceil(until - self.now))
        return msgspec.structs.replace(self.standing(self.window.limit), wait_seconds=wait)

    def free_at(self, counts: Sequence[int]) -> float:
        """When a place is free, by the counts of the span before and of this one."""
        left = sum(counts[self.slot :]) - self.window.limit
        for number in range(self.slot, len(counts)):
            left -= counts[number]
            if left < 0:
                # A slot of the span before is over with the slot of the same number in this one.
                return self.began_at + (number + 1) * self.window.slot_seconds
        return self.now + self.window.slot_seconds


class _Memory(Generic[T]):
    """What one process knows of subjects; forgets the longest untouched when full."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, T] = OrderedDict()

    def get(self, name: str) -> T | None:
        with self._lock:
            return self._known.get(name)

    def put(self, name: str, value: T) -> None:
        with self._lock:
            self._known[name] = value
            self._known.move_to_end(name)
            if len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)

    def forget(self, name: str) -> None:
        with self._lock:
            self._known.pop(name, None)


def _slot_name(number: int) -> str:
    return f"{number:02d}"


def _slots(fields: Fields | None) -> tuple[int, ...]:
    counted = (fields or {}).get("slots", {})
    return tuple(counted.get(_slot_name(number), 0) for number in range(SLOTS))


def _wait(standing: Standing) -> int:
    return standing.wait_seconds
