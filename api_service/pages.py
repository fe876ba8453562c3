"""Pages of documents, newest first, of collections that hold a moment each is found by."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from metering.errors import InvalidInput
from metering.stores import Document, DocumentStore, Query

PAGE_MAX: Final = 100
PAGE_DEFAULT: Final = 50

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_PLACE: Final = re.compile(r"([0-9]{1,17}) ([A-Za-z0-9._:-]{1,256})")
_CURSOR_CHARACTERS_MAX: Final = 500


class Page(msgspec.Struct, frozen=True):
    """Some documents, and what asks for those that come after; None: there are none."""

    documents: tuple[Document, ...]
    next_page: str | None


def newest(
    store: DocumentStore,
    collection: str,
    moment: str,
    *,
    equal: Mapping[str, str] | None = None,
    cursor: str | None = None,
    limit: int = PAGE_DEFAULT,
) -> Page:
    """The documents with the latest `moment` (a field), from the cursor of the page before on.

    A store failure passes to the caller. Raises: InvalidInput, for what is no cursor.
    """
    query = Query(
        collection=collection,
        equal=equal or {},
        order_by=moment,
        descending=True,
        after=None if cursor is None else _place(cursor),
        limit=limit + 1,
    )
    found = store.query(query)
    shown = found[:limit]
    return Page(tuple(shown), _cursor(shown[-1], moment) if len(found) > limit else None)


def _cursor(last: Document, moment: str) -> str:
    microseconds = (last.fields[moment] - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(f"{microseconds} {last.document_id}".encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[Any, str]:
    unknown = InvalidInput("give the next_page of the page before", "page")
    if len(cursor) > _CURSOR_CHARACTERS_MAX or not cursor.isascii():
        raise unknown
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise unknown from None
    found = _PLACE.fullmatch(text)
    if found is None:
        raise unknown
    return _EPOCH + int(found[1]) * _MICROSECOND, found[2]
