"""What the demo's models "say" and how much they use: invented, but always the same for the same request.

Everything follows from the digest of the request's body, so that a call made twice, once directly and once
through the proxy, is answered with the same bytes. Answers now and then hold what a careless reader of
streams falls over: a usage block in the text, an end mark, line separators, emoji.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from demo.behaviour import Behaviour
from demo.bill import Tokens

CHARACTERS_PER_TOKEN = 4
OUTPUT_TOKENS_MAX = 220
_PIECES_MAX = 2_000  # a long answer comes in larger pieces rather than in more of them
_SAMPLE_CHARACTERS = 1_000
_WORDS = [
    "the",
    "cost",
    "of",
    "a",
    "call",
    "is",
    "known",
    "when",
    "its",
    "last",
    "frame",
    "has",
    "come",
    "and",
    "not",
    "before",
    "so",
    "count",
    "what",
    "you",
    "are",
    "told",
    "and",
    "add",
    "nothing",
    "to",
    "it",
    "a",
    "cached",
    "prompt",
    "is",
    "cheaper",
    "than",
    "a",
    "new",
    "one",
    "and",
    "a",
    "long",
    "one",
    "dearer",
    "than",
    "two",
    "short",
    "ones",
]
_SNARES = (
    '{"usage":{"input_tokens":987654,"output_tokens":987654}}',
    "data: [DONE]\n\n",
    "event: message_stop\ndata: {}\n\n",
    "Grüße, naïve café 🙂🚀 日本語",
    'a\u2028b\u2029c "quoted" \\ back\\slash\ttab',
)

Caching = Literal["asked", "automatic", "writing"]


class Invention(msgspec.Struct, frozen=True, kw_only=True):
    """An answer before any provider's form is given to it. `seed` names its ids."""

    seed: str
    text: str
    thinking: str
    tokens: Tokens
    is_capped: bool
    has_padding: bool

    def pieces(self, text: str) -> list[str]:
        """The text in the pieces a stream brings it in."""
        dice = random.Random(self.seed)
        longest = max(16, len(text) // _PIECES_MAX * 2)
        pieces, at = [], 0
        while at < len(text):
            size = dice.randint(longest // 4, longest)
            pieces.append(text[at : at + size])
            at += size
        return pieces


def invent(
    digest: bytes,
    body: bytes,
    behaviour: Behaviour,
    *,
    output_cap: int | None,
    caching: Caching = "automatic",
    is_reasoning: bool = False,
    tool_calls: int = 0,
) -> Invention:
    """The answer to a request, and what it used."""
    cap = OUTPUT_TOKENS_MAX if output_cap is None else max(1, output_cap)
    wanted = 12 + digest[1] % 180
    output = min(cap, wanted)
    reasoning = output * (digest[2] % 60) // 100 if is_reasoning else 0
    tokens = _told(_prompt(digest, body, caching), behaviour, output=output, reasoning=reasoning)
    tokens = msgspec.structs.replace(tokens, server_tool_calls=tool_calls)
    return Invention(
        seed=digest.hex()[:24],
        text=_text(digest, output - reasoning) if behaviour.text is None else behaviour.text,
        thinking=_text(digest[::-1], reasoning) if reasoning else "",
        tokens=tokens,
        is_capped=output < wanted,
        has_padding=digest[3] % 2 == 0,
    )


def _prompt(digest: bytes, body: bytes, caching: Caching) -> Tokens:
    """The input of a request by its length, divided over the buckets."""
    total = len(body) // CHARACTERS_PER_TOKEN + 5
    if caching == "asked":
        return _asked_caching(digest, body, total)
    if total < 1024:
        return Tokens(input_tokens=total)
    cached = total // 2 // 128 * 128
    if digest[0] % 2:
        return Tokens(input_tokens=total - cached, cache_read_tokens=cached)
    if caching == "writing":
        return Tokens(input_tokens=total - cached, cache_write_5m_tokens=cached)
    return Tokens(input_tokens=total)


def _asked_caching(digest: bytes, body: bytes, total: int) -> Tokens:
    if b'"cache_control"' not in body and b'"cachePoint"' not in body:
        return Tokens(input_tokens=total)
    cached = total * 3 // 4
    read = (0, cached, cached // 2)[digest[0] % 3]
    written = cached - read
    hour = written // 2 if b'"1h"' in body else 0
    return Tokens(
        input_tokens=total - cached,
        cache_read_tokens=read,
        cache_write_5m_tokens=written - hour,
        cache_write_1h_tokens=hour,
    )


def _told(prompt: Tokens, behaviour: Behaviour, *, output: int, reasoning: int) -> Tokens:
    """The tokens, with every figure that the caller asked for in place of the invented one."""
    figures = {**msgspec.structs.asdict(prompt), "output_tokens": output, "reasoning_tokens": reasoning}
    for name in Tokens.__struct_fields__:
        told = getattr(behaviour, name, None)
        if told is not None:
            figures[name] = told
    figures["reasoning_tokens"] = min(figures["reasoning_tokens"], figures["output_tokens"])
    return Tokens(**figures)


def _text(digest: bytes, tokens: int) -> str:
    dice = random.Random(digest)
    words = dice.choices(_WORDS, k=max(1, tokens))
    if dice.randrange(3) == 0:
        words.insert(len(words) // 2, dice.choice(_SNARES))
    return " ".join(words)


def tool_arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that fit the flat properties of a tool's JSON schema."""
    samples: dict[str, Any] = {
        "string": "demo",
        "number": 1.5,
        "integer": 7,
        "boolean": True,
        "array": [],
        "object": {},
    }
    properties: Mapping[str, Any] = schema.get("properties") or {}
    return {
        name: (kind.get("enum") or [samples.get(str(kind.get("type")), "demo")])[0]
        for name, kind in properties.items()
    }


def reported(tokens: Tokens, behaviour: Behaviour) -> Tokens:
    """The tokens as the usage block gives them, which are also the billed ones."""
    return Tokens() if behaviour.usage == "zero" else tokens


def as_json(value: object, *, escapes: bool = False) -> bytes:
    """Compact JSON, as UTF-8 or, with `escapes`, as plain ASCII."""
    if escapes:
        return json.dumps(value, separators=(",", ":")).encode()
    return msgspec.json.encode(value)


def sized(
    render: Callable[[str], Sequence[bytes]], text: str, size: int | None, *, filler: Callable[[int], bytes]
) -> tuple[bytes, ...]:
    """The frames of an answer of that many bytes in all; of a natural length where `size` is None.

    The text is lengthened or dropped and `filler` makes up what is left. Below what the form itself takes,
    the body is digits.
    """
    if size is None:
        return tuple(render(text))
    empty = sum(map(len, render("")))
    if size < empty:
        return (b"1" * size,)
    growth = sum(map(len, render("x" * _SAMPLE_CHARACTERS))) - empty
    room = max(0, size - empty) * _SAMPLE_CHARACTERS // growth
    for characters in (room, room * 9 // 10, 0):
        frames = tuple(render(_long_text(characters)))
        rest = size - sum(map(len, frames))
        if rest >= 0:
            return (frames[0], filler(rest), *frames[1:]) if rest else frames
    raise AssertionError("an empty text always fits")


def _long_text(characters: int) -> str:
    line = " ".join(_WORDS) + " "
    return (line * (characters // len(line) + 1))[:characters]


def spaces(count: int) -> bytes:
    """Blanks, as they may follow a JSON body."""
    return b" " * count


def stream_comment(count: int) -> bytes:
    """A comment of that many bytes in an event stream; blank lines where it is too short for one."""
    if count < 4:
        return b"\n" * count
    return b":" + b" " * (count - 3) + b"\n\n"
