"""Sealing: how a secret that must be used again is kept, such as what a webhook's calls are signed with.

What is only ever compared (keys, passwords) is hashed and not sealed. A sealed secret is to be read by
processes that have the deployment's own secret and by nobody else: not from the store, a backup or an export.

AES-256-GCM under a key derived from the deployment's secret by HKDF-SHA256, another for each purpose. What is
sealed is bound to the place it is kept in, so that nobody who writes to the store moves one account's secret
to another's. Layout: one byte that says so (1), 12 random bytes, the sealed text with its tag.
"""

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from metering.errors import MeteringError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_VERSION: Final = b"\x01"
_SALT: Final = b"modeltrack sealing"


class Unsealable(MeteringError):
    """It was not sealed here: under another secret, for another purpose or place, or it is damaged."""


class Sealer:
    """Seals for one purpose, such as `webhook secret`. Safe to share between threads."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        if not secret or not purpose:
            raise ValueError("sealing needs the deployment's secret and a purpose")
        derivation = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=_SALT, info=purpose.encode())
        self._cipher = AESGCM(derivation.derive(secret))

    def sealed(self, plain: bytes, bound_to: str) -> bytes:
        """The secret, sealed for the place that `bound_to` names: the path of its document, and its field."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, bound_to.encode())

    def opened(self, sealed: bytes, bound_to: str) -> bytes:
        """The secret that was sealed for that place. Raises: Unsealable."""
        if sealed[:1] != _VERSION or len(sealed) < 1 + NONCE_BYTES + TAG_BYTES:
            raise Unsealable("this was not sealed here")
        nonce, text = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, text, bound_to.encode())
        except InvalidTag:
            raise Unsealable("this was not sealed here, for this purpose and place") from None
