"""What Firestore's refusals mean, in the domain's words.

- ALREADY_EXISTS: a create met a document; nothing was applied
- NOT_FOUND: an update met no document, or a document whose revision was demanded is gone; nothing was applied
- FAILED_PRECONDITION: a document is at another revision; nothing was applied
- INVALID_ARGUMENT about a size: a document would outgrow its limit; nothing was applied
- INVALID_ARGUMENT else, OUT_OF_RANGE, UNIMPLEMENTED, or a query's FAILED_PRECONDITION (it lacks an index):
  a mistake of ours (StoreError); nothing was applied
- everything else, such as DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL, CANCELLED, no credentials:
  StoreUnavailable; the outcome is unknown

ABORTED (contention) most likely applied nothing, but stays with the unknown ones: who asks again as after an
unknown outcome is right in both cases.
"""

import re
from collections.abc import Sequence

import grpc

from metering.errors import (
    AlreadyExists,
    DocumentMissing,
    DocumentTooLarge,
    RevisionChanged,
    StoreError,
    StoreUnavailable,
)
from metering.stores import Create, Increment, Update, Write

_SIZE = re.compile(r"exceeds the maximum|maximum (?:\w+ )?size", re.IGNORECASE)
_OUR_MISTAKES = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNIMPLEMENTED}
)


def refused(error: grpc.RpcError, writes: Sequence[Write] = ()) -> StoreError:
    """The error to raise for what Firestore answered. `writes` are those of the commit that it refused."""
    code, details = error.code(), error.details() or ""
    if code in _OUR_MISTAKES or (code is grpc.StatusCode.FAILED_PRECONDITION and not writes):
        return DocumentTooLarge(details) if _SIZE.search(details) else StoreError(f"{code.name}: {details}")
    if writes and code is grpc.StatusCode.ALREADY_EXISTS:
        return AlreadyExists(_met([w.path for w in writes if isinstance(w, Create)], details))
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return RevisionChanged(_met(_demanding(writes), details))
    if writes and code is grpc.StatusCode.NOT_FOUND:
        return _missing(writes, details)
    return StoreUnavailable(f"Firestore did not answer: {code.name}")


def _missing(writes: Sequence[Write], details: str) -> StoreError:
    demanding = _demanding(writes)
    updated = [w.path for w in writes if isinstance(w, Update) and w.path not in demanding]
    path = _met([*updated, *demanding], details)
    gone = path in demanding or not updated
    return RevisionChanged(path) if gone else DocumentMissing(path)


def _demanding(writes: Sequence[Write]) -> list[str]:
    """The paths of which the commit demands a revision."""
    return [w.path for w in writes if not isinstance(w, Create | Increment) and w.if_revision is not None]


def _met(candidates: Sequence[str], details: str) -> str:
    """Which of the paths was met: the only one, or the one that Firestore's text names; else "".

    Firestore names `projects/…/documents/<path>`; its emulator `path=/<path>`, or each part by itself.
    """
    if len(set(candidates)) == 1:
        return candidates[0]
    parts = re.findall(r'(?:type|name): "([^"]*)"', details)
    found = re.search(r"(?:/documents/|path=/)([^\s,\"'{}]+)", details)
    named = found[1].rstrip(".;:") if found else "/".join(parts)
    return named if named in candidates else ""
