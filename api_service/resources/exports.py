"""Exports of cost events: streamed, a page of events in memory at a time, as fast as the caller takes them.

An export reads what `/v1/events` lists, newest first, and asks again before each page whether the caller may
still see it: it is cut, visibly, where the key was revoked, the session ended or the account was suspended
meanwhile, and where the store falls silent. A cut answer lacks HTTP's last chunk.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final, Literal

import msgspec
from flask import Response
from pydantic import Field

from api_service.access import needs, still_may, visitor
from api_service.fields import MomentOrDay
from api_service.outlook import price_list
from api_service.ranges import RangeFields
from api_service.resources.events import EVENT_FIELDS, EventFilters
from api_service.routing import routes_of
from api_service.services import services
from api_service.tables import CSV, csv_lines
from metering.accounts import Account
from metering.buckets import zone_named
from metering.errors import InvalidInput
from metering.event_pages import EVENTS_A_PAGE_MAX
from metering.events import CostEvent, wire_fields
from metering.focus import COLUMNS, Billed, Charges

NDJSON: Final = "application/x-ndjson"
DEFAULT_RANGE: Final = timedelta(days=30)
RANGE_MAX: Final = timedelta(days=371)

exports = routes_of("exports")

_ANY_TEXT: Final[dict[str, Any]] = {"schema": {"type": "string"}}


class ExportFields(RangeFields):
    """From when to when, by admission. The end left out is now; the start left out is 30 days before it."""

    start_time: MomentOrDay | None = Field(
        default=None,
        description="A day of the zone, from its start (2026-11-21), a moment or unix seconds; inclusive.",
        json_schema_extra={"example": "2026-11-01"},
    )

    def bounds(self) -> tuple[datetime, datetime]:
        """Start and end. Raises: InvalidInput."""
        if zone_named(self.timezone) is None:
            raise InvalidInput("give an IANA zone, for example Europe/Berlin", "timezone")
        start, end = self.moments(services().clock.now(), DEFAULT_RANGE)
        if end <= start:
            raise InvalidInput("end_time must lie after start_time", "end_time")
        if end - start > RANGE_MAX:
            raise InvalidInput(f"ask for at most {RANGE_MAX.days} days at once", "start_time")
        return start, end


class EventsExportFields(ExportFields, EventFilters):
    """Which events; each filter may be given several times, and then any of its values passes."""

    format: Literal["csv", "ndjson"] = Field(
        default="csv", description="csv, or ndjson: one JSON object a line, as `/v1/events` shows it."
    )

    @property
    def filters(self) -> dict[str, list[str]]:
        """The filters that are given."""
        return {name: getattr(self, name) for name in EventFilters.model_fields if getattr(self, name)}


@exports.get(
    "/v1/exports/events",
    responses={200: {"content": {"text/csv": _ANY_TEXT, NDJSON: _ANY_TEXT}}},
)
@needs("read")
def export_events(query: EventsExportFields) -> Response:
    """Export cost events as CSV or as one JSON object a line, streamed, newest first.

    Three exports of an account may be under way at once, of whatever kind; 429 `too_many_exports` beyond.

    In CSV, a text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    pages = _pages(*query.bounds(), query.filters)
    if query.format == "ndjson":
        return _streamed(_json_lines(pages), NDJSON, "modeltrack-events.ndjson")
    return _streamed(_csv_pieces(EVENT_FIELDS, map(_event_rows, pages)), CSV, "modeltrack-events.csv")


@exports.get("/v1/exports/focus", responses={200: {"content": {"text/csv": _ANY_TEXT}}})
@needs("read")
def export_focus(query: ExportFields) -> Response:
    """Export charges in the FinOps Foundation's open form FOCUS 1.2, as CSV, streamed, latest hours first.

    Rows are an hour's tokens of one kind at one price. Savings are Credit rows of their own, each beside an
    Adjustment of what it takes off, so that all rows add up to what was spent.
    """
    rows = _charge_rows(visitor().account, _pages(*query.bounds(), {}))
    return _streamed(_csv_pieces(COLUMNS, rows), CSV, "modeltrack-focus.csv")


def _pages(
    start: datetime, end: datetime, filters: Mapping[str, Sequence[str]]
) -> Iterator[tuple[CostEvent, ...]]:
    """The visitor's events, a page at a time, in any thread, once the request itself is over."""
    known, began, look_again = services(), visitor(), still_may("read")

    def pages() -> Iterator[tuple[CostEvent, ...]]:
        cursor: str | None = None
        asking = began
        while True:
            page = known.ledger.events(  # where the store falls silent, the export is cut
                asking.account_id,
                start=start,
                end=end,
                filters=filters,
                cursor=cursor,
                limit=EVENTS_A_PAGE_MAX,
                kept_since=asking.account.settings.events_kept_since(known.clock.now()),
            )
            yield page.events
            cursor = page.next_cursor
            if cursor is None:
                return
            asking = look_again()

    return pages()


def _json_lines(pages: Iterator[tuple[CostEvent, ...]]) -> Iterator[bytes]:
    for page in pages:
        yield b"".join(msgspec.json.encode(wire_fields(event)) + b"\n" for event in page)


def _csv_pieces(columns: Sequence[str], pages: Iterator[list[dict[str, object]]]) -> Iterator[bytes]:
    lines: list[Sequence[object]] = [columns]
    for rows in pages:
        yield csv_lines([*lines, *([row[column] for column in columns] for row in rows)]).encode()
        lines = []


def _event_rows(page: tuple[CostEvent, ...]) -> list[dict[str, object]]:
    return [wire_fields(event) for event in page]


def _charge_rows(
    account: Account, pages: Iterator[tuple[CostEvent, ...]]
) -> Iterator[list[dict[str, object]]]:
    prices = price_list()
    charges = Charges(
        Billed(
            account.account_id,
            account.name,
            listed=prices.lines,
            paid=lambda event: prices.lines(event, account.settings.prices),
        )
    )
    for page in pages:
        for event in page:
            charges.add(event)
        if charges.is_full:
            yield charges.rows()
    yield charges.rows()


def _streamed(pieces: Iterator[bytes], content_type: str, filename: str) -> Response:
    """The pieces as they are made; the first at once, so that what is wrong by then is an error's answer."""
    place = services().export_places.take(visitor().account_id)
    held = place.while_held(pieces)
    response = Response(chain([next(held, b"")], held), content_type=content_type)
    response.call_on_close(place.give_back)
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response
