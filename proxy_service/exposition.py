"""What the statistics routes show, and its Prometheus form. Labels are our own words, never a caller's."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy_service.tally import OVERHEAD_BOUNDS_MS, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

MILLISECONDS_PER_SECOND: Final = 1000
PROMETHEUS: Final = (b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8")


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """How the process is at this moment, and what was counted elsewhere than in its tally."""

    has_store_answered: bool = True  # the last commit
    store_errors: dict[str, int] = {}  # by what the store was asked for
    events_waiting: int = 0
    segments_waiting: int = 0
    oldest_segment_wait_seconds: float = 0.0
    connections_open: int = 0
    connections_refused: int = 0
    requests_malformed: int = 0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the statistics routes show, of this process or of one account."""

    since: datetime
    requests: int
    tokens: int
    cost_nanodollars: int
    cache_hits: int
    cache_misses: int
    cache_entries: int
    saved_nanodollars: int
    routed: int = 0
    blocked: int = 0
    routing_saved_nanodollars: int = 0
    rule_hits: dict[str, int] = {}
    tally: Tally | None = None
    state: ProcessState | None = None


def load_exposition() -> None:
    """Load what `exposition` needs, in a thread where somebody would wait for it."""
    import prometheus_client  # noqa: F401, PLC0415 - see `exposition`


def exposition(figures: Figures) -> bytes:
    """The figures in Prometheus' text format."""
    # Imported where it is asked for: its library takes as long to load as all of ours.
    from prometheus_client import (  # noqa: PLC0415
        CollectorRegistry,
        ProcessCollector,
        generate_latest,
    )

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures))
    if figures.state is not None:
        ProcessCollector(registry=registry)  # memory, processor time, open files, as everybody names them
    return generate_latest(registry)


class _Collector:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> "Iterator[Metric]":
        yield from _totals(self._figures)
        if self._figures.tally is not None:
            yield from _of_process(self._figures.tally)
        if self._figures.tally is not None and self._figures.state is not None:
            yield from _of_moment(self._figures.tally, self._figures.state)


def _totals(figures: Figures) -> "Iterator[Metric]":
    yield _counter("modeltrack_tokens", "Tokens of all kinds.", figures.tokens)
    yield _counter("modeltrack_cost_nanodollars", "What calls cost.", figures.cost_nanodollars)
    yield _counter("modeltrack_cache_hits", "Calls answered from memory.", figures.cache_hits)
    yield _counter(
        "modeltrack_cache_saved_nanodollars", "What those calls would have cost.", figures.saved_nanodollars
    )
    yield _counter("modeltrack_routed_calls", "Calls turned to a cheaper model.", figures.routed)
    if figures.tally is None:
        yield _counter("modeltrack_calls", "Calls by how they ended.", figures.requests)


def _of_process(tally: Tally) -> "Iterator[Metric]":
    yield _labelled(
        "modeltrack_calls", "Calls by how they ended.", ("provider", "state", "status"), tally.calls
    )
    yield _labelled(
        "modeltrack_provider_tokens", "Tokens by provider and kind.", ("provider", "kind"), tally.tokens
    )
    for name, text, counts in (
        ("modeltrack_unpriced_calls", "Calls without a known price.", tally.unpriced),
        ("modeltrack_refusals", "Requests refused by us, by code.", tally.refusals),
    ):
        label = "code" if counts is tally.refusals else "provider"
        yield _labelled(name, text, (label,), {(key,): count for key, count in counts.items()})
    for name, text in _PLAIN_COUNTERS.items():
        yield _counter(f"modeltrack_{name}", text, getattr(tally, name))
    yield _overhead(tally)


def _of_moment(tally: Tally, state: ProcessState) -> "Iterator[Metric]":
    by_operation = {(operation,): count for operation, count in state.store_errors.items()}
    yield _labelled(
        "modeltrack_store_errors", "Times the store gave no answer.", ("operation",), by_operation
    )
    yield _counter(
        "modeltrack_connections_refused",
        "Connections refused because there were too many.",
        state.connections_refused,
    )
    yield _counter(
        "modeltrack_requests_malformed", "What was no request that is served.", state.requests_malformed
    )
    for name, text, value in (
        ("store_answers", "Whether the store answered the last commit.", float(state.has_store_answered)),
        ("calls_in_flight", "Calls admitted and not settled.", tally.admitted_calls - tally.settled_calls),
        ("events_waiting", "Events in memory that are not in the store yet.", state.events_waiting),
        ("segments_waiting", "Segments that are to be stored and are not yet.", state.segments_waiting),
        (
            "oldest_segment_wait_seconds",
            "How long the oldest of them has been waiting.",
            state.oldest_segment_wait_seconds,
        ),
        ("connections_open", "Connections of callers.", state.connections_open),
    ):
        yield _gauge(f"modeltrack_{name}", text, value)


_PLAIN_COUNTERS: Final = {
    "admitted_calls": "Calls that were let through.",
    "settled_calls": "Calls let through that ended in an event.",
    "routing_saved_nanodollars": "What calls would have cost more by the models they asked for.",
    "cache_misses": "Calls looked up in memory and not found.",
    "changes_unread": "Polls of what changed that the store did not answer.",
    "unseen_keys_served": "Calls of keys the store could not tell of.",
    "journal_late": "Answers that went out before their journal line was written.",
    "journal_lines_lost": "Journal lines that could not be written.",
    "commits_repeated": "Commits repeated because their outcome was unknown.",
    "events_stored": "Cost events in the store.",
    "events_left_to_journal": "Cost events that only the journal holds.",
    "batch_items_read": "Items of batches that were read, each time they were fetched.",
    "batch_lines_unread": "Lines of batch results that could not be read.",
    "batch_fetches_unread": "Fetches of batch results that could not be read, or not to their end.",
}


def _counter(name: str, text: str, value: float) -> "Metric":
    from prometheus_client.metrics_core import CounterMetricFamily  # noqa: PLC0415 - see `exposition`

    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> "Metric":
    from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415 - see `exposition`

    return GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, labels: tuple[str, ...], counts: Any) -> "Metric":
    from prometheus_client.metrics_core import CounterMetricFamily  # noqa: PLC0415 - see `exposition`

    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values, count)
    return family


def _overhead(tally: Tally) -> "Metric":
    from prometheus_client.metrics_core import HistogramMetricFamily  # noqa: PLC0415 - see `exposition`

    ends = [*(str(bound / MILLISECONDS_PER_SECOND) for bound in OVERHEAD_BOUNDS_MS), "+Inf"]
    running = 0
    buckets = []
    for end, count in zip(ends, tally.overhead_counts, strict=True):
        running += count
        buckets.append((end, running))
    return HistogramMetricFamily(
        "modeltrack_overhead_seconds",
        "What the proxy itself added to a call.",
        buckets=buckets,
        sum_value=tally.overhead_ms_sum / MILLISECONDS_PER_SECOND,
    )
