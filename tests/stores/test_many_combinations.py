"""Very many combinations of tags: documents stay under their caps, sums stay exact, nobody else notices.

PROOF=full drives a million of them; what it took is printed.
"""

import os
import statistics
import time
from datetime import UTC, datetime, timedelta

import pytest

from metering.collections import quarters_collection
from metering.compaction import run
from metering.day_documents import PART_BYTES_MAX, PARTS, day_path
from metering.documents import document_bytes
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.rollups import COLLAPSES, OTHER, QUARTER
from metering.segments import Segment
from metering.shards import CELLS_A_STEP, CELLS_MAX
from metering.stats import Statistics, UsageQuery
from metering.stores import DOCUMENT_BYTES_MAX, DocumentStore
from metering.usage_groups import GROUPS_MAX
from tests.builders import ACCOUNT_ID, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.stores.accounting import all_documents

DAY = datetime(2026, 11, 20, tzinfo=UTC)
COMBINATIONS = 1_000_000 if os.environ.get("PROOF") == "full" else 4_000
QUARTERS = 96 if os.environ.get("PROOF") == "full" else 2
CELLS_OF_A_SHARD_MAX = CELLS_MAX + len(COLLAPSES) * CELLS_A_STEP + 16


def _event(number: int) -> CostEvent:
    return make_event(
        timestamp=DAY + number % QUARTERS * QUARTER,
        team=f"team {number}",
        app=f"app {number}",
        feature=f"feature {number}",
        customer_tier=f"tier {number}",
        key_id=f"key_{number:032x}",
        cost_nanodollars=number,
    )


def _ms_of_another_account(store: DocumentStore, ledger: Ledger, account_id: str) -> float:
    event = make_event(timestamp=DAY, account_id=account_id)
    began = time.perf_counter()
    ledger.commit(Segment(name=f"{event.request_id[4:]}-1", account_id=account_id, events=(event,)))
    query = UsageQuery(start=DAY, end=DAY + timedelta(days=1))
    Statistics(store).usage(account_id, query)
    return (time.perf_counter() - began) * 1000


@pytest.mark.battery("I3")
@pytest.mark.timeout(3_600 if COMBINATIONS == 1_000_000 else 120)
def test_a_flood_of_combinations_stays_within_every_cap(
    sqlite_store: DocumentStore, capsys: pytest.CaptureFixture[str]
) -> None:
    counting, other = CountingStore(sqlite_store), f"acct_{'f' * 32}"
    ledger = Ledger(counting, ManualClock(DAY))
    alone = [_ms_of_another_account(sqlite_store, ledger, other) for _ in range(20)]
    during: list[float] = []
    for first in range(0, COMBINATIONS, QUARTERS * 100):
        for quarter in range(QUARTERS):
            numbers = range(first + quarter, min(COMBINATIONS, first + QUARTERS * 100), QUARTERS)
            events = tuple(_event(number) for number in numbers)
            if events:
                ledger.commit(Segment(name=f"{first:032x}-{quarter}", account_id=ACCOUNT_ID, events=events))
        during.append(_ms_of_another_account(sqlite_store, ledger, other))

    shards = all_documents(sqlite_store, quarters_collection(ACCOUNT_ID))
    most_cells = max(len(shard.fields["cells"]) for shard in shards)
    largest = max(document_bytes(shard.path, shard.fields) for shard in shards)
    assert most_cells <= CELLS_OF_A_SHARD_MAX
    assert largest <= DOCUMENT_BYTES_MAX
    counting.check_limits()
    before = _sums(sqlite_store)
    began = time.perf_counter()
    run(sqlite_store, ManualClock(DAY + timedelta(days=1)))
    compacted_in = time.perf_counter() - began
    assert _sums(sqlite_store) == before
    for part in PARTS:
        document = sqlite_store.get(day_path(ACCOUNT_ID, DAY, part))
        assert document is not None
        assert len(document.fields["packed"]) <= PART_BYTES_MAX
    with capsys.disabled():
        print(  # noqa: T201 - for whoever runs the test
            f"\n{COMBINATIONS:,} combinations: {len(shards)} shards of at most {most_cells} cells and "
            f"{largest:,} bytes; compacted in {compacted_in:.1f} s; another account's commit and usage "
            f"{statistics.median(alone):.1f} ms before, {statistics.median(during):.1f} ms meanwhile (median)"
        )


def _sums(store: DocumentStore) -> dict[str, int]:
    """What each of the kinds of cell comes to; all must be exact, and tell of the rest as `other`."""
    found = {}
    for name in ("team", "key_id", "prompt_template_id"):
        query = UsageQuery(start=DAY, end=DAY + timedelta(days=1), group_by=(name,))
        report = Statistics(store).usage(ACCOUNT_ID, query)
        (bucket,) = report.buckets
        assert len(bucket.groups) <= GROUPS_MAX + 1
        assert name == "prompt_template_id" or OTHER in {group.values[name] for group in bucket.groups}
        assert report.sums["requests"] == COMBINATIONS
        found[name] = report.sums["cost_nanodollars"]
    assert set(found.values()) == {COMBINATIONS * (COMBINATIONS - 1) // 2}
    return found
