"""Items of batches, from the bytes of a fetch to the segments and lines they are recorded by."""

import asyncio
import gzip
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.accounts import Policy
from metering.budgets import Scope
from metering.errors import StoreUnavailable
from metering.events import CostEvent
from metering.journal import Settled, parse_line
from metering.price_table import load_price_table
from metering.pricing import Pricer
from metering.rollups import histogram_counters
from metering.segments import Segment, SegmentPacker
from metering.usage import Usage
from proxy_service import batch_items, recorder
from proxy_service.batch_items import BatchItems
from proxy_service.call import Call, Errand
from proxy_service.journal import Entry, Journal
from proxy_service.recorder import Recorder
from proxy_service.settlement import Settlement
from proxy_service.tally import Tally
from proxy_service.wire import RequestHead, ResponseHead
from tests.builders import make_caller, make_event, make_policy
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.downstream import DownstreamDouble
from tests.doubles.lease_desk import make_desk
from tests.doubles.sinks import ThreadSink
from tests.services.proxy.calls import BATCH_RESULTS, batch_line, batch_lines
from tests.services.proxy.governed import make_budget
from tests.unit.proxy_service.answers import cut_at
from tests.unit.proxy_service.errands import make_errand, make_route

PRICER = Pricer(load_price_table())
TARGET = BATCH_RESULTS


class KeepingSink(ThreadSink):
    """Keeps its entries, and the names it hears are stored."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.names_stored: list[str] = []

    def write(self, entries: Any) -> None:
        self.entries += entries

    def stored(self, segment: str) -> None:
        self.names_stored.append(segment)


class Desk:
    """Fetches results, one after the other, and keeps what is recorded."""

    def __init__(self, *failures: Exception) -> None:
        self.clock = ManualClock()
        self.tally = Tally()
        self.sink = KeepingSink()
        self.segments: list[Segment] = []
        self.read_at_once: list[int] = []  # items, by the time each piece had been passed on
        self._failures = list(failures)

    @property
    def events(self) -> list[CostEvent]:
        return [event for segment in self.segments for event in segment.events]

    @property
    def journalled(self) -> list[Settled]:
        parsed = [parse_line(entry.line) for entry in self.sink.entries]
        return [each for each in parsed if isinstance(each, Settled)]

    def fetch(self, *fetches: list[bytes], **options: Any) -> bool:
        """Fetch these pieces; whether the last fetch was heard at all."""
        return asyncio.run(self._fetching(fetches, **options))

    async def _fetching(
        self,
        fetches: tuple[list[bytes], ...],
        *,
        errand: Errand | None = None,
        method: bytes = b"GET",
        status: int = 200,
        encoding: bytes = b"",
    ) -> bool:
        journal = Journal(self.sink, self.tally, lambda _: None)
        journal.start()
        keeper = Recorder(
            SegmentPacker("0" * 32), self._commit, self.clock, self.tally, threads=AtOnce(),
            on_stored=journal.stored, on_refused=lambda _: None, on_left=lambda _: None,
            on_reach=lambda _: None,
        )  # fmt: skip
        leases = make_desk(self.clock)
        items = BatchItems(Settlement(PRICER), keeper, journal, self.tally, self.clock, desk=leases)
        errand = errand or make_errand(route=make_route(kind="free", target=TARGET, operation="other"))
        is_heard = False
        for pieces in fetches:
            call = Call(DownstreamDouble(RequestHead(method, errand.route.target, [])), self.clock)
            call.unseen_key_hash = errand.who.unseen_key_hash
            headers = [(b"content-encoding", encoding)] if encoding else []
            async with items.fetched(call, errand, ResponseHead(status, b"", headers)) as fetch:
                is_heard = fetch is not None
                if fetch is not None:
                    for piece in pieces:
                        fetch.feed(piece)
                        self.read_at_once.append(self.tally.batch_items_read)
            if fetch is not None and fetch.ticket is not None:
                await fetch.ticket
        await keeper.flush(5)
        await journal.close(5)
        return is_heard

    def _commit(self, segment: Segment) -> None:
        if self._failures:
            raise self._failures.pop(0)
        self.segments.append(segment)


def test_an_item_that_succeeded_is_an_event_at_batch_prices() -> None:
    desk = Desk()

    desk.fetch([batch_line("one") + batch_line("two", "errored") + batch_line("three", "expired")])

    (event,) = desk.events
    assert event.usage == Usage(input_tokens=1000, output_tokens=100)
    assert (event.cost_nanodollars, event.service_tier, event.unpriced) == (2_250_000, "batch", False)
    assert (event.state, event.status_code, event.streaming) == ("completed", 200, False)
    assert (event.latency_ms, event.ttft_ms, event.timestamp) == (0, None, desk.clock.now())


@settings(max_examples=30)
@given(st.lists(st.integers(min_value=0), max_size=8), st.permutations([f"c {at}" for at in range(12)]))
def test_names_follow_from_the_items_whatever_the_split_the_order_and_the_instance(
    places: list[int], order: list[str]
) -> None:
    first, again = Desk(), Desk()

    first.fetch([b"".join(batch_line(each) for each in sorted(order))])
    again.fetch(cut_at(b"".join(batch_line(each) for each in order), places))

    named = [
        {event.request_id: segment.name for segment in desk.segments for event in segment.events}
        for desk in (first, again)
    ]
    assert named[0] == named[1]
    assert len(named[0]) == len(order)


def test_another_batchs_item_of_the_same_name_is_another_item() -> None:
    desk = Desk()
    other = make_route(kind="free", target=TARGET.replace(b"_1", b"_2"))

    desk.fetch([batch_line("one")])
    desk.fetch([batch_line("one")], errand=make_errand(route=other))

    assert len({event.request_id for event in desk.events}) == len({each.name for each in desk.segments}) == 2


def test_the_callers_word_for_an_item_is_in_no_line_and_no_event() -> None:
    desk = Desk()

    desk.fetch([batch_line("canary of a customer")])

    assert b"canary" not in msgspec.json.encode([desk.events, [entry.line for entry in desk.sink.entries]])


def test_items_belong_to_the_key_and_the_tags_of_the_fetch() -> None:
    desk = Desk()
    errand = make_errand(
        route=make_route(kind="free", target=TARGET),
        ours={b"x-modeltrack-team": b"said", b"x-modeltrack-feature": b"nightly"},
    )
    pinned = make_caller(team="pinned")
    who = msgspec.structs.replace(errand.who, caller=pinned)

    desk.fetch([batch_line("one")], errand=msgspec.structs.replace(errand, who=who))

    (event,) = desk.events
    assert (event.key_id, event.team, event.feature) == (pinned.key_id, "pinned", "nightly")


def test_each_item_has_its_line_until_its_own_segment_is_stored() -> None:
    desk = Desk()

    desk.fetch([batch_lines(40)], [batch_lines(40)])

    assert len(desk.journalled) == 80
    assert {each.segment for each in desk.journalled} == {segment.name for segment in desk.segments}
    needed_for = {entry.segment for entry in desk.sink.entries}
    assert sorted(needed_for) == sorted(desk.sink.names_stored)
    assert len(needed_for) == len(desk.segments)


def test_a_key_that_nobody_could_look_up_leaves_its_items_to_recovery_under_the_same_names() -> None:
    desk = Desk()
    unseen = make_errand(
        account_id="", policy=Policy(account_id=""), unseen_key_hash="a" * 64,
        route=make_route(kind="free", target=TARGET),
    )  # fmt: skip

    desk.fetch([batch_line("one")], errand=unseen)
    assert (desk.segments, [entry.is_held for entry in desk.sink.entries]) == ([], [False])
    desk.fetch([batch_line("one")])

    left, (segment,) = desk.journalled[0], desk.segments
    assert (left.key_hash, left.event.account_id) == ("a" * 64, "")
    assert (left.segment, left.event.request_id) == (segment.name, segment.events[0].request_id)


def test_a_fetch_that_breaks_off_records_the_items_it_showed() -> None:
    desk = Desk()

    desk.fetch([batch_lines(3)[:-10]])

    assert (len(desk.events), desk.tally.batch_lines_unread) == (2, 1)


def test_the_store_being_down_delays_items_and_nothing_else() -> None:
    desk = Desk(StoreUnavailable(), StoreUnavailable())

    desk.fetch([batch_lines(5)])

    assert (len(desk.events), desk.tally.commits_repeated) == (5, 2)


def test_more_than_may_be_held_is_handed_over_while_results_still_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_items, "ITEMS_HELD_MAX", 10)
    desk = Desk()

    desk.fetch([batch_line(str(number)) for number in range(25)])

    assert len(desk.events) == len({event.request_id for event in desk.events}) == 25
    assert sorted(entry.segment for entry in desk.sink.entries)[0].endswith("/0")
    assert {entry.segment[-1] for entry in desk.sink.entries} == {"0", "1", "2"}


@pytest.mark.parametrize(("room", "left"), [(3, 0), (2, 3)])
def test_what_finds_no_room_is_left_to_the_journal(
    monkeypatch: pytest.MonkeyPatch, room: int, left: int
) -> None:
    monkeypatch.setattr(recorder, "EVENTS_WHOLE_MAX", room)
    monkeypatch.setattr(batch_items, "PORTIONS", 1)
    desk = Desk()

    desk.fetch([batch_lines(3)])

    assert (len(desk.events), desk.tally.events_left_to_journal) == (3 - left, left)
    assert len(desk.sink.names_stored) == (0 if left else 1)


def test_compressed_results_are_read_from_a_copy() -> None:
    desk = Desk()

    desk.fetch(cut_at(gzip.compress(batch_lines(20)), range(0, 400, 7)), encoding=b"gzip")

    assert len(desk.events) == 20


@pytest.mark.parametrize("encoding", [b"gzip", b"unheard-of"])
def test_results_that_cannot_be_read_harm_nothing_and_are_counted(encoding: bytes) -> None:
    desk = Desk()

    desk.fetch([batch_lines(2), batch_lines(2)], encoding=encoding)

    assert (desk.events, desk.tally.batch_fetches_unread) == ([], 1)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (b"/v1/messages/batches/msgbatch_1", {}),
        (b"/v1/models", {}),
        (TARGET, {"method": b"HEAD"}),
        (TARGET, {"status": 404}),
    ],
)
def test_nothing_else_is_heard(target: bytes, options: dict[str, Any]) -> None:
    errand = make_errand(route=make_route(kind="free", target=target))

    assert not Desk().fetch([batch_lines(1)], errand=errand, **options)


def test_others_get_their_turn_while_a_piece_is_read_unless_too_much_is_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk, piece = Desk(), batch_lines(200)
    monkeypatch.setattr(batch_items, "BACKLOG_BYTES_MAX", len(piece))

    desk.fetch([piece, piece])

    assert desk.read_at_once[0] == 0
    assert 190 <= desk.read_at_once[1] <= 210
    assert desk.tally.batch_items_read == 400


def test_no_latency_is_counted_for_an_item() -> None:
    assert histogram_counters(make_event(service_tier="batch")) == ()
    assert histogram_counters(make_event(service_tier="standard"))


def test_an_item_is_charged_to_the_budgets_over_it() -> None:
    budgets = (make_budget(scope=Scope(model="claude-sonnet-4-5")), make_budget(scope=Scope(team="other")))
    errand = make_errand(
        policy=make_policy(budgets=budgets),
        route=make_route(kind="free", target=TARGET, operation="other"),
    )
    desk = Desk()

    desk.fetch([batch_line("one")], [batch_line("one")], errand=errand)

    first, second = desk.events
    assert first.charges == second.charges
    assert [(charge.budget_id, charge.nanodollars) for charge in first.charges] == [
        (budgets[0].budget_id, 2_250_000)
    ]
