"""Which meter an answer gets: its reader by what was asked, its framing by what the answer says it is."""

from collections.abc import Callable

from metering.usage import TOKENS_MAX
from proxy_service.meter import (
    EVENT_BYTES_MAX,
    LAST_EVENT_BYTES_MAX,
    AnswerReader,
    BodyFraming,
    EventStreamFraming,
    Framing,
    Meter,
    SseFraming,
)
from proxy_service.providers.anthropic import MessagesReader
from proxy_service.providers.base import Ask, Operation, Route
from proxy_service.providers.bedrock import ConverseReader, InvokeReader
from proxy_service.providers.openai import ChatReader, CompletionsReader, EmbeddingsReader, ResponsesReader
from proxy_service.wire import ResponseHead, header

_SSE = b"text/event-stream"
_EVENT_STREAM = b"application/vnd.amazon.eventstream"

_READERS: dict[Operation, Callable[[], AnswerReader]] = {
    "messages": MessagesReader,
    "chat_completions": ChatReader,
    "completions": CompletionsReader,
    "responses": ResponsesReader,
    "embeddings": EmbeddingsReader,
    "converse": ConverseReader,
    "converse_stream": ConverseReader,
}


def make_meter(route: Route, ask: Ask, head: ResponseHead, request_body_bytes: int) -> Meter:
    """The meter of an answer to a metered call; feed it the body as it came from the upstream.

    `request_body_bytes` is what the caller sent: the estimate of the input where the answer does not say.
    """
    is_invoked = route.translated or route.operation in ("invoke", "invoke_stream")
    reader = InvokeReader(head.headers) if is_invoked else _READERS[route.operation]()
    return Meter(
        reader,
        _framing(reader, route, ask, head),
        status=head.status,
        content_encoding=header(head.headers, b"content-encoding"),
        request_body_bytes=request_body_bytes,
        output_tokens_max=_output_tokens_max(route, ask),
    )


def _output_tokens_max(route: Route, ask: Ask) -> int:
    """The most that all answers may come to, where the call says it; a completion may be of many prompts."""
    if ask.output_tokens_max is None or route.operation == "completions":
        return TOKENS_MAX
    return min(TOKENS_MAX, ask.output_tokens_max * ask.choices)


def _framing(reader: AnswerReader, route: Route, ask: Ask, head: ResponseHead) -> Framing:
    said = header(head.headers, b"content-type")
    kind = (said or b"").partition(b";")[0].strip().lower()
    if said is None and ask.streaming and head.status < 400:
        kind = _EVENT_STREAM if route.provider == "bedrock" else _SSE
    if kind == _SSE:
        repeats_all = route.operation == "responses"
        return SseFraming(reader, LAST_EVENT_BYTES_MAX if repeats_all else EVENT_BYTES_MAX)
    return EventStreamFraming(reader) if kind == _EVENT_STREAM else BodyFraming(reader)
