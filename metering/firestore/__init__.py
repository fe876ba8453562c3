"""The hosted store: Google's Firestore, or its emulator where FIRESTORE_EMULATOR_HOST is set."""

from metering.firestore.store import open_store

__all__ = ["open_store"]
