"""What browsers report of our Content-Security-Policy: that they kept a page from something.

Anybody may send anything here, so nothing of a report is written down but which directive it was and which
page of ours, each of a closed list, and at most `LINES_A_MINUTE` of them.
"""

import threading
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException

from api_service.access import needs
from api_service.answers import nothing
from api_service.errors import Refused
from api_service.services import services

REPORT_BYTES_MAX: Final = 16 * 1024
LINES_A_MINUTE: Final = 60
DIRECTIVES: Final = frozenset(
    {
        "default-src", "script-src", "script-src-elem", "script-src-attr", "style-src", "style-src-elem",
        "style-src-attr", "img-src", "connect-src", "font-src", "form-action", "base-uri", "frame-ancestors",
        "frame-src", "media-src", "object-src", "worker-src", "manifest-src",
    }
)  # fmt: skip
OTHER: Final = "other"


class Lines:
    """How many lines were written within the present minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = -1
        self._written = 0

    def take(self, monotonic_seconds: float) -> bool:
        """Whether one more may be written."""
        minute = int(monotonic_seconds // 60)
        with self._lock:
            if minute != self._minute:
                self._minute, self._written = minute, 0
            self._written += 1
            return self._written <= LINES_A_MINUTE


_LINES: Final = Lines()


@needs("anyone")
def take_report() -> Response:
    """Note what a browser reports."""
    body = request.get_data(cache=False)
    if len(body) > REPORT_BYTES_MAX:
        raise Refused(413, "body_too_large", "a report has at most 16 KiB")
    report = _report(body)
    known = services()
    if report is not None and _LINES.take(known.clock.monotonic()):
        known.log.policy_violated(_directive(report), _route(report))
    return nothing()


def _report(body: bytes) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    report = decoded.get("csp-report") if isinstance(decoded, dict) else None
    return report if isinstance(report, dict) else None


def _directive(report: dict[str, Any]) -> str:
    named = report.get("effective-directive") or report.get("violated-directive") or ""
    first = str(named)[:100].partition(" ")[0]
    return first if first in DIRECTIVES else OTHER


def _route(report: dict[str, Any]) -> str:
    """The page's address as our table of routes has it, without what stands in it."""
    try:
        path = urlsplit(str(report.get("document-uri", ""))[:2_000]).path
        rule, _ = current_app.url_map.bind("").match(path, method="GET", return_rule=True)
    except (ValueError, HTTPException):
        return OTHER
    return str(rule.rule)
