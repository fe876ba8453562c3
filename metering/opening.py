"""From an address to a store. Only the services' `main` (and what stands in for it in tests) calls this."""

from metering.store_urls import SqliteAddress, store_address
from metering.stores import DocumentStore


def open_store(url: str) -> DocumentStore:
    """The store at this address.

    Raises: ValueError when it is no such address; StoreError when the file there is none of ours.
    """
    address = store_address(url)
    if isinstance(address, SqliteAddress):
        from metering import sqlite  # noqa: PLC0415 - only the chosen store is loaded

        return sqlite.open_store(address.path)
    # Only the chosen store is loaded; gRPC is heavy.
    from metering import firestore  # noqa: PLC0415 - see above
    from metering.firestore.settings import emulator_address  # noqa: PLC0415 - see above

    return firestore.open_store(address.project, address.database, emulator_address=emulator_address())
