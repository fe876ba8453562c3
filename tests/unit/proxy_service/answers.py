"""Answers for the meter's tests: recordings, and one way to have an answer read."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from metering.usage import Reading, Usage
from proxy_service.providers import Ask, make_meter, match
from proxy_service.wire import RequestHead, ResponseHead

RECORDINGS = Path(__file__).parents[2] / "recordings"
CONTENT_TYPES = {
    ".json": b"application/json",
    ".sse": b"text/event-stream; charset=utf-8",
    ".eventstream": b"application/vnd.amazon.eventstream",
}
REQUEST_BYTES = 105


class Recording(msgspec.Struct, frozen=True):
    """One recorded answer, and what a meter has to read in it."""

    name: str
    path: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    expected: Reading

    @property
    def content_type(self) -> bytes:
        return self.headers[0][1]


def recordings() -> list[Recording]:
    """All recordings, in a fixed order."""
    return [_recording(folder) for folder in sorted(RECORDINGS.glob("*/*"))]


def _recording(folder: Path) -> Recording:
    expected: dict[str, Any] = msgspec.json.decode((folder / "expected.json").read_bytes())
    response = next(folder.glob("response.*"))
    reading = expected["reading"]
    headers = [(b"content-type", CONTENT_TYPES[response.suffix])]
    headers += [(name.encode(), value.encode()) for name, value in expected["headers"].items()]
    return Recording(
        name=f"{folder.parent.name}/{folder.name}",
        path=expected["path"].encode(),
        headers=headers,
        body=response.read_bytes(),
        expected=Reading(**{**reading, "usage": Usage(**reading["usage"])}),
    )


def read(
    pieces: Iterable[bytes],
    *,
    path: bytes = b"/v1/messages",
    headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", CONTENT_TYPES[".sse"]),),
    status: int = 200,
    is_streaming: bool = True,
    output_tokens_max: int | None = None,
) -> Reading:
    """What the meter of that path reads in an answer that comes in these pieces."""
    route = match(RequestHead(b"POST", path, []))
    assert route is not None
    head = ResponseHead(status, b"", list(headers))
    ask = Ask(streaming=is_streaming, output_tokens_max=output_tokens_max)
    meter = make_meter(route, ask, head, REQUEST_BYTES)
    for piece in pieces:
        meter.feed(piece)
    return meter.finish()


def cut_at(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The bytes cut at these places, each taken modulo the length."""
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
