"""The simulated fleet: as a hand reckons it where that is possible, and never apart from the product."""

from dataclasses import replace

import pytest

from bench.fleet import (
    DOCUMENT_WRITES_A_SECOND,
    REQUEST_BYTES_MAX,
    TRANSFORMS_MAX,
    Figures,
    Load,
    ending,
    measured,
    shard_table,
    shard_writes,
    table,
)
from metering import leases, segments, shards

LONE = Load("a call a second", 1, 1, 1, 1.0, 60, 600, is_even=True)
CROWD = Load("sixty instances", 60, 1, 1, 120.0, 20, 20)


def test_a_call_a_second_comes_to_what_a_hand_reckons() -> None:
    found = measured(LONE)

    commits = 600 / 3  # a segment is open for 2.5 s: it takes the calls of three seconds
    reports = 600 / 15  # of little news; each renews the lease, too
    uses = 600 / 60  # of the key, once a minute
    writes = 4 * commits + 2 * reports + uses  # segment, rollup shard, count, charge; counter and lease
    assert found.events == 600
    assert found.events_a_commit == 3
    assert found.writes_an_event == pytest.approx(writes / 600)
    assert found.lease_writes_an_event == pytest.approx(2 * reports / 600)
    assert found.document_writes["counter"] == pytest.approx(reports / 600)
    assert (found.refused, found.waited) == (0, 0)


def test_what_the_product_is_set_to_is_what_the_fleet_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "AGE_BUSY_SECONDS", 5.5)
    assert measured(LONE).events_a_commit == 6

    monkeypatch.setattr(leases, "LITTLE_NEWS_SECONDS", 5.0)
    assert measured(LONE).document_writes["counter"] == pytest.approx(1 / 5, rel=0.1)


def without_bytes(found: Figures) -> Figures:
    """The ids of accounts are made anew by each run, and compress a little better or worse."""
    return replace(found, commit_bytes=0)


def test_two_runs_come_to_the_same() -> None:
    load = Load("by chance", 3, 2, 2, 5.0, 10, 20)

    assert without_bytes(measured(load)) == without_bytes(measured(load))
    assert without_bytes(measured(load)) != without_bytes(measured(load, seed=8))


@pytest.fixture(scope="module")
def crowd() -> Figures:
    return measured(CROWD)


def test_however_many_instances_write_of_an_account_its_shards_and_counters_bear_it(crowd: Figures) -> None:
    assert shard_writes(60, segments.AGE_BUSY_SECONDS, shards.SHARDS_MAX) > DOCUMENT_WRITES_A_SECOND

    assert 0 < crowd.shard_writes <= DOCUMENT_WRITES_A_SECOND
    for kind in ("counter", "lease", "count", "key"):
        assert crowd.document_writes.get(kind, 0.0) <= DOCUMENT_WRITES_A_SECOND
    assert crowd.commit_bytes <= REQUEST_BYTES_MAX
    assert crowd.commit_transforms <= TRANSFORMS_MAX
    assert (crowd.refused, crowd.waited) == (0, 0)


def test_with_fewer_shards_each_bears_more(crowd: Figures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARDS_MAX", 2)
    monkeypatch.setattr(shards, "WIDTH_MAX", 2)

    assert measured(CROWD).shard_writes > 4 * crowd.shard_writes


def test_a_budget_that_a_whole_fleet_meets_at_once_is_spent_before_anybody_is_refused() -> None:
    found = ending(Load("a budget that runs out", 100, 1, 1, 100.0, 0, 32), 2_000)

    assert found.spent_at_first_refusal > 0.3  # the rest is held by calls in flight
    assert found.spent_at_last > 0.9


def test_the_tables_have_a_column_for_each_load(crowd: Figures) -> None:
    lines = table([crowd, crowd]).splitlines()

    assert all(len(line) == len(lines[0]) for line in lines)
    assert "5.00" in shard_table(200)  # 200 instances, 2.5 s, 16 shards
