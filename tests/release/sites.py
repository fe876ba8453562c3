"""Small sites on this machine that answer as a proxy, an API and Cloud Monitoring do, or as badly as told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "mt_a-key-that-nobody-may-see"
PROVIDER_KEY = "sk-ant-a-key-that-nobody-may-see"
REQUEST_ID = "req_0190f3c2a1b47d6e8f90a1b2c3d4e5f6"
COMMIT = "c" * 40
VERSION = {"X-ModelTrack-Version": f"0.1.0+{COMMIT}"}
REFUSAL = {"type": "error", "error": {"type": "authentication_error", "message": "no"}}
OUR_REFUSAL = {
    "type": "error",
    "error": {"type": "authentication_error", "details": {"error_code": "key_missing"}},
}


@dataclass(frozen=True)
class Asked:
    """One request, as a site gets it."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What a site says to it."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


Site = Callable[[Asked], Answer]


@contextmanager
def serving(site: Site) -> Iterator[str]:
    """The address of a site while it is open."""

    class Answering(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = urlsplit(self.path)
            asked = Asked(parts.path, parse_qs(parts.query), {k.lower(): v for k, v in self.headers.items()})
            answer = site(asked)
            content = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"content-length": str(len(content)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815 - as the library calls them

        def log_message(self, *_said: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def proxy(asked: Asked) -> Answer:
    """A hosted proxy before a provider that knows `PROVIDER_KEY`."""
    if asked.path in {"/health", "/readyz"}:
        return Answer(200, {"status": "ok"}, VERSION)
    if asked.headers.get("x-modeltrack-key") != KEY:
        return Answer(401, OUR_REFUSAL, {"X-ModelTrack-Request-ID": REQUEST_ID})
    known = asked.headers.get("x-api-key") == PROVIDER_KEY
    return Answer(200 if known else 401, {} if known else REFUSAL, {"X-ModelTrack-Request-ID": REQUEST_ID})


def api(asked: Asked) -> Answer:
    """An API that has the event of that call."""
    if asked.path in {"/health", "/readyz"}:
        return Answer(200, {"status": "ok"}, VERSION)
    if asked.headers.get("authorization") != f"Bearer {KEY}":
        return Answer(401, {"error": {"code": "unauthenticated"}})
    return Answer(200, {"data": [{"request_id": REQUEST_ID}], "has_more": False})


def series(revision: str, response_class: str, *counts: int) -> dict[str, Any]:
    """A time series of requests, as Cloud Monitoring gives it."""
    return {
        "metric": {"labels": {"response_code": "200", "response_code_class": response_class}},
        "resource": {"labels": {"revision_name": revision}},
        "points": [{"value": {"int64Value": str(count)}} for count in counts],
    }
