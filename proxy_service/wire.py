"""The seam between connections and the story of a call: heads, bodies, and what each side can do.

`app` (the listener) makes a `Downstream` for each request; `relay` makes an `Answer` for each call upstream;
`exchange` knows only these. Tests of the exchange use small real doubles of them.

Header lists keep names, values, order and case as they came off the wire. Bodies here are **de-framed**:
chunk sizes, trailers and connection headers are each connection's own business and never cross the seam;
content encodings (gzip, …) are part of the body and are never touched.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

Headers = list[tuple[bytes, bytes]]

# On answers of our own, never on a provider's: no browser is to take one for anything but what it says it is.
NOT_SNIFFED: Final = (b"X-Content-Type-Options", b"nosniff")


def header(headers: Headers, name: bytes) -> bytes | None:
    """The value of the first header of that name (given in lower case), None where there is none."""
    size = len(name)
    for each, value in headers:
        if len(each) == size and each.lower() == name:
            return value
    return None


class RequestHead(msgspec.Struct):
    """A request as its caller sent it. `target` is raw: path and query, percent-encoding untouched."""

    method: bytes
    target: bytes
    headers: Headers
    http_minor: int = 1
    content_length: int | None = None
    is_chunked: bool = False

    @property
    def path(self) -> bytes:
        """The raw path, without the query."""
        return self.target.partition(b"?")[0]


class ResponseHead(msgspec.Struct):
    """An answer's head as the upstream sent it. `content_length` None: its end is known when it comes."""

    status: int
    reason: bytes
    headers: Headers
    content_length: int | None = None


class WireError(Exception):
    """Base of what can happen on either connection."""


class CallerGone(WireError):
    """The caller hung up, or was too slow to send its request."""


class BodyTooLarge(WireError):
    """The body exceeds the limit that its reader gave."""


class BodyUnreadable(WireError):
    """The request's framing broke in the middle of its body."""


class UpstreamUnreachable(WireError):
    """No connection, or it failed before any byte of the request may have reached the upstream.

    Its text says why, in our own words, and may be shown to the caller.
    """


class UpstreamTimedOut(WireError):
    """The upstream was silent for longer than it may."""


class UpstreamCut(WireError):
    """The connection ended, or the answer broke the protocol, after bytes may have reached the upstream."""


class Downstream(Protocol):
    """The caller's side of one request."""

    head: RequestHead
    peer_address: str
    is_tls: bool
    is_gone: bool  # the connection is over before the answer was: by the caller, or by our own shutdown
    is_drained: bool  # it was our shutdown that cut it; `is_gone` is true as well

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        """Call back once when `is_gone` becomes true (at once where it is); None forgets the callback."""

    async def read_body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises: BodyTooLarge (nothing more is read), BodyUnreadable, CallerGone."""

    async def pump_body(self, on_data: Callable[[bytes], Awaitable[None] | None]) -> None:
        """Hand each piece of the body over as it comes; an awaitable result pauses reading (backpressure).

        Raises: BodyUnreadable, CallerGone, and what `on_data` raises.
        """

    def start(self, status: int, reason: bytes, headers: Headers, content_length: int | None) -> None:
        """Send the answer's head; framing and connection headers are added here.

        `content_length` None: chunked, or, to an HTTP/1.0 caller, ended by closing.
        """

    def write(self, data: bytes) -> None:
        """Send a piece of the body now. Never waits; see `on_flow`."""

    def end(self) -> None:
        """The body is complete."""

    def answer(self, status: int, reason: bytes, headers: Headers, body: bytes) -> None:
        """Send a whole answer in one write."""

    def cut(self) -> None:
        """Break off visibly: the caller's client sees an incomplete answer, never a well-formed short one."""

    def on_flow(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Call `pause` when the caller reads too slowly and `resume` when it has caught up."""


class Answer(Protocol):
    """The upstream's answer to one call, its head already read."""

    head: ResponseHead
    received: bytes  # what `read_whole` has read so far

    async def read_whole(self, limit_bytes: int) -> bytes:
        """The whole body; what was read stays in `received` when it fails.

        Raises: UpstreamCut, UpstreamTimedOut, BodyTooLarge (the connection is closed then).
        """

    async def pump(self, on_data: Callable[[bytes], None]) -> None:
        """Hand each piece of the body over as it comes, from within the read, without a task switch.

        Raises: UpstreamCut, UpstreamTimedOut, and what `on_data` raises (the connection is closed then).
        """

    def pause(self) -> None:
        """Stop reading from the upstream."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Close the connection now; `read_whole` and `pump` raise UpstreamCut."""


class Origin(msgspec.Struct, frozen=True):
    """Where an upstream is dialled. `prefix` is the path part of its base URL, without a trailing slash."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def authority(self) -> bytes:
        """The Host header's value."""
        default = 443 if self.scheme == "https" else 80
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == default else f"{host}:{self.port}").encode()


BodyPump = Callable[[Callable[[bytes], Awaitable[None] | None]], Awaitable[None]]


class Upstream(Protocol):
    """The client of all upstreams: pooled keep-alive connections, TLS, time-outs. Retries nothing."""

    async def open(
        self,
        origin: Origin,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes | BodyPump,
        *,
        content_length: int | None = None,
    ) -> Answer:
        """Send a request and read the answer's head (1xx answers are swallowed).

        `target` is put behind the origin's prefix. `headers` are end-to-end ones without Host and framing,
        which are added here. With a pump and no `content_length` the body goes chunked. An answer may come
        while the body is still being sent; from an error on, the rest of the body is not sent.
        Cancelling closes the connection. Redirects are answers like any other.
        Raises: UpstreamUnreachable, UpstreamTimedOut, UpstreamCut, and what the pump raises.
        """

    async def close(self) -> None:
        """Close every connection."""
