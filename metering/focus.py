"""Cost events as FOCUS 1.2, the FinOps Foundation's open form of billing data. Pure.

https://focus.finops.org/focus-specification/v1-2/ (read 2026-11-21). docs/decisions/0017 says what is decided
here where the specification leaves it open. A row is a charge:

| ChargeCategory | what it is | BilledCost |
|---|---|---|
| Usage | so many tokens (or tool calls) of one kind, of one model, at one price, in one UTC hour and for the same tags | what they cost |
| Credit | what the cache or routing saved of it | negative |
| Adjustment | what would have been charged without that: the Credit's counterpart | positive, takes off the Credit |

So Usage rows alone are what providers charge, Credits alone are what was saved, and all rows together add up
to the cost of the events, each to the nanodollar.

Prices are those of the call. Where its recorded cost cannot be told apart any more by today's list, a row is
whole calls at their cost. A call without a known price has its tokens in PricingQuantity and
`x_ConsumedTokens`, no price of any kind, and `x_Unpriced`; BilledCost may not be null, and is what is known.
"""  # noqa: E501 - a table

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Final, NamedTuple

import msgspec

from metering.events import CostEvent
from metering.money import usd_text
from metering.pricing import Line

CHARGES_HELD_MAX: Final = 5_000  # rows that are still added to; then they are handed out
FOCUS_VERSION: Final = "1.2"

COLUMNS: Final = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice",
    "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId",
    "RegionName", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter",
    "SkuPriceDetails", "SkuPriceId", "Tags", "x_BilledNanodollars", "x_ConsumedTokens", "x_Estimated",
    "x_Model", "x_Requests", "x_ServiceTier", "x_Unpriced",
)  # fmt: skip

_HOUR: Final = timedelta(hours=1)
_EXACT: Final = Context(prec=60)
_TAGS: Final = ("team", "app", "feature", "customer_tier", "deployment")
_SELLERS: Final = {
    "anthropic": ("Anthropic", "Claude API"),
    "openai": ("OpenAI", "OpenAI API"),
    "bedrock": ("Amazon Web Services", "Amazon Bedrock"),
    "azure": ("Microsoft", "Azure OpenAI"),
}
_METERS: Final = {
    "input_tokens": "Input tokens",
    "output_tokens": "Output tokens",
    "cache_read_tokens": "Cache read tokens",
    "cache_write_5m_tokens": "Cache write tokens, 5 minutes",
    "cache_write_1h_tokens": "Cache write tokens, 1 hour",
    "server_tool_calls": "Tool calls",
}
_CALLS: Final = "Calls"
_ALL_TOKENS: Final = "Tokens"
_TOKENS: Final = "Tokens"
_REQUESTS: Final = "Requests"

Lines = Callable[[CostEvent], tuple[Line, ...]]


class Billed(msgspec.Struct, frozen=True):
    """Whose events they are, and by which prices: the list's, and those that the account pays."""

    account_id: str
    account_name: str
    listed: Lines
    paid: Lines


class _Charge(NamedTuple):
    """What one row is about; charges that are alike in all of it are one row."""

    hour: datetime
    category: str
    provider: str
    model: str
    service_tier: str
    region: str
    meter: str
    unit: str
    list_price: Decimal | None
    paid_price: Decimal | None
    is_unpriced: bool
    is_estimated: bool
    tags: tuple[str, ...]


class _Sums:
    """What so many calls come to in one row."""

    __slots__ = ("billed_nanodollars", "quantity", "requests")

    def __init__(self) -> None:
        self.quantity = 0
        self.billed_nanodollars = 0
        self.requests = 0


class Charges:
    """Puts events together to rows, at most `CHARGES_HELD_MAX` at a time and a few more.

    Hand out rows (`rows`) when it `is_full`, and at the end; what comes later in the same hour makes rows of
    its own, which add up with those.
    """

    def __init__(self, billed: Billed) -> None:
        self._billed = billed
        self._sums: dict[_Charge, _Sums] = {}

    @property
    def is_full(self) -> bool:
        """Whether it is time to hand out rows."""
        return len(self._sums) >= CHARGES_HELD_MAX

    def add(self, event: CostEvent) -> None:
        """Count a call. One that used, cost and saved nothing is no charge."""
        for charge, quantity, nanodollars in _charges(event, self._billed):
            sums = self._sums.setdefault(charge, _Sums())
            sums.quantity += quantity
            sums.billed_nanodollars += nanodollars
            sums.requests += 1

    def rows(self) -> list[dict[str, object]]:
        """The rows of what was added since the last time, latest hour first; numbers are exact texts."""
        found = sorted(self._sums.items(), key=lambda each: each[0].hour, reverse=True)
        self._sums = {}
        return [_row(charge, sums, self._billed) for charge, sums in found]


def _charges(event: CostEvent, billed: Billed) -> Iterator[tuple[_Charge, int, int]]:
    """The event's charges: what it is, how much of it, and its part of the cost in nanodollars."""
    if event.unpriced:
        tokens = _tokens(event)
        meter, unit = (_ALL_TOKENS, _TOKENS) if tokens else (_CALLS, _REQUESTS)
        yield _charge(event, "Usage", meter, unit), tokens or 1, event.cost_nanodollars
    elif event.cost_nanodollars or (_tokens(event) and event.state != "cache_hit"):
        yield from _priced(event, billed)
    if event.saved_nanodollars > 0:
        meter = "Answered from the cache" if event.cache_hit else "Routed to a cheaper model"
        yield _charge(event, "Adjustment", meter, _REQUESTS), 1, event.saved_nanodollars
        yield _charge(event, "Credit", meter, _REQUESTS), 1, -event.saved_nanodollars


def _priced(event: CostEvent, billed: Billed) -> Iterator[tuple[_Charge, int, int]]:
    lines = billed.paid(event)
    exact = sum((_EXACT.multiply(line.unit_usd, line.quantity) for line in lines), Decimal(0))
    if _nanodollars(exact) != event.cost_nanodollars:
        price = Decimal(event.cost_nanodollars).scaleb(-9)
        yield _charge(event, "Usage", _CALLS, _REQUESTS, price, price), 1, event.cost_nanodollars
        return
    listed = {line.used: line.unit_usd for line in billed.listed(event)}
    reached, counted = Decimal(0), 0
    for line in lines:
        unit = _REQUESTS if line.used == "server_tool_calls" else _TOKENS
        charge = _charge(event, "Usage", _METERS[line.used], unit, listed[line.used], line.unit_usd)
        # Rounded sums of ever more lines: their differences add up to the recorded cost.
        reached = _EXACT.add(reached, _EXACT.multiply(line.unit_usd, line.quantity))
        yield charge, line.quantity, _nanodollars(reached) - counted
        counted = _nanodollars(reached)


def _charge(
    event: CostEvent,
    category: str,
    meter: str,
    unit: str,
    list_price: Decimal | None = None,
    paid_price: Decimal | None = None,
) -> _Charge:
    return _Charge(
        hour=event.timestamp.astimezone(UTC).replace(minute=0, second=0, microsecond=0),
        category=category,
        provider=event.provider,
        model=event.model,
        service_tier=event.service_tier,
        region=event.region,
        meter=meter,
        unit=unit,
        list_price=list_price,
        paid_price=paid_price,
        is_unpriced=event.unpriced,
        is_estimated=event.estimated,
        tags=tuple(getattr(event, name) for name in _TAGS),
    )


def _row(charge: _Charge, sums: _Sums, billed: Billed) -> dict[str, object]:
    seller, service = _SELLERS[charge.provider]
    cost = msgspec.Raw(usd_text(sums.billed_nanodollars).encode())
    is_usage = charge.category == "Usage"
    # A decimal number, as the specification has it: a file of whole ones alone would be read as integers.
    quantity = msgspec.Raw(f"{sums.quantity}.0".encode()) if is_usage else None
    month = charge.hour.replace(day=1, hour=0)
    tags = {name: value for name, value in zip(_TAGS, charge.tags, strict=True) if value}
    sku = f"{charge.provider}/{charge.model}/{charge.meter}" if is_usage else None
    has_price = charge.list_price is not None
    return {
        "BilledCost": cost,
        "BillingAccountId": billed.account_id,
        "BillingAccountName": billed.account_name,
        "BillingCurrency": "USD",
        "BillingPeriodEnd": _moment((month + timedelta(days=31)).replace(day=1)),
        "BillingPeriodStart": _moment(month),
        "ChargeCategory": charge.category,
        "ChargeClass": None,
        "ChargeDescription": f"{charge.meter}, {charge.model or 'model unknown'}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": _moment(charge.hour + _HOUR),
        "ChargePeriodStart": _moment(charge.hour),
        "ConsumedQuantity": quantity,
        "ConsumedUnit": charge.unit if is_usage else None,
        "ContractedCost": _product(charge.paid_price, sums.quantity) if has_price else cost,
        "ContractedUnitPrice": _number(charge.paid_price),
        "EffectiveCost": cost,
        "InvoiceId": None,
        "InvoiceIssuerName": seller,
        "ListCost": _product(charge.list_price, sums.quantity) if has_price else cost,
        "ListUnitPrice": _number(charge.list_price),
        "PricingCategory": _pricing_category(charge),
        "PricingQuantity": quantity,
        "PricingUnit": charge.unit if is_usage else None,
        "ProviderName": seller,
        "PublisherName": seller,
        "RegionId": charge.region or None,
        "RegionName": charge.region or None,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": service,
        "ServiceSubcategory": "Generative AI",
        "SkuId": sku,
        "SkuMeter": charge.meter if is_usage else None,
        "SkuPriceDetails": _json({"x_ServiceTier": charge.service_tier})
        if sku and charge.service_tier
        else None,
        "SkuPriceId": f"{sku}/{charge.service_tier or 'standard'}/{charge.region}" if has_price else None,
        "Tags": _json(tags) if tags else None,
        "x_BilledNanodollars": sums.billed_nanodollars,
        "x_ConsumedTokens": sums.quantity if is_usage and charge.unit == _TOKENS else None,
        "x_Estimated": charge.is_estimated,
        "x_Model": charge.model or None,
        "x_Requests": sums.requests,
        "x_ServiceTier": charge.service_tier or None,
        "x_Unpriced": charge.is_unpriced,
    }


def _pricing_category(charge: _Charge) -> str | None:
    if charge.category != "Usage":
        return None
    return "Other" if charge.list_price is None else "Standard"


def _tokens(event: CostEvent) -> int:
    return event.usage.prompt_tokens + event.output_tokens


def _nanodollars(usd: Decimal) -> int:
    return int(usd.scaleb(9, _EXACT).to_integral_value())  # half to even


def _product(price: Decimal | None, quantity: int) -> msgspec.Raw | None:
    return _number(None if price is None else _EXACT.multiply(price, Decimal(quantity)))


def _number(value: Decimal | None) -> msgspec.Raw | None:
    if value is None:
        return None
    return msgspec.Raw(f"{value.normalize(_EXACT):f}".encode())


def _json(values: dict[str, str]) -> str:
    return msgspec.json.encode(values).decode()


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
