"""A caller's side and an upstream's side of one call, without sockets: a test plays both."""

import asyncio
from collections.abc import Awaitable, Callable

from proxy_service.wire import (
    BodyTooLarge,
    CallerGone,
    Headers,
    RequestHead,
    ResponseHead,
    UpstreamCut,
)


class DownstreamDouble:
    """A caller; keeps what it was sent. `leave` hangs up."""

    def __init__(self, head: RequestHead | None = None, body: bytes = b"") -> None:
        self.head = head or RequestHead(b"POST", b"/v1/messages", [], content_length=len(body))
        self.peer_address = "127.0.0.1"
        self.is_tls = False
        self.is_gone = False
        self.is_drained = False
        self.sent: list[bytes] = []
        self.answered: tuple[int, Headers, int | None] | None = None
        self.end_seen = ""  # "ended" or "cut"
        self._body = body
        self._on_gone: Callable[[], None] | None = None

    def leave(self, *, is_drained: bool = False) -> None:
        self.is_gone, self.is_drained = True, is_drained
        callback, self._on_gone = self._on_gone, None
        if callback is not None:
            callback()

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        self._on_gone = callback
        if callback is not None and self.is_gone:
            self.leave(is_drained=self.is_drained)

    async def read_body(self, limit_bytes: int) -> bytes:
        if self.is_gone:
            raise CallerGone
        if len(self._body) > limit_bytes:
            raise BodyTooLarge
        return self._body

    async def pump_body(self, on_data: Callable[[bytes], Awaitable[None] | None]) -> None:
        pending = on_data(self._body)
        if pending is not None:
            await pending

    def start(self, status: int, reason: bytes, headers: Headers, content_length: int | None) -> None:
        self.answered = (status, headers, content_length)

    def write(self, data: bytes) -> None:
        if data and not self.is_gone:
            self.sent.append(data)

    def end(self) -> None:
        self.end_seen = "ended"

    def answer(self, status: int, reason: bytes, headers: Headers, body: bytes) -> None:
        self.start(status, reason, headers, len(body))
        self.write(body)
        self.end()

    def cut(self) -> None:
        self.end_seen = "cut"

    def on_flow(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Reads as fast as it is sent."""


class AnswerDouble:
    """An upstream's answer whose pieces a test sends, then ends or breaks off."""

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.received = b""
        self.is_aborted = False
        self.is_resumed = False
        self._pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._pieces.put_nowait(piece)

    def end(self) -> None:
        self._pieces.put_nowait(None)

    async def read_whole(self, limit_bytes: int) -> bytes:
        def keep(data: bytes) -> None:
            self.received += data

        await self.pump(keep)
        return self.received

    async def pump(self, on_data: Callable[[bytes], None]) -> None:
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            on_data(piece)

    def pause(self) -> None:
        self.is_resumed = False

    def resume(self) -> None:
        self.is_resumed = True

    def abort(self) -> None:
        self.is_aborted = True
        self._pieces.put_nowait(UpstreamCut())
