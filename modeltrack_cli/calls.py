"""HTTP calls, the one place that makes them: bounded in time and size, to the address that was meant.

No redirect is followed, so what opens one place is never sent to another, and it goes by https, or to this
machine. Nothing is tried again: a command that failed is run again, and posts the same once more. What was
answered is repeated nowhere but for its status: providers put parts of keys into their refusals.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from modeltrack_cli.errors import CommandFailed

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 60.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024

_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_HINTS: Final[Mapping[int, str]] = {
    401: "the key is not known there",
    403: "the key may not do this",
    404: "there is nothing at this address",
    429: "too many requests; try again in a minute",
}


class Credential(AuthBase):
    """A header that opens one place. As requests' own kind of it, no file of passwords can replace it."""

    def __init__(self, header: str, value: str) -> None:
        self._header = header
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with the header."""
        request.headers[self._header] = self._value
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


def _called(place: str, method: str, url: str, credential: Credential | None, **sent: Any) -> dict[str, Any]:
    _check(place, url, has_credential=credential is not None)
    try:
        with requests.request(
            method,
            url,
            auth=credential,
            allow_redirects=False,
            stream=True,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            **sent,
        ) as response:
            status, content = response.status_code, _content(place, response)
    except requests.RequestException as error:
        raise CommandFailed(f"{place}: no whole answer ({type(error).__name__})") from None
    if status != 200:
        raise CommandFailed(f"{place}: it answered {status}" + _said(status))
    try:
        answer = json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise CommandFailed(f"{place}: the answer is no JSON") from None
    if not isinstance(answer, dict):
        raise CommandFailed(f"{place}: the answer is not of the documented form")
    return answer


def _check(place: str, url: str, *, has_credential: bool) -> None:
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme, parts.hostname or ""
    except ValueError:
        scheme, host = "", ""
    if scheme not in {"http", "https"} or not host:
        raise CommandFailed(f"{place}: give its address as https://host")
    if has_credential and scheme != "https" and host not in _LOOPBACK:
        raise CommandFailed(f"{place}: a key is sent by https only, but to this machine")


def _content(place: str, response: requests.Response) -> bytes:
    content = bytearray()
    for piece in response.iter_content(64 * 1024):
        content += piece
        if len(content) > ANSWER_BYTES_MAX:
            raise CommandFailed(f"{place}: the answer is too long")
    return bytes(content)


def _said(status: int) -> str:
    return f": {_HINTS[status]}" if status in _HINTS else ""
