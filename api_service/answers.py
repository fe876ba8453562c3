"""How answers leave: JSON by the models' word, and headers that keep them between us and the caller."""

import msgspec
from flask import Flask, Response, g, request
from pydantic import BaseModel

from api_service.logs import ApiLog, RequestLine
from api_service.request_figures import RequestFigures
from metering.clock import Clock
from metering.ids import new_id

JSON = "application/json"

_ALWAYS = {
    "Cache-Control": "no-store",
    "Vary": "Cookie, Authorization",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HTTPS_ONLY = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}


def answer(view: BaseModel, status: int = 200) -> Response:
    """The view as a JSON answer."""
    return Response(view.model_dump_json(by_alias=True), status, mimetype=JSON)


def answer_fields(fields: object, status: int = 200) -> Response:
    """Plain fields as a JSON answer; `msgspec.Raw` stands as it is, for money printed from integers."""
    return Response(msgspec.json.encode(fields), status, mimetype=JSON)


def answer_text(text: bytes, content_type: str) -> Response:
    """The text as an answer of that type."""
    return Response(text, content_type=content_type)


def nothing() -> Response:
    """Done, and there is nothing to say."""
    return Response(status=204)


def accompany(app: Flask, clock: Clock, log: ApiLog, figures: RequestFigures, *, is_https: bool) -> None:
    """Give every request an id, and every answer its headers and its place in log and figures."""
    headers = {**_ALWAYS, **(_HTTPS_ONLY if is_https else {})}

    def begin() -> None:
        g.request_id = new_id("req")
        g.began = clock.monotonic()

    def finish(response: Response) -> Response:
        for name, value in headers.items():
            response.headers.setdefault(name, value)  # pages and what they load have stricter or other ones
        response.headers["X-Request-ID"] = g.request_id
        figures.note(request.method, response.status_code, clock.monotonic() - g.began)
        log.answered(_line(response, clock))
        return response

    app.before_request(begin)
    app.after_request(finish)


def _line(response: Response, clock: Clock) -> RequestLine:
    asking = g.get("visitor")
    return RequestLine(
        request_id=g.request_id,
        method=request.method if request.url_rule is not None else "",
        route="" if request.url_rule is None else request.url_rule.rule,
        status=response.status_code,
        duration_ms=round((clock.monotonic() - g.began) * 1000),
        account_id=asking.account_id if asking else "",
        person_id=asking.session.person_id if asking and asking.session else "",
        key_id=asking.key.key_id if asking and asking.key else "",
    )
