"""The cost APIs of OpenAI and Anthropic as their documents describe them: days, pages, amounts, refusals."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

OPENAI_KEY = "sk-admin-canary-of-openai"
ANTHROPIC_KEY = "sk-ant-admin01-canary-of-anthropic"
DAYS_A_PAGE = 2  # less than asked for, as both may answer


@dataclass
class CostReports:
    """`openai` and `anthropic` are `{day: results}`; `asked` is every request's path, query and headers."""

    url: str = ""
    openai: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    anthropic: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = field(default_factory=list)
    raw: bytes | None = None  # answered instead
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, path: str, query: dict[str, list[str]], headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.asked.append((path, query, {name.lower(): value for name, value in headers.items()}))
        if self.raw is not None or self.status != 200:
            return self.status, self.raw or b"canary of a refusal"
        if path == "/v1/organization/costs" and headers.get("Authorization") == f"Bearer {OPENAI_KEY}":
            first, after = (datetime.fromtimestamp(int(query[name][0]), UTC) for name in _OPENAI_RANGE)
            return 200, self._openai_page(first, after, int(query.get("page", ["0"])[0]))
        if path == "/v1/organizations/cost_report" and headers.get("x-api-key") == ANTHROPIC_KEY:
            assert headers["anthropic-version"] == "2023-06-01"
            first, after = (datetime.fromisoformat(query[name][0]) for name in _ANTHROPIC_RANGE)
            return 200, self._anthropic_page(first, after, int(query.get("page", ["0"])[0]))
        return 401, b'{"error": {"message": "Incorrect API key provided: canary"}}'

    def _openai_page(self, first: datetime, after: datetime, page: int) -> bytes:
        data = [
            {
                "object": "bucket",
                "start_time": int(day.timestamp()),
                "end_time": int((day + timedelta(days=1)).timestamp()),
                "results": [
                    {"object": "organization.costs.result", "project_id": None, **each} for each in of
                ],
            }
            for day, of in _days(self.openai, first, after)
        ]
        return _page(data, page)

    def _anthropic_page(self, first: datetime, after: datetime, page: int) -> bytes:
        data = [
            {
                "starting_at": day.strftime("%Y-%m-%dT00:00:00Z"),
                "ending_at": (day + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z"),
                "results": [{"workspace_id": None, "currency": "USD", **each} for each in of],
            }
            for day, of in _days(self.anthropic, first, after)
        ]
        return _page(data, page)


_OPENAI_RANGE = ("start_time", "end_time")
_ANTHROPIC_RANGE = ("starting_at", "ending_at")


def openai_result(value: str, line_item: str | None, *, is_text: bool = False) -> dict[str, Any]:
    """One result of OpenAI's; the value stands in the answer digit by digit, as a number or as text."""
    return {
        "amount": {"value": value if is_text else f"<{value}>", "currency": "usd"},
        "line_item": line_item,
    }


def anthropic_result(cents: str, model: str | None, **more: Any) -> dict[str, Any]:
    """One result of Anthropic's, its amount in cents as text."""
    return {"amount": cents, "model": model, "description": "x", "cost_type": "tokens", **more}


def _days(
    kept: Mapping[str, list[dict[str, Any]]], first: datetime, after: datetime
) -> Iterator[tuple[datetime, list[dict[str, Any]]]]:
    day = first
    while day < after:
        if (text := day.strftime("%Y-%m-%d")) in kept:
            yield day, kept[text]
        day += timedelta(days=1)


def _page(data: list[dict[str, Any]], page: int) -> bytes:
    rest = data[page * DAYS_A_PAGE :]
    has_more = len(rest) > DAYS_A_PAGE
    answer = {
        "object": "page",
        "data": rest[:DAYS_A_PAGE],
        "has_more": has_more,
        "next_page": str(page + 1) if has_more else None,
    }
    return json.dumps(answer).replace('"<', "").replace('>"', "").encode()


@contextmanager
def running_cost_reports() -> Iterator[CostReports]:
    """Both providers' APIs, on one port of their own, until the block ends."""
    reports = CostReports()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, content = reports.answer(parts.path, parse_qs(parts.query), dict(self.headers))
            self.send_response(status)
            for name, value in reports.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    reports.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield reports
    finally:
        server.shutdown()
        server.server_close()
