"""Asking over HTTP, of the address that was meant alone.

No redirect is followed: whatever opens that address would be sent on to another.
"""

import urllib.request
from http.client import HTTPResponse
from typing import Final
from urllib.parse import urlsplit

_LOOPBACK: Final = frozenset(("127.0.0.1", "::1", "localhost"))


class _StaysThere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_told: object) -> None:
        """None of them: the redirect itself is the answer."""


_OPENER: Final = urllib.request.build_opener(_StaysThere)


def answer_to(request: urllib.request.Request, seconds: float) -> HTTPResponse:
    """The open answer. Raises: OSError; of it HTTPError, for a redirect as for every status from 300."""
    answer: HTTPResponse = _OPENER.open(request, timeout=seconds)
    return answer


def carries_keys(url: str) -> bool:
    """Whether a key may go to that address: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in _LOOPBACK
