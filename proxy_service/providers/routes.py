"""The route table: which upstream a raw path belongs to, and whether its calls cost anything.

**The rule for paths.** Routing reads the raw path, and an upstream may read a tidied one, so only a path that
has a single reading is routed. Refused, for every method: an empty segment (`//`; one slash at the end is
none), `.` and `..`, a backslash, `#`, blanks, control and non-ASCII characters, a broken percent sequence,
`%25` (a second decoding would find more) and the encoding of what needs none (`%6D`, `%2E`). An encoded
slash stands in ids only: below `/bedrock/model/`, elsewhere only in a GET. A slash at the end makes no
metered path unmetered, and no path free.

**Free** is what is listed here, and every GET, HEAD, DELETE and OPTIONS; making a batch is, and says so, as
budgets may refuse what it leads to. Any other call under a provider's
prefix may cost something: it is relayed and recorded `unmetered`.
"""

import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import unquote

from metering.tags import normalised_tag
from proxy_service.providers.base import Operation, Route, RouteKind
from proxy_service.refusals import Dialect, RequestRefused
from proxy_service.wire import Headers, RequestHead, header

_READ_METHODS = frozenset({b"GET", b"HEAD"})
_FREE_METHODS = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})

# Most paths: no percent sign, no segment that starts with a dot.
_PLAIN_PATH = re.compile(rb"(?:/[A-Za-z0-9_~:@!$&'()*+,;=-][A-Za-z0-9_.~:@!$&'()*+,;=-]*)+/?")
_SECOND_READING = re.compile(
    rb"[\x00-\x20\x7f-\xff#\\]"
    rb"|%(?![0-9A-Fa-f]{2})"
    rb"|%(?:[01][0-9A-Fa-f]|7[Ff]|25|5[Cc])"
    rb"|%(?:2[DEde]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])"
)
_SLASH = re.compile(rb"/|%2[Ff]")

_OPENAI_OPERATIONS: dict[bytes, Operation] = {
    b"chat/completions": "chat_completions",
    b"completions": "completions",
    b"responses": "responses",
    b"responses/compact": "responses",
    b"embeddings": "embeddings",
}
_OPENAI_FREE = re.compile(
    rb"files|uploads(?:/[^/]+/(?:parts|complete|cancel))?|batches(?:/[^/]+/cancel)?|moderations"
    rb"|responses/(?:input_tokens|[^/]+/cancel)|chat/completions/[^/]+"
    rb"|conversations(?:/[^/]+(?:/items)?)?"
)
_ANTHROPIC_FREE = re.compile(rb"messages/count_tokens|messages/batches(?:/[^/]+/cancel)?|files")
_BATCHES = frozenset((b"batches", b"messages/batches"))
_ANTHROPIC_ONLY = re.compile(rb"(?:messages|complete)(?:/.*)?", re.DOTALL)
_BEDROCK_MODEL = re.compile(
    rb"model/(.+)/(invoke|invoke-with-response-stream|converse|converse-stream|count-tokens)", re.DOTALL
)
_BEDROCK_OPERATIONS: dict[bytes, Operation] = {
    b"invoke": "invoke",
    b"invoke-with-response-stream": "invoke_stream",
    b"converse": "converse",
    b"converse-stream": "converse_stream",
}
_AZURE_DEPLOYMENT = re.compile(
    rb"openai/deployments/([^/]+)/(chat/completions|completions|responses|embeddings)"
)
_AZURE_RESOURCE = re.compile(rb"openai/(?:v1/)?(.+)", re.DOTALL)


def match(head: RequestHead) -> Route | None:
    """The route of a call, from its raw target without any `/ws/<ingress id>`; None: no provider's path.

    Raises: RequestRefused for a provider's path that has more than one reading.
    """
    path, question_mark, query = head.target.partition(b"?")
    prefix, _, rest = path[1:].partition(b"/")
    route_of = _PREFIXES.get(prefix)
    if route_of is None or not rest or path[:1] != b"/":
        return None
    if not _PLAIN_PATH.fullmatch(path) and not _has_one_reading(path, head.method):
        raise RequestRefused(
            400,
            "ambiguous_path",
            "the path can be read in more than one way: send it without empty or dot segments,"
            " without a slash or backslash in encoded form, and encode only what needs it",
        )
    return route_of(head, rest, question_mark + query)


def dialect_of(head: RequestHead) -> Dialect:
    """Whose error shape the caller of a path understands, also where the path has no route."""
    prefix, _, rest = head.path[1:].partition(b"/")
    if prefix == b"bedrock":
        return "anthropic" if rest.startswith(b"v1/") else "bedrock"
    if prefix == b"azure":
        return "azure"
    if prefix == b"anthropic":
        return "anthropic"
    return _v1_provider(rest, head.headers) if prefix == b"v1" else "openai"


def _has_one_reading(path: bytes, method: bytes) -> bool:
    if _SECOND_READING.search(path):
        return False
    segments = _SLASH.split(path[1:-1] if path.endswith(b"/") else path[1:])
    if any(segment in (b"", b".", b"..") for segment in segments):
        return False
    may_hold_slash = method in _READ_METHODS or path.startswith(b"/bedrock/model/")
    return may_hold_slash or b"%2F" not in path.upper()


def _v1(head: RequestHead, rest: bytes, query: bytes) -> Route:
    if _v1_provider(rest, head.headers) == "anthropic":
        return _anthropic_route(head, rest, b"/v1/" + rest + query)
    return _openai_route(head, rest, b"/v1/" + rest + query)


def _v1_provider(rest: bytes, headers: Headers) -> Literal["anthropic", "openai"]:
    """Whose `/v1/<rest>` is. A key in `x-api-key` alone is Anthropic's: it must not reach another vendor."""
    if _ANTHROPIC_ONLY.fullmatch(rest):
        return "anthropic"
    if rest.rstrip(b"/") in _OPENAI_OPERATIONS:
        return "openai"
    if header(headers, b"anthropic-version") is not None:
        return "anthropic"
    has_anthropic_key = header(headers, b"x-api-key") is not None
    return "anthropic" if has_anthropic_key and header(headers, b"authorization") is None else "openai"


def _anthropic(head: RequestHead, rest: bytes, query: bytes) -> Route:
    return _anthropic_route(head, rest.removeprefix(b"v1/"), b"/" + rest + query)


def _openai(head: RequestHead, rest: bytes, query: bytes) -> Route:
    return _openai_route(head, rest.removeprefix(b"v1/"), b"/" + rest + query)


def _anthropic_route(head: RequestHead, named: bytes, target: bytes) -> Route:
    is_messages = head.method == b"POST" and _slashless(named) == b"messages"
    return Route(
        provider="anthropic",
        dialect="anthropic",
        kind="metered" if is_messages else _kind(head, is_free=_ANTHROPIC_FREE.fullmatch(named) is not None),
        upstream="anthropic",
        target=target,
        makes_batch=_makes_batch(head, named),
        operation="messages" if is_messages else "other",
    )


def _openai_route(head: RequestHead, named: bytes, target: bytes) -> Route:
    operation = _OPENAI_OPERATIONS.get(_slashless(named)) if head.method == b"POST" else None
    return Route(
        provider="openai",
        dialect="openai",
        kind="metered" if operation else _kind(head, is_free=_OPENAI_FREE.fullmatch(named) is not None),
        upstream="openai",
        target=target,
        makes_batch=_makes_batch(head, named),
        operation=operation or "other",
    )


def _bedrock(head: RequestHead, rest: bytes, query: bytes) -> Route:
    if head.method == b"POST" and _slashless(rest) == b"v1/messages":
        return Route(
            provider="bedrock",
            dialect="anthropic",
            kind="metered",
            upstream="bedrock",
            target=b"/" + rest + query,
            operation="messages",
            translated=True,
        )
    found = _BEDROCK_MODEL.fullmatch(_slashless(rest))
    operation = _BEDROCK_OPERATIONS.get(found[2]) if found and head.method == b"POST" else None
    is_free = found is not None and found[2] == b"count-tokens" and not rest.endswith(b"/")
    return Route(
        provider="bedrock",
        dialect="bedrock",
        kind="metered" if operation else _kind(head, is_free=is_free),
        upstream="bedrock",
        target=b"/" + rest + query,
        operation=operation or "other",
        model=_name(found[1]) if found else "",
    )


def _azure(head: RequestHead, rest: bytes, query: bytes) -> Route:
    is_post = head.method == b"POST"
    deployment = _AZURE_DEPLOYMENT.fullmatch(_slashless(rest)) if is_post else None
    resource = _AZURE_RESOURCE.fullmatch(rest)
    named = resource[1] if resource else b""
    operation: Operation | None = None
    if deployment:
        operation = _OPENAI_OPERATIONS[deployment[2]]
    elif is_post:
        is_published_path = _slashless(rest) == b"v1/chat/completions"
        operation = "chat_completions" if is_published_path else _OPENAI_OPERATIONS.get(_slashless(named))
    return Route(
        provider="azure",
        dialect="azure",
        kind="metered" if operation else _kind(head, is_free=_OPENAI_FREE.fullmatch(named) is not None),
        upstream="azure",
        target=b"/" + rest + query,
        makes_batch=_makes_batch(head, named),
        operation=operation or "other",
        model=_name(deployment[1]) if deployment else "",
    )


def _kind(head: RequestHead, *, is_free: bool) -> RouteKind:
    if head.method in _FREE_METHODS:
        return "free"
    return "free" if is_free and head.method == b"POST" else "unmetered"


def _makes_batch(head: RequestHead, named: bytes) -> bool:
    return head.method == b"POST" and named in _BATCHES


def _slashless(path: bytes) -> bytes:
    return path[:-1] if path.endswith(b"/") else path


def _name(segment: bytes) -> str:
    return normalised_tag(unquote(segment.decode("latin-1")))


_PREFIXES: dict[bytes, Callable[[RequestHead, bytes, bytes], Route]] = {
    b"v1": _v1,
    b"anthropic": _anthropic,
    b"openai": _openai,
    b"bedrock": _bedrock,
    b"azure": _azure,
}
