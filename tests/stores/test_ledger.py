"""The ledger on both stores: events kept exactly once, together with their rollups."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from metering.collections import policy_path, quarters_collection
from metering.errors import DocumentTooLarge, NotFound, StoreUnavailable
from metering.events import CostEvent
from metering.ledger import LINKS_MAX, ChainTooLong, Ledger
from metering.segments import Segment, segment_path
from metering.stores import Create, DocumentStore, Increment, Write, WriteResult
from tests.builders import ACCOUNT_ID, AT, make_event
from tests.doubles.unreliable_store import Fate, UnreliableStore
from tests.stores.accounting import all_documents, all_events, assert_each_event_counted_once

NAME = "0" * 32 + "-1"


def _segment(events: Sequence[CostEvent], name: str = NAME) -> Segment:
    return Segment(name=name, account_id=ACCOUNT_ID, events=tuple(events))


def _events(count: int) -> list[CostEvent]:
    return [make_event(team=f"team {number % 3}", cost_nanodollars=number) for number in range(count)]


def test_a_segment_is_stored_with_its_rollups(store: DocumentStore) -> None:
    events = _events(20)

    stored = Ledger(store).commit(_segment(events))

    assert (stored.events, stored.events_found, stored.links) == (20, 0, (NAME,))
    assert_each_event_counted_once(store, ACCOUNT_ID, events)


def test_a_commit_repeated_stores_nothing_twice(store: DocumentStore) -> None:
    ledger, events = Ledger(store), _events(5)
    ledger.commit(_segment(events))

    again = ledger.commit(_segment(events))

    assert (again.events, again.events_found, again.links) == (0, 5, ())
    assert_each_event_counted_once(store, ACCOUNT_ID, events)


def test_events_that_the_first_writer_did_not_know_become_the_next_link(store: DocumentStore) -> None:
    events = _events(6)
    Ledger(store).commit(_segment(events[:4]))

    second = Ledger(store).commit(_segment(events[2:]))
    third = Ledger(store).commit(_segment(events))

    assert (second.events, second.events_found, second.links) == (2, 2, (f"{NAME}.1",))
    assert (third.events, third.links) == (0, ())
    assert_each_event_counted_once(store, ACCOUNT_ID, events)


@pytest.mark.parametrize("fate", ["reply_lost", "not_applied", "late"])
def test_a_commit_of_unknown_outcome_is_simply_made_again(store: DocumentStore, fate: Fate) -> None:
    unreliable = UnreliableStore(store, [fate])
    ledger, segment = Ledger(unreliable), _segment(_events(5))

    with pytest.raises(StoreUnavailable):
        ledger.commit(segment)
    ledger.commit(segment)
    unreliable.land()

    assert_each_event_counted_once(store, ACCOUNT_ID, list(segment.events))


def test_one_request_told_twice_is_one_event(store: DocumentStore) -> None:
    event = make_event()

    stored = Ledger(store).commit(_segment([event, event]))

    assert stored.events == 1
    assert_each_event_counted_once(store, ACCOUNT_ID, [event])


def test_events_of_several_quarter_hours_become_several_links(store: DocumentStore) -> None:
    events = [make_event(timestamp=AT + timedelta(minutes=10 * number)) for number in range(4)]

    stored = Ledger(store).commit(_segment(events))

    assert len(stored.links) == 3
    starts = {shard.fields["starts_at"] for shard in all_documents(store, quarters_collection(ACCOUNT_ID))}
    assert starts == {AT.replace(minute=30, microsecond=0) + timedelta(minutes=15 * n) for n in range(3)}
    assert_each_event_counted_once(store, ACCOUNT_ID, events)


def test_further_writes_join_the_commit_of_exactly_their_events(store: DocumentStore) -> None:
    events = _events(4)

    def spent(committed: Sequence[CostEvent]) -> Sequence[Write]:
        cost = sum(event.cost_nanodollars for event in committed)
        return [Increment(policy_path(ACCOUNT_ID), {("used",): cost})]

    Ledger(store).commit(_segment(events[:2]), also=spent)
    Ledger(store).commit(_segment(events), also=spent)

    document = store.get(policy_path(ACCOUNT_ID))
    assert document is not None
    assert document.fields["used"] == sum(event.cost_nanodollars for event in events)


def test_an_event_is_found_by_its_request_id_within_its_account_only(store: DocumentStore) -> None:
    ledger, events = Ledger(store), _events(3)
    ledger.commit(_segment(events))

    assert ledger.event(ACCOUNT_ID, events[1].request_id) == events[1]
    with pytest.raises(NotFound):
        ledger.event("acct_other", events[1].request_id)
    with pytest.raises(NotFound):
        ledger.event(ACCOUNT_ID, "req_unknown")


def test_a_segment_document_says_what_it_holds_and_how_long_it_is_kept(store: DocumentStore) -> None:
    events = [make_event(timestamp=AT + timedelta(seconds=n), session_id="a session") for n in range(3)]

    Ledger(store, events_kept=timedelta(days=1)).commit(_segment(events))

    fields = all_documents(store, f"accounts/{ACCOUNT_ID}/segments")[0].fields
    assert fields["count"] == 3
    assert (fields["first_at"], fields["last_at"]) == (AT, AT + timedelta(seconds=2))
    assert fields["kept_until"] == AT + timedelta(seconds=2, days=8)
    assert fields["request_ids"] == [event.request_id for event in events]
    assert "a session" not in fields["session_ids"]


def test_a_shard_that_is_too_large_takes_the_cells_as_other(sqlite_store: DocumentStore) -> None:
    store = _StoreOfShortShards(sqlite_store, cells_max=8)
    events = [make_event(team=f"team {number}") for number in range(20)]

    Ledger(store).commit(_segment(events))

    assert_each_event_counted_once(sqlite_store, ACCOUNT_ID, events)
    cells = all_documents(sqlite_store, quarters_collection(ACCOUNT_ID))[0].fields["cells"].values()
    assert all(set(cell["of"][1:]) == {"other"} for cell in cells if cell["of"][0] == "main")


def test_a_shard_that_takes_nothing_any_more_is_left_for_the_next(sqlite_store: DocumentStore) -> None:
    store = _StoreOfShortShards(sqlite_store, cells_max=8)
    store.full_shards.add(0)
    events = _events(3)

    Ledger(store).commit(_segment(events))

    assert all_documents(sqlite_store, quarters_collection(ACCOUNT_ID))[0].fields["shard"] == 1
    assert_each_event_counted_once(sqlite_store, ACCOUNT_ID, events)


def test_a_commit_that_fits_nowhere_says_so(sqlite_store: DocumentStore) -> None:
    store = _StoreOfShortShards(sqlite_store, cells_max=0)

    with pytest.raises(DocumentTooLarge):
        Ledger(store).commit(_segment(_events(1)))

    assert all_events(sqlite_store, ACCOUNT_ID) == []


def test_a_chain_longer_than_any_order_explains_is_given_up(sqlite_store: DocumentStore) -> None:
    links = [Create(segment_path(ACCOUNT_ID, NAME, link), {"request_ids": []}) for link in range(LINKS_MAX)]
    sqlite_store.commit(links[:-1])
    ledger = Ledger(sqlite_store)

    assert ledger.commit(_segment(_events(1))).links == (f"{NAME}.{LINKS_MAX - 1}",)
    with pytest.raises(ChainTooLong):
        ledger.commit(_segment(_events(1)))


def test_threads_may_share_a_ledger(sqlite_store: DocumentStore) -> None:
    ledger, events = Ledger(sqlite_store), _events(240)
    segments = [_segment(events[n * 6 : n * 6 + 8], f"{'0' * 32}-{n // 2}") for n in range(40)]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ledger.commit, segments))

    # Neighbouring segments overlap; only those of one name share a chain.
    expected = [event for name in range(20) for event in events[name * 12 : name * 12 + 14]]
    assert_each_event_counted_once(sqlite_store, ACCOUNT_ID, expected)


class _StoreOfShortShards(UnreliableStore):
    """Refuses increments of many cells, or of certain shards, as a store does whose document is full."""

    def __init__(self, inner: DocumentStore, cells_max: int) -> None:
        super().__init__(inner)
        self.full_shards: set[int] = set()
        self._cells_max = cells_max

    def commit(self, writes: Sequence[Write], *, timeout_seconds: float = 1.0) -> list[WriteResult]:
        for write in writes:
            if isinstance(write, Increment) and ("shard",) in write.merge:
                cells = {path[1] for path in write.amounts if path[0] == "cells"}
                if len(cells) > self._cells_max or write.merge["shard",] in self.full_shards:
                    raise DocumentTooLarge
        return super().commit(writes, timeout_seconds=timeout_seconds)
