"""Measuring: what the status page tells of the last day, seen every few minutes and written down."""

import msgspec

from api_service.functions.workplace import Workplace
from api_service.status_board import milliseconds, proxy_probe
from metering.provider_health import health_of_traffic
from metering.status_history import Sample, add_sample, history_paths


class MeasureReport(msgspec.Struct, frozen=True, kw_only=True):
    """`samples`: 1 where it was written down; how many `accounts` were looked at, and could not be read."""

    samples: int = 0
    accounts: int = 0
    unreadable: int = 0


def run(workplace: Workplace) -> MeasureReport:
    """Measure once. A store failure passes to the caller: that time stays a gap."""
    store, clock, settings = workplace.store, workplace.clock, workplace.settings
    now, began = clock.now(), clock.monotonic()
    today = store.get(history_paths(now)[1])
    store_ms = milliseconds(clock.monotonic() - began)
    proxy = proxy_probe(settings.proxy_probed_url, clock)()
    health = health_of_traffic(store, now, is_hosted=settings.is_hosted)
    sample = Sample(
        at=now, store_ms=store_ms, proxy=proxy, recording=health.recording, providers=health.providers
    )
    is_taken = add_sample(store, today, sample)
    return MeasureReport(samples=int(is_taken), accounts=health.accounts, unreadable=health.unreadable)
