"""The alarms of infra/ listen for what the logs really say."""

import ast
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path

from api_service.functions.jobs import JOBS
from api_service.logs import ApiLog
from metering.nightly_check import Check
from proxy_service.logs import CallLog, open_log
from tests.doubles.clock import ManualClock

ROOT = Path(__file__).parents[2]
# Said on a machine of one's own alone, where there are no alarms.
SAID_WHEN_SELF_HOSTED = {
    "journals of earlier processes not read",
    "the machine's own account not made yet; trying again",
}


def listened_for() -> set[tuple[str, str]]:
    """Level and event of each line that infra/alarms.tf makes an alarm of."""
    alarms = re.findall(
        r'events\s+= \[(.+)\]\n\s+level\s+= "(\w+)"', (ROOT / "infra" / "alarms.tf").read_text()
    )
    return {(level, event) for events, level in alarms for event in json.loads(f"[{events}]")}


def lines_of(stream: io.StringIO) -> set[tuple[str, str]]:
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return {(line["level"], line["event"]) for line in lines}


def said_by_the_api() -> set[tuple[str, str]]:
    """What the API and the jobs write for somebody to look into."""
    stream = io.StringIO()
    log = ApiLog(ManualClock(), "info", stream)
    log.day_unsound("acct_1", Check(day="2026-11-21", checked_at=datetime(2026, 11, 22, tzinfo=UTC)))
    log.job_failed("recover", ValueError())
    log.job_done("recover", {"lines_bad": 1}, seconds=0.1, is_alarming=True)
    log.broken(ValueError())
    return lines_of(stream)


def said_by_the_proxy() -> set[tuple[str, str]]:
    """What the proxy writes for somebody to look into: faults that its modules name, and a silent store."""
    stream = io.StringIO()
    log = CallLog(open_log("info", stream), "info", ManualClock(), stream)
    for fault in named_faults():
        log.fault(fault, ValueError())
    log.store_reach(is_reached=False, events_unstored=1)
    return lines_of(stream)


def named_faults() -> set[str]:
    """The first argument of each call of `….fault(` in the proxy's modules."""
    calls = [
        node
        for module in (ROOT / "proxy_service").glob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fault"
    ]
    faults = {each.args[0].value for each in calls if isinstance(each.args[0], ast.Constant)}
    assert len(faults) >= 6
    return {str(fault) for fault in faults} - SAID_WHEN_SELF_HOSTED


def test_each_alarm_listens_for_what_is_written_and_whatever_is_written_has_an_alarm() -> None:
    assert listened_for() == said_by_the_api() | said_by_the_proxy()


def test_every_job_has_its_place_in_the_table_of_schedules() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "infra" / "README.md").read_text(), re.MULTILINE)

    assert rows == [job.name for job in JOBS]
