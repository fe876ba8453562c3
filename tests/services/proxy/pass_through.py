"""The transport with the barest handle: every request goes to one upstream, every answer comes back."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvloop

from proxy_service.app import Handle, Limits, Listener, Server, serve
from proxy_service.relay import UpstreamAnswer, UpstreamClient
from proxy_service.wire import (
    BodyTooLarge,
    BodyUnreadable,
    CallerGone,
    Downstream,
    Headers,
    Origin,
    UpstreamTimedOut,
    WireError,
)

CONNECTION_NAMES = frozenset(
    (
        b"host",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"keep-alive",
        b"expect",
        b"te",
        b"upgrade",
        b"proxy-authorization",
        b"trailer",
    )
)
WHOLE_BYTES_MAX = 32 * 1024 * 1024
T = TypeVar("T")


def end_to_end(headers: Headers) -> Headers:
    return [each for each in headers if each[0].lower() not in CONNECTION_NAMES]


@dataclass
class PassThrough:
    """A handle; `outcomes` tells how each call ended."""

    origin: Origin
    client: UpstreamClient
    reads_whole: bool = False
    outcomes: list[str] = field(default_factory=list)

    async def __call__(self, downstream: Downstream) -> None:
        task = asyncio.current_task()
        assert task is not None

        def stop() -> None:
            task.cancel()

        downstream.on_gone(stop)
        try:
            await self._relay(downstream)
        except asyncio.CancelledError:
            self.outcomes.append("drained" if downstream.is_drained else "caller gone")
            raise
        except WireError as error:
            self.outcomes.append(type(error).__name__)
            self._tell(downstream, error)
        else:
            self.outcomes.append("completed")

    async def _relay(self, downstream: Downstream) -> None:
        head = downstream.head
        has_body = head.is_chunked or head.content_length
        body: bytes | Callable[..., Awaitable[None]] = b""
        if has_body:
            body = await downstream.read_body(WHOLE_BYTES_MAX) if self.reads_whole else downstream.pump_body
        answer = await self.client.open(
            self.origin,
            head.method,
            head.target,
            end_to_end(head.headers),
            body,
            content_length=None if head.is_chunked else head.content_length,
        )
        try:
            await self._answer(downstream, answer)
        finally:
            answer.abort()

    async def _answer(self, downstream: Downstream, answer: UpstreamAnswer) -> None:
        head = answer.head
        downstream.on_flow(answer.pause, answer.resume)
        downstream.start(head.status, head.reason, end_to_end(head.headers), head.content_length)
        await answer.pump(downstream.write)
        downstream.end()

    def _tell(self, downstream: Downstream, error: WireError) -> None:
        """What no answer has begun for gets one; what has is cut."""
        statuses = {UpstreamTimedOut: 504, BodyTooLarge: 413, BodyUnreadable: 400}
        status = statuses.get(type(error), 502)
        if isinstance(error, CallerGone):
            return
        try:
            downstream.answer(
                status, b"Refused", [(b"X-Why", str(error).encode())], type(error).__name__.encode()
            )
        except RuntimeError:
            downstream.cut()


class Gateway:
    """A listener on a loop in a thread of its own, so that tests can be plain calls on plain sockets."""

    def __init__(
        self,
        upstream_port: int,
        *,
        limits: Limits | None = None,
        listener: Listener | None = None,
        scheme: str = "http",
        prefix: str = "",
        host: str = "127.0.0.1",
        handle: Handle | None = None,
        reads_whole: bool = False,
        **client: Any,
    ) -> None:
        self._limits = limits or Limits()
        self._listener = listener or Listener()
        self._origin = Origin(scheme, host, upstream_port, prefix)
        self._handle = handle
        self._reads_whole = reads_whole
        self._client = client
        self.faults: list[Exception] = []
        self.surprises: list[str] = []  # what nobody awaits is reported to the loop
        self.loop = uvloop.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.surprises.append(str(context)))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.server: Server
        self.client: UpstreamClient
        self.handle: PassThrough
        self.run(self._open())
        self.port = self.server.addresses[0][1]

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def _open(self) -> None:
        self.client = UpstreamClient(**self._client)
        self.handle = PassThrough(self._origin, self.client, self._reads_whole)
        self.server = await serve(
            self._handle or self.handle,
            listeners=[self._listener],
            limits=self._limits,
            on_fault=self.faults.append,
        )

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin something on the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do something on the loop, and wait for it."""
        return self.start(coroutine).result(10)

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()
        assert self.surprises == []

    async def _close(self) -> None:
        await self.server.drain(0)
        await self.client.close()
        await asyncio.sleep(0)
