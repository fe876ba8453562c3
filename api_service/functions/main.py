"""The functions, one target a job: a POST runs the job once and answers with its figures.

    python -m functions_framework --source api_service/functions/main.py --target recover

serves one of them, from the repository's root. Who may ask is the platform's business: only the scheduler's
own identity invokes them. A run that fails answers 500, one that finds the job running 409, so that the
scheduler's record shows what became of it; the next run follows either way.
"""

import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Final

from flask import Request, Response

from api_service.answers import answer_fields
from api_service.functions.jobs import job_named, perform
from api_service.functions.settings import FunctionSettings, is_served
from api_service.functions.workplace import Workplace
from api_service.logs import ApiLog
from api_service.mail import mail_of
from metering.clock import SystemClock
from metering.errors import StoreError
from metering.opening import open_store
from metering.settings import SettingsRefused

Target = Callable[[Request], Response]

EXIT_REFUSED: Final = 2

_running: Final = threading.Lock()  # a process serves one target


def _refuse_to_start() -> None:
    """Say what is wrong with the settings, all of it, and end this process before it serves anything.

    Raises: SystemExit.
    """
    try:
        FunctionSettings()
    except SettingsRefused as refused:
        for complaint in refused.complaints:
            ApiLog(SystemClock()).fault(complaint)
        sys.exit(EXIT_REFUSED)


if is_served():
    _refuse_to_start()


@cache
def workplace() -> Workplace:
    """Where this process works: opened with its first run. Raises: StoreError."""
    clock = SystemClock()
    try:
        settings = FunctionSettings()
        log = ApiLog(clock, settings.log_level)
        mail = mail_of(settings, clock, log)
        return Workplace(settings, open_store(settings.store_url), clock, log, mail)
    except StoreError as error:
        ApiLog(clock).broken(error)
        raise


def _target(name: str) -> Target:
    job = job_named(name)

    def target(request: Request) -> Response:
        if request.method != "POST":
            return answer_fields({"error": "send a POST"}, 405)
        if not _running.acquire(blocking=False):
            return answer_fields({"error": "the job is running"}, 409)
        try:
            return answer_fields(perform(job, workplace()))
        except Exception:  # noqa: BLE001 - the edge: what it was is in the log
            return answer_fields({"error": "the job failed; the log says more"}, 500)
        finally:
            _running.release()

    return target


# One a job of `api_service.functions.jobs`, by its name.
recover = _target("recover")
reap = _target("reap")
seed = _target("seed")
compact = _target("compact")
retain = _target("retain")
erase = _target("erase")
check = _target("check")
alert = _target("alert")
report = _target("report")
deliver = _target("deliver")
measure = _target("measure")
