"""Rollups: sums of cost events by quarter hour, small enough to read instead of the events.

A **cell** is a kind and the values of that kind's dimensions (`DIMENSIONS`); it holds integer sums of the
events that share them. The **quarter hour** is UTC and follows an event's admission; zones with half and
three-quarter hours exist, so a day in any zone is a whole number of quarters. Every event adds to one cell of
kind `main`, one of `key` and one of `template`, so each of the three alone sums to all events; one that names
no template but has a fingerprint adds to a cell of `fingerprint` in the place of `template`, and these two
kinds are read as one (`KINDS_OF`). A call that was answered whole by its provider adds to the histograms of
its `latency` cell too, and one that a routing rule turned to another model adds to a cell of kind `rule`.

Sums (`SUMS`) are counts, tokens and nanodollars; a sum of zero is not kept. `cache_saved_nanodollars` is the
part of `saved_nanodollars` that answers from memory saved; routing saved the rest, which is less than 0 where
it chose dearer models. A value that stands for many is `other`: it collects combinations that came after
a shard was full (`collapsed`), and whatever a caller chose to call so himself.

What must change together: `DIMENSIONS`, `COLLAPSES` and the readers in `metering.stats`; the place of a value
in a stored cell is its place in `DIMENSIONS`, so a dimension is only ever added at the end, with a new kind.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Literal

from metering.events import CostEvent

CELLS = "cells"  # a shard's field of `{cell id: cell}`
VALUES = "of"  # a stored cell's kind and values, as a list; its sums stand beside it
QUARTER = timedelta(minutes=15)
OTHER = "other"
BATCH_TIER = "batch"

Kind = Literal["main", "key", "template", "fingerprint", "latency", "rule"]
DIMENSIONS: dict[str, tuple[str, ...]] = {
    "main": ("provider", "model", "team", "app", "feature", "customer_tier", "deployment"),
    "key": ("provider", "model", "key_id"),
    "template": ("provider", "model", "prompt_template_id"),
    "fingerprint": ("provider", "model", "prompt_fingerprint"),
    "latency": ("provider", "model"),
    "rule": ("provider", "model", "routing_rule"),  # the model that served, and the rule's name
}
# Kind → the kinds that sum to all events together; a value that one of them has no place for is empty.
KINDS_OF: dict[Kind, tuple[Kind, ...]] = {"template": ("template", "fingerprint")}

# What a full shard gives up first, one step after the other: never the money, only whose it was.
COLLAPSES: tuple[frozenset[str], ...] = (
    frozenset({"feature", "prompt_template_id", "prompt_fingerprint"}),
    frozenset({"customer_tier", "key_id", "routing_rule"}),
    frozenset({"app"}),
    frozenset({"team"}),
    frozenset({"model"}),
    frozenset({"provider", "deployment"}),
)
COLLAPSE_ALL = len(COLLAPSES)
_GIVEN_UP = tuple(frozenset[str]().union(*COLLAPSES[:steps]) for steps in range(COLLAPSE_ALL + 1))

USAGE_SUMS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "server_tool_calls",
)
SUMS = (
    "requests",
    "errors",
    *USAGE_SUMS,
    "cost_nanodollars",
    "estimated_cost_nanodollars",
    "unpriced_requests",
    "saved_nanodollars",
    "cache_saved_nanodollars",
    "cache_hits",
    "routed",
    "blocked",
)

# Upper ends of the histogram's buckets, a factor of √2 apart: 1 ms to 17 min, and one bucket for all above.
HISTOGRAM_ENDS_MS: tuple[int, ...] = tuple(sorted({round(2 ** (step / 2)) for step in range(41)}))

Cell = tuple[str, ...]  # the kind, then the values of its dimensions
Amounts = dict[str, int]

_LATENCY_COUNTERS = tuple(f"latency_{bucket:02d}" for bucket in range(len(HISTOGRAM_ENDS_MS) + 1))
_TTFT_COUNTERS = tuple(f"ttft_{bucket:02d}" for bucket in range(len(HISTOGRAM_ENDS_MS) + 1))
_NO_BUDGET_STATUS = 429  # of what we refused: only budgets refuse with it
_ERROR_STATES = {"upstream_error", "upstream_truncated", "refused", "drained", "lost"}
_COMBINATION: Callable[[CostEvent], tuple[str, ...]] = attrgetter(
    *DIMENSIONS["main"], "key_id", "prompt_template_id", "prompt_fingerprint", "routing_rule"
)
_USAGE: Callable[[CostEvent], tuple[int, ...]] = attrgetter(*USAGE_SUMS)
_MAIN_VALUES = len(DIMENSIONS["main"])


def quarter_of(moment: datetime) -> datetime:
    """The start of the quarter hour that the moment, aware UTC, lies in."""
    return moment.replace(minute=moment.minute - moment.minute % 15, second=0, microsecond=0)


def beginning_of_day(moment: datetime) -> datetime:
    """The beginning of the UTC day that the moment, aware UTC, lies in."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def combination_of(event: CostEvent) -> tuple[str, ...]:
    """All the values that choose the event's cells, but for that of its latency."""
    return _COMBINATION(event)


def cells_of(combination: tuple[str, ...]) -> tuple[Cell, ...]:
    """The combination's cells: `main`, `key`, `template` or `fingerprint`, and `rule` where one turned it."""
    provider, model = combination[:2]
    template, fingerprint, rule = combination[_MAIN_VALUES + 1 :]
    cells: tuple[Cell, ...] = (
        ("main", *combination[:_MAIN_VALUES]),
        ("key", provider, model, combination[_MAIN_VALUES]),
        ("fingerprint", provider, model, fingerprint)
        if fingerprint and not template
        else ("template", provider, model, template),
    )
    return (*cells, ("rule", provider, model, rule)) if rule else cells


def sums_of(event: CostEvent) -> tuple[int, ...]:
    """What the event adds to each of its cells, in the order of `SUMS`."""
    cost, saved, is_hit = event.cost_nanodollars, event.saved_nanodollars, event.cache_hit
    return (
        1,
        is_error(event),
        *_USAGE(event),
        cost,
        cost if event.estimated else 0,
        event.unpriced,
        saved,
        saved if is_hit else 0,
        is_hit,
        event.routed,
        event.state == "refused" and event.status_code == _NO_BUDGET_STATUS,
    )


def is_error(event: CostEvent) -> bool:
    """Whether the caller did not get an answer it could use. Hanging up itself is no error."""
    return event.status_code >= 400 or event.state in _ERROR_STATES


def histogram_counters(event: CostEvent) -> tuple[str, ...]:
    """The histogram counters the event adds one to; none unless its provider answered it whole.

    Nobody waits for an item of a batch: it has no latency.
    """
    if event.state != "completed" or event.cache_hit or event.service_tier == BATCH_TIER or is_error(event):
        return ()
    latency = _LATENCY_COUNTERS[bisect_left(HISTOGRAM_ENDS_MS, event.latency_ms)]
    if event.ttft_ms is None:
        return ("requests", latency)
    return ("requests", latency, _TTFT_COUNTERS[bisect_left(HISTOGRAM_ENDS_MS, event.ttft_ms)])


def latency_cell(combination: tuple[str, ...]) -> Cell:
    """The cell that holds the histograms of the combination's events."""
    return ("latency", *combination[:2])


class Alike:
    """What events of one combination add. `patterns`: which sums and histogram counters they add to."""

    __slots__ = ("histograms", "patterns", "sums")

    def __init__(self) -> None:
        self.sums: list[tuple[int, ...]] = []
        self.histograms: dict[tuple[str, ...], int] = {}
        self.patterns: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()

    def add(self, sums: tuple[int, ...], counters: tuple[str, ...]) -> None:
        """Take in an event, by its `sums_of` and `histogram_counters`."""
        self.sums.append(sums)
        if counters:
            self.histograms[counters] = self.histograms.get(counters, 0) + 1


Additions = dict[tuple[str, ...], Alike]  # of some events of one quarter hour, by combination


def cells_from(additions: Additions) -> dict[Cell, Amounts]:
    """What the events add up to: `{cell: {sum: amount}}`, without zeros."""
    cells: dict[Cell, Amounts] = {}
    for combination, alike in additions.items():
        for counters, calls in alike.histograms.items():
            _add(cells, latency_cell(combination), dict.fromkeys(counters, calls))
        totals = map(sum, zip(*alike.sums, strict=True))
        amounts = {name: amount for name, amount in zip(SUMS, totals, strict=True) if amount}
        for cell in cells_of(combination):
            _add(cells, cell, amounts)
    return cells


def rolled_up(events: Iterable[CostEvent]) -> dict[Cell, Amounts]:
    """What the events add to each cell: `{cell: {sum: amount}}`, without zeros. All of one quarter hour."""
    additions: Additions = {}
    for event in events:
        alike = additions.setdefault(_COMBINATION(event), Alike())
        alike.add(sums_of(event), histogram_counters(event))
    return cells_from(additions)


def merged(cells: Iterable[tuple[Cell, Amounts]]) -> dict[Cell, Amounts]:
    """The cells with those that have become the same added up."""
    result: dict[Cell, Amounts] = {}
    for cell, amounts in cells:
        _add(result, cell, amounts)
    return result


def collapsed(cell: Cell, steps: int) -> Cell:
    """The cell with the dimensions of that many first steps of `COLLAPSES` set to `other`."""
    given_up = _GIVEN_UP[steps]
    kind = cell[0]
    values = zip(DIMENSIONS[kind], cell[1:], strict=True)
    return (kind, *(OTHER if name in given_up else value for name, value in values))


def without_fingerprint(cell: Cell) -> Cell:
    """The cell; one of kind `fingerprint` as if its calls had none."""
    return ("template", *cell[1:3], "") if cell[0] == "fingerprint" else cell


def cell_id(cell: Cell) -> str:
    """The name of the cell's field: a hash behind a letter, since user text never is a field's name.

    Lengths go in, so that no two cells are spelt alike.
    """
    digest = hashlib.blake2b(digest_size=12)
    for value in cell:
        data = value.encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return f"c{digest.hexdigest()}"


def percentile_ms(counts: Mapping[int, int], percent: int) -> int | None:
    """The latency, in milliseconds, that `percent` of the calls stayed at or below: the end of its bucket.

    `counts` is `{bucket: calls}`; at most √2 above the true figure. None where there were no calls; beyond
    the last bucket's end that end is given.
    """
    total = sum(counts.values())
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen * 100 >= total * percent and total:
            return HISTOGRAM_ENDS_MS[min(bucket, len(HISTOGRAM_ENDS_MS) - 1)]
    return None


def _add(cells: dict[Cell, Amounts], cell: Cell, amounts: Mapping[str, int]) -> None:
    totals = cells.setdefault(cell, {})
    for name, amount in amounts.items():
        totals[name] = totals.get(name, 0) + amount
