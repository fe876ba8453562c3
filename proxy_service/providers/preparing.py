"""How a metered call leaves: as it came, but for the few edits that are documented.

- A streamed chat completion that says nothing of usage is asked for it, by one member spliced into its body;
  the frame that this adds to the answer is withheld from the caller (`answer_edit`).
- The published `/azure/v1/chat/completions` becomes the deployment's own path.
- `/bedrock/v1/messages` is translated (`translation`).
"""

import re
from typing import Protocol
from urllib.parse import quote

from proxy_service.members import NotEditable, with_member
from proxy_service.providers.base import Ask, Prepared, PrepareSettings, Route
from proxy_service.providers.translation import ErrorTranslation, StreamTranslation, translated_request
from proxy_service.refusals import RequestRefused
from proxy_service.wire import Headers, ResponseHead, header
from proxy_service.withholding import Withholder

_STREAMS_CHUNKS = frozenset({"chat_completions", "completions"})
_DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SIGNATURE = b"aws4-hmac-sha256"
_REFUSAL_NAMES_US = re.compile(rb"stream_options|include_usage")


class AnswerEdit(Protocol):
    """An answer that does not pass to the caller as it came. `head` is what the caller gets."""

    head: ResponseHead

    def feed(self, data: bytes) -> bytes:
        """What goes to the caller now."""

    def finish(self) -> bytes:
        """The upstream's answer is whole: what is still to go."""


def prepare(
    route: Route, ask: Ask, headers: Headers, body: bytes, settings: PrepareSettings | None = None
) -> Prepared:
    """The call as it leaves for the upstream. `headers` are those that cross the proxy.

    Raises: RequestRefused where what is asked for cannot be said to this upstream.
    """
    settings = settings or PrepareSettings()
    refuse_signature(route, headers)
    if route.translated:
        return translated_request(ask, headers, body)
    prepared = Prepared(target=route.target, headers=headers, body=body)
    if route.provider == "azure" and route.target.startswith(b"/v1/"):
        prepared = _on_azure_path(prepared, ask, settings)
    if _lacks_usage(route, ask) and settings.inject_include_usage:
        prepared = _with_usage(prepared)
    return prepared


def refuse_signature(route: Route, headers: Headers) -> None:
    """Refuse a call signed for our host: Bedrock would find the signature wrong, and say so less clearly.

    Raises: RequestRefused.
    """
    authorization = header(headers, b"authorization") or b""
    if route.upstream == "bedrock" and authorization.lower().startswith(_SIGNATURE):
        raise RequestRefused(
            400,
            "signature_unsupported",
            "the request is signed for this proxy, which Bedrock does not accept:"
            " use a Bedrock API key (AWS_BEARER_TOKEN_BEDROCK) instead of AWS credentials",
        )


def answer_edit(route: Route, prepared: Prepared, head: ResponseHead, request_id: str) -> AnswerEdit | None:
    """What happens to the answer's bytes on their way to the caller; None where they pass as they came.

    The meter is fed the upstream's bytes, not the edited ones.
    """
    kind = (header(head.headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    is_plain = header(head.headers, b"content-encoding") in (None, b"identity")
    if route.translated:
        if head.status >= 400:
            return ErrorTranslation(head, request_id)
        is_stream = kind == b"application/vnd.amazon.eventstream"
        return StreamTranslation(head) if is_stream and is_plain else None
    is_withheld = prepared.withhold and head.status < 300 and kind == b"text/event-stream" and is_plain
    return _WithoutUsageFrame(head) if is_withheld else None


def refuses_include_usage(status: int, body: bytes) -> bool:
    """Whether an upstream's error answer says that it does not take the option that was asked of it."""
    return status in (400, 422) and _REFUSAL_NAMES_US.search(body) is not None


class _WithoutUsageFrame(Withholder):
    """The answer without the frame that we asked for; it gets shorter than its head may say."""

    def __init__(self, head: ResponseHead) -> None:
        super().__init__()
        kept = [pair for pair in head.headers if pair[0].lower() != b"content-length"]
        self.head = ResponseHead(head.status, head.reason, kept)


def _lacks_usage(route: Route, ask: Ask) -> bool:
    return ask.streaming and ask.include_usage is None and route.operation in _STREAMS_CHUNKS


def _with_usage(prepared: Prepared) -> Prepared:
    """Ask for the usage frame; as it is where the body cannot be edited safely (usage is estimated then)."""
    if header(prepared.headers, b"content-encoding") is not None:
        return prepared
    try:
        body = with_member(prepared.body, "stream_options", _with_include_usage)
    except NotEditable:
        return prepared
    headers = [pair for pair in prepared.headers if pair[0].lower() != b"accept-encoding"]
    return Prepared(
        target=prepared.target,
        headers=[*headers, (b"accept-encoding", b"identity")],
        body=body,
        withhold=True,
        edits=(*prepared.edits, "include_usage"),
    )


def _with_include_usage(stream_options: bytes | None) -> bytes:
    """The value of `stream_options` with `include_usage` in it. Raises: NotEditable."""
    if stream_options in (None, b"null"):
        return b'{"include_usage":true}'
    return with_member(stream_options, "include_usage", lambda _: b"true")


def _on_azure_path(prepared: Prepared, ask: Ask, settings: PrepareSettings) -> Prepared:
    if not _DEPLOYMENT.fullmatch(ask.model):
        message = "model: name an Azure deployment (letters, digits, dots, dashes, underscores)"
        raise RequestRefused(400, "invalid_model", message, "model")
    _, _, query = prepared.target.partition(b"?")
    if not re.search(rb"(?:^|&)api-version=", query):
        version = b"api-version=" + quote(settings.azure_api_version).encode()
        query = query + b"&" + version if query else version
    target = b"/openai/deployments/%s/chat/completions?%s" % (ask.model.encode(), query)
    return Prepared(target=target, headers=prepared.headers, body=prepared.body, edits=("azure_path",))
