"""Paging through events on both stores: order, filters, bounds, cursors that cannot be bent."""

import base64
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.errors import InvalidInput, NotFound
from metering.event_pages import (
    EVENTS_A_PAGE_MAX,
    FILTERS,
    LATEST,
    SEGMENTS_A_PAGE_MAX,
    EventPage,
    EventQuery,
)
from metering.events import CostEvent
from metering.ledger import Ledger
from metering.segments import Segment
from metering.stores import DocumentStore
from tests.builders import ACCOUNT_ID, AT, make_event, make_id
from tests.doubles.unreliable_store import UnreliableStore


def _keep(
    store: DocumentStore, segments: Sequence[Sequence[CostEvent]], account_id: str = ACCOUNT_ID
) -> None:
    ledger = Ledger(store)
    for number, events in enumerate(segments):
        name = f"{'b' * 32}-{number}"
        ledger.commit(Segment(name=name, account_id=account_id, events=tuple(events)))


def _pages(store: DocumentStore, account_id: str = ACCOUNT_ID, **query: Any) -> list[EventPage]:
    ledger, pages = Ledger(store), list[EventPage]()
    cursor: str | None = None
    while not pages or cursor is not None:
        pages.append(ledger.events(account_id, cursor=cursor, **query))
        cursor = pages[-1].next_cursor
        assert len(pages) < 1000
    return pages


def _ids(events: Sequence[CostEvent]) -> list[str]:
    return [event.request_id for event in events]


def _calls(count: int, **changes: Any) -> list[CostEvent]:
    return [make_event(timestamp=AT + timedelta(seconds=number), **changes) for number in range(count)]


@pytest.mark.parametrize("limit", [1, 3, 7, 30, 31, 1000])
def test_pages_show_every_event_once_newest_first(store: DocumentStore, limit: int) -> None:
    calls = _calls(30)
    _keep(store, [calls[start : start + 4] for start in range(0, 30, 4)])

    pages = _pages(store, limit=limit)

    assert _ids([event for page in pages for event in page.events]) == _ids(calls[::-1])
    assert all(len(page.events) == limit for page in pages[:-1])
    assert len(pages) == -(-30 // limit)


def test_another_accounts_events_are_never_shown(store: DocumentStore) -> None:
    other = make_id("acct")
    _keep(store, [_calls(3)])
    _keep(store, [_calls(2, account_id=other)], other)

    assert {event.account_id for page in _pages(store, other) for event in page.events} == {other}
    assert _pages(store, make_id("acct")) == [EventPage(events=())]


def test_the_range_is_half_open_and_by_admission(store: DocumentStore) -> None:
    calls = _calls(6)
    _keep(store, [calls[:3], calls[3:]])

    pages = _pages(store, start=AT + timedelta(seconds=1), end=AT + timedelta(seconds=4))

    assert _ids([event for page in pages for event in page.events]) == _ids(calls[1:4][::-1])


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"team": ["search"]}, 3),
        ({"team": ["search", "core"]}, 4),
        ({"team": ["search"], "cache_hit": ["true"]}, 1),
        ({"session_id": ["session of 2"]}, 1),
        ({"session_id": ["session of 2", "session of 1"]}, 2),
        ({"session_id": [""]}, 0),
        ({"status_code": ["200"]}, 4),
        ({"model": ["unknown"]}, 0),
    ],
    ids=str,
)
def test_filters_narrow(store: DocumentStore, filters: Mapping[str, Sequence[str]], count: int) -> None:
    calls = [
        make_event(team="core" if n == 0 else "search", cache_hit=n == 1, session_id=f"session of {n}")
        for n in range(4)
    ]
    _keep(store, [calls[:2], calls[2:]])

    assert sum(len(page.events) for page in _pages(store, filters=filters)) == count


@pytest.mark.parametrize(("segments", "pages"), [(SEGMENTS_A_PAGE_MAX - 1, 1), (SEGMENTS_A_PAGE_MAX + 1, 2)])
def test_a_page_scans_so_many_segments_and_says_how_far_it_came(
    sqlite_store: DocumentStore, segments: int, pages: int
) -> None:
    calls = _calls(segments)
    _keep(sqlite_store, [[call] for call in calls])
    counted = _CountingStore(sqlite_store)

    found = _pages(counted, filters={"team": ["nobody"]})

    assert len(found) == pages
    assert all(page.events == () for page in found)
    assert counted.documents_read == segments
    if pages > 1:
        assert found[0].scanned_to == calls[segments - SEGMENTS_A_PAGE_MAX].timestamp


def test_an_unfiltered_first_page_reads_few_segments(sqlite_store: DocumentStore) -> None:
    _keep(sqlite_store, [[call] for call in _calls(90)])
    counted = _CountingStore(sqlite_store)

    Ledger(counted).events(ACCOUNT_ID, limit=5)

    assert counted.documents_read == 10


def test_an_event_stored_meanwhile_disturbs_no_further_page(store: DocumentStore) -> None:
    calls = _calls(10)
    _keep(store, [calls[:5], calls[5:]])
    first = Ledger(store).events(ACCOUNT_ID, limit=3)
    late = Segment(
        name="c" * 32 + "-1",
        account_id=ACCOUNT_ID,
        events=(make_event(timestamp=AT + timedelta(seconds=60)),),
    )
    Ledger(store).commit(late)

    rest = Ledger(store).events(ACCOUNT_ID, cursor=first.next_cursor, limit=100)

    assert _ids([*first.events, *rest.events]) == _ids(calls[::-1])


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_links_of_one_segment_are_paged_like_segments(store: DocumentStore, limit: int) -> None:
    calls = [make_event() for _ in range(3)] + _calls(6)  # some of one moment, so that ids decide
    name = "b" * 32 + "-1"
    for known in (calls[:2], calls[1:5], calls):
        Ledger(store).commit(Segment(name=name, account_id=ACCOUNT_ID, events=tuple(known)))

    found = [event for page in _pages(store, limit=limit) for event in page.events]

    assert sorted(_ids(found)) == sorted(_ids(calls))
    assert [event.timestamp for event in found[-4:]] == [AT] * 4


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    commits=st.lists(st.tuples(st.sets(st.integers(0, 11), min_size=1), st.booleans()), max_size=8),
    limit=st.integers(1, 4),
)
def test_what_is_stored_between_two_pages_makes_none_show_an_event_twice_or_skip_one(
    sqlite_store: DocumentStore, commits: list[tuple[set[int], bool]], limit: int
) -> None:
    account_id = make_id("acct")
    calls = _calls(12, account_id=account_id)
    ledger, shown, cursor = Ledger(sqlite_store), list[str](), None
    there: set[str] | None = None
    for number, (known, is_new_name) in enumerate([(set(range(4)), True), *commits]):
        # a link of the first segment, or a segment of another instance that was open until now
        name = f"{number:032x}-1" if is_new_name else f"{0:032x}-1"
        own = [
            calls[each] if not is_new_name else make_event(account_id=account_id) for each in sorted(known)
        ]
        ledger.commit(Segment(name=name, account_id=account_id, events=tuple(own)))
        if there is None:
            there = set(_ids(own))
        page = ledger.events(account_id, cursor=cursor, limit=limit)
        shown += _ids(page.events)
        cursor = page.next_cursor
        if cursor is None:
            break
    while cursor is not None:
        page = ledger.events(account_id, cursor=cursor, limit=limit)
        shown += _ids(page.events)
        cursor = page.next_cursor

    assert len(shown) == len(set(shown))
    assert there is not None
    assert there <= set(shown)


def test_every_complaint_about_a_query_comes_at_once() -> None:
    query = EventQuery(
        start=AT.replace(tzinfo=None), filters={"prompt": ["x"], "team": []}, limit=EVENTS_A_PAGE_MAX + 1
    )

    assert [each.param for each in query.complaints()] == ["start_time", "prompt", "team", "limit"]
    assert [each.param for each in EventQuery(start=AT, end=AT).complaints()] == ["end_time"]
    assert [each.param for each in EventQuery(end=LATEST + timedelta(1)).complaints()] == ["end_time"]
    assert EventQuery(end=LATEST).complaints() == []
    assert EventQuery(limit=EVENTS_A_PAGE_MAX).complaints() == []


def test_every_filter_is_a_field_of_an_event() -> None:
    assert set(FILTERS) <= set(CostEvent.__struct_fields__)


def _cursor_of_a_first_page(store: DocumentStore, **query: Any) -> str:
    cursor = Ledger(store).events(ACCOUNT_ID, limit=1, **query).next_cursor
    assert cursor is not None
    return cursor


@pytest.mark.parametrize("query", [{"filters": {"team": ["search"]}}, {"start": AT}, {"end": LATEST}])
def test_a_cursor_goes_with_its_own_query_only(sqlite_store: DocumentStore, query: dict[str, Any]) -> None:
    _keep(sqlite_store, [_calls(5)])
    cursor = _cursor_of_a_first_page(sqlite_store)

    with pytest.raises(InvalidInput) as caught:
        Ledger(sqlite_store).events(ACCOUNT_ID, cursor=cursor, **query)
    with pytest.raises(InvalidInput):
        Ledger(sqlite_store).events(make_id("acct"), cursor=cursor)

    assert caught.value.param == "cursor"


def test_a_bent_cursor_is_refused_or_at_worst_another_place_in_the_same_account(
    sqlite_store: DocumentStore,
) -> None:
    _keep(sqlite_store, [_calls(5)])
    cursor = _cursor_of_a_first_page(sqlite_store)
    seal = msgspec.msgpack.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))[0]
    bent = [
        (seal, 0, "../../keys/x", 0), (seal, 0, "a/b", 0), (seal, 0, "x", -2), (seal, 2**62, "x", 0),
        (seal, 0, "", 0), (b"", 0, "x", 0), (seal, "0", "x", 0), (seal, 0), {},
    ]  # fmt: skip

    for content in bent:
        text = base64.urlsafe_b64encode(msgspec.msgpack.encode(content)).decode().rstrip("=")
        with pytest.raises(InvalidInput):
            Ledger(sqlite_store).events(ACCOUNT_ID, cursor=text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=600))
def test_no_text_for_a_cursor_breaks_the_page(sqlite_store: DocumentStore, text: str) -> None:
    with pytest.raises(InvalidInput):
        Ledger(sqlite_store).events(ACCOUNT_ID, cursor=text)


class _CountingStore(UnreliableStore):
    def __init__(self, inner: DocumentStore) -> None:
        super().__init__(inner)
        self.documents_read = 0

    def query(self, query: Any, *, timeout_seconds: float = 10) -> list[Any]:
        found = super().query(query, timeout_seconds=timeout_seconds)
        self.documents_read += len(found)
        return found


def test_what_is_no_longer_kept_is_hidden_before_it_is_deleted(store: DocumentStore) -> None:
    old, young = make_event(timestamp=AT - timedelta(hours=1)), make_event()
    _keep(store, [[old], [young]])

    ledger = Ledger(store)
    assert ledger.events(ACCOUNT_ID, kept_since=AT).events == (young,)
    assert ledger.events(ACCOUNT_ID, end=AT, kept_since=AT).events == ()
    assert ledger.event(ACCOUNT_ID, young.request_id, AT) == young
    with pytest.raises(NotFound):
        ledger.event(ACCOUNT_ID, old.request_id, AT)


def test_a_page_goes_on_though_less_is_kept_than_when_the_one_before_was_read(store: DocumentStore) -> None:
    _keep(store, [[make_event(timestamp=AT - timedelta(hours=number))] for number in range(3)])
    ledger = Ledger(store)

    first = ledger.events(ACCOUNT_ID, limit=1, kept_since=AT - timedelta(hours=2))
    rest = ledger.events(ACCOUNT_ID, kept_since=AT - timedelta(hours=1), cursor=first.next_cursor)

    assert [event.timestamp for event in rest.events] == [AT - timedelta(hours=1)]
