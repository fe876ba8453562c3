import asyncio
import io
import threading

import msgspec
import pytest

from proxy_service.call import Call
from proxy_service.logs import LINES_WAITING_MAX, CallLog, LineBuffer, open_log
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.downstream import DownstreamDouble
from tests.unit.proxy_service.errands import make_errand, make_route


def logged(level: str, *calls: Call) -> list[dict[str, object]]:
    stream = io.StringIO()

    async def running() -> None:
        log = CallLog(open_log(level, stream), level, ManualClock(), stream)
        for call in calls:
            log.write(call, latency_ms=7)
        log.close(5)

    asyncio.run(running())
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def make_call(*, is_service: bool = False) -> Call:
    call = Call(DownstreamDouble(), ManualClock())
    call.status = 200
    if not is_service:
        call.route, call.caller, call.event = (
            make_route(),
            make_errand().who.caller,
            make_event(model='a "quoted"\nmodel'),
        )
    return call


def test_a_call_is_one_line_of_metadata() -> None:
    call = make_call()

    (line,) = logged("info", call)

    assert (line["event"], line["level"], line["request_id"]) == ("call", "info", call.request_id)
    assert (line["model"], line["status"], line["latency_ms"]) == ('a "quoted"\nmodel', 200, 7)
    assert line["timestamp"] == "2026-11-21T09:30:00Z"


def test_no_control_character_of_a_model_or_file_name_stands_in_a_line() -> None:
    stream, odd = io.StringIO(), "a\x9b2Jb\x85c\u2028d\x7f"
    call = make_call()
    call.event = make_event(model=odd)

    open_log("info", stream).info("configuration file read", file=odd)
    (line,) = logged("info", call)

    assert line["model"] == odd
    assert msgspec.json.decode(stream.getvalue())["file"] == odd
    assert all(sign.isprintable() for sign in stream.getvalue().rstrip("\n"))


@pytest.mark.parametrize(
    ("level", "lines"), [("debug", ["info", "debug"]), ("info", ["info"]), ("warn", []), ("error", [])]
)
def test_the_level_says_what_is_written(level: str, lines: list[str]) -> None:
    assert [line["level"] for line in logged(level, make_call(), make_call(is_service=True))] == lines


def test_a_fault_tells_its_kind_and_place_and_never_its_text() -> None:
    stream = io.StringIO()
    try:
        msgspec.json.decode(b'"sk-ant-canary')
    except msgspec.DecodeError as error:
        CallLog(open_log("info", stream), "info", ManualClock(), stream).fault("call failed", error)

    line = msgspec.json.decode(stream.getvalue())
    assert (line["event"], line["kind"], "canary" in stream.getvalue()) == (
        "call failed",
        "DecodeError",
        False,
    )
    assert "test_logs.py:" in line["at"]


def test_a_warning_is_named_as_in_the_setting_and_by_the_api() -> None:
    stream = io.StringIO()

    log = open_log("warn", stream)
    log.info("w")
    log.warning("x")

    assert msgspec.json.decode(stream.getvalue())["level"] == "warn"


def test_what_is_no_plain_value_is_logged_as_its_kind() -> None:
    stream = io.StringIO()

    open_log("info", stream).info("x", what=ValueError("sk-ant-canary"))

    assert msgspec.json.decode(stream.getvalue())["what"] == "ValueError"


def test_waiting_lines_are_bounded() -> None:
    stream = io.StringIO()

    async def running() -> None:
        lines = LineBuffer(stream)
        for _ in range(LINES_WAITING_MAX + 1):
            lines.add("x")
        lines.close(5)

    asyncio.run(running())

    assert len(stream.getvalue().splitlines()) == LINES_WAITING_MAX


def test_a_log_that_nobody_reads_for_a_while_stops_nothing() -> None:
    failed = threading.Event()

    class Unread(io.StringIO):
        def flush(self) -> None:
            if not failed.is_set():
                failed.set()
                raise BrokenPipeError

    stream = Unread()

    async def running() -> None:
        lines = LineBuffer(stream)
        lines.add("first")
        await asyncio.to_thread(failed.wait, 5)
        lines.add("second")
        lines.close(5)

    asyncio.run(running())
    assert stream.getvalue() == "first\nsecond\n"


def test_a_log_that_nobody_reads_any_more_fails_nobody() -> None:
    refused: list[str] = []

    class Unread(io.StringIO):
        def write(self, line: str) -> int:
            refused.append(line)
            raise BrokenPipeError

    log = CallLog(open_log("info", Unread()), "info", ManualClock(), Unread())

    log.fault("segment refused", ValueError())
    log.store_reach(False, 1)
    log.store_reach(True, 0)

    assert len(refused) >= 3  # each was tried, and none got out
