"""`GET /metrics` on a port of its own, for a scraper on this machine or in this instance of Cloud Run.

It listens on loopback alone and tells what the process did, of all accounts together, without asking for a
key: whoever reaches loopback is on this side of the door. A name that somebody else lets point here is no
name of this machine, so no web page reads it through a browser.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from proxy_service.app import Limits, Listener, Server, serve
from proxy_service.exposition import PROMETHEUS, Figures, exposition, load_exposition
from proxy_service.http1 import HeadLimits
from proxy_service.wire import NOT_SNIFFED, Downstream, Headers, RequestHead

METRICS_HOST: Final = "127.0.0.1"
METRICS_PATH: Final = b"/metrics"
# Google's scraper in Cloud Run dials 0.0.0.0, which is this machine, too (docs/metrics.md).
NAMES: Final = frozenset((b"127.0.0.1", b"localhost", b"0.0.0.0"))
END_SECONDS: Final = 0.05
LIMITS: Final = Limits(
    head=HeadLimits(head_bytes_max=8 * 1024),
    head_seconds=5.0,
    idle_seconds=150.0,  # longer than between two scrapes
    connections_max=8,
)
_PLAIN: Final = (b"Content-Type", b"text/plain; charset=utf-8")
_NOT_KEPT: Final = (b"Cache-Control", b"no-store")


class MetricsListener:
    """The listener, once started."""

    def __init__(self, figures: Callable[[], Figures], on_fault: Callable[[Exception], None]) -> None:
        self._figures = figures
        self._on_fault = on_fault
        self._server: Server | None = None

    async def start(self, port: int) -> None:
        """Listen there. Raises: OSError where the port cannot be had."""
        listener = Listener(host=METRICS_HOST, port=port)
        self._server = await serve(self._handle, listeners=[listener], limits=LIMITS, on_fault=self._on_fault)

    async def stop(self) -> None:
        """Close it, whoever is being answered."""
        if self._server is not None:
            await asyncio.wait([asyncio.ensure_future(self._server.drain(0))], timeout=END_SECONDS)

    async def _handle(self, downstream: Downstream) -> None:
        status, body, extra = await self._answer(downstream.head)
        content_type = PROMETHEUS if status == HTTPStatus.OK else _PLAIN
        headers = [content_type, _NOT_KEPT, NOT_SNIFFED, *extra]
        downstream.answer(status, status.phrase.encode(), headers, body)

    async def _answer(self, head: RequestHead) -> tuple[HTTPStatus, bytes, Headers]:
        if not _names_this_machine(head):
            return HTTPStatus.MISDIRECTED_REQUEST, b"ask for 127.0.0.1\n", []
        if head.path != METRICS_PATH:
            return HTTPStatus.NOT_FOUND, b"there is /metrics, and nothing else\n", []
        if head.method != b"GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, b"send this as GET\n", [(b"Allow", b"GET")]
        # Its library takes as long to load as all of ours; meanwhile calls go on.
        await asyncio.to_thread(load_exposition)
        return HTTPStatus.OK, exposition(self._figures()), []


def _names_this_machine(head: RequestHead) -> bool:
    return any(
        name.lower() == b"host" and value.partition(b":")[0].lower() in NAMES for name, value in head.headers
    )
