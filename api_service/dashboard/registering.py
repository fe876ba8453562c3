"""Puts the dashboard into the application: its pages, its files, and pages for what went wrong."""

from typing import Final

from flask import Flask, Response, request
from jinja2 import StrictUndefined
from werkzeug.exceptions import NotFound

from api_service.access import needs
from api_service.arrivals import wants_page
from api_service.dashboard import formats
from api_service.dashboard.assets import assets, serve
from api_service.dashboard.csp_reports import take_report
from api_service.dashboard.pages import (
    account,
    alerting,
    breakdowns,
    budgets,
    entering,
    estimator,
    events,
    forecasting,
    keys,
    machines,
    overview,
    people,
    reporting,
    routing_rules,
    security,
    sessions,
    status,
)
from api_service.dashboard.rendering import dashboard, error_page
from api_service.dashboard.security_txt import PATH as SECURITY_TXT
from api_service.dashboard.security_txt import serve_security_txt
from api_service.errors import answer_of, refusal_of

# Modules of pages: each declares its own when it is imported. Add yours here.
PAGE_MODULES: Final = (
    entering,
    events,
    overview,
    keys,
    machines,
    breakdowns,
    budgets,
    sessions,
    forecasting,
    estimator,
    reporting,
    people,
    account,
    alerting,
    routing_rules,
    security,
    status,
)

_FILTERS: Final = (
    formats.money,
    formats.exact_money,
    formats.count,
    formats.short_count,
    formats.share,
    formats.change,
    formats.part_of,
    formats.length_of_time,
    formats.milliseconds,
    formats.moment,
    formats.day,
    formats.age,
    formats.until,
)


def register_dashboard(app: Flask) -> None:
    """Let the application serve the dashboard."""
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update({each.__name__: each for each in _FILTERS})
    app.jinja_env.globals["asset"] = assets().address
    app.register_error_handler(404, _answer_not_found)
    app.register_blueprint(dashboard)
    app.add_url_rule("/static/<name>", "static_file", needs("anyone")(serve), methods=["GET"])
    app.add_url_rule(SECURITY_TXT, "security_txt", serve_security_txt, methods=["GET"])
    app.add_url_rule("/csp-reports", "take_report", take_report, methods=["POST"])


def _answer_not_found(error: NotFound) -> Response:
    """An address that there is not: a page for a browser, JSON for a program."""
    is_of_api = request.path.startswith("/v1/")
    return error_page(error) if wants_page() and not is_of_api else answer_of(refusal_of(error))


dashboard.register_error_handler(Exception, error_page)
