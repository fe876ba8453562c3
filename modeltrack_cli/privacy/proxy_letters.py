"""What is sent through the proxy: calls of every route that it names, full of canaries, well formed and not.

Every call carries a provider's key that nobody made, so a real provider refuses it, and it costs nothing.
"""

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from modeltrack_cli.privacy.canaries import Canaries, Mint, as_key
from modeltrack_cli.privacy.sending import Letter

APP: Final = "modeltrack-privacy-check"
OUTPUT_TOKENS_MAX: Final = 16
LONG_BYTES: Final = 70_000  # longer than any head that is taken
HUGE_BYTES: Final = 300 * 1024 * 1024  # larger than any body that may be taken
CUT_BYTES: Final = 4_096

CLAUDE: Final = "claude-haiku-4-5"
GPT: Final = "gpt-4o-mini"
BEDROCK: Final = "anthropic.claude-haiku-4-5-20251001-v1:0"
DEPLOYMENT: Final = "privacy-check"

# Tags that look like keys, and are not to be kept; each with the canary in it.
KEY_SHAPES: Final[Mapping[str, Callable[[str], str]]] = {
    "Anthropic's key": lambda canary: f"sk-ant-api03-{canary}",
    "OpenAI's key": lambda canary: f"sk-proj-{canary}",
    "ModelTrack's key": as_key,
    "AWS's key": lambda canary: f"AKIA{canary.upper()}",
    "Bedrock's key": lambda canary: f"ABSK{canary}",
    "Google's key": lambda canary: f"AIza{canary}",
    "GitHub's token": lambda canary: f"ghp_{canary}",
    "Slack's token": lambda canary: f"xoxb-{canary}",
    "a live key": lambda canary: f"sk_live_{canary}",
    "a webhook's secret": lambda canary: f"whsec_{canary}",
    "a JSON web token": lambda canary: f"eyJ{canary}",
    "a bearer": lambda canary: f"see Bearer {canary}",
}
TAGS: Final = ("Team", "App", "Feature", "Customer-Tier", "Session-ID", "Trace-ID", "Prompt-Template")

Json = dict[str, Any]


class Route(NamedTuple):
    """A metered route: how its body is made, and how it is told to stream; None: it does not."""

    path: str
    body: Callable[[Mint], Json]
    key_header: str
    streams: Callable[[str, Json], tuple[str, Json]] | None


def letters(canaries: Canaries, told: Sequence[str]) -> Iterator[Letter]:
    """All that is sent, for a proxy that names those routes."""
    for route in ROUTES:
        yield from _calls(canaries, route)
    streamed = [route.streams(route.path, {})[0] for route in ROUTES if route.streams is not None]
    known = [*(route.path for route in ROUTES), *streamed, *OTHERS]
    for named in told:
        yield from _unknown_route(canaries, named, known)
    for path, body in OTHERS.items():
        yield from _other(canaries, path, body)
    yield from _malformed(canaries)
    yield from _odd_addresses(canaries)
    yield from _odd_heads(canaries)
    yield from _tags(canaries)


def control(value: str) -> Letter:
    """A call that is to be found again: its feature is kept, as every tag is that looks like no key."""
    body = {"model": CLAUDE, "max_tokens": OUTPUT_TOKENS_MAX, "messages": [_said("ok")]}
    return Letter(
        to="proxy",
        route="proxy POST /v1/messages",
        method="POST",
        path="/v1/messages",
        headers={**_OURS, **_JSON, "x-api-key": "sk-ant-nobody", "X-ModelTrack-Feature": value},
        body=json.dumps(body).encode(),
        opens="key",
    )


_OURS: Final = {"X-ModelTrack-App": APP, "X-ModelTrack-No-Route": "true"}
_JSON: Final = {"Content-Type": "application/json", "anthropic-version": "2023-06-01"}


def _said(text: object) -> Json:
    return {"role": "user", "content": text}


def _image(mint: Mint) -> str:
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + mint("image").encode()).decode()


def _messages(mint: Mint, model: str = CLAUDE) -> Json:
    picture = {"type": "base64", "media_type": "image/png", "data": _image(mint)}
    used = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"for": mint("tool arguments")}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": mint("tool result")}
    schema = {"type": "object", "properties": {mint("tool parameter"): {"type": "string"}}}
    prompt = [{"type": "text", "text": mint("prompt")}, {"type": "image", "source": picture}]
    return {
        "model": model,
        "max_tokens": OUTPUT_TOKENS_MAX,
        "system": mint("system prompt"),
        "metadata": {"user_id": mint("user id")},
        "tools": [{"name": "look", "description": mint("tool description"), "input_schema": schema}],
        "messages": [_said(prompt), {"role": "assistant", "content": [used]}, _said([result])],
    }


def _of_bedrock(mint: Mint) -> Json:
    body = _messages(mint)
    del body["model"]
    return {**body, "anthropic_version": "bedrock-2023-05-31"}


def _converse(mint: Mint) -> Json:
    image = {"image": {"format": "png", "source": {"bytes": _image(mint)}}}
    return {
        "system": [{"text": mint("system prompt")}],
        "messages": [_said([{"text": mint("prompt")}, image])],
        "inferenceConfig": {"maxTokens": OUTPUT_TOKENS_MAX},
    }


def _chat(mint: Mint) -> Json:
    function = {"name": "look", "arguments": json.dumps({"for": mint("tool arguments")})}
    asked = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_image(mint)}"}}
    return {
        "model": GPT,
        "max_tokens": OUTPUT_TOKENS_MAX,
        "user": mint("user id"),
        "messages": [
            {"role": "system", "content": mint("system prompt")},
            _said([{"type": "text", "text": mint("prompt")}, picture]),
            asked,
            {"role": "tool", "tool_call_id": "call_1", "content": mint("tool result")},
        ],
    }


def _responses(mint: Mint) -> Json:
    return {
        "model": GPT,
        "max_output_tokens": OUTPUT_TOKENS_MAX,
        "instructions": mint("system prompt"),
        "input": [_said([{"type": "input_text", "text": mint("prompt")}])],
        "metadata": {"note": mint("metadata")},
    }


def _embeddings(mint: Mint) -> Json:
    return {"model": "text-embedding-3-small", "input": [mint("prompt")]}


def _completions(mint: Mint) -> Json:
    return {"model": "gpt-3.5-turbo-instruct", "max_tokens": OUTPUT_TOKENS_MAX, "prompt": mint("prompt")}


def _by_field(path: str, body: Json) -> tuple[str, Json]:
    return path, {**body, "stream": True}


def _by_name(name: str, path: str, body: Json) -> tuple[str, Json]:
    return f"{path.rpartition('/')[0]}/{name}", body


_BEDROCK: Final = f"/bedrock/model/{BEDROCK.replace(':', '%3A')}"
_AZURE: Final = f"/azure/openai/deployments/{DEPLOYMENT}"

ROUTES: Final = (
    Route("/v1/messages", _messages, "x-api-key", _by_field),
    Route("/anthropic/v1/messages", _messages, "x-api-key", _by_field),
    Route("/v1/chat/completions", _chat, "Authorization", _by_field),
    Route("/openai/v1/chat/completions", _chat, "Authorization", _by_field),
    Route("/v1/completions", _completions, "Authorization", _by_field),
    Route("/v1/responses", _responses, "Authorization", _by_field),
    Route("/v1/embeddings", _embeddings, "Authorization", None),
    Route("/bedrock/v1/messages", partial(_messages, model=BEDROCK), "Authorization", _by_field),
    Route(
        f"{_BEDROCK}/invoke", _of_bedrock, "Authorization", partial(_by_name, "invoke-with-response-stream")
    ),
    Route(f"{_BEDROCK}/converse", _converse, "Authorization", partial(_by_name, "converse-stream")),
    Route("/azure/v1/chat/completions", _chat, "api-key", _by_field),
    Route(f"{_AZURE}/chat/completions", _chat, "api-key", _by_field),
    Route(f"{_AZURE}/responses", _responses, "api-key", _by_field),
)

# What costs nothing or is not metered: path → its body.
OTHERS: Final[Mapping[str, Callable[[Mint], Json]]] = {
    "/v1/messages/count_tokens": _messages,
    "/v1/moderations": _embeddings,
    "/v1/images/generations": lambda mint: {"model": "gpt-image-1", "prompt": mint("prompt")},
    "/v1/audio/speech": lambda mint: {"model": "tts-1", "voice": "alloy", "input": mint("prompt")},
    "/v1/conversations": lambda mint: {"items": [_said(mint("prompt"))]},
}


def _calls(canaries: Canaries, route: Route) -> Iterator[Letter]:
    """The route as JSON and streamed, each with canaries of its own."""
    shown = f"proxy POST {_shown(route.path)}"
    mint = canaries.of(shown)
    yield _call(shown, mint, route.path, route.key_header, route.body(mint))
    if route.streams is not None:
        path, _ = route.streams(route.path, {})
        shown = f"proxy POST {_shown(path)}" + (" (streamed)" if path == route.path else "")
        mint = canaries.of(shown)
        path, body = route.streams(route.path, route.body(mint))
        yield _call(shown, mint, path, route.key_header, body)


def _call(shown: str, mint: Mint, path: str, key_header: str, body: Json) -> Letter:
    key = f"{'ABSK' if path.startswith('/bedrock') else 'sk-'}{mint('provider key')}"
    sent = {
        **_OURS,
        **_JSON,
        key_header: f"Bearer {key}" if key_header == "Authorization" else key,
        "User-Agent": mint("user agent"),
        "Cookie": f"session={mint('cookie')}",
        "Referer": f"https://canary.invalid/{mint('referer')}",
        "X-Amz-Security-Token": mint("session token"),
        "X-Unheard-Of": mint("value of a header"),
    }
    return Letter(
        to="proxy",
        route=shown,
        method="POST",
        path=f"{path}?api-version=2024-10-21&user={mint('query')}",
        headers=sent,
        body=json.dumps(body).encode(),
        opens="key",
    )


def _shown(path: str) -> str:
    return path.replace(BEDROCK.replace(":", "%3A"), "{id}").replace(DEPLOYMENT, "{id}")


def _unknown_route(canaries: Canaries, named: str, known: Sequence[str]) -> Iterator[Letter]:
    """A route that the proxy names and that is none of those known here, with a body of every kind."""
    method, _, path = named.rpartition(" ")
    shown = path.replace("…", "{rest}")
    if any(_reads_as(shown, each) for each in known) or not path.startswith("/") or method == "GET":
        return
    route = f"proxy {method or 'POST'} {shown}"
    mint = canaries.of(route)
    # an id may be a model's, which is kept as it is
    path = re.sub(r"\{[^}]*\}", lambda _: DEPLOYMENT, shown.replace("{rest}", mint("path")))
    body = _messages(mint) | _chat(mint) | _responses(mint)
    yield _call(route, mint, path, "Authorization", body)


def _reads_as(pattern: str, path: str) -> bool:
    """Whether the path, as it is sent, is one of the pattern's."""
    pieces = re.split(r"(\{[^}]*\})", pattern)
    made = "".join(".+" if each.startswith("{") else re.escape(each) for each in pieces)
    return re.fullmatch(made, path) is not None


def _other(canaries: Canaries, path: str, body: Callable[[Mint], Json]) -> Iterator[Letter]:
    shown = f"proxy POST {path}"
    mint = canaries.of(shown)
    yield _call(shown, mint, path, "Authorization", body(mint))


def _sent(route: str, mint: Mint, path: str, body: bytes, **headers: str) -> Letter:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {**_OURS, **_JSON, "x-api-key": f"sk-ant-{mint('provider key')}", **named}
    return Letter(to="proxy", route=route, method="POST", path=path, headers=sent, body=body, opens="key")


def _malformed(canaries: Canaries) -> Iterator[Letter]:
    """Bodies that are none, or not whole."""
    for path in ("/v1/messages", "/v1/chat/completions", "/bedrock/v1/messages", f"{_AZURE}/responses"):
        route = f"proxy POST {_shown(path)} (malformed)"
        mint = canaries.of(route)
        bodies = {
            "a name in JSON that is cut": f'{{"model": "{CLAUDE}", "%s',
            "a value in JSON that is cut": f'{{"model": "{CLAUDE}", "messages": [{{"content": "%s',
            "JSON that is a list": '["%s"]',
            "JSON that is a text": '"%s"',
            "text that is no JSON": "%s",
            "a name that stands twice": f'{{"model": "{CLAUDE}", "%s": 1, "model": "{CLAUDE}"}}',
            "a number": f'{{"model": "{CLAUDE}", "max_tokens": "%s"}}',
            "a truth": f'{{"model": "{CLAUDE}", "stream": "%s", "messages": []}}',
        }
        for where, body in bodies.items():
            yield _sent(route, mint, path, (body % mint(where)).encode())
        packed = gzip.compress(json.dumps(_messages(mint)).encode())
        yield _sent(route, mint, path, packed, Content_Encoding="gzip")
        yield _sent(route, mint, path, mint("what is said to be gzip").encode(), Content_Encoding="gzip")
        yield _sent(route, mint, path, mint("a body of an unknown kind").encode(), Content_Type=mint("kind"))
        huge = _sent(route, mint, path, f'{{"a": "{mint("a body that is too large")}"'.encode())
        cut = _sent(route, mint, path, f'{{"a": "{mint("a body that is cut")}"'.encode())
        yield _promising(huge, HUGE_BYTES, is_cut=False)
        yield _promising(cut, CUT_BYTES, is_cut=True)


def _promising(letter: Letter, promised: int, *, is_cut: bool) -> Letter:
    return Letter(
        to=letter.to,
        route=letter.route,
        method=letter.method,
        path=letter.path,
        headers=letter.headers,
        body=letter.body,
        opens=letter.opens,
        promised=promised,
        is_cut=is_cut,
    )


def _odd_addresses(canaries: Canaries) -> Iterator[Letter]:
    """Addresses that are no route, or hold what belongs elsewhere."""
    route = "proxy, any other address"
    mint = canaries.of(route)
    body = json.dumps({"model": CLAUDE, "max_tokens": 1, "messages": [_said("ok")]}).encode()
    paths = [
        f"/{mint('path')}",
        f"/v1/{mint('path below /v1')}",
        f"/anthropic/{mint('path below /anthropic')}",
        f"/ws/{mint('ingress id')}/v1/messages",
        f"/ws/{as_key(mint('key as an ingress id'))}/v1/messages",
        f"/v1/messages?key={mint('key in the query')}&{mint('name in the query')}=1",
        f"/v1/messages?{'a' * LONG_BYTES}{mint('query that is too long')}",
        f"/v1//messages/{mint('path of two readings')}",
        f"/v1/models/{mint('id')}",
    ]
    for path in paths:
        yield _sent(route, mint, path, body)
    for method, path in (
        ("GET", f"/v1/files/{mint('id')}"),
        ("DELETE", f"/v1/files/{mint('id of what to delete')}"),
    ):
        headers = {**_OURS, "Authorization": f"Bearer sk-{mint('provider key')}"}
        yield Letter(to="proxy", route=route, method=method, path=path, headers=headers, opens="key")


def _odd_heads(canaries: Canaries) -> Iterator[Letter]:
    """Keys that nobody made or in the wrong place, and heads that are too long."""
    route = "proxy, keys and heads"
    mint = canaries.of(route)
    body = json.dumps({"model": CLAUDE, "max_tokens": 1, "messages": [_said(mint("prompt"))]}).encode()
    heads: list[dict[str, str]] = [
        {"X-ModelTrack-Key": as_key(mint("a well-formed key"))},
        {"X-ModelTrack-Key": f"sk-ant-{mint('provider key as our key')}"},
        {"X-ModelTrack-Key": mint("a key of no form")},
        {"Authorization": f"Bearer {as_key(mint('our key as the provider key'))}"},
        {"Authorization": f"AWS4-HMAC-SHA256 Credential=AKIA{mint('signature').upper()}/20260101"},
        {"X-Long": "a" * LONG_BYTES + mint("a header that is too long")},
        {f"X-{mint('name of a header')}": "1"},
        {"Accept-Encoding": mint("accepted encoding")},
        {"X-Forwarded-For": mint("forwarded for")},
        {"X-ModelTrack-No-Cache": mint("a wish of no form")},
        {"X-ModelTrack-Unheard-Of": mint("a header of ours that is none")},
    ]
    for head in heads:
        headers = {**_OURS, **_JSON, "x-api-key": f"sk-ant-{mint('provider key')}", **head}
        yield Letter(
            to="proxy",
            route=route,
            method="POST",
            path="/v1/messages",
            headers=headers,
            body=body,
            opens="nobody" if "X-ModelTrack-Key" in head else "key",
        )


def _tags(canaries: Canaries) -> Iterator[Letter]:
    """Tags, and a model, that look like keys: each shape in one tag, and each tag once with one."""
    route = "proxy, tags that look like keys"
    mint = canaries.of(route)
    plain = {"model": CLAUDE, "max_tokens": OUTPUT_TOKENS_MAX, "messages": [_said("ok")]}
    body = json.dumps(plain).encode()
    for index, (shape, made) in enumerate(KEY_SHAPES.items()):
        tag = TAGS[index % len(TAGS)]
        named = {f"X_ModelTrack_{tag}": made(mint(f"{shape} as {tag}"))}
        yield _sent(route, mint, "/v1/messages", body, **named)
    model = {**plain, "model": f"sk-ant-api03-{mint('a key as the model')}"}
    yield _sent(route, mint, "/v1/messages", json.dumps(model).encode())
    yield _sent(route, mint, f"/bedrock/model/ABSK{mint('a key as the id of a model')}/converse", body)
    path = f"/azure/openai/deployments/sk-proj-{mint('a key as a deployment')}/chat/completions"
    yield _sent(route, mint, path, body)
