"""Account keys: how one is made, recognised, hashed and what its record says.

A key is `mt_` + 64 hexadecimal digits (256 random bits) + 8 digits of CRC-32 over what stands before. The
checksum lets a typing error be told from an unknown key without the store. An ingress id is a key in URL
form: 32 digits (128 random bits) + the same checksum, valid for the scope `proxy` only.

Both are shown once and stored only as an HMAC-SHA256 under the deployment's secret; the record's document
id is that hash, so a look-up is one read and the store never sees a key.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from datetime import datetime
from functools import lru_cache
from typing import Literal

import msgspec

KEY_PREFIX = "mt_"
ROTATION_OVERLAP_SECONDS = 3600
LAST_USE_RESOLUTION_SECONDS = 60

Scope = Literal["proxy", "read", "write", "ingest", "stats"]
SCOPES: tuple[Scope, ...] = ("proxy", "read", "write", "ingest", "stats")
KeyKind = Literal["header", "ingress"]

_KEY = re.compile(r"mt_([0-9a-f]{64})([0-9a-f]{8})")
_INGRESS_ID = re.compile(r"([0-9a-f]{32})([0-9a-f]{8})")


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def new_key() -> str:
    """A fresh account key in plain text, to be shown once."""
    body = KEY_PREFIX + secrets.token_hex(32)
    return body + _checksum(body)


def new_ingress_id() -> str:
    """A fresh ingress id in plain text, to be shown once as a part of a URL."""
    body = secrets.token_hex(16)
    return body + _checksum(body)


def is_well_formed_key(text: str) -> bool:
    """Whether the text has a key's form and its checksum holds; says nothing about being known."""
    found = _KEY.fullmatch(text)
    return bool(found) and _checksum(text[:-8]) == text[-8:]


def is_well_formed_ingress_id(text: str) -> bool:
    """Whether the text has an ingress id's form and its checksum holds."""
    found = _INGRESS_ID.fullmatch(text)
    return bool(found) and _checksum(text[:-8]) == text[-8:]


def key_hash(plain: str, secret: bytes) -> str:
    """The keyed hash under which a key or ingress id is stored: 64 hexadecimal digits."""
    keyed = _keyed(secret).copy()
    keyed.update(plain.encode())
    return keyed.hexdigest()


@lru_cache(maxsize=4)
def _keyed(secret: bytes) -> hmac.HMAC:
    """The beginning of each hash under that secret."""
    return hmac.new(secret, digestmod=hashlib.sha256)


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is stored of one key. `hint` is its last four digits, for people to tell keys apart.

    `team` and `app`, where set, win over the caller's headers. `addresses` limits an ingress id to networks
    in CIDR form; empty means anywhere. `replaces` names the key that a rotation made this one from.
    """

    key_id: str
    key_hash: str
    account_id: str
    kind: KeyKind = "header"
    name: str = ""
    hint: str = ""
    scopes: tuple[Scope, ...] = ("proxy",)
    team: str = ""
    app: str = ""
    deployment: str = "default"
    addresses: tuple[str, ...] = ()
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    replaces: str = ""

    def is_live(self, now: datetime) -> bool:
        """Whether the key may be used at that moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
