"""What pricing costs the process: loading the table once, and each call after that.

python -m bench.prices
"""

import timeit
from collections.abc import Callable
from datetime import UTC, datetime

from metering.accounts import PriceOverride, PriceSettings
from metering.price_table import load_price_table
from metering.pricing import LIST_PRICES, SHEETS_MAX, Pricer
from metering.usage import Usage

ROUNDS = 5
USAGE = Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=2000, cache_write_5m_tokens=4000)
AT = datetime(2026, 11, 21, tzinfo=UTC)
NEGOTIATED = PriceSettings(overrides=(PriceOverride(provider="anthropic", discount_basis_points=1500),))


def best_microseconds(work: Callable[[], object], times: int) -> float:
    """The fastest of some rounds, a single run's share of it."""
    return min(timeit.repeat(work, number=times, repeat=ROUNDS)) / times * 1e6


def main() -> None:
    """Prints one line a figure."""
    pricer = Pricer(load_price_table())
    fresh = iter(range(10**9))

    def priced(model: str, settings: PriceSettings = LIST_PRICES) -> Callable[[], object]:
        return lambda: pricer.cost(USAGE, provider="anthropic", model=model, at=AT, settings=settings)

    def unheard_of() -> object:
        return pricer.cost(USAGE, provider="anthropic", model=f"zz-{next(fresh)}", at=AT)

    for name, work, times in (
        ("load and index the table", lambda: Pricer(load_price_table()), 20),
        ("a call", priced("claude-sonnet-4-6"), 50_000),
        ("a call of a model with long-prompt rates", priced("claude-haiku-5-5"), 50_000),
        ("a call at an account's own price", priced("claude-sonnet-4-6", NEGOTIATED), 50_000),
        (f"a call of a name never seen, {SHEETS_MAX} kept", unheard_of, 2_000),
    ):
        print(f"{name:45} {best_microseconds(work, times):10.2f} µs")


if __name__ == "__main__":
    main()
