"""What was measured of the service, every few minutes: one document a UTC day, and nothing made up.

A time without a measurement is a gap and is told as one: nobody looked, or what was seen could not be written
down (while the store does not answer, say).
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec
import zstandard

from metering.collections import status_day_path
from metering.errors import AlreadyExists, RevisionChanged, StoreError
from metering.provider_health import ProviderHealth, Recording
from metering.rollups import QUARTER, beginning_of_day, quarter_of
from metering.stores import Create, Document, DocumentStore, Put

SAMPLES_A_DAY_MAX: Final = 400
CONTENT_BYTES_MAX: Final = 4 * 1024 * 1024
TOLD: Final = timedelta(hours=24)

ProxyState = Literal["up", "down", "unknown"]

_DAY: Final = timedelta(days=1)


class HistoryUnreadable(StoreError):
    """A day's document is not as it was written; nothing is read from it."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """Whether something answered when it was asked, and how fast. `unknown`: it was not asked."""

    state: ProxyState
    latency_ms: int | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured at one moment. That there is one means that the store took it."""

    at: datetime
    store_ms: int
    proxy: Answered
    recording: Recording = Recording()
    providers: tuple[ProviderHealth, ...] = ()


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A quarter hour of the history; without `samples` nothing is known of it."""

    start: datetime
    samples: tuple[Sample, ...]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(tuple[Sample, ...])


def history_paths(now: datetime) -> tuple[str, str]:
    """Where the day before is kept, and this one."""
    return _path(now - _DAY), _path(now)


def samples_in(documents: Iterable[Document]) -> tuple[Sample, ...]:
    """The samples of these documents, oldest first. Raises: HistoryUnreadable."""
    found = [sample for each in documents for sample in _samples(each.fields)]
    return tuple(sorted(found, key=lambda sample: sample.at))


def add_sample(store: DocumentStore, today: Document | None, sample: Sample) -> bool:
    """Write it down beside those of its day; whether it was. One of two at the same moment is dropped.

    `today` is the day's document as it was read. A store failure passes to the caller.
    """
    try:
        before = () if today is None else _samples(today.fields)
    except HistoryUnreadable:
        before = ()  # nothing of it can be told in any case
    if len(before) >= SAMPLES_A_DAY_MAX:
        return False
    fields = {
        "day": f"{sample.at:%Y-%m-%d}",
        "starts_at": beginning_of_day(sample.at),
        "packed": zstandard.ZstdCompressor().compress(_ENCODER.encode((*before, sample))),
    }
    path = _path(sample.at)
    with suppress(AlreadyExists, RevisionChanged):
        store.commit([Create(path, fields) if today is None else Put(path, fields, today.revision)])
        return True
    return False


def slots_of(samples: Sequence[Sample], now: datetime) -> tuple[Slot, ...]:
    """The last 24 hours by quarter hour, oldest first; all of them, whether anything was measured or not."""
    end = quarter_of(now) + QUARTER
    starts = [end - TOLD + number * QUARTER for number in range(TOLD // QUARTER)]
    return tuple(
        Slot(start=start, samples=tuple(each for each in samples if start <= each.at < start + QUARTER))
        for start in starts
    )


def _path(moment: datetime) -> str:
    return status_day_path(f"{moment.astimezone(UTC):%Y-%m-%d}")


def _samples(fields: dict[str, Any]) -> tuple[Sample, ...]:
    try:
        content = zstandard.ZstdDecompressor().decompress(fields["packed"], CONTENT_BYTES_MAX)
        return _DECODER.decode(content)
    except (KeyError, TypeError, zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise HistoryUnreadable("a day of measurements is not as it was written") from error
