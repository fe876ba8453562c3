"""Whether every call is accounted for: what became of those admitted, and what the nightly check found."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import Input, MomentOrDay, Usd, View, example_of, start_of
from api_service.routing import routes_of
from api_service.services import services
from metering.conservation import DayCounts, counts_by_day
from metering.errors import InvalidInput
from metering.money import usd_text
from metering.nightly_check import Check, last_check

DAYS_MAX = 31
DAYS_DEFAULT = 7
INSTANCES_MAX = 60  # with a document a day, and who asks, a hundred

_EXAMPLE: dict[str, Any] = {
    "data": [
        {
            "date": "2026-11-21",
            "admitted": 1204,
            "settled": 1200,
            "in_flight": 3,
            "lost": 1,
            "is_complete": True,
        }
    ],
    "last_check": {
        "date": "2026-11-20",
        "checked_at": "2026-11-21T06:40:00Z",
        "is_sound": True,
        "events": 9120,
        "cost_usd": 41.27,
        "cost_nanodollars": 41_270_000_000,
        "budgets": 2,
        "calls_unaccounted": 0,
        "differences": [],
    },
}

conservation = routes_of("conservation")


class ConservationQuery(Input):
    """Which UTC days to show; the range is widened to whole days."""

    start_time: MomentOrDay | None = Field(
        default=None,
        description="From this day on (2026-11-21, or a moment in it); left out: the last seven days.",
        json_schema_extra={"example": "2026-11-20"},
    )
    end_time: MomentOrDay | None = Field(
        default=None, description="Before this day or moment; left out: until now."
    )


class ConservedDayView(View):
    """What became of the calls that were admitted on one UTC day: settled + in flight + lost = admitted."""

    date: str = Field(description="The UTC day of admission.")
    admitted: int = Field(description="Calls that were let through to a provider.")
    settled: int = Field(description="Those that are over and have their event.")
    in_flight: int = Field(description="Those still under way, or whose event is not stored yet.")
    lost: int = Field(
        description="Those that a killed proxy had under way; each has an event with the state `lost`."
    )
    is_complete: bool = Field(
        description="False: more instances were at work within the last minutes than one answer reads; these"
        " are the calls of some."
    )


class DifferenceView(View):
    """Two ways of counting that came to different figures."""

    what: str = Field(description="What was counted.")
    by_events: int = Field(description="What single events come to.")
    by_books: int = Field(description="What rollups, counts or the budget say.")
    counter_id: str = Field(description="The budget's counter; empty: it is not about a budget.")


class CheckView(View):
    """What the nightly check found of one UTC day."""

    date: str = Field(description="The day that was checked.")
    checked_at: datetime = Field(description="When it was.")
    is_sound: bool = Field(description="Whether all was as it should be.")
    events: int = Field(description="Events of the day.")
    cost_usd: Usd = Field(description="What they cost, exactly.")
    cost_nanodollars: int = Field(description="The same in nanodollars.")
    budgets: int = Field(description="Totals of budgets whose period ended that day, all of them checked.")
    calls_unaccounted: int = Field(description="Calls that were neither settled nor lost by then.")
    differences: list[DifferenceView] = Field(description="What did not agree, at most a hundred.")


class ConservationView(View):
    """The days asked for, oldest first, and the latest day that was checked; null: none was yet."""

    model_config = example_of(_EXAMPLE)

    data: list[ConservedDayView] = Field(description="Every day of the range.")
    last_check: CheckView | None = Field(description="The latest day that was checked; null: none yet.")


@conservation.get("/v1/conservation", responses={200: ConservationView})
@needs("read")
def show_conservation(query: ConservationQuery) -> Response:
    """Show what became of all calls by day, and whether the books agree."""
    known, account_id = services(), visitor().account_id
    first, last = _days(query, known.clock.now())
    days = counts_by_day(known.store, account_id, first, last, open_max=INSTANCES_MAX)
    check = last_check(known.store, account_id)
    return answer_fields(
        {
            "data": [_shown_day(day) for day in days],
            "last_check": None if check is None else _shown_check(check),
        }
    )


def _days(query: ConservationQuery, now: datetime) -> tuple[date, date]:
    end = now if query.end_time is None else start_of(query.end_time, UTC)
    last = (end - timedelta(microseconds=1)).date()
    first = (
        last - timedelta(days=DAYS_DEFAULT - 1)
        if query.start_time is None
        else start_of(query.start_time, UTC).date()
    )
    if first > last:
        raise InvalidInput("end_time must lie after start_time", "end_time")
    if (last - first).days >= DAYS_MAX:
        raise InvalidInput(f"ask for at most {DAYS_MAX} days", "start_time")
    return first, last


def _shown_day(day: DayCounts) -> dict[str, object]:
    return {
        "date": day.day,
        "admitted": day.admitted,
        "settled": day.settled,
        "in_flight": day.in_flight,
        "lost": day.lost,
        "is_complete": day.is_complete,
    }


def _shown_check(check: Check) -> dict[str, object]:
    return {
        "date": check.day,
        "checked_at": check.checked_at,
        "is_sound": check.is_sound,
        "events": check.events,
        "cost_usd": msgspec.Raw(usd_text(check.cost_nanodollars).encode()),
        "cost_nanodollars": check.cost_nanodollars,
        "budgets": check.counters,
        "calls_unaccounted": check.in_flight,
        "differences": check.differences,
    }
