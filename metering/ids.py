"""The one maker of ids: a prefix that says what the id names, and 128 random bits.

Ids are random and never ordered by time: neighbouring document ids would make a hot spot in the store. What
must get the same id each time it is met gets a digest instead.

Ids of requests, which are no document's, begin alike a thousand at a time: they are stored together, so their
index entries are neighbours and touch some forty pages of the embedded store instead of a page each
(docs/decisions/0030).
"""

import hashlib
import secrets
from typing import Final

RANDOM_BYTES = 16
REQUESTS_A_RUN: Final = 1_024
_RUN_BYTES: Final = 4  # of the random ones, those that a run has in common


def new_id(prefix: str) -> str:
    """A fresh id such as `acct_3f…` (32 hexadecimal digits after the prefix)."""
    return f"{prefix}_{secrets.token_hex(RANDOM_BYTES)}"


class RequestIds:
    """Makes ids of requests, such as `req_3f…`. For one thread."""

    def __init__(self) -> None:
        self._ids: list[str] = []

    def new(self) -> str:
        """A fresh one; 32 random hexadecimal digits, the first eight those of the whole run."""
        if not self._ids:
            self._ids = self._run()
        return self._ids.pop()

    @staticmethod
    def _run() -> list[str]:
        begins = secrets.token_hex(_RUN_BYTES)
        own = RANDOM_BYTES - _RUN_BYTES
        digits = secrets.token_hex(own * REQUESTS_A_RUN)
        return [f"req_{begins}{digits[at : at + 2 * own]}" for at in range(0, len(digits), 2 * own)]


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
