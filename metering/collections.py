"""Every collection: where it lies and what it is found by. Paths are made here and nowhere else.

The store indexes what `INDEXED_FIELDS` lists and nothing else: SQLite reads this table; for Firestore a test
holds `firestore.indexes.json` (exemptions of everything else that is big or rises with time) against it.
"""

ACCOUNTS = "accounts"
KEYS = "keys"
POLICIES = "policies"
PEOPLE = "people"
EMAILS = "emails"
SESSIONS = "sessions"
MEMBERSHIPS = "memberships"
CHANGES_PATH = "changes/current"

# Last part of the collection's path → the fields a Query may use there.
INDEXED_FIELDS: dict[str, tuple[str, ...]] = {
    "accounts": (),
    "keys": ("account_id",),
    "policies": (),
    "people": (),
    "emails": (),
    "sessions": ("person_id",),
    "memberships": ("person_id", "account_id"),
    "changes": (),
    "segments": ("last_at", "request_ids", "session_ids"),
    "quarters": ("starts_at",),
}


def account_path(account_id: str) -> str:
    """Where an account is kept."""
    return f"{ACCOUNTS}/{account_id}"


def policy_path(account_id: str) -> str:
    """Where an account's compiled policy is kept."""
    return f"{POLICIES}/{account_id}"


def key_path(key_hash: str) -> str:
    """Where a key's record is kept."""
    return f"{KEYS}/{key_hash}"


def segments_collection(account_id: str) -> str:
    """The collection of an account's segments."""
    return f"{ACCOUNTS}/{account_id}/segments"


def quarters_collection(account_id: str) -> str:
    """The collection of an account's rollup shards, one or more a quarter hour."""
    return f"{ACCOUNTS}/{account_id}/quarters"
