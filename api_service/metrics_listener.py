"""`GET /metrics` on a port of its own, for a scraper on this machine or in this instance of Cloud Run.

That port is on loopback alone and tells what the process does without asking for a key: whoever reaches
loopback is on this side of the door. A name that somebody else lets point here is no name of this machine, so
no web page reads it through a browser. It is served by the threads that serve the API, within their bounds.
"""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from flask import Flask

from api_service.exposition import PROMETHEUS, exposition
from api_service.services import EXTENSION

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

METRICS_HOST: Final = "127.0.0.1"
# Google's scraper in Cloud Run dials 0.0.0.0, which is this machine, too (docs/metrics.md).
NAMES: Final = frozenset({"127.0.0.1", "localhost", "0.0.0.0"})  # nosec B104 # noqa: S104 - names, none to bind
PLAIN: Final = "text/plain; charset=utf-8"


def beside(app: Flask, port: int) -> "WSGIApplication":
    """The application on its own port, and the metrics on that one."""
    known = app.extensions[EXTENSION]

    def serve(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        if environ["SERVER_PORT"] != str(port):  # the listener's, whatever the request says
            return app(environ, start_response)
        return _answer(environ, start_response, lambda: exposition(known))

    return serve


def _answer(
    environ: dict[str, Any], start_response: "StartResponse", told: Callable[[], bytes]
) -> Iterable[bytes]:
    if environ.get("HTTP_HOST", "").partition(":")[0].lower() not in NAMES:
        status, body = HTTPStatus.MISDIRECTED_REQUEST, b"ask for 127.0.0.1\n"
    elif environ["PATH_INFO"] != "/metrics":
        status, body = HTTPStatus.NOT_FOUND, b"there is /metrics, and nothing else\n"
    elif environ["REQUEST_METHOD"] != "GET":
        status, body = HTTPStatus.METHOD_NOT_ALLOWED, b"send this as GET\n"
    else:
        status, body = HTTPStatus.OK, told()
    headers = [
        ("Content-Type", PROMETHEUS if status == HTTPStatus.OK else PLAIN),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", "GET"))
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]
