"""How fast models answered, and how often they did not: read from histograms, never from single calls.

Measured are calls that their provider answered whole (`rollups.histogram_counters`). A percentile is the end
of a histogram's bucket: at most √2 above the true figure. Percentiles do not add up, so each range and each
bucket of it has its own.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from metering.buckets import Range
from metering.rollups import Amounts, percentile_ms
from metering.usage_groups import Groups, add

PERCENTS: Final = (50, 90, 95, 99)

Model = tuple[str, str]  # provider and model
_MEASURED: Final = {"requests": "measured"}  # a latency cell counts only what it measures


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """`{percent: milliseconds}` of some calls; empty where none was measured.

    `requests` are all calls, `errors` those whose caller got no usable answer, `measured` those that the
    percentiles tell of.
    """

    requests: int
    errors: int
    measured: int
    latency_ms: dict[int, int]
    ttft_ms: dict[int, int]


class LatencyBucket(msgspec.Struct, frozen=True, kw_only=True):
    """The same of one bucket of time."""

    range: Range
    latency: Latency


class ModelLatency(Latency, frozen=True, kw_only=True):
    """The same of one model, over a range and over each of its buckets that had calls."""

    provider: str
    model: str
    buckets: tuple[LatencyBucket, ...] = ()


class Latencies:
    """Counters of calls and histograms by model and bucket, as they are added up.

    Their number is bounded as all groups' is: those that are used most are told by name.
    """

    def __init__(self) -> None:
        self._models = Groups(("provider", "model"), by="requests")

    def count(self, model: Model, bucket: int, amounts: Mapping[str, int]) -> None:
        """Count calls and errors of the model in that bucket."""
        self._models.add(model, {name: amounts.get(name, 0) for name in ("requests", "errors")}, bucket)

    def measure(self, model: Model, bucket: int, amounts: Mapping[str, int]) -> None:
        """Add a `latency` cell of the model in that bucket."""
        counters = {_MEASURED.get(name, name): amount for name, amount in amounts.items()}
        self._models.add(model, counters, bucket)

    def of(self, model: Model) -> Latency:
        """What is known of that model."""
        return _latency(self._models.held(model))

    def of_all_but(self, models: Collection[tuple[str, ...]]) -> Latency:
        """What is known of all others together."""
        return _latency(self._models.held_of_all_but(models))

    def by_model(self, buckets: Mapping[int, Range]) -> tuple[ModelLatency, ...]:
        """All models, most used first; of the buckets those that are asked for."""
        found = [
            ModelLatency(
                provider=provider,
                model=model,
                buckets=tuple(
                    LatencyBucket(range=buckets[number], latency=_latency([counted[number]]))
                    for number in sorted(counted.keys() & buckets.keys())
                ),
                **msgspec.structs.asdict(_latency(counted.values())),
            )
            for (provider, model), counted in self._models.told().items()
        ]
        return tuple(sorted(found, key=lambda each: (-each.requests, each.provider, each.model)))


def _latency(parts: Iterable[Amounts]) -> Latency:
    counters: Amounts = {}
    for each in parts:
        add(counters, each)
    return Latency(
        requests=counters.get("requests", 0),
        errors=counters.get("errors", 0),
        measured=counters.get("measured", 0),
        latency_ms=_percentiles(counters, "latency_"),
        ttft_ms=_percentiles(counters, "ttft_"),
    )


def _percentiles(counters: Amounts, prefix: str) -> dict[int, int]:
    counts = {int(name[len(prefix) :]): count for name, count in counters.items() if name.startswith(prefix)}
    found = {percent: percentile_ms(counts, percent) for percent in PERCENTS}
    return {percent: latency for percent, latency in found.items() if latency is not None}
