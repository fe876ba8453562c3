"""The composition root: settings, store, application, jobs, server. Chooses the database, with functions'."""

import atexit
import gc
import sys
from typing import TYPE_CHECKING

from api_service.app import create_app
from api_service.functions.jobs import JOBS
from api_service.functions.schedule import Schedule
from api_service.functions.settings import FunctionSettings
from api_service.functions.workplace import Workplace
from api_service.job_figures import JobFigures
from api_service.logs import ApiLog
from api_service.mail import mail_of
from api_service.metrics_listener import METRICS_HOST, beside
from api_service.server import Server, keep_for_good
from api_service.services import EXTENSION
from api_service.settings import ApiSettings
from metering.clock import SystemClock
from metering.opening import open_store
from metering.settings import SettingsRefused, deployment_secret

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

EXIT_REFUSED = 2


def main() -> int:
    """Serve until told to stop; gives the exit code."""
    try:
        settings, job_settings = _settings()
        secret = deployment_secret(settings)
    except SettingsRefused as refused:
        sys.stderr.write("The API service does not start:\n" + "\n".join(refused.complaints) + "\n")
        return EXIT_REFUSED
    clock = SystemClock()
    log = ApiLog(clock, settings.log_level)
    if settings.is_readable_on_the_way:
        log.caution("PUBLIC_URL is not https: session cookies travel readable")

    def load() -> "WSGIApplication":
        gc.disable()
        store, jobs = open_store(settings.store_url), JobFigures()
        if settings.runs_jobs:
            mail = mail_of(job_settings, clock, log)
            schedule = Schedule(JOBS, Workplace(job_settings, store, clock, log, mail), jobs)
            schedule.start()
            atexit.register(schedule.stop)
        app = create_app(settings, store, clock, secret, log=log, jobs=jobs)
        atexit.register(app.extensions[EXTENSION].postbox.close)
        atexit.register(app.extensions[EXTENSION].afterwards.close)
        keep_for_good()
        return app if settings.metrics_port is None else beside(app, settings.metrics_port)

    host = f"[{settings.listen_host}]" if ":" in settings.listen_host else settings.listen_host
    log.note(f"serving on http://{host}:{settings.port}")
    bound = [f"{host}:{settings.port}"]
    if settings.metrics_port is not None:
        bound.append(f"{METRICS_HOST}:{settings.metrics_port}")
    keep_for_good()
    Server(load, bound, settings.api_threads).run()
    return 0


def _settings() -> tuple[ApiSettings, FunctionSettings]:
    """What the service and its jobs are told. Raises: SettingsRefused, with all that is wrong at once."""
    complaints: dict[str, None] = {}
    for read in (ApiSettings, FunctionSettings):
        try:
            read()
        except SettingsRefused as refused:
            complaints |= dict.fromkeys(refused.complaints)
    if complaints:
        raise SettingsRefused([*complaints])
    return ApiSettings(), FunctionSettings()
