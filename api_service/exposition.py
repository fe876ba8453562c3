"""Figures of this process and of the books, in Prometheus' text format. Labels are our own words.

While the store does not answer, the figures that come from it are left out, and `modeltrack_store_answers`
is 0.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Final

from api_service.request_figures import SECONDS_BOUNDS
from api_service.services import Services
from metering.collections import CHANGES_PATH
from metering.conservation import counts_by_day
from metering.directory import all_accounts
from metering.errors import StoreUnavailable
from metering.nightly_check import checks_since

if TYPE_CHECKING:
    from prometheus_client import Metric

PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
ACCOUNTS_MAX: Final = 100  # whose figures are added up for one answer
CHECKED_DAYS: Final = 7
STORE_SECONDS: Final = 1.0  # until the store counts as silent
STATES: Final = ("settled", "in_flight", "lost")


def exposition(known: Services, account_id: str | None = None) -> bytes:
    """The account's figures; None: those of this process, and self-hosted of all accounts.

    Hosted, all accounts' would cost the store more with each of them, every time: the job `check` tells.
    """
    # Imported where it is asked for: it takes long to load, and few ask.
    from prometheus_client import (  # noqa: PLC0415
        CollectorRegistry,
        ProcessCollector,
        generate_latest,
    )

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(known, account_id))
    if account_id is None:
        ProcessCollector(registry=registry)  # memory, processor time, open files, as everybody names them
    return generate_latest(registry)


class _Collector:
    def __init__(self, known: Services, account_id: str | None) -> None:
        self._known = known
        self._account_id = account_id

    def collect(self) -> "Iterator[Metric]":
        if self._account_id is None:
            yield from self._of_requests()
            yield from self._of_jobs()
        try:
            found = list(self._of_store())
        except StoreUnavailable:
            found = [_gauge("modeltrack_store_answers", _ANSWERS, 0)]
        yield from found

    def _of_requests(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import (  # noqa: PLC0415 - see `exposition`
            CounterMetricFamily,
            HistogramMetricFamily,
        )

        record = self._known.requests.record()
        requests = CounterMetricFamily(
            "modeltrack_api_requests", "Requests by method and class of status.", labels=("method", "status")
        )
        for labels, count in record.requests.items():
            requests.add_metric(labels, count)
        errors = CounterMetricFamily(
            "modeltrack_store_errors", "Requests that the store's silence failed.", labels=("operation",)
        )
        for operation, count in record.store_errors.items():
            errors.add_metric((operation,), count)
        ends = [*map(str, SECONDS_BOUNDS), "+Inf"]
        yield from (requests, errors)
        yield HistogramMetricFamily(
            "modeltrack_api_request_seconds",
            "From a request's last byte to its answer's first.",
            buckets=list(zip(ends, accumulate(record.seconds_counts), strict=True)),
            sum_value=record.seconds_sum,
        )

    def _of_jobs(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import (  # noqa: PLC0415 - see `exposition`
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

    def _of_store(self) -> "Iterator[Metric]":
        if self._account_id is not None:
            yield from self._of_books((self._account_id,))
        elif self._known.settings.is_hosted:
            self._known.store.get(CHANGES_PATH, timeout_seconds=STORE_SECONDS)
        else:
            every = (each.account_id for each in all_accounts(self._known.store))
            yield from self._of_books(islice(every, ACCOUNTS_MAX))
        yield _gauge("modeltrack_store_answers", _ANSWERS, 1)

    def _of_books(self, account_ids: Iterable[str]) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415 - see `exposition`

        known, today = self._known, self._known.clock.now().date()
        calls, unaccounted, differences = Counter[str](), 0, 0
        for account_id in account_ids:
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


_ANSWERS: Final = "Whether the store answered just now."


def _gauge(name: str, text: str, value: int) -> "Metric":
    from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415 - see `exposition`

    return GaugeMetricFamily(name, text, value=value)
