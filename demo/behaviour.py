"""How the demo provider is asked to misbehave: by `x-demo-…` headers, or by a script for one key.

Headers pass through the proxy as they are. Clients that cannot set headers are served by a script instead:
`POST /demo/script {"key": "<provider key>", "answers": [{"status": 529}, {"cut-at-frame": 3}]}`; that key's
next calls take one entry each, later ones are answered normally.
"""

from collections import deque
from collections.abc import Iterable
from typing import Literal

import msgspec

SIZE_BYTES_MAX = 32 * 1024 * 1024
SCRIPTS_MAX = 1_000
_PREFIX = b"x-demo-"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """What one call asks for beyond a normal answer.

    `status` an error of the provider instead of an answer, with `retry_after` seconds; `reset` no answer but
    a connection reset. `delay_ms` before the head, `pace_ms` between frames. `cut_at_byte` and `cut_at_frame`
    break the connection in the body; `error_at_frame` puts the provider's own error frame there. `size` is
    the body's length in bytes before any content encoding. `encoding` forces one (else Accept-Encoding
    decides), `framing` the transfer. `usage` spoils the usage block; the token counts set it. `text` is what
    the answer says. `stable` leaves out of the head what differs from call to call.
    """

    status: int = 0
    retry_after: int | None = None
    reset: bool = False
    delay_ms: int = 0
    pace_ms: int = 0
    cut_at_byte: int | None = None
    cut_at_frame: int | None = None
    error_at_frame: int | None = None
    size: int | None = None
    encoding: Literal["", "identity", "gzip", "br", "zstd", "deflate"] = ""
    framing: Literal["", "length", "chunked", "close"] = ""
    usage: Literal["", "absent", "null", "zero", "every"] = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    text: str | None = None
    stable: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= SIZE_BYTES_MAX:
            raise ValueError(f"size is between 1 and {SIZE_BYTES_MAX} bytes")

    @property
    def is_played(self) -> bool:
        """Whether the answer is sent step by step rather than at once."""
        return bool(
            self.delay_ms
            or self.pace_ms
            or self.cut_at_byte is not None
            or self.cut_at_frame is not None
            or self.framing == "close"
        )


NORMAL = Behaviour()


def from_headers(headers: Iterable[tuple[bytes, bytes]]) -> Behaviour:
    """What the request's headers ask for. Raises: msgspec.ValidationError."""
    options = {
        name.lower().removeprefix(_PREFIX).decode("latin-1"): value.decode("latin-1")
        for name, value in headers
        if name.lower().startswith(_PREFIX)
    }
    return msgspec.convert(options, Behaviour, strict=False) if options else NORMAL


class _Script(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    answers: list[Behaviour]


class Scripts:
    """The scripts that wait for their keys' calls, by the digest of the key; at most `SCRIPTS_MAX`."""

    def __init__(self) -> None:
        self._answers: dict[str, deque[Behaviour]] = {}

    def __bool__(self) -> bool:
        return bool(self._answers)

    def register(self, body: bytes) -> tuple[str, int]:
        """Take a script in, replacing that key's earlier one; gives the key and the number of answers.

        Raises: msgspec.MsgspecError.
        """
        script = msgspec.json.decode(body, type=_Script)
        return script.key, self._hold(script)

    def _hold(self, script: _Script) -> int:
        if len(self._answers) >= SCRIPTS_MAX:
            self._answers.pop(next(iter(self._answers)))
        self._answers[script.key] = deque(script.answers)
        return len(script.answers)

    def next_for(self, key: str) -> Behaviour | None:
        """What the script of this key says of its next call, None where there is none (left)."""
        answers = self._answers.get(key)
        if not answers:
            return None
        behaviour = answers.popleft()
        if not answers:
            del self._answers[key]
        return behaviour
