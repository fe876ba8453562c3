"""Reconciliation: providers' bills taken in, and shown beside what was recorded of their calls."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from flask import Response
from pydantic import Field, StrictStr, StringConstraints

from api_service.access import needs, require_unpinned, visitor
from api_service.answers import answer_fields
from api_service.fields import Form, Input, Usd, View, decimal_between, example_of
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from api_service.sums import rate, shown_money
from api_service.tables import answer_csv, with_csv
from api_service.utc_days import DayRangeFields
from metering.money import nanodollars_from_usd
from metering.reconciliation import (
    BILLED_DAYS_MAX,
    LINES_MAX,
    Bill,
    BilledProvider,
    BillLine,
    DayDrift,
    Drift,
    ModelDrift,
    Reconciliations,
)
from metering.tags import TAG_CHARACTERS_MAX

COST_USD_MAX = 100_000_000
COST_PLACES = 9

reconciliations = routes_of("reconciliations")

_POST_EXAMPLE: dict[str, Any] = {
    "provider": "openai",
    "days": [
        {
            "day": "2026-11-20",
            "models": [
                {"model": "gpt-4o-2024-08-06", "cost_usd": "12.480000123"},
                {"model": "", "cost_usd": "0.3"},
            ],
        }
    ],
}
_DRIFT_EXAMPLE: dict[str, Any] = {
    "billed_nanodollars": 12_480_000_123,
    "billed_usd": 12.480000123,
    "recorded_nanodollars": 12_470_000_000,
    "recorded_usd": 12.47,
    "drift_nanodollars": -10_000_123,
    "drift_usd": -0.010000123,
    "drift_rate": -0.000801,
    "estimated_nanodollars": 0,
    "estimated_usd": 0,
    "requests": 1_204,
    "unpriced_requests": 0,
}
_MODEL_EXAMPLE = {"model": "gpt-4o"} | _DRIFT_EXAMPLE

Day = Annotated[
    date,
    Form(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "give a day such as 2026-11-20"),
    Field(description="The UTC day."),
]
CostUsd = Annotated[
    Decimal,
    decimal_between(-COST_USD_MAX, COST_USD_MAX, COST_PLACES),
    Field(description="US dollars, as a decimal number or text; less than 0: a credit."),
]
BilledModel = Annotated[StrictStr, StringConstraints(max_length=TAG_CHARACTERS_MAX)]


class LineFields(Input):
    """What one model cost on a day."""

    model: BilledModel = Field(
        default="", description='As the provider\'s report names it; "": what names no model.'
    )
    cost_usd: CostUsd


class BillFields(Input):
    """What one day cost; a day without models cost nothing."""

    day: Day
    models: list[LineFields] = Field(max_length=LINES_MAX)


class NewBills(Input):
    """What a provider says its days cost, as `modeltrack reconcile` reads it from its cost report."""

    model_config = example_of(_POST_EXAMPLE)

    provider: BilledProvider
    days: list[BillFields] = Field(min_length=1, max_length=BILLED_DAYS_MAX)


class PostedView(View):
    """What was taken in."""

    model_config = example_of({"provider": "openai", "days": 1})

    provider: BilledProvider = Field(description="Whose bills.")
    days: int = Field(description="How many days have this bill now.")


class DriftFields(DayRangeFields):
    """Whose bills, and of which days."""

    provider: BilledProvider = Field(
        description="Whose bills to look at.", json_schema_extra={"example": "openai"}
    )
    format: Literal["json", "csv"] = Field(
        default="json",
        description="csv: one line a model and a day that has a bill, with the total first.",
    )


class DriftView(View):
    """What was recorded beside what was billed, of days that have a bill."""

    billed_nanodollars: int = Field(description="What the provider charged, by its report.")
    billed_usd: Usd = Field(description="The same in US dollars, exact.")
    recorded_nanodollars: int = Field(description="What was recorded of calls to it.")
    recorded_usd: Usd = Field(description="The same in US dollars, exact.")
    drift_nanodollars: int = Field(
        description="Recorded less billed. Below 0: billed, and not recorded, such as calls around the proxy."
    )
    drift_usd: Usd = Field(description="The same in US dollars, exact.")
    drift_rate: float | None = Field(
        description="The drift as a fraction of what was billed; null: nothing was."
    )
    estimated_nanodollars: int = Field(description="The part of what was recorded that rests on estimates.")
    estimated_usd: Usd = Field(description="That part in US dollars, exact.")
    requests: int = Field(description="Calls recorded.")
    unpriced_requests: int = Field(description="Those of models without a known price, recorded with 0.")


class ModelDriftView(DriftView):
    """One model."""

    model: str = Field(
        description="Its name without the date of a snapshot; empty: what the provider names no model for."
    )


class DayDriftView(View):
    """One UTC day."""

    day: date = Field(description="Which.")
    posted_at: datetime | None = Field(description="When its bill was posted; null: it has none yet.")
    total: DriftView | None = Field(description="The day as a whole; null: it has no bill.")
    models: list[ModelDriftView] = Field(description="Its models, most billed first; none without a bill.")


class ReconciliationView(View):
    """Days, oldest first, and the models and the total of all that have a bill."""

    model_config = with_csv(
        {
            "provider": "openai",
            "days_billed": 1,
            "total": _DRIFT_EXAMPLE,
            "models": [_MODEL_EXAMPLE],
            "days": [
                {
                    "day": "2026-11-20",
                    "posted_at": "2026-11-21T09:30:00Z",
                    "total": _DRIFT_EXAMPLE,
                    "models": [_MODEL_EXAMPLE],
                },
                {"day": "2026-11-21", "posted_at": None, "total": None, "models": []},
            ],
        }
    )

    provider: BilledProvider = Field(description="Whose bills.")
    days_billed: int = Field(description="How many days have a bill: what the figures are about.")
    total: DriftView = Field(description="All of those days.")
    models: list[ModelDriftView] = Field(description="Those days by model, most billed first.")
    days: list[DayDriftView] = Field(description="Every day of the range, oldest first.")


@reconciliations.post("/v1/reconciliations", responses={200: PostedView, **may_refuse(*OF_BODIES)})
@needs("ingest")
def post_bills(body: NewBills) -> Response:
    """Hand in what a provider says its days cost: all of them or none.

    A day's bill replaces the one before it whole, so that what is sent twice counts once. The provider's
    admin key is never part of it: `modeltrack reconcile` reads the report on your own machine.
    """
    require_unpinned(visitor())
    bills = [Bill(day=each.day, lines=tuple(_line(line) for line in each.models)) for each in body.days]
    _kept().post(visitor().account_id, body.provider, bills)
    return answer_fields({"provider": body.provider, "days": len(bills)})


@reconciliations.get("/v1/reconciliations", responses={200: ReconciliationView})
@needs("read")
def show_drift(query: DriftFields) -> Response:
    """Show how far what was recorded is from what the provider billed, by model and day.

    At most 92 days. Reads two documents a day. Days without a bill play no part in the sums.
    """
    found = _kept().drift(visitor().account_id, query.provider, query.days(services().clock.now()))
    if query.format == "csv":
        return answer_csv(_COLUMNS, _rows(found), None)
    return answer_fields(
        {
            "provider": query.provider,
            "days_billed": sum(each.posted_at is not None for each in found.days),
            "total": _drift_fields(found.total),
            "models": [_model_fields(each) for each in found.models],
            "days": [_day_fields(each) for each in found.days],
        }
    )


def _kept() -> Reconciliations:
    known = services()
    return Reconciliations(known.store, known.clock)


def _line(line: LineFields) -> BillLine:
    return BillLine(model=line.model, cost_nanodollars=nanodollars_from_usd(line.cost_usd))


_COLUMNS = ("section", "value", *_DRIFT_EXAMPLE)


def _rows(found: Drift) -> Iterator[Mapping[str, object]]:
    """The drift as lines of a CSV."""
    yield {"section": "total", "value": None, **_drift_fields(found.total)}
    for model in found.models:
        yield {"section": "model", "value": model.model, **_drift_fields(model)}
    for day in found.days:
        if day.posted_at is not None:
            yield {"section": "day", "value": day.day.isoformat(), **_drift_fields(day.total)}


def _day_fields(day: DayDrift) -> Mapping[str, object]:
    return {
        "day": day.day,
        "posted_at": day.posted_at,
        "total": None if day.posted_at is None else _drift_fields(day.total),
        "models": [_model_fields(each) for each in day.models],
    }


def _model_fields(each: ModelDrift) -> Mapping[str, object]:
    return {"model": each.model, **_drift_fields(each)}


def _drift_fields(each: ModelDrift) -> Mapping[str, object]:
    return {
        **shown_money("billed", each.billed_nanodollars),
        **shown_money("recorded", each.recorded_nanodollars),
        **shown_money("drift", each.drift_nanodollars),
        "drift_rate": rate(each.drift_nanodollars, each.billed_nanodollars),
        **shown_money("estimated", each.estimated_nanodollars),
        "requests": each.requests,
        "unpriced_requests": each.unpriced_requests,
    }
