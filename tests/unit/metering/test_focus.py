"""FOCUS rows: what each says of itself, and that together they are what was spent."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.accounts import PriceOverride, PriceSettings
from metering.events import CostEvent
from metering.focus import CHARGES_HELD_MAX, COLUMNS, Billed, Charges
from metering.price_table import load_price_table
from metering.pricing import LIST_PRICES, Pricer
from tests.builders import ACCOUNT_ID, AT, make_event

PRICER = Pricer(load_price_table())
BILLED = Billed(ACCOUNT_ID, "Ada & Co", listed=PRICER.lines, paid=PRICER.lines)


def priced(settings: PriceSettings = LIST_PRICES, **changes: Any) -> CostEvent:
    """A call at the price of the list, or of the account."""
    event = make_event(**changes)
    cost = PRICER.cost(
        event.usage, provider=event.provider, model=event.model, at=event.timestamp, settings=settings
    )
    return msgspec.structs.replace(event, cost_nanodollars=cost.nanodollars, unpriced=cost.unpriced)


def rows_of(*events: CostEvent, billed: Billed = BILLED) -> list[dict[str, Any]]:
    charges = Charges(billed)
    for event in events:
        charges.add(event)
    return charges.rows()


def number(cell: object) -> Decimal:
    assert isinstance(cell, msgspec.Raw)
    return Decimal(bytes(cell).decode())


def billed_by(rows: list[dict[str, Any]], category: str) -> Decimal:
    return sum((number(row["BilledCost"]) for row in rows if row["ChargeCategory"] == category), Decimal(0))


tokens = st.integers(0, 1_000_000)
calls = st.builds(
    priced,
    model=st.sampled_from(["claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1"]),
    input_tokens=tokens,
    output_tokens=tokens,
    cache_read_tokens=tokens,
    cache_write_5m_tokens=tokens,
    cache_write_1h_tokens=tokens,
    server_tool_calls=st.integers(0, 5),
    saved_nanodollars=st.integers(0, 10**12),
    team=st.sampled_from(["", "search", "ads"]),
)


@given(st.lists(calls, max_size=8))
def test_rows_add_up_to_the_events_and_each_is_price_times_quantity(events: list[CostEvent]) -> None:
    rows = rows_of(*events)

    assert billed_by(rows, "Usage") * 10**9 == sum(event.cost_nanodollars for event in events)
    assert billed_by(rows, "Credit") * 10**9 == -sum(event.saved_nanodollars for event in events)
    assert billed_by(rows, "Credit") == -billed_by(rows, "Adjustment")
    for row in rows:
        assert tuple(row) == COLUMNS
        if row["ChargeCategory"] == "Usage":
            assert number(row["ListUnitPrice"]) * number(row["PricingQuantity"]) == number(row["ListCost"])


def test_kinds_of_token_are_rows_of_their_own_at_their_own_price() -> None:
    rows = rows_of(priced(), priced(timestamp=AT + timedelta(minutes=20)))

    assert {
        (row["SkuMeter"], number(row["PricingQuantity"]), number(row["ListUnitPrice"])) for row in rows
    } == {
        ("Input tokens", Decimal(2_000), Decimal("0.000003")),
        ("Output tokens", Decimal(400), Decimal("0.000015")),
    }
    assert {row["x_Requests"] for row in rows} == {2}


def test_a_charge_lies_in_its_hour_and_month_of_utc() -> None:
    (row, *_) = rows_of(priced())

    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (
        "2026-11-21T09:00:00Z",
        "2026-11-21T10:00:00Z",
    )
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
        "2026-11-01T00:00:00Z",
        "2026-12-01T00:00:00Z",
    )


def test_a_call_without_a_known_price_has_none_of_any_kind_and_shows_its_tokens() -> None:
    (row,) = rows_of(priced(model="nobodys", input_tokens=10, output_tokens=3))

    assert [row[name] for name in ("ListUnitPrice", "ContractedUnitPrice", "SkuPriceId")] == [None] * 3
    assert (row["x_Unpriced"], row["x_ConsumedTokens"], row["PricingCategory"]) == (True, 13, "Other")


def test_an_accounts_own_price_stands_beside_the_lists() -> None:
    own = PriceSettings(
        overrides=(PriceOverride(provider="anthropic", model="*", discount_basis_points=5_000),)
    )
    billed = Billed(ACCOUNT_ID, "Ada", listed=PRICER.lines, paid=lambda event: PRICER.lines(event, own))

    rows = rows_of(priced(own, output_tokens=0), billed=billed)

    (row,) = rows
    assert number(row["ListUnitPrice"]) == 2 * number(row["ContractedUnitPrice"])
    assert number(row["BilledCost"]) == number(row["ContractedCost"])


def test_a_cost_that_the_list_does_not_explain_any_more_is_that_of_whole_calls() -> None:
    (row,) = rows_of(make_event(cost_nanodollars=7), make_event(cost_nanodollars=7))

    assert row["SkuMeter"] == "Calls"
    assert number(row["PricingQuantity"]) == Decimal(2)
    assert number(row["BilledCost"]) == number(row["ListCost"]) == Decimal("0.000000014")


def test_what_used_cost_and_saved_nothing_is_no_charge() -> None:
    nothing = {"input_tokens": 0, "output_tokens": 0, "cost_nanodollars": 0}

    assert (
        rows_of(make_event(**nothing, state="refused"), make_event(cost_nanodollars=0, state="cache_hit"))
        == []
    )


@pytest.mark.parametrize(("teams", "is_full"), [(CHARGES_HELD_MAX - 1, False), (CHARGES_HELD_MAX, True)])
def test_it_says_when_it_holds_enough(teams: int, is_full: bool) -> None:
    charges = Charges(BILLED)
    for team in range(teams):
        charges.add(make_event(team=f"team {team}", cost_nanodollars=7))

    assert charges.is_full is is_full
    assert len(charges.rows()) == teams
    assert charges.rows() == []
