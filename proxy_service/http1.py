"""HTTP/1.1 without I/O: bytes in, heads and bodies out, for both ends of a call; and heads back to bytes.

Nothing here opens a socket, waits or knows the time. Heads are parsed by llhttp, which refuses folded
lines, bare line feeds, contradictory lengths and odd names by itself; what it lets pass and a proxy must not
(other versions, other forms of target, missing Hosts) is refused here. A request's head is handed to llhttp
up to its end and not a byte further, so what follows is never mistaken for a part of it: bodies are framed
by the length that the head was checked for, and chunked ones by `_Chunks`.

Start at `RequestReader` (the caller's end) and `ResponseReader` (the upstream's end).
"""

import enum
import re
from typing import Final

import httptools
import msgspec

from proxy_service.wire import Headers, RequestHead, ResponseHead

END_OF_HEAD = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
ANSWER_OVERHEAD_BYTES_MAX = 64 * 1024  # of an answer, read in a row without a byte of body in it
CHUNK_LINE_BYTES_MAX = 4 * 1024  # one chunk's size with its extensions
TRAILER_BYTES_MAX = 16 * 1024
CHUNK_OVERHEAD_BYTES_MAX = (
    64 * 1024
)  # of a request's sizes and ends of lines, beside `BODY_A_BYTE_OF_OVERHEAD`
BODY_A_BYTE_OF_OVERHEAD = 16  # millions of chunks of a byte each cost seconds to read, and serve nobody
LENGTH_DIGITS_MAX = 18

# These belong to one connection. The proxy's two ends write their own and let no other pass.
FRAMING_NAMES = frozenset(
    (b"connection", b"content-length", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)

_REQUEST_NAMES = FRAMING_NAMES | {b"expect", b"host"}

_TARGET = re.compile(rb"/[!-\"$-~]*")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
_REFUSED_METHODS = frozenset((b"CONNECT", b"TRACE"))
_LINE_ENDS = b"\r\n"
_NUL, _LF, _CR, _BLANK = b"\0\n\r "  # as numbers, which are looked for in bytes without a detour
_REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_BODILESS_STATUSES = frozenset((204, 304))


class HeadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a request's head may be."""

    head_bytes_max: int = 64 * 1024
    target_bytes_max: int = 16 * 1024
    headers_max: int = 200


class Refused(Exception):
    """A request that is not served; the connection ends after an answer with that status.

    `message` is ours alone and never repeats what the caller sent.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Signal(enum.Enum):
    """What `RequestReader.next_event` gives beside heads and bodies."""

    NEED_DATA = "feed more"
    END = "the request is complete"


NEED_DATA: Final = Signal.NEED_DATA  # by themselves: a member is looked up in its class by a call
END: Final = Signal.END

_HEAD, _LENGTH, _CHUNKED = range(3)  # what of a request comes next


class RequestReader:
    """The requests of one connection, in order, however their bytes are split.

    `feed` takes bytes; `next_event` gives, for each request, its `RequestHead`, pieces of its body and
    `Signal.END`, and reads no further than asked: what follows a request stays as it came.
    Raises from `next_event`: Refused, after which the reader is of no more use.
    `is_keep_alive` and `expects_continue` speak of the request whose head came last.
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_fed",
        "_headers",
        "_limits",
        "_parser",
        "_phase",
        "_remaining",
        "_searched",
        "_target",
        "expects_continue",
        "is_keep_alive",
    )

    def __init__(self, limits: HeadLimits = HeadLimits()) -> None:  # noqa: B008 - it is frozen
        self._limits = limits
        self._buffer = b""
        self._phase = _HEAD
        self._parser: httptools.HttpRequestParser | None = None
        self._fed = 0
        self._searched = 0
        self._target = b""
        self._headers: Headers = []
        self._remaining = 0
        self._chunks: _Chunks | None = None
        self.is_keep_alive = True
        self.expects_continue = False

    @property
    def waiting_bytes(self) -> int:
        """How much has been fed and not yet been given back."""
        return len(self._buffer)

    @property
    def is_between_requests(self) -> bool:
        """Whether nothing of a next request has come yet."""
        return self._phase == _HEAD and not self._buffer

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the caller."""
        self._buffer = self._buffer + data if self._buffer else data

    def close(self) -> None:
        """Let go of what has come; the reader is not used after."""
        self._buffer = b""
        self._forget_head()

    def next_event(self) -> RequestHead | bytes | Signal:
        """The next head, piece of body or signal; see the class."""
        if self._phase == _HEAD:
            return self._next_head()
        if self._phase == _LENGTH:
            return self._next_of_length()
        return self._next_of_chunks()

    def _next_head(self) -> RequestHead | Signal:
        buffer = self._buffer
        if not self._fed:
            while buffer.startswith(b"\r\n"):  # RFC 9112 §2.2: an empty line before a request is no fault
                buffer = buffer[2:]
            self._buffer = buffer
        end = buffer.find(END_OF_HEAD, self._searched)
        if end < 0:
            self._read_part_of_head(buffer)
            return NEED_DATA
        end += len(END_OF_HEAD)
        raw = buffer[:end]
        self._feed_parser(raw[self._fed :])
        head = self._checked_head(raw)
        self._buffer = buffer[end:]
        self._forget_head()
        return head

    def _read_part_of_head(self, buffer: bytes) -> None:
        """Let llhttp see what there is, so that nonsense is refused before its end comes, if it ever does."""
        if len(buffer) >= self._limits.head_bytes_max:
            raise self._too_large(buffer)
        if not self._fed and len(buffer) < 2:
            return  # the half of an empty line, or too little to judge
        self._feed_parser(buffer[self._fed :])
        self._fed = len(buffer)
        self._searched = max(0, len(buffer) - len(END_OF_HEAD) + 1)

    def _feed_parser(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the head is whole; what it asks for is judged there
        except httptools.HttpParserError as error:
            raise Refused(400, "the request's head is malformed") from error

    def on_url(self, target: bytes) -> None:
        """Called by llhttp."""
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp."""
        self._headers.append((name, value))

    def _forget_head(self) -> None:
        """Hold nothing of the request: its headers carry keys, and live only as long as the call."""
        self._parser = None
        self._fed = 0
        self._searched = 0
        self._target = b""
        self._headers = []

    def _too_large(self, buffer: bytes) -> Refused:
        if b"\r\n" not in buffer:
            return Refused(414, "the request's target is too long")
        return Refused(431, "the request's head is too large")

    def _checked_head(self, raw: bytes) -> RequestHead:
        limits = self._limits
        if raw[0] in _LINE_ENDS:  # llhttp steps over those before a method
            raise Refused(400, "the request line is malformed")
        line = raw[: raw.index(b"\r\n")]
        method = line.partition(b" ")[0]
        target = self._target
        if line == b"%b %b HTTP/1.1" % (method, target):
            minor = 1
        elif line == b"%b %b HTTP/1.0" % (method, target):
            minor = 0
        elif line.rpartition(b" ")[2].startswith(b"HTTP/") and not line.endswith((b"/1.1", b"/1.0")):
            raise Refused(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        else:
            raise Refused(400, "the request line is malformed")
        if len(target) > limits.target_bytes_max:
            raise Refused(414, "the request's target is too long")
        if len(raw) > limits.head_bytes_max or len(self._headers) > limits.headers_max:
            raise Refused(431, "the request's head is too large")
        if method in _REFUSED_METHODS:
            raise Refused(405, "that method is not served")
        if not _TARGET.fullmatch(target):
            raise Refused(400, "the request's target must be a plain path that starts with /")
        head = RequestHead(method, target, self._headers, minor)
        self._read_connection_headers(head)
        return head

    def _read_connection_headers(self, head: RequestHead) -> None:
        found = _ConnectionHeaders()
        for name, value in head.headers:
            lowered = name.lower()
            if lowered in _CONNECTION_NAMES:
                found.add(lowered, value)
        found.check(head.http_minor)
        self.is_keep_alive = found.is_keep_alive(head.http_minor)
        self.expects_continue = found.expects_continue and head.http_minor == 1
        head.content_length = found.length
        head.is_chunked = found.is_chunked
        if found.is_chunked:
            self._chunks = _Chunks()
            self._phase = _CHUNKED
        else:
            self._remaining = found.length or 0
            self._phase = _LENGTH

    def _next_of_length(self) -> bytes | Signal:
        remaining = self._remaining
        if not remaining:
            self._phase = _HEAD
            return END
        piece = self._buffer
        if not piece:
            return NEED_DATA
        if len(piece) > remaining:
            self._buffer = piece[remaining:]
            piece = piece[:remaining]
        else:
            self._buffer = b""
        self._remaining = remaining - len(piece)
        return piece

    def _next_of_chunks(self) -> bytes | Signal:
        chunks = self._chunks
        assert chunks is not None  # noqa: S101 - the phase says so
        piece, taken = chunks.take(self._buffer)
        if taken:
            self._buffer = self._buffer[taken:]
        if piece:
            return piece
        if not chunks.is_complete:
            return NEED_DATA
        self._chunks = None
        self._phase = _HEAD
        return END


_CONNECTION_NAMES = frozenset(
    (b"connection", b"content-length", b"expect", b"host", b"transfer-encoding", b"upgrade")
)


class _ConnectionHeaders:
    """What a request says about its own framing and its connection."""

    __slots__ = ("expects_continue", "hosts", "is_chunked", "length", "options", "upgrades")

    def __init__(self) -> None:
        self.hosts = 0
        self.length: int | None = None
        self.is_chunked = False
        self.expects_continue = False
        self.options = b""
        self.upgrades = b""

    def add(self, name: bytes, value: bytes) -> None:
        value = value.strip(b" \t")
        if name == b"host":
            self._add_host(value)
        elif name == b"content-length":
            self._add_length(value)
        elif name == b"connection":
            self.options += b"," + value.lower()
        elif name == b"transfer-encoding":
            self._add_coding(value)
        elif name == b"upgrade":
            self.upgrades += b"," + value.lower()
        elif value.lower() == b"100-continue":
            self.expects_continue = True
        else:
            raise Refused(417, "only 100-continue can be expected")

    def _add_host(self, value: bytes) -> None:
        self.hosts += 1
        if not _HOST.fullmatch(value):
            raise Refused(400, "the Host header is malformed")

    def _add_length(self, value: bytes) -> None:
        if self.length is not None or not value.isdigit() or len(value) > LENGTH_DIGITS_MAX:
            raise Refused(400, "the Content-Length header is malformed")
        self.length = int(value)

    def _add_coding(self, value: bytes) -> None:
        if value.lower() != b"chunked":
            raise Refused(501, "chunked is the only transfer coding understood here")
        if self.is_chunked:
            raise Refused(400, "the Transfer-Encoding header is malformed")
        self.is_chunked = True

    def check(self, http_minor: int) -> None:
        if self.hosts != 1 and (http_minor == 1 or self.hosts):
            raise Refused(400, "exactly one Host header is needed")
        if self.is_chunked and (self.length is not None or http_minor == 0):
            raise Refused(400, "the request's length is contradictory")
        if self.upgrades and b"websocket" in self.upgrades and b"upgrade" in self.options:
            raise Refused(501, "WebSockets are not relayed")

    def is_keep_alive(self, http_minor: int) -> bool:
        if not self.options:
            return http_minor == 1
        if self.options == b",keep-alive":  # as most clients have it
            return True
        options = {option.strip(b" \t") for option in self.options.split(b",")}
        return b"close" not in options and (http_minor == 1 or b"keep-alive" in options)


class _Chunks:
    """One chunked body. Sizes and ends of lines are taken strictly; extensions and trailers are dropped."""

    __slots__ = ("_left", "_needs_line_end", "_overhead_bytes", "_trailer_bytes", "is_complete")

    def __init__(self) -> None:
        self._left = 0
        self._needs_line_end = False
        self._overhead_bytes = 0
        self._trailer_bytes = -1  # none begun
        self.is_complete = False

    def take(self, buffer: bytes) -> tuple[bytes, int]:
        """The body that the bytes hold, and how many of them were read. Raises: Refused."""
        pieces = []
        at = 0
        while not self.is_complete:
            if self._left:
                piece = buffer[at : at + self._left]
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            end = buffer.find(b"\n", at) + 1
            if not end:
                self._check_part_of_line(buffer[at : at + CHUNK_LINE_BYTES_MAX])
                break
            self._read_line(buffer[at:end])
            at = end
        return b"".join(pieces), at

    def _check_part_of_line(self, part: bytes) -> None:
        is_endless = len(part) >= CHUNK_LINE_BYTES_MAX
        if is_endless or b"\r" in part[:-1] or (self._needs_line_end and part not in b"\r"):
            raise Refused(400, "a chunk of the request is malformed")

    def _read_line(self, line: bytes) -> None:
        if self._needs_line_end:
            if line != b"\r\n":
                raise Refused(400, "a chunk of the request is malformed")
            self._needs_line_end = False
        elif self._trailer_bytes >= 0:
            self._read_trailer(line)
        else:
            self._read_size(line)

    def _read_size(self, line: bytes) -> None:
        found = _CHUNK_SIZE.fullmatch(line)
        if not found or len(line) > CHUNK_LINE_BYTES_MAX:
            raise Refused(400, "a chunk of the request is malformed")
        self._left = int(found[1], 16)
        self._overhead_bytes += len(line) + 2 - self._left // BODY_A_BYTE_OF_OVERHEAD
        if self._overhead_bytes > CHUNK_OVERHEAD_BYTES_MAX:
            raise Refused(400, "the request's chunks are too small")
        if self._left:
            self._needs_line_end = True
        else:
            self._trailer_bytes = 0

    def _read_trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.is_complete = True
            return
        self._trailer_bytes += len(line)
        if not _TRAILER.fullmatch(line) or self._trailer_bytes > TRAILER_BYTES_MAX:
            raise Refused(400, "the request's trailer is malformed")


class ResponseReader:
    """The answers of one connection to an upstream, one after another, however their bytes are split.

    `begin` before each request; `feed` gives the bytes of the body that its data held. Then `head` is set
    once it is whole (interim answers are swallowed), `is_complete` when the answer is, `is_broken` when it
    broke the protocol, and `is_reusable` says whether the connection may carry another request, for
    `keepalive_seconds` where the upstream named a time.
    """

    __slots__ = (
        "_ends_by_close",
        "_headers",
        "_is_for_head",
        "_is_interim",
        "_overhead_bytes",
        "_parser",
        "_pieces",
        "_reason",
        "head",
        "is_broken",
        "is_complete",
        "is_reusable",
        "keepalive_seconds",
    )

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self.is_reusable = True
        self.keepalive_seconds: int | None = None
        self.begin()

    def begin(self, *, is_for_head: bool = False) -> None:
        """Expect the answer to a request; `is_for_head` where it was a HEAD, whose answers have no body."""
        self._is_for_head = is_for_head
        self._is_interim = False
        self._ends_by_close = False
        self._overhead_bytes = 0
        self._reason = b""
        self._headers: Headers = []
        self.head: ResponseHead | None = None
        self.is_complete = False
        self.is_broken = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; gives the part of them that is body."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # Bytes behind an answer that said it was the last do no harm but to the connection.
            self.is_broken = not self.is_complete
            self.is_reusable = False
        pieces = self._pieces
        if not pieces:
            self._count_overhead(len(data))
            return b""
        self._pieces = []
        self._overhead_bytes = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end_of_input(self) -> None:
        """The upstream closed: complete where that is how the answer ends, broken where it is not."""
        self.is_reusable = False
        if self.head is not None and self._ends_by_close and not self.is_broken:
            self.is_complete = True
        elif not self.is_complete:
            self.is_broken = True

    def forget(self) -> None:
        """The answer is over: hold nothing of it while the connection waits for its next call."""
        self.head = None
        self._headers = []  # a trailer's
        self._reason = b""

    def close(self) -> None:
        """Let go of the parser, which holds this reader in turn."""
        del self._parser
        self.begin()

    def _count_overhead(self, size: int) -> None:
        self._overhead_bytes += size
        if self._overhead_bytes > ANSWER_OVERHEAD_BYTES_MAX and not self.is_complete:
            self.is_broken = True
            self.is_reusable = False

    def on_message_begin(self) -> None:
        """Called by llhttp."""
        if self.is_complete:  # nobody asked for a second answer
            self.is_reusable = False

    def on_status(self, reason: bytes) -> None:
        """Called by llhttp."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Called by llhttp."""
        if self.is_complete:
            return
        parser = self._parser
        status = parser.get_status_code()
        if status < 200:
            if status < 100:
                raise ValueError("no status")
            self._is_interim = True
            self._reason = b""
            self._headers = []
            return
        reason = self._reason
        if reason != b"OK" and not _REASON.fullmatch(reason):
            raise ValueError("a control character in the reason")
        head = ResponseHead(status, reason, self._headers)
        self._headers = []  # what llhttp adds from now on is a trailer, and dropped
        is_framed = self._read_framing(head)
        has_forbidden_body = status == 204 and is_framed and head.content_length != 0
        is_framed = is_framed or status in _BODILESS_STATUSES
        self.is_reusable = is_framed and parser.should_keep_alive() and not has_forbidden_body
        self._ends_by_close = not is_framed
        self.head = head
        if self._is_for_head:
            self.is_complete = True
            self.is_reusable = False  # llhttp would wait for the body that never comes

    def _read_framing(self, head: ResponseHead) -> bool:
        """Whether the answer itself says where it ends. Raises: ValueError for what we do not know."""
        is_framed = is_chunked = False
        for name, value in head.headers:
            size = len(name)
            if size == 14 and name.lower() == b"content-length":
                head.content_length = int(value)
                is_framed = True
            elif size == 17 and name.lower() == b"transfer-encoding":
                if is_chunked or value.rstrip(b" ").lower() != b"chunked":  # behind a tab llhttp finds none
                    raise ValueError("unknown transfer coding")
                is_framed = is_chunked = True
            elif size == 10 and name.lower() == b"keep-alive":
                self._read_keepalive(value)
        if self._parser.get_http_version() not in _VERSIONS:
            raise ValueError("unknown version")
        return is_framed

    def _read_keepalive(self, value: bytes) -> None:
        for part in value.lower().split(b","):
            key, _, seconds = part.strip(b" \t").partition(b"=")
            if key == b"timeout" and seconds.isdigit():
                self.keepalive_seconds = int(seconds[:6])

    def on_body(self, piece: bytes) -> None:
        """Called by llhttp."""
        if not self.is_complete:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Called by llhttp."""
        if self._is_interim:
            self._is_interim = False
        else:
            self.is_complete = True


_VERSIONS = frozenset(("1.0", "1.1"))


def request_head(method: bytes, target: bytes, authority: bytes, headers: Headers, framing: bytes) -> bytes:
    """A request's head in bytes. `framing` is whole header lines, each with its end.

    Raises: ValueError where a part would break out of its line.
    """
    if _BLANK in target:
        raise ValueError("a target holds a blank")
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: %b" % authority]
    return _head(lines, headers, _REQUEST_NAMES, framing)


def response_head(status: int, reason: bytes, headers: Headers, framing: bytes) -> bytes:
    """An answer's head in bytes. `framing` is whole header lines, each with its end.

    Raises: ValueError where a part would break out of its line.
    """
    return _head([b"HTTP/1.1 %d %b" % (status, reason)], headers, FRAMING_NAMES, framing)


def _head(lines: list[bytes], headers: Headers, own_names: frozenset[bytes], framing: bytes) -> bytes:
    lines += [b": ".join(header) for header in headers if header[0].lower() not in own_names]
    text = b"".join(lines)
    if _CR in text or _LF in text or _NUL in text:
        raise ValueError("a header holds a line break")
    lines.append(framing)
    return b"\r\n".join(lines) + b"\r\n"


def chunk(data: bytes) -> bytes:
    """The data as one chunk; empty data gives nothing, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
