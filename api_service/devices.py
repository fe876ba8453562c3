"""Browsers that somebody has logged in with before: known by a cookie, for one address.

Whoever comes with one is not counted among the strangers who try an address's password, so however many of
those there are, they cannot keep its owner out. It opens nothing: it says only that whoever had the browser
knew the password once, or read the address's mail. Nothing of it is stored; it names nobody.
"""

import hashlib
import hmac
import re
import secrets
from datetime import timedelta
from typing import Final

from metering.clock import Clock

LIFETIME: Final = timedelta(days=180)
NONCE_BYTES: Final = 16

_FORM: Final = re.compile(r"([0-9]{1,12})\.([0-9a-f]{32})\.([0-9a-f]{64})")


class Devices:
    """Makes and reads the cookies of browsers that are known."""

    def __init__(self, clock: Clock, secret: bytes) -> None:
        self._clock = clock
        self._key = hmac.new(secret, b"modeltrack api: known browsers", hashlib.sha256).digest()

    def mark(self, email: str) -> str:
        """A cookie for the browser of whoever has the address."""
        made_at, nonce = str(int(self._clock.now().timestamp())), secrets.token_hex(NONCE_BYTES)
        return f"{made_at}.{nonce}.{self._seal(made_at, nonce, email)}"

    def is_known(self, email: str, cookie: str | None) -> bool:
        """Whether the cookie is one of ours for that address, and not too old."""
        match = _FORM.fullmatch(cookie or "")
        if match is None or not hmac.compare_digest(match[3], self._seal(match[1], match[2], email)):
            return False
        return self._clock.now().timestamp() - int(match[1]) < LIFETIME.total_seconds()

    def _seal(self, made_at: str, nonce: str, email: str) -> str:
        return hmac.new(self._key, f"{made_at}.{nonce}.{email}".encode(), hashlib.sha256).hexdigest()
