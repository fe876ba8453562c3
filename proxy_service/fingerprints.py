"""Fingerprints of prompt templates: which calls share one, and nothing else about it.

A fingerprint is HMAC-SHA256 of what makes the template (`providers.templates`), cut to 128 bits, under a key
that is derived from the deployment's secret for that account and kept nowhere. So who has the store can
neither test a guess of a prompt nor tell whether two accounts share one. Another secret makes other
fingerprints; what was recorded stays as it is, and nothing links the two.
"""

import hmac
from typing import Final

FINGERPRINT_BYTES: Final = 16

_PURPOSE: Final = b"modeltrack proxy: prompt fingerprints of "


class Fingerprints:
    """Makes fingerprints. Pure but for the secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, account_id: str, template: bytes) -> str:
        """The template's fingerprint in that account: 32 hexadecimal digits."""
        key = hmac.digest(self._secret, _PURPOSE + account_id.encode(), "sha256")
        return hmac.digest(key, template, "sha256")[:FINGERPRINT_BYTES].hex()
