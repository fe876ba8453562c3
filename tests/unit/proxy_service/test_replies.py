import msgspec
import pytest

from proxy_service.call import Call
from proxy_service.refusals import RequestRefused, Retry
from proxy_service.replies import answer_headers, cost_header, refusal, refuse, savings_header
from proxy_service.wire import (
    BodyTooLarge,
    BodyUnreadable,
    RequestHead,
    UpstreamCut,
    UpstreamTimedOut,
    UpstreamUnreachable,
    WireError,
)
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.downstream import DownstreamDouble
from tests.unit.proxy_service.errands import make_admitted, make_route


def make_call(target: bytes = b"/v1/messages") -> Call:
    return Call(DownstreamDouble(RequestHead(b"POST", target, [])), ManualClock())


def test_what_we_added_is_what_was_spent_on_nobody_else() -> None:
    clock = ManualClock()
    call = Call(DownstreamDouble(), clock)
    call.cache, call.waited_seconds = b"MISS", 1.25
    clock.advance(1.2515)

    headers = dict(answer_headers(call, clock.monotonic()))

    assert headers == {
        b"X-ModelTrack-Request-ID": call.request_id.encode(),
        b"X-ModelTrack-Cache": b"MISS",
        b"X-ModelTrack-Overhead-Ms": b"1.500",
    }


def test_a_cost_is_told_exactly_and_only_where_it_is_known() -> None:
    assert cost_header(make_event(cost_nanodollars=26_100_000)) == [(b"X-ModelTrack-Cost-USD", b"0.0261")]
    assert cost_header(make_event(unpriced=True)) == cost_header(None) == []


def test_savings_are_told_in_dollars() -> None:
    assert savings_header(make_event(saved_nanodollars=1_500_000_000)) == [
        (b"X-ModelTrack-Cache-Savings", b"$1.5")
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BodyTooLarge(), 413),
        (BodyUnreadable(), 400),
        (UpstreamUnreachable(), 502),
        (UpstreamCut(), 502),
        (UpstreamTimedOut(), 504),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_broken_connection_has_its_status(error: WireError, status: int) -> None:
    assert refusal(error, 1024).status == status


@pytest.mark.parametrize("target", [b"/v1/messages", b"/v1/chat/completions", b"/bedrock/model/m/converse"])
def test_a_refusal_is_numbered_and_says_when_to_come_back(target: bytes) -> None:
    call = make_call(target)

    refuse(call, RequestRefused(503, "busy", "try again"), [])

    downstream = call.downstream
    assert isinstance(downstream, DownstreamDouble)
    assert downstream.answered is not None
    status, headers, _ = downstream.answered
    assert (status, call.status, call.refusal) == (503, 503, "busy")
    assert (b"Retry-After", b"1") in headers
    assert (b"X-ModelTrack-Request-ID", call.request_id.encode()) in headers
    assert "try again" in str(msgspec.json.decode(b"".join(downstream.sent)))


@pytest.mark.parametrize(
    ("status", "retry", "after", "should"),
    [
        (429, "by status", b"1", None),
        (429, "soon", b"1", None),
        (429, "never", None, b"false"),
        (400, "by status", None, None),
    ],
)
def test_whether_coming_back_helps_is_said_in_headers(
    status: int, retry: Retry, after: bytes | None, should: bytes | None
) -> None:
    call = make_call()

    refuse(call, RequestRefused(status, "code", "words", retry=retry), [])

    assert isinstance(call.downstream, DownstreamDouble)
    assert call.downstream.answered is not None
    headers = dict(call.downstream.answered[1])
    assert (headers.get(b"Retry-After"), headers.get(b"x-should-retry")) == (after, should)


def test_a_turned_call_says_from_where_to_where_and_why_in_what_headers_can_hold() -> None:
    call = make_call()
    call.admitted = make_admitted(requested_model="größer", sent_model="small")
    call.route_reason, call.warning = "rule: 70%\r\nX-Evil: 1", "équipe at 80% of budget"

    headers = dict(answer_headers(call, 0))

    assert headers[b"X-ModelTrack-Routed"] == b"true"
    assert headers[b"X-ModelTrack-Original-Model"] == b"gr??er"
    assert headers[b"X-ModelTrack-Routed-To"] == b"small"
    assert headers[b"X-ModelTrack-Route-Reason"] == b"rule: 70%??X-Evil: 1"
    assert headers[b"X-ModelTrack-Budget-Warning"] == b"?quipe at 80% of budget"


def test_a_call_that_could_not_be_turned_says_only_why() -> None:
    call = make_call()
    call.admitted, call.route_reason = make_admitted(), "unsafe_to_edit"

    names = [name for name, _ in answer_headers(call, 0)]

    assert b"X-ModelTrack-Route-Reason" in names
    assert b"X-ModelTrack-Routed" not in names


def test_a_wrong_method_is_told_the_right_one() -> None:
    service, provider = make_call(b"/stats"), make_call()
    provider.route = make_route()
    allowed = []
    for call in (service, provider):
        refuse(call, RequestRefused(405, "method_not_allowed", "no"), [])
        assert isinstance(call.downstream, DownstreamDouble)
        assert call.downstream.answered is not None
        allowed.append(dict(call.downstream.answered[1])[b"Allow"])

    assert allowed == [b"GET, HEAD", b"POST"]
