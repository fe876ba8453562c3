"""The rows of the comparison: what is asked through every gateway, and who takes part in which row."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from bench.answers import LATE_MS, PACE_MS, PACED_CHUNKS, Wanted

RATE: Final = 200
STREAMS: Final = 1_000


class Row(msgspec.Struct, frozen=True):
    """One row. `is_for_all`: also gateways that are slow, or whose latency is no result, take part in it."""

    name: str
    title: str
    wanted: Wanted
    request_bytes: int = 1_000
    kind: Literal["saturate", "rate", "streams"] = "saturate"
    is_for_all: bool = False


ROWS: Final = (
    Row("json", "JSON answer, request of 1 kB", Wanted(), is_for_all=True),
    Row("sse", "stream of 50 chunks, request of 1 kB", Wanted(chunks=50), is_for_all=True),
    Row("sse-500", "stream of 500 chunks, request of 1 kB", Wanted(chunks=500)),
    Row("json-10k", "JSON answer, request of 10 kB", Wanted(), 10_000),
    Row("json-200k", "JSON answer, request of 200 kB", Wanted(), 200_000),
    Row("json-gzip", "JSON answer in gzip, request of 1 kB", Wanted(encoding="gzip")),
    Row("sse-gzip", "stream of 50 chunks in gzip, request of 1 kB", Wanted(chunks=50, encoding="gzip")),
    Row("openai-json", "OpenAI: JSON answer, request of 1 kB", Wanted("openai")),
    Row("openai-sse", "OpenAI: stream of 50 chunks, request of 1 kB", Wanted("openai", 50)),
    Row(
        "latency",
        f"{RATE} calls/s, the upstream takes {LATE_MS} ms",
        Wanted(pacing="late"),
        kind="rate",
    ),
    Row(
        "latency-sse",
        f"{RATE} streams/s, the upstream takes {LATE_MS} ms to its first chunk",
        Wanted(chunks=50, pacing="late"),
        kind="rate",
    ),
    Row(
        "streams",
        f"{STREAMS:,} open streams of {PACED_CHUNKS} chunks, one each {PACE_MS} ms",
        Wanted(chunks=PACED_CHUNKS, pacing="paced"),
        kind="streams",
    ),
)
START, IDLE = "start", "idle"  # measured beside, without load


def chosen(names: Sequence[str]) -> list[Row]:
    """The rows of these names, in their own order; without names all."""
    return [row for row in ROWS if not names or row.name in names]
