"""What the days ahead will cost, with the error of the past beside it, and what if things changed."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from flask import Response
from pydantic import Field, model_validator

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import (
    FilterTag,
    Input,
    ModelName,
    Usd,
    View,
    any_of,
    decimal_between,
    example_of,
)
from api_service.outlook import (
    MODEL_EXAMPLE,
    ModelView,
    Nanodollars,
    outlooks,
    prices_now,
    shown_model,
    shown_range,
)
from api_service.ranges import Timezone
from api_service.routing import routes_of
from api_service.services import services
from api_service.sums import shown_money
from api_service.tables import answer_csv, with_csv
from metering.errors import InvalidInput
from metering.events import Provider
from metering.forecasts import (
    HISTORY_DAYS_MAX,
    HISTORY_DAYS_MIN,
    HORIZON_DAYS_MAX,
    INTERVAL_PERCENT,
    Forecast,
    Range,
    forecast,
)
from metering.mixes import Mix, Model, Prices, Switch, by_model, switched
from metering.outlooks import MIX_DAYS, DailySpend
from metering.stats import FILTER_VALUES_MAX
from metering.suggestions import cheapest_switch

HORIZON_DAYS = 90
TRAFFIC_FACTOR_MAX = 1_000
TRAFFIC_PLACES = 4

forecasts = routes_of("forecasts")

BucketWidth = Literal["1d", "1w", "1mo"]
Dimension = Literal["provider", "model", "team", "app", "feature", "customer_tier", "deployment", "key_id"]
_FILTERS: tuple[Dimension, ...] = (
    "provider", "model", "team", "app", "feature", "customer_tier", "deployment", "key_id",
)  # fmt: skip

HorizonDays = Annotated[
    int,
    Field(
        ge=1,
        le=HORIZON_DAYS_MAX,
        description="How many days ahead, today included.",
        json_schema_extra={"example": HORIZON_DAYS},
    ),
]


ForecastStatus = Annotated[
    Literal["ok", "untested", "too_little_history"],
    Field(
        description=f"`untested`: too short a past for an interval; `too_little_history`: less than"
        f" {HISTORY_DAYS_MIN} days, and no forecast at all."
    ),
]


class ForecastFields(Input):
    """Which calls' cost to forecast, and how far. A filter given several times passes any of its values."""

    horizon_days: HorizonDays = HORIZON_DAYS
    bucket_width: BucketWidth = Field(
        default="1w", description="Days, weeks (from Monday) or months of the zone to sum the days into."
    )
    timezone: Timezone = "UTC"
    format: Literal["json", "csv"] = Field(
        default="json", description="csv: one line a bucket, those of the past first."
    )
    provider: list[Provider] = any_of("calls to this provider", FILTER_VALUES_MAX)
    model: list[FilterTag] = any_of("calls of this model, as its answer named it", FILTER_VALUES_MAX)
    team: list[FilterTag] = any_of("this team", FILTER_VALUES_MAX)
    app: list[FilterTag] = any_of("this app", FILTER_VALUES_MAX)
    feature: list[FilterTag] = any_of("this feature", FILTER_VALUES_MAX)
    customer_tier: list[FilterTag] = any_of("this customer tier", FILTER_VALUES_MAX)
    deployment: list[FilterTag] = any_of("this deployment, as the key pins it", FILTER_VALUES_MAX)
    key_id: list[FilterTag] = any_of("calls by the key of this id", FILTER_VALUES_MAX)


class ScenarioFields(Input):
    """What to change. Without models: the dearest one's calls on the cheapest of your own."""

    horizon_days: HorizonDays = HORIZON_DAYS
    timezone: Timezone = "UTC"
    traffic_factor: Annotated[
        Decimal,
        decimal_between(0, TRAFFIC_FACTOR_MAX, TRAFFIC_PLACES),
        Field(description="How many times today's traffic, in calls of the same kind."),
    ] = Decimal(2)
    from_provider: Provider | None = Field(default=None, description="Whose model to switch from.")
    from_model: ModelName | None = Field(
        default=None, description="The model to switch from, as recorded or as the price list names it."
    )
    to_provider: Provider | None = Field(default=None, description="Whose model to switch to.")
    to_model: ModelName | None = Field(default=None, description="The model to switch to; it needs a price.")

    @model_validator(mode="after")
    def _names_both_models_or_none(self) -> "ScenarioFields":
        given = [self.from_provider, self.from_model, self.to_provider, self.to_model]
        if any(given) and not all(given):
            raise ValueError("give from_provider, from_model, to_provider and to_model together, or none")
        return self


_RANGE_EXAMPLE = {
    "predicted_nanodollars": 700_000_000_000,
    "predicted_usd": 700,
    "low_nanodollars": 610_000_000_000,
    "low_usd": 610,
    "high_nanodollars": 790_000_000_000,
    "high_usd": 790,
}
_BACK_TEST_EXAMPLE = {
    "origins": 29,
    "tested_days": 28,
    "error_percent": 6.2,
    "bias_percent": -0.8,
    "daily_error_percent": 18.4,
    "naive_error_percent": 9.1,
    "cover_percent": 81.3,
}
_FORECAST_EXAMPLE = {
    "status": "ok",
    "as_of": "2026-11-21T09:30:00Z",
    "complete_to": "2026-11-21T09:30:00Z",
    "timezone": "UTC",
    "horizon_days": 7,
    "method": "weekday",
    "interval_percent": INTERVAL_PERCENT,
    "history_days": HISTORY_DAYS_MAX,
    "today_nanodollars": 31_000_000_000,
    "today_usd": 31,
    "history": [
        {
            "start_date": "2026-11-16",
            "end_date": "2026-11-21",
            "cost_nanodollars": 505_000_000_000,
            "cost_usd": 505,
        }
    ],
    "forecast": [{"start_date": "2026-11-21", "end_date": "2026-11-28", **_RANGE_EXAMPLE}],
    "total": _RANGE_EXAMPLE,
    "back_test": _BACK_TEST_EXAMPLE,
}
_SWITCH_EXAMPLE = {
    "from": {"provider": "anthropic", "model": "claude-opus-4-6"},
    "to": MODEL_EXAMPLE,
    "days": MIX_DAYS,
    "requests": 12_000,
    "recorded_nanodollars": 900_000_000_000,
    "recorded_usd": 900,
    "from_nanodollars": 900_000_000_000,
    "from_usd": 900,
    "to_nanodollars": 540_000_000_000,
    "to_usd": 540,
    "saved_nanodollars": 360_000_000_000,
    "saved_usd": 360,
    "exact": True,
    "total": _RANGE_EXAMPLE,
}
_SCENARIOS_EXAMPLE = {
    "status": "ok",
    "horizon_days": 90,
    "interval_percent": INTERVAL_PERCENT,
    "current_trend": _RANGE_EXAMPLE,
    "traffic": {"factor": 2, "total": _RANGE_EXAMPLE},
    "switch": _SWITCH_EXAMPLE,
    "back_test": _BACK_TEST_EXAMPLE,
}


class ForecastAmountView(View):
    """A forecast amount, with the interval that four out of five outcomes are meant to lie in."""

    predicted_nanodollars: Nanodollars = Field(description="What it is forecast to cost.")
    predicted_usd: Usd = Field(description="The same in US dollars.")
    low_nanodollars: Nanodollars | None = Field(
        description="The interval's lower end; null: the past is too short to tell."
    )
    low_usd: Usd | None = Field(description="The same in US dollars.")
    high_nanodollars: Nanodollars | None = Field(
        description="The interval's upper end; null: the past is too short to tell."
    )
    high_usd: Usd | None = Field(description="The same in US dollars.")


class PastBucketView(View):
    """What complete days cost."""

    start_date: date = Field(description="Its first day in the zone.")
    end_date: date = Field(description="The day after its last.")
    cost_nanodollars: Nanodollars = Field(description="What its days cost.")
    cost_usd: Usd = Field(description="The same in US dollars, exact.")


class ForecastBucketView(ForecastAmountView):
    """What days ahead are forecast to cost."""

    start_date: date = Field(description="Its first day in the zone.")
    end_date: date = Field(description="The day after its last.")


class BackTestView(View):
    """How far off this way of forecasting was on the account's own past (rolling origin).

    The past was cut at each of `origins` days; from what came before, the next `tested_days` were forecast,
    the method being chosen by what was known then. Beyond `tested_days` nothing has been tried.
    """

    origins: int = Field(description="At how many days the past was cut.")
    tested_days: int = Field(description="How many days ahead were forecast at each.")
    error_percent: float = Field(description="How far off the sum of these days was, of what they cost.")
    bias_percent: float = Field(description="The same with its sign: above 0 where it forecast too much.")
    daily_error_percent: float = Field(description="How far off single days were.")
    naive_error_percent: float = Field(
        description="The error of repeating the last week; a forecast that is no better is worth no more."
    )
    cover_percent: float | None = Field(
        description="How many weeks lay in the interval that was known before; null: too few to count."
    )


class ForecastView(View):
    """A forecast, and what it rests on. Its first day is today, as a whole."""

    model_config = with_csv(_FORECAST_EXAMPLE)

    status: ForecastStatus
    as_of: datetime = Field(description="When it was made.")
    complete_to: datetime = Field(
        description="Calls before this moment are counted, and today is its day: when it was made, or an hour"
        " before at most, where many instances serve the account."
    )
    timezone: str = Field(description="Whose days these are.")
    horizon_days: int = Field(description="How many days ahead, today included.")
    method: Literal["average", "weekday", "last_week", "trend"] | None = Field(
        description="What the days ahead are taken to be: the `average` of four weeks, that of each"
        " `weekday`, the `last_week` again, or the weekdays' pattern along a `trend`; whichever erred least."
    )
    interval_percent: int = Field(description="How many outcomes of a hundred the intervals are meant for.")
    history_days: int = Field(description="How many complete days it rests on, from the first that cost.")
    today_nanodollars: Nanodollars = Field(description="What today has cost so far; it plays no part.")
    today_usd: Usd = Field(description="The same in US dollars, exact.")
    history: list[PastBucketView] = Field(description="What those days cost, oldest first.")
    forecast: list[ForecastBucketView] = Field(
        description="The days ahead. The first and last bucket may be a part of a week or month."
    )
    total: ForecastAmountView | None = Field(
        description="All days ahead together; null: there is no forecast."
    )
    back_test: BackTestView | None = Field(description="How far off it was before; null: untested.")


class TrafficView(View):
    """So many times today's traffic."""

    factor: Usd = Field(description="How many times.")
    total: ForecastAmountView | None = Field(description="The horizon's cost; null: too little history.")


class SwitchView(View):
    """One model's calls on another, token for token, over the last 30 days."""

    from_: ModelView = Field(alias="from", description="The model that was used.")
    to: ModelView = Field(description="The model it is held against.")
    days: int = Field(description="How many days of calls were priced again.")
    requests: int = Field(description="How many calls these were.")
    recorded_nanodollars: Nanodollars = Field(description="What they were recorded at.")
    recorded_usd: Usd = Field(description="The same in US dollars, exact.")
    from_nanodollars: Nanodollars = Field(
        description="Their tokens at the standard rates of the model that was used."
    )
    from_usd: Usd = Field(description="The same in US dollars, exact.")
    to_nanodollars: Nanodollars = Field(description="Their tokens at the standard rates of the other.")
    to_usd: Usd = Field(description="The same in US dollars, exact.")
    saved_nanodollars: Nanodollars = Field(
        description="The difference, from the lower of the first two; below 0: the other is dearer."
    )
    saved_usd: Usd = Field(description="The same in US dollars, exact.")
    exact: bool = Field(
        description="False where a model has rates of its own for long prompts (all are then taken to be of"
        " average length), or where another vendor would count the tokens."
    )
    total: ForecastAmountView | None = Field(
        description="The horizon's cost, this part of it changed in proportion; null: too little history."
    )


class ScenariosView(View):
    """The horizon's cost as things go on, and if they changed."""

    model_config = example_of(_SCENARIOS_EXAMPLE)

    status: ForecastStatus
    horizon_days: int = Field(description="How many days ahead, today included.")
    interval_percent: int = Field(description="How many outcomes of a hundred the intervals are meant for.")
    current_trend: ForecastAmountView | None = Field(description="As things go on; null: too little history.")
    traffic: TrafficView = Field(description="With more or less of the same traffic.")
    switch: SwitchView | None = Field(description="With another model; null: there is none to switch to.")
    back_test: BackTestView | None = Field(description="How far off it was before; null: untested.")


@forecasts.get("/v1/forecast", responses={200: ForecastView})
@needs("read")
def show_forecast(query: ForecastFields) -> Response:
    """Forecast what the days ahead will cost, with an interval and the error of the past.

    Rests on the last 84 complete days of the zone, and reads one document a day of them, and few more.
    """
    now = services().clock.now()
    filters: dict[str, list[str]] = {name: getattr(query, name) for name in _FILTERS if getattr(query, name)}
    spend = outlooks().daily_spend(visitor().account_id, now, query.timezone, filters)
    found = forecast(spend.days, query.horizon_days)
    past = _past(spend)
    history = [
        {"start_date": first, "end_date": end, **shown_money("cost", sum(costs))}
        for first, end, costs in _buckets(spend.today - timedelta(len(past)), past, query.bucket_width)
    ]
    ahead = _shown_days(found, spend.today, query.bucket_width) if found else []
    if query.format == "csv":
        return answer_csv(_COLUMNS, _rows(history, ahead), None)
    return answer_fields(
        {
            "status": _status(found),
            "as_of": now,
            "complete_to": spend.complete_to,
            "timezone": query.timezone,
            "horizon_days": query.horizon_days,
            "method": found and found.method,
            "interval_percent": INTERVAL_PERCENT,
            "history_days": len(past),
            **shown_money("today", spend.today_nanodollars),
            "history": history,
            "forecast": ahead,
            "total": _total(found),
            "back_test": _shown_back_test(found),
        }
    )


@forecasts.get("/v1/forecast/scenarios", responses={200: ScenariosView})
@needs("read")
def show_scenarios(query: ScenarioFields) -> Response:
    """Show what the days ahead would cost with other traffic, or on another model.

    A switch of models is priced on the tokens that were really used in the last 30 days.
    """
    known, account_id = outlooks(), visitor().account_id
    now = services().clock.now()
    spend, mixes = known.spend_and_mixes(account_id, now, query.timezone)
    found = forecast(spend.days, query.horizon_days)
    prices = prices_now()
    switch = _switch(query, mixes, prices)
    spent = sum(mix.cost_nanodollars for mix in mixes)
    return answer_fields(
        {
            "status": _status(found),
            "horizon_days": query.horizon_days,
            "interval_percent": INTERVAL_PERCENT,
            "current_trend": _total(found),
            "traffic": {
                "factor": msgspec.Raw(f"{query.traffic_factor.normalize():f}".encode()),
                "total": _total(found, float(query.traffic_factor)),
            },
            "switch": None if switch is None else _shown_switch(switch, found, spent),
            "back_test": _shown_back_test(found),
        }
    )


_COLUMNS = ("kind", "start_date", "end_date", "cost_nanodollars", "cost_usd", *_RANGE_EXAMPLE)


def _rows(
    history: Sequence[dict[str, object]], ahead: Sequence[dict[str, object]]
) -> list[dict[str, object]]:
    """The buckets as lines of a CSV: what `past` ones cost, what is `forecast` for those ahead."""
    empty: dict[str, object] = dict.fromkeys(_COLUMNS)
    kinds = (("past", history), ("forecast", ahead))
    return [{**empty, "kind": kind, **each} for kind, several in kinds for each in several]


def _switch(query: ScenarioFields, mixes: Sequence[Mix], prices: Prices) -> Switch | None:
    if not (query.from_provider and query.from_model and query.to_provider and query.to_model):
        return cheapest_switch(mixes, prices)
    source = Model(query.from_provider, query.from_model)
    listed = prices.pricer.listed_name(source.provider, source.model)
    used = [
        msgspec.structs.replace(mix, model=source)
        for mix in mixes
        if mix.model == source
        or (
            mix.model.provider == source.provider
            and listed is not None
            and prices.pricer.listed_name(source.provider, mix.model.model) == listed
        )
    ]
    if not used:
        raise InvalidInput(f"no call was served by this model in the last {MIX_DAYS} days", "from_model")
    switch = switched(by_model(used)[0], Model(query.to_provider, query.to_model), prices)
    if switch is None:
        raise InvalidInput("one of the two models has no price for what was used", "to_model")
    return switch


def _status(found: Forecast | None) -> str:
    if found is None:
        return "too_little_history"
    return "ok" if found.back_test else "untested"


def _past(spend: DailySpend) -> list[int]:
    """The complete days from the first that cost something."""
    first = next((place for place, cost in enumerate(spend.days) if cost), len(spend.days))
    return list(spend.days[first:])


def _shown_days(found: Forecast, today: date, bucket_width: BucketWidth) -> list[dict[str, object]]:
    places = range(len(found.days))
    return [
        {"start_date": first, "end_date": end, **_shown(found.between(within[0], within[-1] + 1))}
        for first, end, within in _buckets(today, places, bucket_width)
    ]


def _buckets(
    first: date, amounts: Sequence[int], bucket_width: BucketWidth
) -> list[tuple[date, date, Sequence[int]]]:
    """The days' amounts by bucket: its first day, the day after its last, and the amounts."""
    days = [first + timedelta(place) for place in range(len(amounts))]
    begins = [place for place, day in enumerate(days) if place == 0 or _begins(day, bucket_width)]
    ends = [*begins[1:], len(days)]
    return [
        (days[begin], days[begin] + timedelta(end - begin), amounts[begin:end])
        for begin, end in zip(begins, ends, strict=False)
    ]


def _begins(day: date, bucket_width: BucketWidth) -> bool:
    return {"1d": True, "1w": day.weekday() == 0, "1mo": day.day == 1}[bucket_width]


def _total(found: Forecast | None, times: float = 1) -> dict[str, Any] | None:
    return None if found is None else _shown(found.between(0, len(found.days), times=times))


def _shown(each: Range) -> dict[str, Any]:
    return {**shown_range(each.low, each.predicted, each.high)}


def _shown_back_test(found: Forecast | None) -> dict[str, Any] | None:
    if found is None or found.back_test is None:
        return None
    return msgspec.structs.asdict(found.back_test)


def _shown_switch(switch: Switch, found: Forecast | None, spent: int) -> dict[str, object]:
    mix = switch.mix
    times = 1 - switch.saved_nanodollars / spent if spent else 1.0
    return {
        "from": shown_model(mix.model),
        "to": shown_model(switch.target),
        "days": MIX_DAYS,
        "requests": mix.requests,
        **shown_money("recorded", mix.cost_nanodollars),
        **shown_money("from", switch.source_nanodollars),
        **shown_money("to", switch.target_nanodollars),
        **shown_money("saved", switch.saved_nanodollars),
        "exact": switch.is_exact,
        "total": _total(found, times),
    }
