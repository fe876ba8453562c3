"""Calls to addresses that tenants name: webhooks, Slack. The one place that makes them.

Every call is bounded: so long to connect, so long altogether, so many bytes of an answer. No redirect is
followed, no proxy of the environment used, nothing retried. A name is resolved once, every address it leads
to must be one that may be called (`api_service.addresses`), and the connection is made to that very address:
what the name leads to a moment later plays no part. Certificates are checked against the name.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Literal

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError

from api_service.addresses import Reach

CONNECT_SECONDS: Final = 5.0
WHOLE_SECONDS: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 * 1024
ADDRESSES_TRIED_MAX: Final = 3
USER_AGENT: Final = "ModelTrack/1"
_READ_BYTES: Final = 16 * 1024

Reason = Literal["address_not_allowed", "unreachable", "tls", "timeout", "broken_answer"]

Resolve = Callable[..., Sequence[tuple[int, int, int, str, tuple[Any, ...]]]]

_WORDS: Final[Mapping[Reason, str]] = {
    "address_not_allowed": "its name leads to an address that is not on the public internet",
    "unreachable": "no connection could be made",
    "tls": "its certificate is not valid for its name, or it speaks no TLS",
    "timeout": f"it did not answer within {WHOLE_SECONDS:g} seconds",
    "broken_answer": "the connection ended before there was a whole answer",
}


class CallFailed(Exception):
    """There was no answer. `reason` is for programs; the text says it to people, and nothing of the URL."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(_WORDS[reason])
        self.reason: Reason = reason


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered. `body` is its first `ANSWER_BYTES_MAX` bytes as they came; not to be shown."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the other side took what it was sent. A redirect is not followed, and so is none."""
        return 200 <= self.status < 300


class Outbound:
    """Makes calls, each on a connection of its own. Safe to share between threads.

    `trusted` names a PEM file of certificate authorities to trust instead of the usual ones. `resolve` gives
    the addresses of a name, as `socket.getaddrinfo` does.
    """

    def __init__(
        self,
        reach: Reach,
        *,
        trusted: str | None = None,
        seconds: float = WHOLE_SECONDS,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        self.reach = reach
        self._resolve = resolve
        self._trusted = trusted
        self._seconds = seconds

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post it once. The URL is one that `checked_url` gave. Raises: CallFailed."""
        return self.call("POST", url, body, headers)

    def call(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Make the call once, and give what is answered within the bounds. Raises: CallFailed."""
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        line = _Line(self.reach, self._resolve)
        with requests.Session() as session, line.cut_after(self._seconds):
            session.trust_env = False
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(line))
            try:
                answer = self._exchange(session, method, url, body, sent)
            except (requests.RequestException, HTTPError, OSError, ValueError) as error:
                # Without its cause, whose text may hold the URL.
                raise CallFailed(line.why or _reason_of(error)) from None
        if line.why is not None:  # what was cut may look whole
            raise CallFailed(line.why)
        return answer

    def _exchange(
        self, session: requests.Session, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        with session.request(
            method,
            url,
            data=body,
            headers=headers,
            timeout=(CONNECT_SECONDS, self._seconds),
            allow_redirects=False,
            stream=True,
            verify=self._trusted or True,
        ) as response:
            kept = bytearray()
            while len(kept) < ANSWER_BYTES_MAX:
                part = response.raw.read(min(_READ_BYTES, ANSWER_BYTES_MAX - len(kept)), decode_content=False)
                if not part:
                    break
                kept += part
            return Answer(
                status=response.status_code,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=bytes(kept),
            )


class _Line:
    """The connection of one call: where it may lead, and how long it may last. `why`: what ended it."""

    def __init__(self, reach: Reach, resolve: Resolve) -> None:
        self._reach = reach
        self._resolve = resolve
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.why: Reason | None = None

    @contextmanager
    def cut_after(self, seconds: float) -> Iterator[None]:
        """Cut the connection after that time: a read's own time-out begins anew with every byte."""
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def connected(self, to: socket.socket) -> None:
        """This is the connection. Raises: OSError, where its time is over already."""
        with self._lock:
            self._socket = to
        if self.why == "timeout":
            raise TimeoutError

    def dial(self, host: str, port: int, seconds: float) -> socket.socket:
        """A connection to the first address of the name that takes one. Raises: OSError."""
        try:
            found = self._resolve(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:  # no name of a host
            raise ConnectionError("the name leads nowhere") from None
        if not all(self._reach.allows(str(each[4][0])) for each in found):
            self.why = "address_not_allowed"
            raise OSError(self.why)
        failure: OSError = ConnectionError("the name leads nowhere")
        for family, kind, protocol, _, address in found[:ADDRESSES_TRIED_MAX]:
            line = socket.socket(family, kind, protocol)
            try:
                line.settimeout(seconds)
                line.connect(address)
            except OSError as error:
                line.close()
                failure = error
            else:
                return line
        raise failure

    def _cut(self) -> None:
        with self._lock:
            self.why, line = "timeout", self._socket
        if line is not None:
            try:
                # Not TLS's own, which would take the connection apart under its reader.
                socket.socket.shutdown(line, socket.SHUT_RDWR)
            except OSError:
                return  # it is over already


class _PlainConnection(HTTPConnection):
    def __init__(self, line: _Line, **options: Any) -> None:
        super().__init__(**options)
        self._line = line

    def _new_conn(self) -> socket.socket:
        return _dialled(self, self._line)

    def connect(self) -> None:
        super().connect()
        if self.sock is not None:
            self._line.connected(self.sock)


class _SecureConnection(HTTPSConnection):
    def __init__(self, line: _Line, **options: Any) -> None:
        super().__init__(**options)
        self._line = line

    def _new_conn(self) -> socket.socket:
        return _dialled(self, self._line)

    def connect(self) -> None:
        super().connect()
        if self.sock is not None:
            self._line.connected(self.sock)


def _dialled(connection: HTTPConnection, line: _Line) -> socket.socket:
    try:
        return line.dial(connection.host, connection.port, CONNECT_SECONDS)
    except OSError as error:
        raise NewConnectionError(connection, "no connection") from error


class _Adapter(HTTPAdapter):
    """Makes its connections by a line."""

    def __init__(self, line: _Line) -> None:
        super().__init__(max_retries=0)
        self._line = line

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> HTTPConnectionPool:
        """As its base says, with connections that know the line."""
        pool = super().get_connection_with_tls_context(*args, **options)
        if not isinstance(pool, HTTPConnectionPool):
            raise TypeError("no pool of connections")
        kind = _SecureConnection if pool.scheme == "https" else _PlainConnection
        pool.ConnectionCls = partial(kind, self._line)  # type: ignore[assignment]  # a maker of connections does
        return pool


def _reason_of(error: Exception) -> Reason:
    if isinstance(error, requests.exceptions.SSLError | ssl.SSLError):
        return "tls"
    if isinstance(error, requests.Timeout | TimeoutError):
        return "timeout"
    cause = error.args[0] if error.args else None
    return (
        "unreachable" if isinstance(getattr(cause, "reason", None), NewConnectionError) else "broken_answer"
    )
