"""Connections by hand, where what a library makes of them would be in the way."""

import http.client
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

from modeltrack_cli.calls import ended_within
from modeltrack_cli.doctor.visit import Place, Visit

HTTPS_PORT = 443
TIMES_AS_LONG = 3  # all of it, as one silence in it may take


class CannotConnect(Exception):
    """Nobody took the connection, so nothing is known of TLS there."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def shake_hands(visit: Visit, place: Place, context: ssl.SSLContext) -> Mapping[str, object]:
    """The certificate's fields where it was verified, and the `version` spoken.

    Raises: CannotConnect; ssl.SSLCertVerificationError, or another OSError where the handshake fails.
    """
    parts = urlsplit(visit.deployment.url(place))
    host, port = parts.hostname or "", parts.port or HTTPS_PORT
    seconds = visit.options.question_seconds
    try:
        connection = socket.create_connection((host, port), timeout=seconds)
    except OSError:
        raise CannotConnect("nothing takes a connection there") from None

    def shake() -> Mapping[str, object]:
        with connection, context.wrap_socket(connection, server_hostname=host) as wrapped:
            return {**(wrapped.getpeercert() or {}), "version": wrapped.version()}

    return ended_within(TIMES_AS_LONG * seconds, shake)


def ask_in_the_clear(visit: Visit, host: str, port: int, path: str) -> tuple[int, str]:
    """Status and `Location` of the answer over plain http. Raises: CannotConnect, where there is none."""
    seconds = visit.options.question_seconds

    def ask() -> tuple[int, str]:
        with closing(http.client.HTTPConnection(host, port, timeout=seconds)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Location", "")

    try:
        return ended_within(TIMES_AS_LONG * seconds, ask)
    except (OSError, http.client.HTTPException):
        raise CannotConnect("nothing answers there over plain http") from None
