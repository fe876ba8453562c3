"""What makes a call's template: what its author wrote once, apart from what its user says each time.

| part | where it stands |
|---|---|
| instructions | `system`, `instructions`, messages of role `system` or `developer` before any other |
| tools | `tools`, `functions`, `toolConfig.tools`, in any order |
| a prompt kept at the provider | the `id` and `version` of `prompt`, without its variables |

Everything from the first turn of a user on is left out, and so is what the same template may be called with:
model, sampling, output format, stream, marks for the provider's prompt cache. Text counts as text however it
is written (escapes, blanks, order of keys, one text or a block of it), so that a template is the same through
any client.

Nothing is made of a call without any of it, nor of one that is no plain JSON here, compressed ones included,
nor of one with more of it than is worth the time: `TEMPLATE_BYTES_MAX`, `VALUES_MAX`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from proxy_service.providers.base import Operation, Route
from proxy_service.providers.fields import ABSENT, Raw, is_given
from proxy_service.wire import Headers, header

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
TEMPLATE_BYTES_MAX: Final = 256 * 1024
VALUES_MAX: Final = 20_000  # by the commas between them, those in texts included
LEADING_MESSAGES_MAX: Final = 32

_FORM: Final = 1  # of what is made here; whoever changes it, changes every fingerprint
_CONVERSING: Final = frozenset[Operation](
    ("messages", "chat_completions", "responses", "invoke", "invoke_stream", "converse", "converse_stream")
)
_INSTRUCTING: Final = ("system", "developer")
_CACHE_MARKS: Final = frozenset(("cache_control", "cachePoint"))
_BLANKS: Final = re.compile(r"[ \t\n\r]*")
_TURNS: Final = json.JSONDecoder()  # since it reads one value after the other, and can stop


class _Body(msgspec.Struct):
    """Every field that any provider's call may hold a part of its template in."""

    system: Raw = ABSENT
    instructions: Raw = ABSENT
    messages: Raw = ABSENT
    input: Raw = ABSENT
    tools: Raw = ABSENT
    functions: Raw = ABSENT
    toolConfig: Raw = ABSENT  # noqa: N815  # as Converse spells it
    prompt: Raw = ABSENT


_BODY: Final = msgspec.json.Decoder(_Body)


def read_template(route: Route, headers: Headers, body: bytes) -> bytes | None:
    """What makes the call's template, in one form for all providers; None: nothing does. Never raises."""
    is_read = route.operation in _CONVERSING and len(body) <= BODY_BYTES_MAX
    if not is_read or header(headers, b"content-encoding") is not None:
        return None
    try:
        found = _BODY.decode(body)
        return _written(found) if _is_worth_it(found) else None
    except (ValueError, RecursionError):  # no JSON, or none that could be written again
        return None


def _is_worth_it(body: _Body) -> bool:
    """Whether what is read whole is within the bounds."""
    read = (body.system, body.instructions, body.tools, body.functions, body.toolConfig, body.prompt)
    if sum(len(memoryview(each)) for each in read) > TEMPLATE_BYTES_MAX:
        return False
    return sum(bytes(each).count(b",") for each in read) <= VALUES_MAX


def _written(body: _Body) -> bytes | None:
    instructions = [*_texts(_value(body.system)), *_texts(_value(body.instructions))]
    for turns in (body.messages, body.input):
        for message in _leading(turns):
            instructions += _texts(message.get("content"))
    configured = _value(body.toolConfig)
    of_converse = configured.get("tools") if isinstance(configured, dict) else None
    tools = sorted(
        _canonical(_unmarked(tool))
        for listed in (_value(body.tools), _value(body.functions), of_converse)
        for tool in (listed if isinstance(listed, list) else ())
        if _unmarked(tool) != {}
    )
    prompt = _value(body.prompt)
    kept = [prompt.get("id"), prompt.get("version")] if isinstance(prompt, dict) else []
    if not (any(instructions) or tools or any(kept)):
        return None
    return _canonical([_FORM, instructions, [msgspec.Raw(tool) for tool in tools], kept])


def _leading(turns: Raw) -> Iterator[dict[str, Any]]:
    """The messages before the first turn of a user, as far as they lie within what is looked at."""
    text = bytes(memoryview(turns)[:TEMPLATE_BYTES_MAX]).decode(errors="ignore")
    at = 0
    for _ in range(LEADING_MESSAGES_MAX):
        if text[at : at + 1] not in ("[", ","):
            return
        start = _after_blanks(text, at + 1)
        try:
            message, end = _TURNS.raw_decode(text, start)
        except json.JSONDecodeError:  # the list is empty, or the message goes on beyond what is looked at
            return
        if not isinstance(message, dict) or message.get("role") not in _INSTRUCTING:
            return
        if text.count(",", start, end) > VALUES_MAX:
            raise ValueError("more than is worth the time")
        yield message
        at = _after_blanks(text, end)


def _texts(content: Any) -> list[Any]:
    """The texts of a message's content; what is no text stays as it is."""
    if content is None:
        return []
    found = []
    for block in content if isinstance(content, list) else [content]:
        text = block.get("text") if isinstance(block, dict) else block
        shown = text if isinstance(text, str) else _unmarked(block)
        found += [shown] if shown not in ("", {}) else []
    return found


def _unmarked(block: Any) -> Any:
    """The block without the provider's marks of what to keep in its cache."""
    if not isinstance(block, dict):
        return block
    return {name: value for name, value in block.items() if name not in _CACHE_MARKS}


def _value(field: Raw) -> Any:
    return msgspec.json.decode(field) if is_given(field) else None


def _canonical(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _after_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return at if blanks is None else blanks.end()
