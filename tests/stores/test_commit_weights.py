"""Every commit of events, with all that rides in it, against Firestore's limits: counted, not assumed.

A commit holds the segment, its rollup shard, what its leases were charged, its instance's count, and its
account's active day. What `CommitLoad` foresees must never be less than what is asked of the store.
"""

import os
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.events import Charge, CostEvent
from metering.leases import charge_writes
from metering.ledger import Ledger
from metering.segments import DOCUMENTS_MAX, EVENTS_MAX, INCREMENTS_MAX, SegmentPacker
from metering.stores import COMMIT_WRITES_MAX, DOCUMENT_TRANSFORMS_MAX, DocumentStore
from tests.builders import ACCOUNT_ID, AT, make_event, make_id
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CommitWeight, CountingStore

INSTANCE = "a" * 32
LONG = "ü" * 200  # as long as a tag may be
DESIGN_BYTES_MAX = 3 * 1024 * 1024


def _charges(first: int, count: int) -> tuple[Charge, ...]:
    return tuple(
        Charge(make_id("bud"), "2026-11@Asia/Kolkata", f"{number:032x}.{INSTANCE}.1", 1)
        for number in range(first, first + count)
    )


def _weights(store: DocumentStore, events: Sequence[CostEvent], *, late: bool = False) -> list[CommitWeight]:
    """What storing the events weighed, commit by commit, as an instance does it."""
    counting, packer = CountingStore(store), SegmentPacker(INSTANCE)
    clock = ManualClock(AT + timedelta(days=9 if late else 0))
    ledger = Ledger(counting, clock, admitted=lambda _account_id, _day: len(events))
    for event in events:
        packer.add(event, 0.0)
    for segment in packer.drain():
        ledger.commit(
            segment,
            lambda stored: charge_writes(ACCOUNT_ID, stored, expires_at=AT + timedelta(seconds=60)),
        )
    counting.check_limits()
    return counting.commits


def test_a_lone_event_is_four_writes_and_three_from_then_on(sqlite_store: DocumentStore) -> None:
    counting = CountingStore(sqlite_store)
    ledger = Ledger(counting, ManualClock(AT), admitted=lambda _account_id, _day: 1)
    packer = SegmentPacker(INSTANCE)
    for _ in range(2):
        packer.add(make_event(), 0.0)
        for segment in packer.drain():
            ledger.commit(segment)

    assert [weight.writes for weight in counting.commits] == [4, 3]
    assert all(weight.transforms <= 40 for weight in counting.commits)
    assert all(weight.bytes < 6_000 for weight in counting.commits)


@pytest.mark.parametrize("late", [False, True])
def test_events_of_very_many_leases_stay_within_the_writes_of_a_commit(
    sqlite_store: DocumentStore, late: bool
) -> None:
    events = [make_event(charges=_charges(8 * number, 8)) for number in range(120)]

    weights = _weights(sqlite_store, events, late=late)

    assert DOCUMENTS_MAX - 8 < max(weight.writes for weight in weights) <= DOCUMENTS_MAX
    assert DOCUMENTS_MAX <= COMMIT_WRITES_MAX


def test_events_of_very_many_combinations_stay_within_the_increments_of_a_document(
    sqlite_store: DocumentStore,
) -> None:
    events = [make_event(team=f"{number} {LONG[:190]}", feature=LONG, app=LONG) for number in range(300)]

    weights = _weights(sqlite_store, events)

    bookkeeping = 2  # how many commits the shard had, and how many cells
    assert INCREMENTS_MAX - 40 < max(weight.transforms for weight in weights) <= INCREMENTS_MAX + bookkeeping
    assert INCREMENTS_MAX + bookkeeping <= DOCUMENT_TRANSFORMS_MAX


def test_the_heaviest_events_with_the_most_leases_stay_within_the_bytes_of_a_commit(
    sqlite_store: DocumentStore,
) -> None:
    def tag() -> str:
        return os.urandom(100).hex()  # 200 characters that hardly compress

    events = [
        make_event(
            session_id=tag(), trace_id=tag(), team=tag(), app=tag(), feature=tag(), customer_tier=tag(),
            prompt_template_id=tag(), model=tag(), requested_model=tag(), charges=_charges(8 * number, 8),
        )
        for number in range(EVENTS_MAX // 5)
    ]  # fmt: skip

    weights = _weights(sqlite_store, events)

    assert max(weight.bytes for weight in weights) <= DESIGN_BYTES_MAX


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            make_event,
            timestamp=st.sampled_from([AT, AT + timedelta(minutes=20)]),
            team=st.sampled_from(["", "a", LONG]),
            app=st.text(max_size=3),
            session_id=st.sampled_from(["", "s", LONG]),
            model=st.sampled_from(["m", LONG]),
            latency_ms=st.integers(0, 10**6),
            charges=st.integers(0, 400).flatmap(
                lambda first: st.integers(0, 8).map(lambda count: _charges(first, count))
            ),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_no_mix_of_events_makes_a_commit_beyond_a_limit(
    sqlite_store: DocumentStore, events: list[CostEvent]
) -> None:
    for weight in _weights(sqlite_store, events):
        assert weight.writes <= DOCUMENTS_MAX
