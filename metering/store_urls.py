"""Addresses of stores, in both spellings.

- `sqlite:///data/modeltrack.db`: a path from the working directory; `sqlite:////data/…`: from the root
- `firestore://<project>` or `firestore://<project>/<database>`
"""

import re
from pathlib import Path

import msgspec

DEFAULT_DATABASE = "(default)"
STORE_URL_WANTED = "sqlite:///<file> or firestore://<project>[/<database>]"

_FIRESTORE = re.compile(
    r"firestore://([a-z][a-z0-9:.-]{2,60}[a-z0-9])(?:/([a-z][a-z0-9-]{2,61}[a-z0-9]|\(default\)))?/?"
)
_SQLITE = "sqlite:///"


class SqliteAddress(msgspec.Struct, frozen=True):
    """A file on this machine."""

    path: Path


class FirestoreAddress(msgspec.Struct, frozen=True):
    """A database of a project."""

    project: str
    database: str = DEFAULT_DATABASE


def store_address(url: str) -> SqliteAddress | FirestoreAddress:
    """What the address names. Raises: ValueError when it is no address of a store."""
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return SqliteAddress(Path(url.removeprefix(_SQLITE)))
    found = _FIRESTORE.fullmatch(url)
    if found is None:
        raise ValueError(f"a store's address is {STORE_URL_WANTED}")
    return FirestoreAddress(found[1], found[2] or DEFAULT_DATABASE)
