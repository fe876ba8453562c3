"""What a million calls cost to run, through ModelTrack, LiteLLM and Portkey: `python -m bench.cost`.

One formula for all: what a call takes of a processor and of memory, at the same list prices and the same
utilization, with the same logs. Prices are `infra/bill.py`'s, each with its date and where it was read; no
discounts, nothing free taken off. Calls are half plain JSON and half streams of 50 chunks.

Two totals, since either may bind. *Busy processors*: an instance is one processor and serves what that bears.
*Open calls*: an instance holds so many calls at once, each open for seconds while its provider thinks;
Cloud Run's most, 1,000, for all of them, which is kind to gateways that bear fewer.

In for all are processors, memory, and Cloud Run's request log; for ModelTrack on Google Cloud also its own
log line, the journal for a week, Firestore's operations, and 400 days of events with backups. On a machine
of one's own it keeps them in a file; the disk is not in. Not in for LiteLLM and Portkey: the database that
LiteLLM needs to know what was spent, and logs of their own. Not in for any: what is sent over the network.

`--measured FILE` takes processor times from `python -m bench --save FILE`; else those written below count.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.fleet import Figures, Load, measured
from infra.bill import (
    BACKED_UP,
    BACKUPS_KEPT,
    CALL_LINE_BYTES,
    CALL_SECONDS,
    DOCUMENT_BYTES,
    ENTRY_BYTES,
    EVENT_BYTES,
    INSTANCE_GIB,
    INSTANCE_VCPU,
    JOURNAL_BYTES,
    KEPT_MONTHS,
    LOGGED,
    MILLION,
    POLLS_A_SECOND,
    QUEUED,
    READS,
    REQUEST_LOG_BYTES,
    REWOUND,
    SEGMENT_BYTES,
    STORED,
    UTILIZATION,
    WRITES,
    Price,
)

OPEN_CALLS: Final = 1_000  # of an instance, and no more of any on Cloud Run
MEMORY_MIN_GIB: Final = 0.5  # Cloud Run's least for a processor that is always there
MEBIBYTES_A_GIB: Final = 1_024
STREAMED: Final = 0.5  # of the calls

# A deployment of some size: ten calls a second of each of a hundred accounts, on four instances.
TRAFFIC: Final = Load("a hundred accounts", 4, 100, 8, 10.0, 30, 60)


class Gateway(msgspec.Struct, frozen=True):
    """What a gateway takes: microseconds of a processor for a call, and megabytes while it is busy."""

    name: str
    json_cpu_us: float
    stream_cpu_us: float
    megabytes: float
    is_on_firestore: bool = False  # with a journal in the platform's logs
    measured_as: str = ""  # by the bench; "" is its own name

    @property
    def cpu_seconds(self) -> float:
        """Of a call."""
        return ((1 - STREAMED) * self.json_cpu_us + STREAMED * self.stream_cpu_us) / 1e6


class Saved(msgspec.Struct, frozen=True):
    """What `python -m bench --save` wrote: figures by row, side and gateway."""

    rows: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]


# Of one core of two, TLS to the upstream, all on: `python -m bench`, whole, with nothing beside it, on
# 2026-11-22. Megabytes with a thousand open streams over TLS, or as many as the peer held (2026-11-21):
# none above Cloud Run's least.
GATEWAYS: Final[Sequence[Gateway]] = (
    Gateway("ModelTrack", 194, 265, 117, is_on_firestore=True),
    Gateway("ModelTrack, own", 194, 265, 117, measured_as="ModelTrack"),
    Gateway("Portkey", 2_114, 2_399, 278),
    Gateway("LiteLLM", 11_033, 18_482, 451),
)


def main() -> None:
    """Reckon and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__)
    parser.add_argument("--measured", type=_saved, metavar="FILE", help="of `python -m bench --save FILE`")
    told = parser.parse_args().measured
    print(table(as_measured(GATEWAYS, told) if told else GATEWAYS, measured(TRAFFIC)))


def _saved(text: str) -> Saved:
    """What stands in the file. Raises: argparse.ArgumentTypeError, where that is no measurement."""
    try:
        return msgspec.json.decode(Path(text).read_bytes(), type=Saved)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is nothing that `python -m bench --save` wrote: {error}"
        ) from None


def as_measured(gateways: Sequence[Gateway], saved: Saved) -> tuple[Gateway, ...]:
    """The gateways with processor times of that run, over TLS if it has them, as calls are in truth."""

    def cpu(row: str, name: str, otherwise: float) -> float:
        sides = saved.rows.get(row, {})
        for side in ("over TLS", "plain"):
            figures = sides.get(side, {}).get(name)
            if figures and "cpu" in figures:
                return figures["cpu"]
        return otherwise

    return tuple(
        msgspec.structs.replace(
            each,
            json_cpu_us=cpu("json", each.measured_as or each.name, each.json_cpu_us),
            stream_cpu_us=cpu("sse", each.measured_as or each.name, each.stream_cpu_us),
        )
        for each in gateways
    )


class Bill(msgspec.Struct, frozen=True):
    """USD for a million calls, by what they are for."""

    processors: float
    memory: float
    operations: float
    stored: float
    journal: float
    logs: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.processors + self.memory + self.operations + self.stored + self.journal + self.logs


def bill(gateway: Gateway, traffic: Figures, *, is_bound_by_open_calls: bool) -> Bill:
    """What a million calls cost through the gateway."""
    seconds = gateway.cpu_seconds / UTILIZATION
    if is_bound_by_open_calls:
        seconds = max(seconds, CALL_SECONDS / OPEN_CALLS / UTILIZATION)
    memory = max(MEMORY_MIN_GIB, gateway.megabytes / MEBIBYTES_A_GIB)
    books = gateway.is_on_firestore
    return Bill(
        processors=_usd(INSTANCE_VCPU, seconds),
        memory=_usd(INSTANCE_GIB, seconds * memory),
        operations=_operations(traffic, seconds) if books else 0.0,
        stored=_stored(traffic) if books else 0.0,
        journal=_journal() if books else 0.0,
        logs=_usd(LOGGED, REQUEST_LOG_BYTES + (CALL_LINE_BYTES + ENTRY_BYTES if books else 0)),
    )


def _usd(price: Price, amount: float) -> float:
    """A million times so much, with nothing free and at the first step's price."""
    return MILLION * amount / price.per * price.usd


def _operations(traffic: Figures, instance_seconds: float) -> float:
    """Firestore's, of this traffic; recovery reads each segment once, and each instance what changed."""
    reads = traffic.reads_an_event + 1 / traffic.events_a_commit + POLLS_A_SECOND * instance_seconds
    return _usd(WRITES, traffic.writes_an_event) + _usd(READS, reads)


def _stored(traffic: Figures) -> float:
    """Events for 400 days, to be rewound and backed up, by the month."""
    stored = EVENT_BYTES + (SEGMENT_BYTES + DOCUMENT_BYTES) / traffic.events_a_commit
    each = [_usd(STORED, stored), _usd(REWOUND, stored), BACKUPS_KEPT * _usd(BACKED_UP, stored)]
    return KEPT_MONTHS * sum(each)


def _journal() -> float:
    """Two lines a call, through the queue to recovery, and for a week in a log bucket."""
    line_bytes = JOURNAL_BYTES + 2 * ENTRY_BYTES
    return 2 * _usd(QUEUED, line_bytes) + _usd(LOGGED, line_bytes)


def table(gateways: Sequence[Gateway], traffic: Figures) -> str:
    """A column a gateway, the two totals below each other."""
    lines = [
        f"USD for a million calls, {STREAMED:.0%} of them streamed; list prices of infra/bill.py",
        f"{traffic.load.accounts} accounts of {traffic.load.calls_a_second:g} calls a second on "
        f"{traffic.load.instances} instances: {traffic.writes_an_event:.2f} writes an event",
        _line("", (each.name for each in gateways)),
        _line("CPU us a call", (f"{each.cpu_seconds * 1e6:,.0f}" for each in gateways)),
        _line("MB while busy", (f"{each.megabytes:,.0f}" for each in gateways)),
    ]
    for title, is_open in (("busy processors", False), (f"{OPEN_CALLS:,} open calls an instance", True)):
        bills = [bill(each, traffic, is_bound_by_open_calls=is_open) for each in gateways]
        lines += [f"\nbound by {title}"]
        lines += [
            _line(name, (f"{getattr(each, name):,.3f}" for each in bills)) for name in Bill.__struct_fields__
        ]
        lines += [_line("all in", (f"{each.total:,.2f}" for each in bills))]
        work = [each.processors + each.memory for each in bills]
        lines += [_line("  processors and memory, x ModelTrack", (f"{each / work[0]:.1f}" for each in work))]
    return "\n".join(lines)


def _line(title: str, cells: Iterable[str]) -> str:
    return f"{title:<40}" + "".join(f"{cell:>17}" for cell in cells)


if __name__ == "__main__":
    main()
