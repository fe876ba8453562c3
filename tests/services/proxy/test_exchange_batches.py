"""Fetching the results of a batch: a call like any other for the caller, and each item an event, once."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.opening import open_store
from metering.stores import DocumentStore
from tests.doubles.raw_upstream import RawUpstream, ReceivedRequest, Wire, answering, call, dialled
from tests.doubles.unreliable_store import UnreliableStore
from tests.doubles.waiting import until
from tests.services.proxy.calls import (
    BATCH_RESULTS,
    END,
    STREAM_HEAD,
    answer,
    batch_line,
    batch_lines,
    chunk,
    get,
    messages_call,
)
from tests.services.proxy.running import RunningProxy
from tests.stores.accounting import all_events, assert_each_event_counted_once

FETCH = get(BATCH_RESULTS, b"X-Api-Key: sk-ant-1\r\nX-ModelTrack-Team: nightly\r\n")
ITEM_NANODOLLARS = (1000 * 3000 + 100 * 15000) // 2


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, upstream) as proxy:
        yield proxy


@pytest.mark.parametrize("prefix", [b"", b"/anthropic"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_results_pass_as_they_come_and_each_item_is_an_event(
    proxy: RunningProxy, upstream: RawUpstream, is_chunked: bool, prefix: bytes
) -> None:
    lines = batch_line("one") + batch_line("two", "canceled") + batch_line("three")
    cut = (lines[:100], lines[100:500], lines[500:])
    upstream.script = (
        answering(STREAM_HEAD, *map(chunk, cut), END) if is_chunked else answering(answer(lines))
    )

    got = call(proxy.port, get(prefix + BATCH_RESULTS, b"X-ModelTrack-Team: nightly\r\n"))

    assert (got.status, got.body) == (200, lines)
    events = proxy.events()
    assert [event.cost_nanodollars for event in events] == [ITEM_NANODOLLARS] * 2
    assert {(event.team, event.service_tier, event.state) for event in events} == {
        ("nightly", "batch", "completed")
    }


def test_a_line_reaches_the_caller_before_the_next_one_exists(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    seen: list[bytes] = []

    def one_by_one(wire: Wire, request: ReceivedRequest) -> None:
        wire.send(STREAM_HEAD + chunk(batch_line("one")))
        until(lambda: bool(seen))
        wire.send(chunk(batch_line("two")) + END)

    upstream.script = one_by_one
    with dialled(proxy.port, FETCH) as wire:
        wire.take_until(chunk(batch_line("one")))
        seen.append(b"one")
        wire.take_until(END)

    assert len(proxy.events()) == 2


def test_items_have_their_lines_before_the_answer_ends(proxy: RunningProxy, upstream: RawUpstream) -> None:
    upstream.script = answering(STREAM_HEAD, chunk(batch_lines(3)), END)

    call(proxy.port, FETCH)

    assert [line["line"] for line in proxy.journal_lines()] == ["settled"] * 3


def test_a_caller_that_hangs_up_has_the_items_recorded_that_were_seen(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    upstream.script = lambda wire, _: wire.send(STREAM_HEAD + chunk(batch_lines(2) + b'{"custom_id":"th'))
    with dialled(proxy.port, FETCH) as wire:
        wire.take_until(batch_line("customer 1"))

    until(lambda: bool(proxy.instance.tally.batch_lines_unread))
    assert len(proxy.events()) == 2


def test_fetched_again_later_elsewhere_and_in_another_order_each_item_is_stored_once(
    tmp_path: Path, upstream: RawUpstream, store: DocumentStore
) -> None:
    lines = [batch_line(f"customer {number}") for number in range(60)]
    first, second = (
        RunningProxy(tmp_path, upstream, store=store),
        RunningProxy(tmp_path, upstream, store=store),
    )
    with first, second:
        second.clock.advance(timedelta(hours=2).total_seconds())
        upstream.script = answering(answer(b"".join(lines[:40])))
        call(first.port, FETCH)
        first.stop()
        upstream.script = answering(answer(b"".join(reversed(lines))))
        for _ in range(3):
            call(second.port, FETCH)
        second.stop()

        events = all_events(store, LOCAL_ACCOUNT_ID)
        assert len({event.request_id for event in events}) == len(events) == 60
        assert_each_event_counted_once(store, LOCAL_ACCOUNT_ID, events)
        late = [event for event in events if event.timestamp == second.clock.now()]
        assert len(late) == 20


def test_two_instances_that_fetch_at_the_same_time_store_each_item_once(
    tmp_path: Path, upstream: RawUpstream, store: DocumentStore
) -> None:
    upstream.script = answering(answer(batch_lines(60)))
    first, second = (
        RunningProxy(tmp_path, upstream, store=store),
        RunningProxy(tmp_path, upstream, store=store),
    )
    with first, second, dialled(first.port, FETCH) as one, dialled(second.port, FETCH) as two:
        for wire in (one, two):
            wire.take_until(batch_line("customer 59"))
        first.stop()
        second.stop()

        events = all_events(store, LOCAL_ACCOUNT_ID)
        assert len(events) == 60
        assert_each_event_counted_once(store, LOCAL_ACCOUNT_ID, events)


def test_a_store_that_is_down_delays_items_and_nothing_else(tmp_path: Path, upstream: RawUpstream) -> None:
    inner = open_store(f"sqlite:///{tmp_path}/modeltrack.db")
    store = UnreliableStore(inner, ["not_applied", "reply_lost"] * 5)
    upstream.script = answering(answer(batch_lines(30)))

    with RunningProxy(tmp_path, upstream, store=store) as proxy:
        assert call(proxy.port, FETCH).status == 200
        events = proxy.events()

    assert len({event.request_id for event in events}) == len(events) == 30


def test_once_all_items_are_stored_the_journal_is_gone(
    tmp_path: Path, proxy: RunningProxy, upstream: RawUpstream
) -> None:
    upstream.script = answering(answer(batch_lines(50)))
    call(proxy.port, FETCH)
    call(proxy.port, FETCH)

    assert len(proxy.events()) == 50
    assert list(tmp_path.glob("cost_events*")) == []


def test_an_unreadable_answer_passes_all_the_same(proxy: RunningProxy, upstream: RawUpstream) -> None:
    upstream.script = answering(answer(batch_lines(2), headers=b"Content-Encoding: gzip\r\n"))

    assert call(proxy.port, FETCH).body == batch_lines(2)
    upstream.script = answering(answer(b"{}"))
    assert call(proxy.port, messages_call()).status == 200

    assert proxy.instance.tally.batch_fetches_unread == 1
