"""Anthropic's Messages API in front of Bedrock: the documented translation of `/bedrock/v1/messages`.

Request: `model` and `stream` leave the body for the path; `anthropic_version` enters it, as do the betas of
`anthropic-beta`; a key in `x-api-key` moves to `Authorization`, where Bedrock looks for it. A field that
Bedrock does not know is refused by name, never dropped. Answer: a whole message passes as it is; an AWS event
stream becomes server-sent events; errors and exceptions take Anthropic's shape, with Bedrock's words.
Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
(2026-11).
"""

import re
from urllib.parse import quote

import msgspec

from proxy_service.decoding import Undecodable, decoded
from proxy_service.eventstream import Message, MessageBuffer
from proxy_service.members import Member, NotEditable, members
from proxy_service.providers.base import Ask, Prepared
from proxy_service.providers.fields import parsed
from proxy_service.refusals import RequestRefused, anthropic_error_body, anthropic_error_type
from proxy_service.wire import Headers, ResponseHead, header

ANTHROPIC_VERSION = b'"anthropic_version":"bedrock-2023-05-31"'
ERROR_BYTES_MAX = 1024 * 1024
BETAS_MAX = 64

KNOWN_FIELDS = frozenset(
    (
        "anthropic_beta",
        "anthropic_version",
        "context_management",
        "max_tokens",
        "messages",
        "metadata",
        "output_config",
        "stop_sequences",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    )
)
_FIELDS_OF_THE_PATH = frozenset({"model", "stream"})
_HEADERS_LEFT_BEHIND = frozenset({b"anthropic-version", b"anthropic-beta", b"x-api-key", b"accept-encoding"})
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*(?:/[A-Za-z0-9][A-Za-z0-9._:-]*)*")  # no dot segments
_BETA = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")

_EXCEPTION_TYPES = {
    "throttlingException": "rate_limit_error",
    "validationException": "invalid_request_error",
    "modelTimeoutException": "timeout_error",
    "serviceUnavailableException": "overloaded_error",
}


class _Chunk(msgspec.Struct):
    bytes: bytes


class _Event(msgspec.Struct):
    type: str = ""


class _Error(msgspec.Struct):
    message: str = ""
    Message: str = ""


_CHUNK = msgspec.json.Decoder(_Chunk)
_EVENT = msgspec.json.Decoder(_Event)
_ERROR = msgspec.json.Decoder(_Error)


def translated_request(ask: Ask, headers: Headers, body: bytes) -> Prepared:
    """The call as Bedrock takes it. Raises: RequestRefused for what cannot be said to Bedrock."""
    if header(headers, b"content-encoding") is not None:
        raise RequestRefused(415, "unsupported_encoding", "send the body uncompressed to be translated")
    if not _MODEL.fullmatch(ask.model):
        message = "model: give a Bedrock model id, inference-profile id or ARN"
        raise RequestRefused(400, "invalid_model", message, "model")
    operation = b"invoke-with-response-stream" if ask.streaming else b"invoke"
    return Prepared(
        target=b"/model/" + quote(ask.model, safe="-._~").encode() + b"/" + operation,
        headers=_translated_headers(headers),
        body=_translated_body(headers, body),
        edits=("bedrock_translation",),
    )


def _translated_headers(headers: Headers) -> Headers:
    kept = [pair for pair in headers if pair[0].lower() not in _HEADERS_LEFT_BEHIND]
    key = header(headers, b"x-api-key")
    if key is not None and header(headers, b"authorization") is None:
        kept.append((b"authorization", b"Bearer " + key))
    return [*kept, (b"accept-encoding", b"identity")]


def _translated_body(headers: Headers, body: bytes) -> bytes:
    try:
        present = members(body)
    except NotEditable as error:
        raise RequestRefused(
            400, "invalid_json", "the body must be a JSON object with each key once"
        ) from error
    _refuse_unknown(present)
    names = {member.name for member in present}
    betas = _betas(headers)
    if betas and "anthropic_beta" in names:
        message = "anthropic_beta: name betas in the header or in the body, not in both"
        raise RequestRefused(400, "invalid_request", message, "anthropic_beta")
    parts = [body[member.start : member.end] for member in present if member.name not in _FIELDS_OF_THE_PATH]
    if "anthropic_version" not in names:
        parts.append(ANTHROPIC_VERSION)
    if betas:
        parts.append(b'"anthropic_beta":' + msgspec.json.encode([beta.decode() for beta in betas]))
    return b"{" + b",".join(parts) + b"}"


def _refuse_unknown(present: list[Member]) -> None:
    unknown = next((m.name for m in present if m.name not in KNOWN_FIELDS | _FIELDS_OF_THE_PATH), None)
    if unknown is None:
        return
    named = unknown if _WORD.fullmatch(unknown) else "a field"
    known = ", ".join(sorted(KNOWN_FIELDS | _FIELDS_OF_THE_PATH))
    message = f"{named}: Bedrock does not know this field; it knows {known}"
    raise RequestRefused(400, "unsupported_field", message, named)


def _betas(headers: Headers) -> list[bytes]:
    values = [value for name, value in headers if name.lower() == b"anthropic-beta"]
    betas = [beta.strip() for value in values for beta in value.split(b",") if beta.strip()]
    if len(betas) > BETAS_MAX or not all(_BETA.fullmatch(beta) for beta in betas):
        raise RequestRefused(400, "invalid_request", "anthropic-beta: give names separated by commas")
    return betas


class StreamTranslation:
    """Turns an AWS event stream into the server-sent events that Anthropic would have sent."""

    def __init__(self, head: ResponseHead) -> None:
        self.head = _head(head, b"text/event-stream; charset=utf-8")
        self._buffer = MessageBuffer()

    def feed(self, data: bytes) -> bytes:
        """What goes to the caller now. Raises: EventStreamBroken; the answer is to be cut then."""
        return b"".join(map(_server_sent, self._buffer.feed(data)))

    def finish(self) -> bytes:
        """Nothing waits: a message that is not whole was never one."""
        return b""


class ErrorTranslation:
    """Turns Bedrock's error answer into Anthropic's; it is small, and held until it is whole."""

    def __init__(self, head: ResponseHead, request_id: str) -> None:
        self.head = _head(head, b"application/json")
        self._encoding = header(head.headers, b"content-encoding")
        self._request_id = request_id
        self._body = b""

    def feed(self, data: bytes) -> bytes:
        """Nothing goes to the caller before the answer is whole."""
        self._body += data[: ERROR_BYTES_MAX - len(self._body)]
        return b""

    def finish(self) -> bytes:
        """The error in Anthropic's shape."""
        try:
            said = parsed(_ERROR, decoded(self._body, self._encoding, ERROR_BYTES_MAX))
        except (msgspec.DecodeError, Undecodable, RecursionError):
            said = _Error()
        message = said.message or said.Message or "Bedrock answered with an error"
        return anthropic_error_body(anthropic_error_type(self.head.status), message, self._request_id)


def _head(head: ResponseHead, content_type: bytes) -> ResponseHead:
    dropped = (b"content-type", b"content-length", b"content-encoding")
    kept = [pair for pair in head.headers if pair[0].lower() not in dropped]
    return ResponseHead(head.status, head.reason, [*kept, (b"content-type", content_type)])


def _server_sent(message: Message) -> bytes:
    if message.is_exception:
        return _sse("error", _exception_body(message))
    try:
        event = parsed(_CHUNK, message.payload).bytes
        kind = parsed(_EVENT, event).type
    except msgspec.DecodeError:
        return b""  # no event of a message's stream: Anthropic's client has no name for it
    return _sse(kind, event) if _WORD.fullmatch(kind) else b""


def _exception_body(message: Message) -> bytes:
    try:
        said = parsed(_ERROR, message.payload).message
    except msgspec.DecodeError:
        said = ""
    error_type = _EXCEPTION_TYPES.get(message.kind, "api_error")
    return anthropic_error_body(error_type, said or "Bedrock broke the stream off")


def _sse(kind: str, data: bytes) -> bytes:
    lines = b"\n".join(b"data: " + line for line in data.splitlines())
    return b"event: " + kind.encode() + b"\n" + lines + b"\n\n"
