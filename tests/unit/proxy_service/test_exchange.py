"""The order of the story, and its promise of one event, with doubles on both sides."""

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import pytest

from metering.accounts import LOCAL_ACCOUNT_ID, Policy
from metering.bounds import Bounds
from metering.buckets import Range
from metering.budgets import Budget
from metering.conservation import Admissions
from metering.events import CostEvent
from metering.keys import new_key
from metering.model_limits import load_model_limits
from metering.price_table import load_price_table
from metering.pricing import Pricer
from metering.rule_savings import RoutingFigures
from metering.segments import Segment, SegmentPacker
from metering.usage_groups import zeros
from proxy_service.admission import Admittance
from proxy_service.batch_items import BatchItems
from proxy_service.bodies import BodyRoom
from proxy_service.books import Books
from proxy_service.cache import AnswerCache, CacheRules
from proxy_service.exchange import Exchange, Steps
from proxy_service.fingerprints import Fingerprints
from proxy_service.identity import Identity
from proxy_service.journal import Entry, Journal
from proxy_service.logs import CallLog, open_log
from proxy_service.origins import Origins
from proxy_service.policy import KeyUses, PolicyMemory
from proxy_service.process_figures import ProcessFigures
from proxy_service.recorder import Recorder
from proxy_service.service_routes import ServiceRoutes
from proxy_service.settlement import Settlement
from proxy_service.tally import Tally
from proxy_service.wire import Answer, Downstream, RequestHead, ResponseHead
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.directory import DirectoryDouble
from tests.doubles.downstream import AnswerDouble, DownstreamDouble
from tests.doubles.lease_desk import make_desk
from tests.doubles.sinks import ThreadSink
from tests.services.proxy.calls import message
from tests.services.proxy.governed import DOLLAR, make_budget
from tests.services.proxy.running import make_settings

BODY = b'{"model":"claude-sonnet-4-5"}'


class UpstreamDouble:
    """Opens what a test says: an answer, or something that goes wrong."""

    def __init__(self, opening: Callable[[], Awaitable[Answer]]) -> None:
        self.calls = 0
        self._opening = opening

    async def open(self, *_: Any, **__: Any) -> Answer:
        self.calls += 1
        return await self._opening()

    async def close(self) -> None:
        """Nothing is open."""


class GatedSink(ThreadSink):
    """Writes once the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.written: list[Entry] = []

    def write(self, entries: Sequence[Entry]) -> None:
        assert self.gate.wait(10)
        self.written += entries


class Stage:
    """An exchange whose events end up in `events`, and its journal in `sink`."""

    def __init__(
        self, tmp_path: Any, opening: Callable[[], Awaitable[Answer]], budgets: tuple[Budget, ...] = ()
    ) -> None:
        self.budgets = budgets
        self.upstream = UpstreamDouble(opening)
        self.events: list[CostEvent] = []
        self.log = io.StringIO()
        self.tally = Tally()
        self.room = BodyRoom()
        self.sink = GatedSink()
        self._settings = make_settings(tmp_path, 9)

    def play(self, *downstreams: Downstream) -> None:
        asyncio.run(self._playing(downstreams))

    async def _playing(self, downstreams: Sequence[Downstream]) -> None:
        clock, tally, directory = ManualClock(), self.tally, DirectoryDouble()
        directory.put(Policy(account_id=LOCAL_ACCOUNT_ID, budgets=self.budgets))
        memory = PolicyMemory(directory, tally, look_up_threads=AtOnce(), poll_thread=AtOnce())
        uses = KeyUses(directory.note_key_use, clock, AtOnce())
        identity = Identity(memory, uses, clock, b"secret", tally, is_key_required=False)
        journal = Journal(self.sink, tally, lambda _: None)
        recorder = Recorder(
            SegmentPacker("0" * 32), self._commit, clock, tally,
            threads=AtOnce(), on_stored=journal.stored, on_refused=lambda _: None, on_left=lambda _: None,
            on_reach=lambda _: None,
        )  # fmt: skip
        pricer, desk = Pricer(load_price_table()), make_desk(clock)
        settlement = Settlement(pricer)
        rules = CacheRules(enabled=True, temperature_zero_only=False)
        cache = AnswerCache(rules, entries_max=10, bytes_max=10_000, ttl_seconds=60)
        steps = Steps(
            identity=identity,
            room=self.room,
            admittance=Admittance(pricer, Bounds(pricer, load_model_limits()), desk, lambda *_: None),
            cache=cache,
            fingerprints=Fingerprints(b"secret"),
            origins=Origins(self._settings),
            upstream=self.upstream,
            books=Books(
                settlement,
                recorder,
                journal,
                tally,
                clock,
                desk=desk,
                instance="0" * 32,
                admissions=Admissions(),
            ),
            batch_items=BatchItems(settlement, recorder, journal, tally, clock, desk=desk),
            service_routes=ServiceRoutes(
                identity,
                ProcessFigures(tally, cache, clock),
                cache,
                clock,
                is_hosted=False,
                figures_of_month=_no_figures,
            ),
            tally=tally,
            log=CallLog(open_log("info", self.log), "info", clock, self.log),
            clock=clock,
            body_limit_bytes=1024,
            forwarding_hops=0,
        )
        journal.start()
        exchange = Exchange(steps)
        for downstream in downstreams:
            await exchange.handle(downstream)
        self.sink.gate.set()
        await recorder.flush(5)
        await journal.close(5)

    def _commit(self, segment: Segment) -> None:
        self.events += segment.events


async def _no_figures(_: str, now: datetime) -> RoutingFigures:
    return RoutingFigures(range=Range(now, now), sums=zeros(), rules=())


async def answered() -> Answer:
    answer = AnswerDouble(ResponseHead(200, b"OK", [], len(message())))
    answer.send(message())
    answer.end()
    return answer


async def stopped() -> Answer:
    body = message(stop_reason="end_turn")
    answer = AnswerDouble(ResponseHead(200, b"OK", [], len(body)))
    answer.send(body)
    answer.end()
    return answer


async def faulty() -> Answer:
    raise RuntimeError("a fault of ours, sk-ant-canary")


def make_downstream(body: bytes = BODY, target: bytes = b"/v1/messages") -> DownstreamDouble:
    head = RequestHead(b"POST", target, [(b"x-api-key", b"sk-ant-canary")], content_length=len(body))
    return DownstreamDouble(head, body)


def test_a_call_is_answered_and_recorded_once(tmp_path: Any) -> None:
    stage, downstream = Stage(tmp_path, answered), make_downstream()

    stage.play(downstream)

    assert (b"".join(downstream.sent), downstream.end_seen) == (message(), "ended")
    assert [event.state for event in stage.events] == ["completed"]
    assert stage.room.bytes_taken == 0


@pytest.mark.parametrize(
    ("target", "calls", "states"),
    [
        (b"/v1/messages", 1, ["completed"]),
        (b"/v1/messages", 2, ["completed", "cache_hit"]),
        (b"/v1/not-yet-invented", 1, ["unmetered"]),
    ],
    ids=["metered", "from memory", "unmetered"],
)
def test_the_end_of_every_recorded_answer_waits_for_its_line(
    tmp_path: Any, target: bytes, calls: int, states: list[str]
) -> None:
    stage = Stage(tmp_path, stopped)
    stage.sink.gate.clear()

    stage.play(*[make_downstream(target=target) for _ in range(calls)])

    assert [event.state for event in stage.events] == states
    assert stage.tally.journal_late == stage.upstream.calls + calls


@pytest.mark.parametrize("target", [b"/v1/messages", b"/v1/not-yet-invented"])
def test_nothing_goes_upstream_before_the_journal_tells_of_the_call(tmp_path: Any, target: bytes) -> None:
    told: list[bool] = []

    async def opening() -> Answer:
        told.append([entry.segment for entry in stage.sink.written] == [""])
        return await stopped()

    stage = Stage(tmp_path, opening)
    stage.play(make_downstream(target=target))

    assert told == [True]


def test_a_fault_of_ours_costs_its_own_call_only_and_leaves_one_event(tmp_path: Any) -> None:
    stage, downstream = Stage(tmp_path, faulty), make_downstream()

    stage.play(downstream)

    (event,) = stage.events
    assert (event.state, event.status_code) == ("upstream_error", 500)
    assert event.estimate_method == "request_bytes"
    assert downstream.answered is None  # the listener says 500 for a handle that did not answer
    assert "RuntimeError" in stage.log.getvalue()
    assert "canary" not in stage.log.getvalue()
    assert stage.room.bytes_taken == 0


def test_a_fault_after_the_answers_beginning_leaves_one_event(tmp_path: Any) -> None:
    async def breaking() -> Answer:
        answer = AnswerDouble(ResponseHead(200, b"OK", []))
        answer.send(ValueError("a fault of ours"))  # type: ignore[arg-type]  # raised in its place
        return answer

    stage, downstream = Stage(tmp_path, breaking), make_downstream()

    stage.play(downstream)

    assert [event.state for event in stage.events] == ["upstream_truncated"]
    assert downstream.end_seen == ""


@pytest.mark.parametrize("is_drained", [False, True])
def test_ended_from_outside_a_call_is_recorded_all_the_same(tmp_path: Any, is_drained: bool) -> None:
    downstream = make_downstream()

    async def cancelled() -> Answer:
        downstream.is_gone, downstream.is_drained = True, is_drained
        raise asyncio.CancelledError

    stage = Stage(tmp_path, cancelled)

    with pytest.raises(asyncio.CancelledError):
        stage.play(downstream)

    ended = ("drained", "5xx") if is_drained else ("client_closed", "4xx")
    assert stage.tally.calls == {("anthropic", *ended): 1}


def test_a_caller_that_left_before_anything_was_sent_on_costs_nothing(tmp_path: Any) -> None:
    stage, downstream = Stage(tmp_path, answered), make_downstream()
    downstream.is_gone = True

    stage.play(downstream)

    assert (stage.upstream.calls, stage.events) == (0, [])


def test_a_caller_that_left_while_its_body_was_read_costs_nothing(tmp_path: Any) -> None:
    class Leaving(DownstreamDouble):
        async def read_body(self, limit_bytes: int) -> bytes:
            body = await super().read_body(limit_bytes)
            self.leave()
            return body

    stage, downstream = Stage(tmp_path, answered), make_downstream()

    stage.play(Leaving(downstream.head, BODY))

    assert (stage.upstream.calls, stage.events) == (0, [])


def test_a_call_that_is_never_sent_on_keeps_nothing_of_its_budgets(tmp_path: Any) -> None:
    class Leaving(DownstreamDouble):
        async def read_body(self, limit_bytes: int) -> bytes:
            self.is_gone = True
            return self._body

    budget = make_budget(mode="strict", limit_nanodollars=20 * DOLLAR)  # room for one such call
    stage = Stage(tmp_path, answered, (budget,))
    downstream = make_downstream()

    stage.play(*[Leaving(downstream.head, BODY) for _ in range(3)], downstream)

    assert [event.state for event in stage.events] == ["completed"]


def test_a_body_gives_its_room_back_as_soon_as_the_answer_begins(tmp_path: Any) -> None:
    taken: list[int] = []

    class Watching(AnswerDouble):
        async def read_whole(self, limit_bytes: int) -> bytes:
            taken.append(stage.room.bytes_taken)
            return await super().read_whole(limit_bytes)

    async def opening() -> Answer:
        taken.append(stage.room.bytes_taken)
        answer = Watching(ResponseHead(200, b"OK", [], len(message())))
        answer.send(message())
        answer.end()
        return answer

    stage = Stage(tmp_path, opening)
    stage.play(make_downstream())

    assert taken == [len(BODY), 0]


@pytest.mark.parametrize(
    ("target", "header", "status"),
    [
        (b"/v1/messages", (b"x-api-key", new_key().encode()), 401),
        (b"/v1/models", (b"authorization", b"Bearer " + new_key().encode()), 401),
        (b"/bedrock/model/m/count-tokens", (b"authorization", b"AWS4-HMAC-SHA256 Credential=a"), 400),
    ],
    ids=["our key, metered", "our key, free", "signed for our host"],
)
def test_what_must_not_reach_a_provider_does_not(
    tmp_path: Any, target: bytes, header: tuple[bytes, bytes], status: int
) -> None:
    stage = Stage(tmp_path, answered)
    downstream = DownstreamDouble(RequestHead(b"POST", target, [header], content_length=len(BODY)), BODY)

    stage.play(downstream)

    assert downstream.answered is not None
    assert (downstream.answered[0], stage.upstream.calls, stage.events) == (status, 0, [])


@pytest.mark.parametrize(
    ("body", "status"), [(b"[]", 400), (b"x" * 1025, 413)], ids=["no object", "too large"]
)
def test_what_is_refused_before_it_is_let_through_is_not_recorded(
    tmp_path: Any, body: bytes, status: int
) -> None:
    stage, downstream = Stage(tmp_path, answered), make_downstream(body)

    stage.play(downstream)

    assert downstream.answered is not None
    assert (downstream.answered[0], stage.upstream.calls, stage.events) == (status, 0, [])
    assert stage.room.bytes_taken == 0
