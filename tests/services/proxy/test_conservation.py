"""Law 5 at a running proxy: each call that is let through is counted, and ends settled."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.conservation import DayCounts, counts_by_day
from proxy_service.tally import Tally
from tests.doubles.raw_upstream import RawUpstream, ReceivedRequest, Wire, answering, call, dialled
from tests.doubles.waiting import until
from tests.services.proxy.calls import answer, batch_lines, get, message, messages_call, post
from tests.services.proxy.running import RunningProxy


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(answering(answer(message()))) as upstream:
        yield upstream


@pytest.fixture
def proxy(tmp_path: Path, upstream: RawUpstream) -> Iterator[RunningProxy]:
    with RunningProxy(tmp_path, upstream) as proxy:
        yield proxy


def counts(proxy: RunningProxy) -> DayCounts:
    today = proxy.clock.now().date()
    return counts_by_day(proxy.store, LOCAL_ACCOUNT_ID, today, today)[0]


def tally_of(proxy: RunningProxy) -> Tally:
    """What a scraper is told of the process, which says the same as the books."""
    return proxy.instance.tally


def test_calls_of_every_kind_are_counted_where_they_were_let_through(
    proxy: RunningProxy, upstream: RawUpstream
) -> None:
    call(proxy.port, messages_call())
    assert call(proxy.port, messages_call()).header(b"x-modeltrack-cache") == b"HIT"
    upstream.script = answering(answer(b"{}", status=b"500 Oops"))
    call(proxy.port, messages_call(top_k=1))
    upstream.script = answering(answer(b"{}"))
    call(proxy.port, post(b"/v1/complete", b"{}", b"anthropic-version: 2023-06-01\r\n"))
    upstream.script = answering(answer(batch_lines(3)))
    call(proxy.port, get(b"/v1/messages/batches/msgbatch_1/results", b"anthropic-version: 2023-06-01\r\n"))

    states = sorted(event.state for event in proxy.events())

    assert states == ["cache_hit", *["completed"] * 4, "unmetered", "upstream_error"]
    assert counts(proxy) == DayCounts(day="2026-11-21", settled=3)
    assert (tally_of(proxy).admitted_calls, tally_of(proxy).settled_calls) == (3, 3)


def test_a_call_that_waits_for_its_answer_is_in_flight(proxy: RunningProxy, upstream: RawUpstream) -> None:
    go_on = threading.Event()

    def waiting(wire: Wire, request: ReceivedRequest) -> None:
        if wire.number == 1:
            go_on.wait(30)
        answering(answer(message()))(wire, request)

    upstream.script = waiting
    with dialled(proxy.port, messages_call(top_k=1)):
        until(lambda: upstream.connections == 1)
        call(proxy.port, messages_call(top_k=2))
        proxy.clock.advance(5)
        until(lambda: counts(proxy) == DayCounts(day="2026-11-21", settled=1, in_flight=1))
        assert (tally_of(proxy).admitted_calls, tally_of(proxy).settled_calls) == (2, 1)
        go_on.set()

    proxy.stop()
    assert tally_of(proxy).settled_calls == 2
    assert counts(proxy) == DayCounts(day="2026-11-21", settled=2)
