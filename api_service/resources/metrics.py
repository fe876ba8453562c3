"""Figures for whoever watches this service, in Prometheus' text format.

Self-hosted, whoever asks from this machine gets the process's own and those of all accounts; anybody else
gives a key with the scope `stats`, and gets its account's. While the store does not answer, the figures that
come from it are left out, and `modeltrack_store_answers` is 0.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from flask import Response, g

from api_service.access import needs
from api_service.answers import answer_text
from api_service.routing import routes_of
from api_service.services import Services, services
from metering.conservation import counts_by_day
from metering.directory import all_accounts
from metering.errors import StoreUnavailable
from metering.nightly_check import checks_since

if TYPE_CHECKING:
    from prometheus_client import Metric

PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
ACCOUNTS_MAX: Final = 100  # whose figures are added up for one answer
CHECKED_DAYS: Final = 7
STATES: Final = ("settled", "in_flight", "lost")

metrics = routes_of("metrics")


@metrics.get(
    "/metrics",
    responses={
        200: {"description": "The figures.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
@needs("stats")
def show_metrics() -> Response:
    """Show figures for monitoring."""
    known, asking = services(), g.get("visitor")
    account_id = asking.account_id if asking else None
    return answer_text(_exposition(known, account_id), PROMETHEUS)


def _exposition(known: Services, account_id: str | None) -> bytes:
    # Imported where it is asked for: it takes long to load, and few ask.
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(known, account_id))
    return generate_latest(registry)


class _Collector:
    """`account_id` None: all of the machine."""

    def __init__(self, known: Services, account_id: str | None) -> None:
        self._known = known
        self._account_id = account_id

    def collect(self) -> "Iterator[Metric]":
        if self._account_id is None:
            yield from self._of_jobs()
        try:
            found = list(self._of_books())
        except StoreUnavailable:
            found = []
        yield from found
        yield _gauge("modeltrack_store_answers", "Whether the store answered just now.", int(bool(found)))

    def _of_jobs(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import (  # noqa: PLC0415 - see `_exposition`
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        runs = CounterMetricFamily(
            "modeltrack_job_runs", "Runs of background jobs by how they ended.", labels=("job", "outcome")
        )
        last = GaugeMetricFamily(
            "modeltrack_job_last_done_timestamp_seconds", "When the job was last done.", labels=("job",)
        )
        for job, record in self._known.jobs.records().items():
            for outcome in ("done", "failed", "overdue"):
                runs.add_metric((job, outcome), getattr(record, outcome))
            if record.done_at is not None:
                last.add_metric((job,), record.done_at.timestamp())
        yield from (runs, last)

    def _of_books(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415 - see `_exposition`

        known, today = self._known, self._known.clock.now().date()
        calls, unaccounted, differences = Counter[str](), 0, 0
        for account_id in self._accounts():
            counts = counts_by_day(known.store, account_id, today, today)[0]
            calls.update({state: getattr(counts, state) for state in STATES})
            for check in checks_since(known.store, account_id, today - timedelta(days=CHECKED_DAYS)):
                unaccounted += check.in_flight
                differences += len(check.differences)
        family = GaugeMetricFamily(
            "modeltrack_calls_today",
            "Calls admitted this UTC day, by what became of them.",
            labels=("state",),
        )
        for state in STATES:
            family.add_metric((state,), calls[state])
        yield family
        yield _gauge(
            "modeltrack_unaccounted_calls",
            "Calls of the last seven days checked that are neither settled nor lost.",
            unaccounted,
        )
        yield _gauge(
            "modeltrack_book_differences",
            "What the nightly checks of the last seven days counted twice, differently.",
            differences,
        )

    def _accounts(self) -> Iterable[str]:
        if self._account_id is not None:
            return (self._account_id,)
        return (each.account_id for each in islice(all_accounts(self._known.store), ACCOUNTS_MAX))


def _gauge(name: str, text: str, value: int) -> "Metric":
    from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415 - see `_exposition`

    return GaugeMetricFamily(name, text, value=value)
