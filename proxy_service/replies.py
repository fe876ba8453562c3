"""Answers of our own: refusals in the words of the caller's provider, and what each answer says beside.

`X-ModelTrack-Request-ID` is on every answer; `-Cache` and `-Overhead-Ms` where a call was made;
`-Cost-USD` where the answer was held whole, `-Cache-Savings` where it came from memory. A call that a routing
rule turned to another model says so (`-Routed`, `-Original-Model`, `-Routed-To`, `-Route-Reason`; the last
alone where the rule could not be followed), and one near a budget's limit has `-Budget-Warning`.
"""

import re
from http import HTTPStatus
from typing import Final

from metering.events import CostEvent
from metering.money import usd_text
from proxy_service.call import Call
from proxy_service.providers import RequestRefused, dialect_of, render_error
from proxy_service.wire import (
    BodyTooLarge,
    BodyUnreadable,
    Headers,
    UpstreamTimedOut,
    UpstreamUnreachable,
    WireError,
)

RETRY_AFTER_SECONDS: Final = b"1"
_COME_BACK: Final = frozenset((429, 503))
_NOT_FOR_HEADERS: Final = re.compile(r"[^\x20-\x7e]")


def answer_headers(call: Call, now: float) -> Headers:
    """What an answer says of its call."""
    headers = [(b"X-ModelTrack-Request-ID", call.request_id.encode())]
    if call.cache:
        headers.append((b"X-ModelTrack-Cache", call.cache))
    if call.route_reason:
        headers += _routing_headers(call)
    if call.warning:
        headers.append((b"X-ModelTrack-Budget-Warning", _header_value(call.warning)))
    headers.append((b"X-ModelTrack-Overhead-Ms", b"%.3f" % call.overhead_ms(now)))
    return headers


def _routing_headers(call: Call) -> Headers:
    headers: Headers = []
    if call.admitted is not None and call.admitted.sent_model:
        headers = [
            (b"X-ModelTrack-Routed", b"true"),
            (b"X-ModelTrack-Original-Model", _header_value(call.admitted.requested_model)),
            (b"X-ModelTrack-Routed-To", _header_value(call.admitted.sent_model)),
        ]
    return [*headers, (b"X-ModelTrack-Route-Reason", _header_value(call.route_reason))]


def _header_value(text: str) -> bytes:
    """The text as a header can hold it: names are their givers' words, in any script."""
    return _NOT_FOR_HEADERS.sub("?", text).encode()


def cost_header(event: CostEvent | None) -> Headers:
    """What the call cost, where that is known."""
    if event is None or event.unpriced:
        return []
    return [(b"X-ModelTrack-Cost-USD", usd_text(event.cost_nanodollars).encode())]


def savings_header(event: CostEvent | None) -> Headers:
    """What an answer from memory saved."""
    if event is None:
        return []
    return [(b"X-ModelTrack-Cache-Savings", b"$" + usd_text(event.saved_nanodollars).encode())]


def refusal(error: WireError, body_limit_bytes: int) -> RequestRefused:
    """What a caller is told of a broken connection on either side, where there is still somebody to tell."""
    if isinstance(error, BodyTooLarge):
        return RequestRefused(413, "request_too_large", f"the body exceeds {body_limit_bytes} bytes")
    if isinstance(error, BodyUnreadable):
        return RequestRefused(400, "body_unreadable", "the body's framing is malformed")
    if isinstance(error, UpstreamUnreachable):
        return RequestRefused(502, "upstream_unreachable", f"the provider cannot be reached: {error}")
    if isinstance(error, UpstreamTimedOut):
        return RequestRefused(504, "upstream_timed_out", "the provider did not answer in time")
    return RequestRefused(502, "upstream_cut", "the provider closed the connection without an answer")


def refuse(call: Call, refused: RequestRefused, own_headers: Headers) -> None:
    """Answer with a refusal, in the shape that the caller's SDK reads."""
    dialect = call.route.dialect if call.route else dialect_of(call.head)
    headers, body = render_error(
        dialect,
        refused.status,
        refused.code,
        refused.message,
        call.request_id,
        param=refused.param,
        details=refused.details,
        retry=refused.retry,
    )
    headers += [(b"X-ModelTrack-Request-ID", call.request_id.encode()), *own_headers]
    if refused.retry == "soon" or (refused.retry == "by status" and refused.status in _COME_BACK):
        headers.append((b"Retry-After", RETRY_AFTER_SECONDS))
    elif refused.retry == "never":
        headers.append((b"x-should-retry", b"false"))
    if refused.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"Allow", b"POST" if call.route else b"GET, HEAD"))
    call.status = refused.status
    call.refusal = refused.code
    call.caller = call.caller or refused.caller
    call.downstream.answer(refused.status, HTTPStatus(refused.status).phrase.encode(), headers, body)
