"""How providers answer, and whether calls are being recorded, as the traffic of all accounts shows.

What is told of a provider is the part of calls that got no usable answer (callers' own mistakes among them;
refusals by budgets and answers from memory are left out) and how long whole answers took. Where accounts are
of different people, nothing is told that might be one account's figure: a window needs calls of
`ACCOUNTS_MIN` accounts, `CALLS_MIN` of them, and no account with more than half.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from metering.active_days import active_days
from metering.collections import counts_collection
from metering.conservation import day_of
from metering.day_documents import DayUnreadable
from metering.errors import InvalidInput
from metering.ids import repeatable_digest
from metering.latencies import Latencies
from metering.quarters import rollups_within
from metering.questions import Question
from metering.rollups import OTHER, QUARTER, Amounts, Cell, quarter_of
from metering.stores import DocumentStore, Query

ACCOUNTS_LOOKED_AT_MAX: Final = 100
DAYS_LOOKED_AT_MAX: Final = 1_000
OPEN_SHARDS_MAX: Final = 24  # of an account; the last quarter hours may be missing from its figures
COUNTS_A_READ: Final = 100
ACCOUNTS_MIN: Final = 5
CALLS_MIN: Final = 200
HEARD_WITHIN: Final = timedelta(minutes=15)
WINDOWS: Final = {"hour": timedelta(hours=1), "day": timedelta(hours=24)}

_COUNTED: Final = ("requests", "errors", "blocked", "cache_hits")


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider answered in some time. `calls` None: not told; percentiles None: not measured."""

    calls: int | None
    errors_per_mille: int
    p50_ms: int | None
    p95_ms: int | None


class ProviderHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider answered lately; None: too few calls, or too few accounts, to tell."""

    provider: str
    hour: Window | None
    day: Window | None


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """When something was recorded last, and by how many instances lately; None: not known, or not told."""

    recorded_at: datetime | None = None
    instances: int | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the accounts' traffic came to; `accounts` were looked at, `unreadable` were not."""

    providers: tuple[ProviderHealth, ...] = ()
    recording: Recording = Recording()
    accounts: int = 0
    unreadable: int = 0


def health_of_traffic(store: DocumentStore, now: datetime, *, is_hosted: bool) -> Health:
    """A look at the accounts that had calls lately, at most `ACCOUNTS_LOOKED_AT_MAX`, others each time.

    A store failure passes to the caller: no figure is made up.
    """
    traffic, heard, unreadable = _Traffic(now), _Heard(now), 0
    accounts = list(_accounts_in_use(store, now))
    for account_id in accounts:
        heard.listen(store, account_id)
        try:
            traffic.add(store, account_id)
        except (InvalidInput, DayUnreadable):
            unreadable += 1
    return Health(
        providers=tuple(traffic.told(is_hosted=is_hosted)),
        recording=heard.told(is_hosted=is_hosted),
        accounts=len(accounts),
        unreadable=unreadable,
    )


def _accounts_in_use(store: DocumentStore, now: datetime) -> Iterator[str]:
    """Accounts with calls on this UTC day or the one before, each once."""
    found: set[str] = set()
    begin_at = repeatable_digest("begin", now.isoformat())
    for number, day in enumerate(active_days(store, "open", begin_at=begin_at)):
        if number >= DAYS_LOOKED_AT_MAX or len(found) >= ACCOUNTS_LOOKED_AT_MAX:
            return
        if day.account_id not in found and day.ends_at > now - WINDOWS["day"]:
            found.add(day.account_id)
            yield day.account_id


class _Traffic:
    """Counters and histograms by provider and window, and which account had how many calls of them."""

    def __init__(self, now: datetime) -> None:
        self._end = quarter_of(now) + QUARTER
        self._hour_begins = quarter_of(now - WINDOWS["hour"])
        self._latencies = {window: Latencies() for window in WINDOWS}
        self._calls: dict[tuple[str, str], Counter[str]] = {}

    def add(self, store: DocumentStore, account_id: str) -> None:
        """Add what an account's rollups say. Raises: InvalidInput, DayUnreadable; nothing is added then."""
        begin = quarter_of(self._end - WINDOWS["day"])
        within = rollups_within(
            store, account_id, begin, self._end, "main", "latency", open_max=OPEN_SHARDS_MAX
        )
        asked = Question(self._is_last_hour, _provider_of)
        for (is_last_hour, (kind, provider)), amounts in [
            each for day in within.days for each in day.summed(asked).items()
        ]:
            for window in WINDOWS if is_last_hour else ("day",):
                self._count(window, kind, provider, account_id, amounts)

    def told(self, *, is_hosted: bool) -> Iterator[ProviderHealth]:
        """What may be told of each provider."""
        for provider in sorted({provider for _, provider in self._calls}):
            yield ProviderHealth(
                provider=provider,
                **{window: self._window(window, provider, is_hosted=is_hosted) for window in WINDOWS},
            )

    def _is_last_hour(self, quarter: datetime) -> bool:
        return quarter >= self._hour_begins

    def _count(self, window: str, kind: str, provider: str, account_id: str, amounts: Amounts) -> None:
        latencies = self._latencies[window]
        if kind == "latency":
            latencies.measure((provider, ""), 0, amounts)
            return
        requests, errors, blocked, hits = (amounts.get(name, 0) for name in _COUNTED)
        asked = max(0, requests - blocked - hits)
        latencies.count((provider, ""), 0, {"requests": asked, "errors": max(0, errors - blocked)})
        self._calls.setdefault((window, provider), Counter())[account_id] += asked

    def _window(self, window: str, provider: str, *, is_hosted: bool) -> Window | None:
        calls = self._calls.get((window, provider), Counter())
        latency = self._latencies[window].of((provider, ""))
        if not latency.requests or (is_hosted and not _hides_each(calls)):
            return None
        return Window(
            calls=None if is_hosted else latency.requests,
            errors_per_mille=round(1000 * latency.errors / latency.requests),
            p50_ms=latency.latency_ms.get(50),
            p95_ms=latency.latency_ms.get(95),
        )


class _Heard:
    """When instances last stored something, by what they count beside each segment."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._accounts = 0
        self._last: datetime | None = None
        self._instances: set[str] = set()

    def listen(self, store: DocumentStore, account_id: str) -> None:
        """Read what an account's instances last counted."""
        query = Query(
            collection=counts_collection(account_id),
            order_by="day",
            at_least=day_of(self._now - HEARD_WITHIN),
            limit=COUNTS_A_READ,
        )
        found = store.query(query)
        self._accounts += bool(found)
        for document in found:
            at = document.fields["written_at"]
            if at > self._now - HEARD_WITHIN:
                self._instances.add(document.fields["instance"])
            self._last = at if self._last is None else max(self._last, at)

    def told(self, *, is_hosted: bool) -> Recording:
        """What may be told."""
        if self._last is None or (is_hosted and self._accounts < ACCOUNTS_MIN):
            return Recording()
        return Recording(recorded_at=self._last, instances=len(self._instances))


def _provider_of(cell: Cell) -> tuple[str, str] | None:
    """The cell's kind and provider; None for what is not known by provider any more."""
    return None if cell[1] == OTHER else (cell[0], cell[1])


def _hides_each(calls: Counter[str]) -> bool:
    """Whether figures of all these calls together tell nothing of any one account's."""
    total = sum(calls.values())
    accounts = sum(count > 0 for count in calls.values())
    return accounts >= ACCOUNTS_MIN and total >= CALLS_MIN and 2 * max(calls.values()) <= total
