"""HTTP calls, the one place that makes them: bounded in time and size, to the address that was meant.

No redirect is followed, so what opens one place is never sent to another, and it goes by https, or to this
machine. Nothing is tried again: a command that failed is run again, and posts the same once more. What was
answered is repeated nowhere but for its status: providers put parts of keys into their refusals.
"""

import json
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from modeltrack_cli.errors import CommandFailed

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 60.0
ANSWER_SECONDS_MAX: Final = 300.0  # whole, beyond the silence before its first byte
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024

Found = TypeVar("Found")

_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_NO_PROXY: Final = {"http": "", "https": ""}  # whatever HTTP_PROXY names, which would be told the keys
_HINTS: Final[Mapping[int, str]] = {
    401: "the key is not known there",
    403: "the key may not do this",
    404: "there is nothing at this address",
    429: "too many requests; try again in a minute",
}


class NoAnswer(CommandFailed):
    """Nothing whole came back. `reason` says so in words of ours."""

    def __init__(self, place: str, kind: str, reason: str) -> None:
        super().__init__(f"{place}: no whole answer ({kind})")
        self.reason = reason


@dataclass(frozen=True)
class Answer:
    """What came back, whole. `headers` are found by names in any case; `cookies` are as they were set."""

    status: int
    headers: Mapping[str, str]
    cookies: tuple[str, ...]
    content: bytes


class Credential(AuthBase):
    """Headers that open one place. As requests' own kind of it, no file of passwords can replace them."""

    def __init__(self, header: str, value: str, also: Mapping[str, str] | None = None) -> None:
        self._headers = {header: value, **(also or {})}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with the header."""
        request.headers.update(self._headers)
        return request


class Nobody(AuthBase):
    """Opens nothing, and says so: without it, a file of passwords might."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request as it is."""
        return request


def get(
    place: str,
    url: str,
    params: Mapping[str, str],
    *,
    credential: Credential | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The JSON object there; numbers with a fraction are decimals. Raises: CommandFailed, naming `place`."""
    return _called(place, "GET", url, credential, params=params, headers=headers)


def post(place: str, url: str, body: object, *, credential: Credential) -> dict[str, Any]:
    """What was answered to the body. Raises: CommandFailed, naming `place`."""
    return _called(place, "POST", url, credential, json=body)


def ask(  # noqa: PLR0913 - what may be said of a question, by name
    place: str,
    method: str,
    url: str,
    auth: AuthBase | None,
    *,
    seconds: float = READ_SECONDS,
    is_verified: bool = True,
    session: requests.Session | None = None,
    into: Callable[[bytes], None] | None = None,
    bytes_max: int = ANSWER_BYTES_MAX,
    **sent: Any,
) -> Answer:
    """What is answered there, whatever it is. `seconds` may pass in silence.

    Without `is_verified`, whoever answers is believed; no credential goes there then. A `session` keeps its
    connection for the next question. `into` is given the content piece by piece, and the answer has none.
    Raises: NoAnswer; CommandFailed, where nothing may be sent there.
    """
    may_open = auth is not None and not isinstance(auth, Nobody)
    _check(place, url, has_credential=may_open)
    if may_open and not is_verified:
        raise CommandFailed(f"{place}: no key is sent to whom nobody vouches for")
    request = requests.request if session is None else session.request
    options = {"auth": auth, "timeout": (min(seconds, CONNECT_SECONDS), seconds), **sent}
    if is_this_machine(url):
        options["proxies"] = _NO_PROXY

    def content(response: requests.Response) -> bytes:
        return _content(place, response, into, bytes_max)

    def asked() -> Answer:
        if is_verified:
            return _asked(place, request, method, url, options, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
            return _asked(place, request, method, url, {**options, "verify": False}, content)

    try:
        return ended_within(seconds + ANSWER_SECONDS_MAX, asked)
    except TimeoutError:
        raise NoAnswer(place, "Timeout", "it did not end in time") from None


def ended_within(seconds: float, ask_it: Callable[[], Found]) -> Found:
    """What came of it, if it came in time. Every read has a limit, but many short ones would never end.

    What is too late is left to a thread that ends with the process. Raises: TimeoutError, and what it does.
    """
    found: Future[Found] = Future()

    def wait() -> None:
        try:
            found.set_result(ask_it())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where it is waited for
            found.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    return found.result(seconds)


def _asked(
    place: str,
    request: Callable[..., requests.Response],
    method: str,
    url: str,
    options: Mapping[str, Any],
    content: Callable[[requests.Response], bytes],
) -> Answer:
    try:
        with request(method, url, allow_redirects=False, stream=True, **options) as response:
            cookies = tuple(response.raw.headers.getlist("Set-Cookie"))
            return Answer(response.status_code, response.headers, cookies, content(response))
    except requests.RequestException as error:
        raise NoAnswer(place, type(error).__name__, _reason(error)) from None
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:  # requests lets some through
        raise NoAnswer(place, type(error).__name__, "the answer cannot be read") from None


def is_base_url(url: str) -> bool:
    """Whether that is scheme and host, and maybe a path, and nothing besides."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    is_bare = not (parts.username or parts.password or parts.query or parts.fragment)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and is_bare and url.isprintable()


def is_web_address(url: str) -> bool:
    """Whether anything may stand there that is got by http or https."""
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        return False
    return scheme in {"http", "https"} and bool(host)


def carries_keys(url: str) -> bool:
    """Whether a key may go to that address: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_this_machine(url)


def is_this_machine(url: str) -> bool:
    """Whether the address is one of this very machine."""
    return (urlsplit(url).hostname or "") in _LOOPBACK


def _called(place: str, method: str, url: str, credential: Credential | None, **sent: Any) -> dict[str, Any]:
    answer = ask(place, method, url, credential, **sent)
    if answer.status != 200:
        raise CommandFailed(f"{place}: it answered {answer.status}" + _said(answer.status))
    found = json_of(answer)
    if found is None:
        raise CommandFailed(f"{place}: the answer is no JSON")
    if not isinstance(found, dict):
        raise CommandFailed(f"{place}: the answer is not of the documented form")
    return found


def json_of(answer: Answer) -> Any:
    """The answer's JSON, numbers with a fraction as decimals; None where it is none."""
    return json_in(answer.content)


def json_in(content: bytes) -> Any:
    """The same of content. Halves of signs, as `d800` escaped, are no text: no address could hold them."""
    try:
        found = json.loads(content, parse_float=Decimal)
        if b"\\ud" in content.lower():
            json.dumps(found, ensure_ascii=False, default=str).encode()
    except (ValueError, RecursionError):
        return None
    return found


def _reason(error: requests.RequestException) -> str:
    named = {
        requests.exceptions.SSLError: "the TLS handshake failed",
        requests.ConnectTimeout: "it cannot be reached in time",
        requests.Timeout: "it did not answer in time",
        requests.ConnectionError: "it cannot be reached, or hung up",
    }
    return next((words for kind, words in named.items() if isinstance(error, kind)), type(error).__name__)


def _check(place: str, url: str, *, has_credential: bool) -> None:
    if not is_web_address(url):
        raise CommandFailed(f"{place}: give its address as https://host")
    if has_credential and not carries_keys(url):
        raise CommandFailed(f"{place}: a key is sent by https only, but to this machine")


def _content(
    place: str, response: requests.Response, into: Callable[[bytes], None] | None, bytes_max: int
) -> bytes:
    content, taken = bytearray(), 0
    take = content.extend if into is None else into
    for piece in response.iter_content(64 * 1024):
        taken += len(piece)
        if taken > bytes_max:
            raise CommandFailed(f"{place}: the answer is too long")
        take(piece)
    return bytes(content)


def _said(status: int) -> str:
    return f": {_HINTS[status]}" if status in _HINTS else ""
