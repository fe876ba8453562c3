"""Which ModelTrack this is. Services tell it with their health, so that two of them can be held together."""

from typing import Final

VERSION: Final = "0.1.0"  # as pyproject.toml says
VERSION_HEADER: Final = "X-ModelTrack-Version"


def told_version(revision: str) -> str:
    """The version as a service tells it: with the revision that it was built from, where that is known."""
    return f"{VERSION}+{revision}" if revision else VERSION
