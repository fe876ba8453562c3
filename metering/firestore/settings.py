"""The one variable Firestore's own tools set; every Google client honours it, and so do we."""

import os


def emulator_address() -> str:
    """Where the emulator listens (`host:port`), or "" for the real Firestore."""
    return os.environ.get("FIRESTORE_EMULATOR_HOST", "")
