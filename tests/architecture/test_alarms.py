"""The alarms of infra/ listen for what the log really says."""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path

from api_service.functions.jobs import JOBS
from api_service.logs import ApiLog
from metering.nightly_check import Check
from tests.doubles.clock import ManualClock

ROOT = Path(__file__).parents[2]


def said_at_error() -> set[str]:
    """The events of the lines that jobs write for somebody to look into."""
    stream = io.StringIO()
    log = ApiLog(ManualClock(), "info", stream)
    log.day_unsound("acct_1", Check(day="2026-11-21", checked_at=datetime(2026, 11, 22, tzinfo=UTC)))
    log.job_failed("recover", ValueError())
    log.job_done("recover", {"lines_bad": 1}, seconds=0.1, is_alarming=True)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["level"] for line in lines} == {"error"}
    return {line["event"] for line in lines}


def test_each_alarm_listens_for_an_event_that_is_written_at_error() -> None:
    listened_for = re.findall(r'event\s+= "([^"]+)"', (ROOT / "infra" / "alarms.tf").read_text())

    assert set(listened_for) == said_at_error()


def test_every_job_has_its_place_in_the_table_of_schedules() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "infra" / "README.md").read_text(), re.MULTILINE)

    assert rows == [job.name for job in JOBS]
