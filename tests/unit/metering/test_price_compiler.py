"""The committed table says what the list says, and a compile refuses what the table could not say exactly."""

from collections.abc import Callable
from datetime import date, time
from decimal import Decimal

import pytest
from genai_prices import types
from genai_prices.data import providers

from metering.price_compiler import UncompilablePrice, compile_table, table_text
from metering.price_table import TABLE_FILE, DatedRates, PriceTable, Rates

NO_OVERLAY = ""


def compiled(
    prices: types.ModelPrice | list[types.ConditionalPrice],
    *,
    match: object = None,
    variants: list[types.PriceVariant] | None = None,
    overlay: str = NO_OVERLAY,
) -> PriceTable:
    """A table of one Anthropic model and nothing else."""
    model = types.ModelInfo(
        id="m", match=match or types.ClauseEquals("m"), prices=prices, price_variants=variants  # type: ignore[arg-type]  # also what the list must not say
    )  # fmt: skip
    return compile_table(
        [
            types.Provider(id=name, name=name, api_pattern="", models=[model] if name == "anthropic" else [])
            for name in ("anthropic", "openai", "azure", "aws")
        ],
        overlay=overlay,
    )


def usd(**prices: str) -> types.ModelPrice:
    return types.ModelPrice(**{key: Decimal(price) for key, price in prices.items()})


def test_the_committed_table_is_what_a_fresh_compile_gives() -> None:
    assert TABLE_FILE.read_text() == table_text(compile_table()), "run `make prices` and commit the table"


def test_a_price_becomes_whole_picodollars_a_unit() -> None:
    table = compiled(usd(input_mtok="0.0375", web_searches_kcount="10"))

    assert table.providers["anthropic"][0].prices == (
        DatedRates(None, Rates(input=37_500, server_tool_call=10_000_000_000)),
    )


def test_a_model_without_any_price_is_free_and_one_sold_by_the_hour_is_not() -> None:
    free = compiled(usd()).providers["anthropic"][0]
    by_the_hour = compiled(usd(audio_hours="3")).providers["anthropic"][0]

    assert (free.free, by_the_hour.free) == (True, False)
    assert by_the_hour.prices == ()


UNSAYABLE: dict[str, Callable[[], PriceTable]] = {
    "finer than a picodollar": lambda: compiled(usd(input_mtok="0.0000001")),
    "a negative price": lambda: compiled(usd(input_mtok="-1")),
    "a unit we do not know": lambda: compiled(usd(input_tool_mtok="1")),
    "a price by the hour of the day": lambda: compiled(
        [
            types.ConditionalPrice(prices=usd(input_mtok="1")),
            types.ConditionalPrice(types.TimeOfDateConstraint(time(1), time(2)), prices=usd(input_mtok="2")),
        ]
    ),
    "dates out of order": lambda: compiled(
        [
            types.ConditionalPrice(prices=usd(input_mtok="1")),
            types.ConditionalPrice(types.StartDateConstraint(date(2026, 2, 1)), prices=usd(input_mtok="2")),
            types.ConditionalPrice(types.StartDateConstraint(date(2026, 1, 1)), prices=usd(input_mtok="3")),
        ]
    ),
    "two conditions at once": lambda: compiled(
        usd(input_mtok="1"),
        variants=[types.PriceVariant({"speed": "fast", "processing": "batch"}, usd(input_mtok="2"))],
    ),
    "a condition we do not know": lambda: compiled(
        usd(input_mtok="1"), variants=[types.PriceVariant({"weather": "fine"}, usd(input_mtok="2"))]
    ),
    "a tier twice": lambda: compiled(
        usd(input_mtok="1"), variants=[types.PriceVariant({"speed": "fast"}, usd(input_mtok="2"))] * 2
    ),
    "a default tier of its own": lambda: compiled(
        usd(input_mtok="1"), variants=[types.PriceVariant({"service_tier": "default"}, usd(input_mtok="2"))]
    ),
    "a name by conjunction": lambda: compiled(usd(input_mtok="1"), match=types.ClauseAnd([])),
}


@pytest.mark.parametrize("said", UNSAYABLE.values(), ids=UNSAYABLE.keys())
def test_what_the_table_could_not_say_exactly_fails_the_compile(said: Callable[[], PriceTable]) -> None:
    with pytest.raises(UncompilablePrice):
        said()


RATES = """
[[rates]]
provider = "anthropic"
model = "{model}"
{names}
starts_on = {starts_on}
rates = {{ input = "4", output = "20" }}
source = "https://example.com/prices"
read_on = 2026-11-20
"""


def test_the_overlay_adds_rates_from_their_day_on() -> None:
    overlay = RATES.format(model="m", names="", starts_on="2026-12-01")

    model = compiled(usd(input_mtok="3"), overlay=overlay).providers["anthropic"][0]

    assert model.prices == (
        DatedRates(None, Rates(input=3_000_000)),
        DatedRates(date(2026, 12, 1), Rates(input=4_000_000, output=20_000_000)),
    )


def test_the_overlay_adds_rates_of_a_tier() -> None:
    overlay = RATES.format(model="m", names='tier = "priority"', starts_on="2026-12-01")

    model = compiled(usd(input_mtok="3"), overlay=overlay).providers["anthropic"][0]

    assert model.tiers["priority"] == (
        DatedRates(date(2026, 12, 1), Rates(input=4_000_000, output=20_000_000)),
    )


def test_the_overlay_adds_a_model_by_its_names_and_dates_the_version() -> None:
    overlay = RATES.format(model="new", names='names = ["^new"]', starts_on="2026-12-01")

    table = compiled(usd(input_mtok="3"), overlay=overlay)

    assert table.providers["anthropic"][0].names == ("^new",)
    assert "+overlay-2026-11-20-" in table.version


@pytest.mark.parametrize(
    ("model", "names", "starts_on"),
    [("new", "", "2026-12-01"), ("m", 'names = ["=m"]', "2026-12-01"), ("m", "", "2025-12-01")],
    ids=["a new model without names", "a listed model with names", "before what it follows"],
)
def test_an_overlay_that_contradicts_the_list_fails_the_compile(
    model: str, names: str, starts_on: str
) -> None:
    dated = [
        types.ConditionalPrice(prices=usd(input_mtok="1")),
        types.ConditionalPrice(types.StartDateConstraint(date(2026, 1, 1)), prices=usd(input_mtok="2")),
    ]

    with pytest.raises(UncompilablePrice):
        compiled(dated, overlay=RATES.format(model=model, names=names, starts_on=starts_on))


def test_a_changed_price_changes_the_version() -> None:
    assert compiled(usd(input_mtok="3")).version != compiled(usd(input_mtok="4")).version


def test_azure_borrows_standard_rates_and_no_ones_hours_of_the_day() -> None:
    azure = compile_table(providers, NO_OVERLAY).providers["azure"]

    borrowed = {model.model: model for model in azure if model.lender}
    assert borrowed["gpt-4o"].lender == "openai"
    assert borrowed["gpt-4o"].tiers == {}
    assert "deepseek-v4-pro" not in borrowed
