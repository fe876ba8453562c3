"""Packing events into segments: every limit from both sides, ages, bounds, names."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.collections import segments_collection
from metering.documents import commit_bytes, document_bytes
from metering.events import Charge, CostEvent
from metering.rollups import cell_id, cells_from, rolled_up
from metering.segments import (
    AGE_BUSY_SECONDS,
    AGE_QUIET_SECONDS,
    DOCUMENTS_MAX,
    ENCODED_BYTES_MAX,
    EVENTS_MAX,
    INCREMENTS_MAX,
    QUIET_SECONDS,
    Segment,
    SegmentPacker,
    first_portion,
    segment_fields,
    stored_events,
)
from metering.stores import COMMIT_BYTES_MAX, DOCUMENT_BYTES_MAX, Create, FieldPath, Increment
from tests.builders import ACCOUNT_ID, AT, make_event, make_id

INSTANCE = "a" * 32


def _packed(events: list[CostEvent]) -> list[Segment]:
    packer = SegmentPacker(INSTANCE)
    for event in events:
        packer.add(event, 0.0)
    return packer.drain()


def _sizes(segments: list[Segment]) -> list[int]:
    return [len(segment.events) for segment in segments]


def test_an_event_is_told_the_name_of_the_segment_that_holds_it() -> None:
    packer = SegmentPacker(INSTANCE)
    events = [make_event(account_id=make_id("acct")) for _ in range(3)]

    names = [packer.add(event, 0.0) for event in events]

    assert names == [f"{INSTANCE}-1", f"{INSTANCE}-2", f"{INSTANCE}-3"]
    assert [(s.name, s.account_id, s.events) for s in packer.drain()] == [
        (name, event.account_id, (event,)) for name, event in zip(names, events, strict=True)
    ]


@pytest.mark.parametrize(("count", "sizes"), [(EVENTS_MAX, [1000]), (EVENTS_MAX + 1, [1000, 1])])
def test_a_segment_holds_a_thousand_events(count: int, sizes: list[int]) -> None:
    assert _sizes(_packed([make_event() for _ in range(count)])) == sizes


def test_a_full_segment_is_due_at_once() -> None:
    packer = SegmentPacker(INSTANCE)
    for _ in range(EVENTS_MAX):
        packer.add(make_event(), 5.0)

    assert packer.next_due(5.0) == 5.0
    assert _sizes(packer.due(5.0)) == [EVENTS_MAX]


def test_a_segment_stays_below_its_bytes_and_fits_a_document_however_badly_it_compresses() -> None:
    events = [make_event(session_id=make_id("s") * 5, trace_id="\U0001f4b8" * 200) for _ in range(900)]

    segments = _packed(events)

    assert len(segments) > 1
    for segment in segments:
        fields = segment_fields(segment.events)
        raw_bytes = sum(len(repr(event).encode()) for event in segment.events)
        assert len(fields["events"]) < ENCODED_BYTES_MAX <= raw_bytes * 10
        incompressible = {**fields, "events": b"0" * ENCODED_BYTES_MAX}
        assert document_bytes(f"{segments_collection(ACCOUNT_ID)}/x", incompressible) <= DOCUMENT_BYTES_MAX


@pytest.mark.parametrize(("leases", "sizes"), [(DOCUMENTS_MAX - 4, [2]), (DOCUMENTS_MAX - 3, [1, 1])])
def test_a_commit_touches_at_most_three_hundred_documents(leases: int, sizes: list[int]) -> None:
    charges = [Charge(f"bud_{n}", "2026-11", f"lease_{n}", 1) for n in range(leases)]
    events = [make_event(charges=tuple(charges[:-1])), make_event(charges=tuple(charges[-1:]))]

    assert _sizes(_packed(events)) == sizes


def test_a_commit_makes_at_most_four_hundred_increments_on_a_shard() -> None:
    events = [make_event(team=f"team {n}", feature=f"feature {n}") for n in range(200)]

    segments = _packed(events)

    increments = [sum(map(len, rolled_up(segment.events).values())) for segment in segments]
    assert all(INCREMENTS_MAX - 40 < count <= INCREMENTS_MAX for count in increments[:-1])
    assert sum(_sizes(segments)) == 200


def test_the_heaviest_commit_weighs_less_than_a_commit_may() -> None:
    text = "\U0001f4b8" * 198
    events = [
        make_event(
            **{name: f"{n}{text}" for name in ("team", "app", "feature", "customer_tier", "session_id")}
        )
        for n in range(500)
    ]

    for segment in _packed(events):
        cells = rolled_up(segment.events)
        amounts: dict[FieldPath, int] = {
            ("cells", cell_id(cell), name): 1 for cell, sums in cells.items() for name in sums
        }
        shard = Increment(
            f"accounts/{ACCOUNT_ID}/quarters/x",
            amounts,
            {("cells", cell_id(c), "of"): list(c) for c in cells},
        )
        fields = {**segment_fields(segment.events), "events": b"0" * ENCODED_BYTES_MAX}
        created = Create(f"{segments_collection(ACCOUNT_ID)}/x", fields)
        assert commit_bytes([created, shard]) < COMMIT_BYTES_MAX


def test_a_segment_lies_in_one_quarter_hour() -> None:
    late, next_quarter = AT.replace(minute=44, second=59), AT.replace(minute=45, second=0, microsecond=0)

    segments = _packed([make_event(timestamp=moment) for moment in (late, next_quarter, late)])

    assert _sizes(segments) == [2, 1]


def test_a_lone_call_is_due_soon_and_a_busy_account_later() -> None:
    packer = SegmentPacker(INSTANCE)

    packer.add(make_event(), 10.0)
    assert packer.next_due(10.0) == 10.0 + AGE_QUIET_SECONDS
    assert packer.due(10.0 + AGE_QUIET_SECONDS - 0.01) == []
    assert _sizes(packer.due(10.0 + AGE_QUIET_SECONDS)) == [1]

    packer.add(make_event(), 11.9)
    assert packer.next_due(11.9) == 11.9 + AGE_BUSY_SECONDS
    assert packer.due(11.9 + AGE_BUSY_SECONDS - 0.01) == []
    assert _sizes(packer.due(11.9 + AGE_BUSY_SECONDS)) == [1]


def test_a_segment_that_follows_a_full_one_has_an_age_of_its_own() -> None:
    packer = SegmentPacker(INSTANCE)
    for _ in range(EVENTS_MAX + 1):
        packer.add(make_event(), 10.0)

    assert _sizes(packer.due(10.0 + AGE_QUIET_SECONDS)) == [EVENTS_MAX]
    assert _sizes(packer.due(10.0 + AGE_BUSY_SECONDS)) == [1]


@pytest.mark.parametrize(
    ("quiet_for", "age"), [(QUIET_SECONDS - 0.1, AGE_BUSY_SECONDS), (QUIET_SECONDS, AGE_QUIET_SECONDS)]
)
def test_an_account_is_quiet_again_after_five_seconds(quiet_for: float, age: float) -> None:
    packer = SegmentPacker(INSTANCE)
    packer.add(make_event(), 10.0)
    packer.drain()

    packer.add(make_event(), 10.0 + quiet_for)

    assert packer.next_due(10.0 + quiet_for) == 10.0 + quiet_for + age


def test_where_too_many_write_of_an_account_its_segments_stay_open_longer_and_nobody_elses() -> None:
    crowded = make_event(account_id=f"acct_{5:032x}")
    packer = SegmentPacker(INSTANCE, stretch=lambda account_id: 4 if account_id == crowded.account_id else 1)

    packer.add(crowded, 10.0)
    assert packer.next_due(10.0) == 10.0 + 4 * AGE_BUSY_SECONDS

    packer.add(make_event(), 10.0)
    assert packer.next_due(10.0) == 10.0 + AGE_QUIET_SECONDS


def test_nothing_is_due_where_nothing_is_held() -> None:
    packer = SegmentPacker(INSTANCE)
    packer.add(make_event(), 0.0)
    packer.due(99.0)

    assert packer.next_due(99.0) is None
    assert packer.due(999.0) == []
    assert packer.events_held == 0


def test_at_its_bound_the_packer_names_a_segment_and_leaves_the_event_to_the_journal() -> None:
    packer = SegmentPacker(INSTANCE, events_held_max=2)
    names = [packer.add(make_event(), 0.0) for _ in range(3)]
    other = packer.add(make_event(account_id=make_id("acct")), 0.0)

    assert names[0] == names[1] != names[2] == other
    assert packer.events_left_to_journal == 2
    assert _sizes(packer.drain()) == [2]

    packer.add(make_event(), 0.0)
    assert _sizes(packer.drain()) == [1]


def test_no_segment_of_events_left_to_the_journal_outgrows_a_chain() -> None:
    packer = SegmentPacker(INSTANCE, events_held_max=1)
    packer.add(make_event(), 0.0)

    names = Counter(packer.add(make_event(), 0.0) for _ in range(2 * EVENTS_MAX + 1))

    assert list(names.values()) == [EVENTS_MAX, EVENTS_MAX, 1]


def test_what_a_segment_says_it_adds_is_what_its_events_add() -> None:
    made = [
        make_event(),
        make_event(team="other", estimated=True, estimate_method="hold", status_code=500),
        make_event(cache_hit=True, state="cache_hit", saved_nanodollars=7),
        make_event(state="refused", status_code=429, cost_nanodollars=0),
        make_event(routed=True, routing_rule="cheaper", saved_nanodollars=-3, ttft_ms=40),
    ]

    (segment,) = _packed([*made, *(make_event() for _ in range(20))])

    assert segment.additions is not None
    assert cells_from(segment.additions) == rolled_up(segment.events)


def test_events_survive_being_stored() -> None:
    events = [make_event(team="団体💸", charges=(Charge("bud_1", "2026-11", "lease_1", 7),), ttft_ms=3)] * 3

    assert stored_events(segment_fields(events)) == events


def test_a_portion_stops_where_a_commit_would() -> None:
    events = [make_event() for _ in range(EVENTS_MAX + 5)]

    assert len(first_portion(events)) == EVENTS_MAX
    assert len(first_portion(events[:3])) == 3
    assert len(first_portion([events[0], make_event(timestamp=AT + timedelta(hours=1))])) == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.floats(0, 3)),  # account, quarter, pause before
        max_size=60,
    )
)
def test_every_event_comes_out_once_under_its_name_and_in_time(
    arrivals: list[tuple[int, int, float]],
) -> None:
    packer = SegmentPacker(INSTANCE, events_held_max=1000)
    now, told, seen = 0.0, dict[str, str](), dict[str, str]()
    for account, quarter, pause in arrivals:
        now += pause
        for segment in packer.due(now):
            seen |= {event.request_id: segment.name for event in segment.events}
        assert (packer.next_due(now) or now + 1) > now
        event = make_event(account_id=f"acct_{account}", timestamp=AT + timedelta(minutes=15 * quarter))
        told[event.request_id] = packer.add(event, now)
    for segment in packer.due(now + AGE_BUSY_SECONDS):
        assert len({(event.account_id, event.timestamp) for event in segment.events}) == 1
        seen |= {event.request_id: segment.name for event in segment.events}

    assert seen == told
    assert packer.drain() == []
    assert packer.events_held == 0
