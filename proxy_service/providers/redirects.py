"""A call turned to another model of the same provider: in its body or in its path, and nowhere else.

The body's `model` is replaced by one splice at the top level, and no other byte is touched. Where the path
names the model (Azure deployments, Bedrock's own routes), that one segment is replaced. What cannot be edited
without a doubt is not edited at all.
"""

import re
from urllib.parse import quote

import msgspec

from proxy_service.members import NotEditable, with_member
from proxy_service.providers.base import Ask, Route
from proxy_service.wire import Headers, header

_IN_THE_PATH = re.compile(
    rb"(?P<before>/model/|/openai/deployments/)(?P<word>.+?)"
    rb"(?P<after>/(?:invoke|invoke-with-response-stream|converse|converse-stream|chat/completions"
    rb"|completions|responses|embeddings)/?(?:\?.*)?)",
    re.DOTALL,
)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,255}")  # of a model, a deployment, an ARN


class Redirected(msgspec.Struct, frozen=True):
    """The call as it asks for the other model."""

    route: Route
    ask: Ask
    body: bytes


def redirected(route: Route, ask: Ask, headers: Headers, body: bytes, word: str) -> Redirected | None:
    """The call asking for `word` instead; None where it cannot be edited safely.

    Not safe: a key that stands twice, a compressed body, a path or a body that does not name a model plainly.
    """
    if not _WORD.fullmatch(word):
        return None
    turned = msgspec.structs.replace(ask, model=word)
    if route.model:
        found = _IN_THE_PATH.fullmatch(route.target)
        if found is None:
            return None
        target = found["before"] + quote(word, safe="-._~").encode() + found["after"]
        return Redirected(msgspec.structs.replace(route, target=target, model=word), turned, body)
    if not ask.model or header(headers, b"content-encoding") is not None:
        return None
    try:
        edited = with_member(body, "model", lambda _: msgspec.json.encode(word))
    except NotEditable:
        return None
    return Redirected(route, turned, edited)
