"""The embedded store: one file, no other software. For several processes of one machine, on a local disk."""

from metering.sqlite.store import open_store

__all__ = ["open_store"]
