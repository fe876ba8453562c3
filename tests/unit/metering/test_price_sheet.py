"""A sheet's rates hold for its period, and for each prompt length by its own band."""

from datetime import UTC, date, datetime

from metering.price_sheet import FOR_EVER, SINCE_EVER, Question, price_sheet
from metering.price_table import DatedRates, PricedModel, Rates, RegionFactor
from metering.usage import Usage

MODEL = PricedModel(
    model="m",
    names=("=m",),
    prices=(
        DatedRates(None, Rates(input=1_000, output=4_000)),
        DatedRates(date(2026, 3, 1), Rates(input=(2_000, 10, 3_000, 20, 5_000), output=(8_000, 20, 9_000))),
    ),
    tiers={"batch": (DatedRates(date(2026, 6, 1), Rates(input=500)),)},
)
MAY = datetime(2026, 5, 1, tzinfo=UTC)


def question(at: datetime = MAY, tier: str = "", factor: RegionFactor | None = None) -> Question:
    return Question("openai", ("m",), MODEL, at, tier, factor=factor)


def test_a_sheet_is_good_until_the_next_change_and_since_the_last() -> None:
    before = price_sheet(question(datetime(2026, 2, 1, tzinfo=UTC)), "t")
    after = price_sheet(question(), "t")

    assert (before.since, before.until) == (SINCE_EVER, datetime(2026, 3, 1, tzinfo=UTC))
    assert (after.since, after.until) == (datetime(2026, 3, 1, tzinfo=UTC), FOR_EVER)


def test_a_tiers_own_beginning_ends_the_period_too() -> None:
    sheet = price_sheet(question(tier="batch"), "t")

    assert (sheet.until, sheet.is_unpriced) == (datetime(2026, 6, 1, tzinfo=UTC), True)
    assert not price_sheet(question(sheet.until, "batch"), "t").is_unpriced


def test_each_unit_steps_at_its_own_prompt_lengths() -> None:
    sheet = price_sheet(question(), "t")

    costs = {tokens: sheet.cost(Usage(input_tokens=tokens, output_tokens=1)) for tokens in (10, 11, 20, 21)}

    assert {tokens: cost.nanodollars for tokens, cost in costs.items()} == {
        10: 10 * 2 + 8, 11: 11 * 3 + 8, 20: 20 * 3 + 8, 21: 21 * 5 + 9,
    }  # fmt: skip
    assert [cost.price_version for cost in costs.values()] == [
        "t",
        "t;prompt>10",
        "t;prompt>10",
        "t;prompt>20",
    ]


def test_a_tier_that_names_a_unit_changes_all_prompt_lengths_of_it() -> None:
    sheet = price_sheet(question(datetime(2026, 6, 1, tzinfo=UTC), "batch"), "t")

    cost = sheet.cost(Usage(input_tokens=30, output_tokens=1))

    assert (cost.nanodollars, cost.price_version) == (15 + 9, "t;tier=batch;prompt>20")


def test_a_region_factor_multiplies_token_rates_from_its_day() -> None:
    factor = RegionFactor("openai", "eu", 11_000, date(2026, 5, 1))

    on_the_day = price_sheet(question(MAY, factor=factor), "t")
    before = price_sheet(question(datetime(2026, 4, 30, tzinfo=UTC), factor=factor), "t")

    assert on_the_day.cost(Usage(input_tokens=10)).nanodollars == 22
    assert before.cost(Usage(input_tokens=10)).nanodollars == 20
    assert before.until == on_the_day.since


def test_writes_and_reads_of_a_cache_without_rates_cost_as_plain_input() -> None:
    sheet = price_sheet(question(), "t")

    cost = sheet.cost(Usage(cache_read_tokens=1, cache_write_5m_tokens=1, cache_write_1h_tokens=1))

    assert (cost.nanodollars, cost.unpriced) == (6, False)
