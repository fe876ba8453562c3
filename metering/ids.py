"""The one maker of ids: a prefix that says what the id names, and 128 random bits.

Ids are random and never ordered by time: neighbouring document ids would make a hot spot in the store. What
must get the same id each time it is met gets a digest instead.
"""

import hashlib
import secrets

RANDOM_BYTES = 16


def new_id(prefix: str) -> str:
    """A fresh id such as `acct_3f…` (32 hexadecimal digits after the prefix)."""
    return f"{prefix}_{secrets.token_hex(RANDOM_BYTES)}"


def new_instance_name() -> str:
    """A name for one process start; segments it writes are `<instance>-<number>`."""
    return secrets.token_hex(RANDOM_BYTES)


def repeatable_digest(label: str, *parts: str) -> str:
    """For the id of what may be met again: 32 hexadecimal digits, the same for the same parts.

    Nothing of the parts is to be read from it, and it is as evenly spread as a random one.
    """
    digest = hashlib.blake2b(digest_size=RANDOM_BYTES)
    for part in ("modeltrack", label, *parts):
        data = part.encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()
