"""The one maker of ids: a prefix that says what the id names, and 128 random bits.

Ids are random and never ordered by time: neighbouring document ids would make a hot spot in the store.
"""

import secrets

RANDOM_BYTES = 16


def new_id(prefix: str) -> str:
    """A fresh id such as `acct_3f…` (32 hexadecimal digits after the prefix)."""
    return f"{prefix}_{secrets.token_hex(RANDOM_BYTES)}"


def new_instance_name() -> str:
    """A name for one process start; segments it writes are `<instance>-<number>`."""
    return secrets.token_hex(RANDOM_BYTES)
