"""Jobs run when they are due, and none stops another."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from api_service.functions.jobs import Job
from api_service.functions.schedule import RETRY_SECONDS_MAX, SAID_AGAIN_SECONDS, Schedule
from api_service.functions.settings import FunctionSettings
from api_service.functions.workplace import Workplace
from api_service.job_figures import JobFigures, JobRecord
from api_service.logs import ApiLog
from metering.errors import StoreUnavailable
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.doubles.stores import StoreDown
from tests.services.api.logbook import Logbook

HOUR = 3600.0


class Counted(msgspec.Struct, frozen=True):
    things: int = 0
    looks: int = 0
    losses: int = 0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def logbook() -> Logbook:
    return Logbook()


@pytest.fixture
def workplace(tmp_path: Path, clock: ManualClock, logbook: Logbook) -> Workplace:
    settings = FunctionSettings(data_dir=tmp_path)
    return Workplace(settings, StoreDown(), clock, ApiLog(clock, "info", logbook), Mailbox())


def job(name: str, does: Callable[[], Counted], every_seconds: float = HOUR) -> Job:
    return Job(name, lambda _: does(), every_seconds, alarming=("losses",), routine=("looks",))


def noting(runs: list[str], name: str, every_seconds: float = HOUR) -> Job:
    def note() -> Counted:
        runs.append(name)
        return Counted()

    return job(name, note, every_seconds)


@pytest.fixture
def figures() -> JobFigures:
    return JobFigures()


def test_every_job_runs_at_once_and_then_again_when_its_time_has_passed(
    workplace: Workplace, figures: JobFigures, clock: ManualClock
) -> None:
    runs: list[str] = []
    schedule = Schedule([noting(runs, "often", 5), noting(runs, "seldom")], workplace, figures)

    schedule.run_due()
    assert runs == ["often", "seldom"]
    clock.advance(4.9)
    schedule.run_due()
    assert runs == ["often", "seldom"]
    clock.advance(0.1)
    schedule.run_due()

    assert runs == ["often", "seldom", "often"]


def test_a_job_that_fails_says_so_stops_no_other_and_runs_again_soon(
    workplace: Workplace, figures: JobFigures, clock: ManualClock, logbook: Logbook
) -> None:
    runs: list[str] = []

    def fail() -> Counted:
        runs.append("failing")
        raise StoreUnavailable("canary")

    schedule = Schedule([job("failing", fail), noting(runs, "other")], workplace, figures)
    schedule.run_due()
    clock.advance(RETRY_SECONDS_MAX)
    schedule.run_due()

    assert runs == ["failing", "other", "failing"]
    line = logbook.lines()[0]
    assert (line["level"], line["event"], line["job"]) == ("error", "job failed", "failing")
    assert line["kind"] == "StoreUnavailable"
    assert "canary" not in logbook.getvalue()
    assert figures.records()["failing"] == JobRecord(failed=2)
    assert figures.records()["other"] == JobRecord(done=1, done_at=ManualClock().now())


def test_a_job_that_hangs_is_told_of_once_and_holds_up_nothing_but_itself(
    workplace: Workplace, figures: JobFigures, clock: ManualClock, logbook: Logbook
) -> None:
    runs: list[str] = []
    release, ended = threading.Event(), threading.Event()

    def hang() -> Counted:
        runs.append("hanging")
        release.wait(30)
        ended.set()
        return Counted()

    schedule = Schedule(
        [job("hanging", hang, 1), noting(runs, "other", 1)], workplace, figures, patience_seconds=0.01
    )
    schedule.run_due()
    clock.advance(1)
    schedule.run_due()
    release.set()
    assert ended.wait(30)

    assert runs == ["hanging", "other", "other"]
    assert [line["event"] for line in logbook.lines()] == ["job overdue"]
    assert figures.records()["hanging"].overdue == 1


def test_a_run_says_what_it_did_and_nothing_where_it_did_nothing(
    workplace: Workplace, figures: JobFigures, logbook: Logbook
) -> None:
    busy, idle = job("busy", lambda: Counted(things=3, looks=1)), job("idle", lambda: Counted(looks=1))

    Schedule([busy, idle], workplace, figures).run_due()

    (line,) = logbook.lines()
    assert (line["level"], line["event"], line["job"]) == ("info", "job done", "busy")
    assert line["things"] == 3
    assert "losses" not in line


def test_a_figure_that_somebody_must_look_into_is_an_error_in_the_log(
    workplace: Workplace, figures: JobFigures, logbook: Logbook
) -> None:
    Schedule([job("checking", lambda: Counted(losses=1))], workplace, figures).run_due()

    assert logbook.lines()[0]["level"] == "error"


def test_what_stays_wrong_from_run_to_run_is_said_once_an_hour(
    workplace: Workplace, figures: JobFigures, clock: ManualClock, logbook: Logbook
) -> None:
    wrong = iter([1, 1, 2, 2, 2])
    schedule = Schedule([job("checking", lambda: Counted(losses=next(wrong)), 5)], workplace, figures)

    for seconds in (5, 5, 5, SAID_AGAIN_SECONDS - 5, 0):
        schedule.run_due()
        clock.advance(seconds)

    assert [line["losses"] for line in logbook.lines()] == [1, 2, 2]


def test_a_failure_that_goes_on_is_said_once_and_again_when_it_comes_back(
    workplace: Workplace, figures: JobFigures, clock: ManualClock, logbook: Logbook
) -> None:
    is_down = iter([True, True, False, True])

    def ask() -> Counted:
        if next(is_down):
            raise StoreUnavailable
        return Counted()

    schedule = Schedule([job("asking", ask, 5)], workplace, figures)
    for _ in range(4):
        schedule.run_due()
        clock.advance(5)

    assert [line["event"] for line in logbook.lines()] == ["job failed", "job failed"]
    assert figures.records()["asking"].failed == 3


def test_a_stopped_schedule_begins_no_run(workplace: Workplace, figures: JobFigures) -> None:
    runs: list[str] = []
    schedule = Schedule([noting(runs, "first")], workplace, figures)

    schedule.start()
    schedule.stop()
    schedule.run_due()

    assert runs == []
