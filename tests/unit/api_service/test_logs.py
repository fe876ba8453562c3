import io

import msgspec
import pytest

from api_service.logs import ApiLog, RequestLine
from tests.doubles.clock import ManualClock


def written(level: str, *lines: RequestLine) -> list[dict[str, object]]:
    stream = io.StringIO()
    log = ApiLog(ManualClock(), level, stream)
    for line in lines:
        log.answered(line)
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def answered(route: str, status: int = 200) -> RequestLine:
    return RequestLine(request_id="req_1", method="GET", route=route, status=status, duration_ms=1)


def test_a_line_carries_its_time_where_the_proxys_lines_do() -> None:
    (line,) = written("info", answered("/v1/usage"))

    assert (line["timestamp"], line["level"], line["event"]) == ("2026-11-21T09:30:00Z", "info", "answered")


@pytest.mark.parametrize("route", ["/healthz", "/health", "/readyz"])
def test_health_checks_are_told_of_at_debug_only_unless_they_fail(route: str) -> None:
    assert written("info", answered(route)) == []
    assert written("debug", answered(route))[0]["level"] == "debug"
    assert written("info", answered(route, 503))[0]["level"] == "error"


def test_no_control_character_stands_in_a_line() -> None:
    stream, odd = io.StringIO(), "Zoë\x9b2J\x85\u2028"

    ApiLog(ManualClock(), "info", stream).printed_mail("ada@example.com", odd, "text\n")

    line = stream.getvalue().rstrip("\n")
    assert line.isprintable()
    assert msgspec.json.decode(line)["subject"] == odd
