"""The API as a Flask application: routes, what guards them, and the document that describes them.

`create_app` puts it together from what it is handed; importing this opens nothing and reads nothing.
"""

import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cache
from typing import Any

from flask import Flask, Request, Response, current_app, request
from flask_openapi3.models.info import Info
from flask_openapi3.models.security_scheme import SecurityScheme
from flask_openapi3.openapi import OpenAPI
from pydantic import ValidationError

from api_service.access import guard, needs
from api_service.afterwards import Afterwards
from api_service.alerts import Alerts
from api_service.answers import accompany, answer_fields
from api_service.arrivals import lead_on
from api_service.attempts import Attempts
from api_service.audit_log import AuditLog
from api_service.auditing import audit_changes
from api_service.bodies import StrictRequest
from api_service.channels import Channels
from api_service.dashboard.registering import register_dashboard
from api_service.described import describe_guards, describe_ranges
from api_service.devices import Devices
from api_service.errors import ErrorView, answer_errors, invalid_fields
from api_service.export_places import ExportPlaces
from api_service.idempotency import Claims, CommitsNoted, answer_repeats
from api_service.identities import Identities
from api_service.invites import Invites
from api_service.job_figures import JobFigures
from api_service.logs import ApiLog
from api_service.mail import Mail, Postbox, mail_of
from api_service.members import Members
from api_service.notices import notices_of
from api_service.passwords import Passwords
from api_service.patience import PatienceLimited
from api_service.people import People
from api_service.rates import Rates
from api_service.request_figures import RequestFigures
from api_service.request_limits import limit_requests
from api_service.resources.account_export import account_export
from api_service.resources.accounts import accounts
from api_service.resources.alerts import alerts
from api_service.resources.anomalies import anomalies
from api_service.resources.audit_events import audit_events
from api_service.resources.budgets import budgets
from api_service.resources.channels import channels
from api_service.resources.comparison import comparison
from api_service.resources.configuration_files import configuration_files
from api_service.resources.conservation import conservation
from api_service.resources.costs import costs
from api_service.resources.departure import departure
from api_service.resources.estimates import estimates
from api_service.resources.events import events
from api_service.resources.exports import exports
from api_service.resources.forecasts import forecasts
from api_service.resources.health import health
from api_service.resources.infrastructure import infrastructure
from api_service.resources.invites import invites as invites_routes
from api_service.resources.keys import keys
from api_service.resources.latency import latency
from api_service.resources.members import members as members_routes
from api_service.resources.metrics import metrics
from api_service.resources.notices import notices as notice_routes
from api_service.resources.people import people as people_routes
from api_service.resources.person import person as person_routes
from api_service.resources.plan import plan
from api_service.resources.prompts import prompts
from api_service.resources.reconciliations import reconciliations
from api_service.resources.report_schedules import report_schedules
from api_service.resources.reports import reports
from api_service.resources.required_second_factor import required_second_factor
from api_service.resources.retention import retention
from api_service.resources.routing_dry_runs import routing_dry_runs
from api_service.resources.routing_rules import routing_rules
from api_service.resources.rule_figures import rule_figures
from api_service.resources.savings import savings
from api_service.resources.second_factor import second_factor
from api_service.resources.sessions import sessions
from api_service.resources.sign_in import sign_in
from api_service.resources.statistics import statistics
from api_service.resources.status import status
from api_service.resources.suggestions import suggestion_routes
from api_service.resources.usage import usage
from api_service.resources.webhooks import webhooks
from api_service.second_factors import SecondFactors
from api_service.sending import sender_of
from api_service.services import EXTENSION, Services
from api_service.sessions import Sessions
from api_service.settings import ApiSettings
from api_service.sign_in_providers import providers_of
from api_service.sign_ins import SignIns
from api_service.status_board import StatusBoard, proxy_probe
from metering.clock import Clock
from metering.day_memory import DayMemory
from metering.directory import Directory
from metering.file_configuration import NO_FILES, FileConfiguration, WatchedFiles
from metering.file_configuration import configuration_files as configuration_files_of
from metering.ledger import Ledger
from metering.plans import FREE, SELF_HOSTED
from metering.rulebook import Rulebook
from metering.seeding import Seeder
from metering.stats import Statistics
from metering.stores import DocumentStore

API_VERSION = "1"

_ABOUT = """\
What calls to language models cost: accounts, keys, cost events, usage.

Programs send a key: `Authorization: Bearer mt_…`. People log in; their writes carry `X-CSRF-Token`, the
`csrf_token` of the log-in, and `Origin`, the service's own address, which browsers send by themselves.
Errors are `{"error": {"code", "message", "param", "retryable", "request_id", "details"}}`.
Lists answer `data`, `has_more` and `next_page`, which `page` takes. Moments are RFC 3339 in UTC, ids opaque.
Amounts come twice: in integer nanodollars, and in US dollars as an exact decimal number.
"""

_SECURITY: dict[str, SecurityScheme | dict[str, Any]] = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key with the scope read or write."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-modeltrack_session",
        "description": "Set by signing up and logging in. Writes also carry X-CSRF-Token, and come from a "
        "page of this service. Over plain http the name is modeltrack_session.",
    },
}


class ApiApp(OpenAPI):
    """Flask with OpenAPI, reading requests strictly."""

    request_class: type[Request] = StrictRequest


def create_app(  # noqa: PLR0913 - what tests and `main` hand in; all but the first four have defaults
    settings: ApiSettings,
    store: DocumentStore,
    clock: Clock,
    secret: bytes,
    *,
    log: ApiLog | None = None,
    passwords: Passwords | None = None,
    jobs: JobFigures | None = None,
    mail: Mail | None = None,
    sender: Executor | None = None,
) -> Flask:
    """The application, ready to serve. `secret` is the deployment's own; `jobs` are those of this process.

    `mail` is sent by the server that the settings name, in threads of its own, unless told otherwise.
    """
    app = ApiApp(
        __name__,
        info=Info(title="ModelTrack", version=API_VERSION, description=_ABOUT),
        security_schemes=_SECURITY,
        validation_error_model=ErrorView,
        validation_error_callback=_refuse,
        doc_ui=False,
        static_folder=None,
    )
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    patient = PatienceLimited(store, clock)
    log = log or ApiLog(clock, settings.log_level)
    mail = mail or mail_of(settings, clock, log)
    postbox = Postbox(mail, log, executor=sender)
    afterwards = Afterwards(log, executor=sender)
    services = _services(
        settings,
        CommitsNoted(patient),
        clock,
        secret,
        log=log,
        passwords=passwords,
        jobs=jobs,
        mail=mail,
        postbox=postbox,
        afterwards=afterwards,
    )
    app.extensions[EXTENSION] = services
    accompany(app, clock, services.log, services.requests, is_https=settings.is_https)
    lead_on(app)
    guard(app)
    limit_requests(app)
    answer_repeats(app, Claims(patient, clock, secret), log)
    audit_changes(app, AuditLog(patient), clock, log, afterwards)
    answer_errors(app, services.log, services.requests)
    for routes in (
        people_routes,
        person_routes,
        sign_in,
        second_factor,
        required_second_factor,
        departure,
        members_routes,
        invites_routes,
        keys,
        accounts,
        budgets,
        routing_rules,
        routing_dry_runs,
        rule_figures,
        alerts,
        channels,
        webhooks,
        notice_routes,
        configuration_files,
        events,
        exports,
        reports,
        report_schedules,
        usage,
        costs,
        statistics,
        latency,
        savings,
        comparison,
        sessions,
        prompts,
        forecasts,
        anomalies,
        estimates,
        suggestion_routes,
        status,
        conservation,
        reconciliations,
        infrastructure,
        audit_events,
        account_export,
        plan,
        retention,
        metrics,
        health,
    ):
        app.register_api(routes)
    register_dashboard(app)
    app.add_url_rule("/openapi.json", view_func=needs("anyone")(_describer(app)))
    return app


def _services(  # noqa: PLR0913 - as create_app
    settings: ApiSettings,
    store: DocumentStore,
    clock: Clock,
    secret: bytes,
    *,
    log: ApiLog,
    passwords: Passwords | None,
    jobs: JobFigures | None,
    mail: Mail,
    postbox: Postbox,
    afterwards: Afterwards,
) -> Services:
    rates = Rates(store, clock, secret)
    directory = Directory(store, clock, secret, plan_of_new=FREE if settings.is_hosted else SELF_HOSTED)
    people = People(store, directory, clock, secret, is_hosted=settings.is_hosted)
    members = Members(store)
    notices = notices_of(settings, store, clock)
    day_memory = DayMemory()
    return Services(
        settings=settings,
        store=store,
        clock=clock,
        log=log,
        directory=directory,
        people=people,
        members=members,
        invites=Invites(store, directory, people, members, clock, secret),
        sessions=Sessions(store, clock, secret),
        identities=Identities(store, people, clock, secret),
        providers=providers_of(settings, clock),
        sign_ins=SignIns(store, clock, secret),
        second_factors=SecondFactors(store, clock, secret),
        passwords=passwords or Passwords(),
        rates=rates,
        attempts=Attempts(rates),
        devices=Devices(clock, secret),
        afterwards=afterwards,
        export_places=ExportPlaces(store, clock, secret),
        audit=AuditLog(store),
        mail=mail,
        postbox=postbox,
        channels=Channels(store, clock, lambda: secret),
        notices=notices,
        alerts=Alerts(store, clock, notices),
        notice_sender=sender_of(settings, store, clock, mail, lambda: secret),
        ledger=Ledger(store, clock),
        statistics=Statistics(store, day_memory),
        day_memory=day_memory,
        jobs=jobs or JobFigures(),
        requests=RequestFigures(),
        status=StatusBoard(store, clock, proxy_probe(settings.proxy_probed_url, clock)),
        rulebook=Rulebook(store, directory, clock),
        seeder=Seeder(store, clock),
        files=_files(settings, clock),
    )


def _files(settings: ApiSettings, clock: Clock) -> Callable[[], FileConfiguration]:
    """What asks the machine's own files; hosted, there are none."""
    if settings.is_hosted:
        return lambda: NO_FILES
    watched = WatchedFiles(configuration_files_of(settings.data_dir, settings.routing_file), clock)
    looking = threading.Lock()

    def look() -> FileConfiguration:
        with looking:
            return watched.look()

    return look


def _refuse(error: ValidationError) -> None:
    """Raises: Refused. Of a query it tells what there is to ask for."""
    query = inspect.signature(current_app.view_functions[request.endpoint or ""]).parameters.get("query")
    is_of_query = query is not None and query.annotation.__name__ == error.title
    known = tuple(query.annotation.model_fields) if query is not None and is_of_query else ()
    raise invalid_fields(error, known)


def _describer(app: OpenAPI) -> Callable[[], Response]:
    making = threading.Lock()

    @cache
    def described() -> dict[str, Any]:
        document: dict[str, Any] = app.api_doc
        for methods in document["paths"].values():
            for operation in methods.values():
                text = operation.get("description", "").replace("<br/>", "\n").strip()
                operation["description"] = text or operation["summary"]
        describe_ranges(document, app.view_functions)
        describe_guards(document)
        return document

    def describe() -> Response:
        """Describe this API as OpenAPI 3.1."""
        with making:  # once: it takes long, and never changes
            document = described()
        return answer_fields(document)

    return describe
