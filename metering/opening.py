"""From an address to a store. Only the services' `main` (and what stands in for it in tests) calls this.

- `sqlite:///data/modeltrack.db`: a path from the working directory; `sqlite:////data/…`: from the root
- `firestore://<project>` or `firestore://<project>/<database>`
"""

import re
from pathlib import Path

from metering.stores import DocumentStore

DEFAULT_DATABASE = "(default)"

_FIRESTORE = re.compile(
    r"firestore://([a-z][a-z0-9:.-]{2,60}[a-z0-9])(?:/([a-z][a-z0-9-]{2,61}[a-z0-9]|\(default\)))?/?"
)
_SQLITE = "sqlite:///"


def open_store(url: str) -> DocumentStore:
    """The store at this address.

    Raises: ValueError when it is no such address; StoreError when the file there is none of ours.
    """
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        from metering import sqlite  # noqa: PLC0415 - only the chosen store is loaded

        return sqlite.open_store(Path(url.removeprefix(_SQLITE)))
    found = _FIRESTORE.fullmatch(url)
    if found:
        # Only the chosen store is loaded; gRPC is heavy.
        from metering import firestore  # noqa: PLC0415 - see above
        from metering.firestore.settings import emulator_address  # noqa: PLC0415 - see above

        return firestore.open_store(
            found[1], found[2] or DEFAULT_DATABASE, emulator_address=emulator_address()
        )
    raise ValueError("a store's address is sqlite:///<file> or firestore://<project>[/<database>]")
