"""What a dialect gives back to the provider's listener: a head, frames, and what was sold."""

from typing import Any

import msgspec

from demo.bill import Sale

Headers = tuple[tuple[bytes, bytes], ...]
JSON_TYPE = (b"content-type", b"application/json")
STREAM_TYPE = (b"content-type", b"text/event-stream; charset=utf-8")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `frames` are the pieces in which the provider would send the body; JSON is one piece.

    `sale` is None for what costs nothing: errors and free calls. `error_frame` is what the provider breaks
    off a stream with.
    """

    status: int = 200
    headers: Headers = (JSON_TYPE,)
    frames: tuple[bytes, ...]
    is_stream: bool = False
    sale: Sale | None = None
    error_frame: bytes = b""


class Refused(Exception):
    """The provider refuses the request; the dialect says in its own words why."""

    def __init__(self, status: int, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


def asked(body: bytes) -> dict[str, Any]:
    """The request's JSON object. Raises: Refused."""
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Refused(400, "We could not parse the JSON body of your request.") from error
    if not isinstance(value, dict):
        raise Refused(400, "The body of your request must be a JSON object.")
    return value


def required(ask: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """A field of the request. Raises: Refused where it is missing or of another type."""
    value = ask.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused(400, f"{name}: Field required", param=name)
    return value
