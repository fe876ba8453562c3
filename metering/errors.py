"""What can go wrong, in the domain's words. Each service maps a kind to its own status in one table.

MeteringError
├── InvalidInput          the caller's words make no sense; `param` names the field
├── Unauthenticated       nobody we know
├── Forbidden             known, but not allowed
├── NotFound              no such thing for this account (another account's things answer the same)
├── Conflict              it exists already, or has changed meanwhile
└── StoreError            the store did not do it
    ├── AlreadyExists         a create met an existing document; the whole commit did nothing
    ├── DocumentMissing       an update met no document; the whole commit did nothing
    ├── RevisionChanged       a precondition failed; the whole commit did nothing
    ├── DocumentTooLarge      a document would outgrow the store's limit; the commit did nothing
    └── StoreUnavailable      no answer in time: **the commit may or may not have been applied**
"""

from dataclasses import dataclass


class MeteringError(Exception):
    """Base of the domain's errors."""


@dataclass
class InvalidInput(MeteringError):
    """The caller's words make no sense. `message` says what to do; `param` is the path of the field.

    Where several things are wrong at once, `details` holds every complaint, this first one included.
    """

    message: str
    param: str | None = None
    details: tuple["InvalidInput", ...] = ()

    def __str__(self) -> str:
        return self.message


class Unauthenticated(MeteringError):
    """Nobody we know."""


class Forbidden(MeteringError):
    """Known, but not allowed."""


class NotFound(MeteringError):
    """No such thing for this account."""


class Conflict(MeteringError):
    """It exists already, or has changed meanwhile."""


class StoreError(MeteringError):
    """The store did not do what was asked."""


@dataclass
class AlreadyExists(StoreError):
    """A create met an existing document; nothing of the commit was applied. `path` is "" where unknown."""

    path: str = ""


@dataclass
class DocumentMissing(StoreError):
    """An update met no document; nothing of the commit was applied."""

    path: str = ""


@dataclass
class RevisionChanged(StoreError):
    """A document is no longer at the revision that was read; nothing of the commit was applied."""

    path: str = ""


class DocumentTooLarge(StoreError):
    """A document would outgrow the store's limit; nothing of the commit was applied."""


class StoreUnavailable(StoreError):
    """The store gave no answer in time. A commit may or may not have been applied."""
