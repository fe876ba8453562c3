"""Logs: one JSON object a line on standard error, metadata only.

What a caller sent is never logged but as a normalised tag inside JSON: no body, key, ingress id, path or
header, at any level. `debug` adds the proxy's own decisions, nothing of anybody else's.
"""

import logging
import sys
from typing import Any, Final, TextIO

import msgspec
import structlog

from proxy_service.call import Call

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

Logger = structlog.typing.FilteringBoundLogger


def open_log(level: str, stream: TextIO | None = None) -> Logger:
    """A logger of that level, onto standard error unless told otherwise."""
    log: Logger = structlog.wrap_logger(
        structlog.PrintLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
    )
    return log


def _json(event: dict[str, Any], **_options: object) -> str:
    # Unknown kinds of value would print themselves, whatever they hold; their type's name is enough.
    return msgspec.json.encode(event, enc_hook=lambda value: type(value).__name__).decode()


class CallLog:
    """One line a call."""

    def __init__(self, log: Logger) -> None:
        self._log = log

    def write(self, call: Call, latency_ms: int) -> None:
        """The call is over."""
        route, event, who = call.route, call.event, call.who
        write = (
            self._log.info if route or call.refusal else self._log.debug
        )  # health checks come every second
        write(
            "call",
            request_id=call.request_id,
            account_id=who.caller.account_id if who else "",
            key_id=who.caller.key_id if who else "",
            provider=route.provider if route else "",
            operation=route.operation if route else "service",
            kind=route.kind if route else "service",
            model=event.model if event else "",
            status=call.status,
            refusal=call.refusal,
            state=event.state if event else "",
            cost_nanodollars=event.cost_nanodollars if event else 0,
            latency_ms=latency_ms,
        )

    def fault(self, what: str, error: BaseException) -> None:
        """Something of ours failed. Only kinds and places: an error's text may quote what somebody sent."""
        self._log.error(what, kind=type(error).__name__, at=_place(error))


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
