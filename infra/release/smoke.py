"""Whether what was deployed works, before anybody's call reaches it: asked at its own address, from outside.

The proxy and the API answer; a stranger is let in nowhere; and with the key of an account that exists for
this, one call goes through the proxy to the provider, and its event comes out of the API: so both read
their secret, reach the store, and agree on either. Without a provider's key the provider refuses that call,
which costs nothing and is recorded all the same.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from infra.release.asking import answer_to, carries_keys

ANSWER_SECONDS_MAX: Final = 60  # a cold start is among them
TRIES_MAX: Final = 12
PAUSE_SECONDS: Final = 5.0
BODY_BYTES_MAX: Final = 1_048_576

_ASKED: Final = {
    "model": "claude-haiku-4-5",
    "max_tokens": 1,
    "messages": [{"role": "user", "content": "Say yes."}],
}
_WELL: Final = ("ok", "ready")
_REFUSED: Final = "authentication_error"  # as Anthropic says it
_NO_PROVIDER_KEY: Final = "none-refused-on-purpose"


class SmokeFailed(Exception):
    """What was deployed does not do what it must; the message says what was asked, and what came."""


@dataclass(frozen=True)
class Canary:
    """The account that a release may make calls of. Neither key shows in what is printed."""

    key: str = field(repr=False)
    provider_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Reply:
    """What came back. `body` is JSON, or None where it is not."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Addresses:
    """Where the revisions to be tried answer. `commit`: what both are built from; empty: not known."""

    proxy: str
    api: str
    commit: str = ""


def smoke(
    at: Addresses,
    canary: Canary | None,
    say: Callable[[str], None],
    pause: Callable[[float], None],
    tries: int = TRIES_MAX,
) -> None:
    """Try everything once, what needs time to start several times. Raises: SmokeFailed."""
    for name, address in (("proxy", at.proxy), ("API", at.api)):
        if not carries_keys(address):
            raise SmokeFailed(f"{name}: give its address as https://…; keys do not travel readable")
    for name, address in (("proxy", at.proxy), ("API", at.api)):
        for path in ("/health", "/readyz"):
            _until(partial(_is_ok, address + path, at.commit), f"{name} {path}", pause, tries)
            say(f"{name} {path}: ok")
    _refuses_strangers(at, say)
    if canary is None:
        say("no call was made through the proxy: there is no key for it (_CANARY_SECRET)")
        return
    request_id = _call(at, canary, say)
    _until(lambda: _event(at, canary, request_id), f"event {request_id} in the API", pause, tries)
    say(f"event {request_id} came out of the API")


def _refuses_strangers(at: Addresses, say: Callable[[str], None]) -> None:
    reply = _ask(f"{at.proxy}/v1/messages", _ASKED)
    _demand(reply.status == 401, "a call without a key must be refused with 401", reply)
    _demand(_is_ours(reply), "it must be the proxy that refuses, in the provider's form", reply)
    reply = _ask(f"{at.api}/v1/events")
    _demand(reply.status == 401, "events without a key must be refused with 401", reply)
    say("strangers are refused")


def _call(at: Addresses, canary: Canary, say: Callable[[str], None]) -> str:
    """Make the call; its request id."""
    headers = {
        "X-ModelTrack-Key": canary.key,
        "X-ModelTrack-No-Cache": "true",
        "anthropic-version": "2023-06-01",
        "x-api-key": canary.provider_key or _NO_PROVIDER_KEY,
    }
    reply = _ask(f"{at.proxy}/v1/messages", _ASKED, headers)
    request_id = reply.headers.get("x-modeltrack-request-id", "")
    _demand(bool(request_id), "the call must get an id", reply)
    if canary.provider_key:
        _demand(reply.status == 200, "the call must be answered", reply)
    else:
        _demand(
            reply.status == 401
            and _field(_field(reply.body, "error"), "type") == _REFUSED
            and not _is_ours(reply),
            "the provider, and not the proxy or somebody else, must refuse a call with none of its keys",
            reply,
        )
    say(f"call {request_id}: {reply.status} of the provider")
    return request_id


def _is_ours(refusal: Reply) -> bool:
    """Whether the proxy itself refused: in Anthropic's form, with a code of ours."""
    details = _field(_field(refusal.body, "error"), "details")
    return _field(refusal.body, "type") == "error" and bool(_field(details, "error_code"))


def _event(at: Addresses, canary: Canary, request_id: str) -> bool:
    reply = _ask(f"{at.api}/v1/events?limit=100", headers={"Authorization": f"Bearer {canary.key}"})
    rows = _field(reply.body, "data") if reply.status == 200 else None
    return isinstance(rows, list) and any(_field(row, "request_id") == request_id for row in rows)


def _is_ok(url: str, commit: str) -> bool:
    reply = _ask(url)
    _demand(reply.status == 200 and _field(reply.body, "status") in _WELL, "it must be well", reply)
    version = reply.headers.get("x-modeltrack-version", "none")
    if url.endswith("/health") and not version.endswith(f"+{commit}" if commit else version):
        raise SmokeFailed(f"it must be of {commit}, and says version {version}: another revision answers")
    return True


def _until(claim: Callable[[], bool], what: str, pause: Callable[[float], None], tries: int) -> None:
    why = "never as it should be"
    for left in range(tries, 0, -1):
        try:
            if claim():
                return
        except SmokeFailed as failed:
            why = str(failed)
        if left > 1:
            pause(PAUSE_SECONDS)
    raise SmokeFailed(f"{what}: {why}, {tries} times")


def _ask(url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
    content = None if body is None else json.dumps(body).encode()
    told = {"content-type": "application/json", "anthropic-version": "2023-06-01", **(headers or {})}
    request = urllib.request.Request(url, data=content, headers=told)  # noqa: S310 - gcloud told us the address
    try:
        with answer_to(request, ANSWER_SECONDS_MAX) as answer:
            return _reply(answer.status, answer.headers, answer.read(BODY_BYTES_MAX))
    except urllib.error.HTTPError as refused:
        with refused:
            return _reply(refused.code, refused.headers, refused.read(BODY_BYTES_MAX))
    except OSError as error:
        raise SmokeFailed(f"{url.partition('?')[0]} does not answer: {error}") from None


def _reply(status: int, headers: Any, body: bytes) -> Reply:
    try:
        read = json.loads(body)
    except ValueError:
        read = None
    return Reply(status, {name.lower(): value for name, value in headers.items()}, read)


def _field(of: Any, name: str) -> Any:
    return of.get(name) if isinstance(of, dict) else None


def _demand(claim: bool, must: str, reply: Reply) -> None:
    if not claim:
        kind = _field(_field(reply.body, "error"), "type")
        raise SmokeFailed(f"{must}; it was answered {reply.status}{f' {kind}' if kind else ''}")
