"""The list prices of every model we can price, as one table, loaded at start and never changed.

`price_table.json` is compiled (`metering.price_compiler`, `make prices`) from the genai-prices package and
our own dated overlay, and committed; at run time nothing is downloaded or compiled. One line a model:

    model    the model's name in the list; an account's own price may name it by it
    names    what callers may call it: `=whole`, `^start`, `$end`, `~middle` or `/regular expression`
    prices   its standard rates, each from the UTC day it came into force (null: ever), ascending
    tiers    what a service tier changes of them, unit by unit; an empty change means "costs the same"
    lender   whose list the price is taken from where the provider publishes none of its own
    free     every unit costs nothing (no rates and not free: sold by a unit we do not meter)

Units: picodollars a token or tool call. A rate is a number, or `[base, above, rate, above, rate, …]`: the
last `rate` whose `above` the whole prompt exceeds is that of **every** unit of the call, not of the excess.
"""

import re
from datetime import date
from pathlib import Path

import msgspec

TABLE_FILE = Path(__file__).with_name("price_table.json")

Rate = int | tuple[int, ...]

# What may follow a name that is known by its beginning: dates, versions, `latest`. Any other word is another
# model (gpt-4o-mini is no gpt-4o), and another model's price is not ours to guess.
_VERSION = re.compile(r"(?:[-@:.](?:v?\d+k?|latest|preview|stable))*")
_BEFORE_A_NAME = (".", "/")  # `us.anthropic.claude-…`, `…inference-profile/us.anthropic.claude-…`
_CUT_IN_A_DATE = re.compile(r"-(?:20\d\d|0)-?$")
_FINE_TUNED = ("ft:", ".ft-")  # what follows is the tenant's own naming
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class Rates(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Rates of one model by unit; None where the list has none (see `metering.pricing` for what follows)."""

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_5m: Rate | None = None
    cache_write_1h: Rate | None = None
    server_tool_call: Rate | None = None


class DatedRates(msgspec.Struct, frozen=True, array_like=True):
    """Rates and the UTC day they came into force."""

    starts_on: date | None
    rates: Rates


class PricedModel(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One model of the list. The module says what each field means."""

    model: str
    names: tuple[str, ...]
    prices: tuple[DatedRates, ...] = ()
    tiers: dict[str, tuple[DatedRates, ...]] = {}
    lender: str = ""
    free: bool = False


class RegionFactor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a provider charges for a region: that many hundredths of a percent of each token rate."""

    provider: str
    region: str
    basis_points: int
    starts_on: date | None = None


class PriceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole list. `version` names sources, their dates and a digest of everything below it."""

    version: str
    region_factors: tuple[RegionFactor, ...]
    providers: dict[str, tuple[PricedModel, ...]]


def load_price_table(path: Path = TABLE_FILE) -> PriceTable:
    """The table that ships with this release. Raises: msgspec.DecodeError where it is damaged."""
    return msgspec.json.decode(path.read_bytes(), type=PriceTable)


class NameIndex:
    """Finds the model behind a name, the same one each time: a whole name first, then the longest match."""

    def __init__(self, models: tuple[PricedModel, ...]) -> None:
        self._whole: dict[str, PricedModel] = {}
        partly: list[tuple[int, str, PricedModel]] = []
        for model in models:
            for name in model.names:
                if name[0] == "=":
                    self._whole.setdefault(name[1:], model)
                else:
                    partly.append((_specificity(name), name, model))
        partly.sort(key=lambda each: -each[0])  # stable: equals stay in the list's order
        self._partly = tuple((name, model) for _, name, model in partly)

    def find(self, name: str) -> PricedModel | None:
        """The model of that name, in any case and any version suffix it is sold under; None if unknown."""
        plain = name.lower()
        found = self._find(plain)
        if found is None:
            dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", plain)
            found = self._find(dashed) if dashed != plain else None
        return found

    def _find(self, name: str) -> PricedModel | None:
        whole = self._whole.get(name)
        if whole is not None:
            return whole
        return next((model for pattern, model in self._partly if _matches(pattern, name)), None)


def _specificity(pattern: str) -> int:
    return 10_000 if pattern[0] == "/" else len(pattern)


def _matches(pattern: str, name: str) -> bool:
    kind, literal = pattern[0], pattern[1:]
    if kind == "/":
        return re.search(literal, name) is not None
    if kind == "^":
        return name.startswith(literal) and _is_version_of(literal, name[len(literal) :])
    before, found, after = name.rpartition(literal)
    if not found or (before and not before.endswith(_BEFORE_A_NAME) and literal[0] not in _BEFORE_A_NAME):
        return False
    return not after if kind == "$" else _is_version_of(literal, after)


def _is_version_of(literal: str, rest: str) -> bool:
    if any(mark in literal for mark in _FINE_TUNED):
        return True
    if _CUT_IN_A_DATE.search(literal):
        rest = rest.lstrip("0123456789")
    elif literal[-1] in "-:.":
        rest = literal[-1] + rest
    return _VERSION.fullmatch(rest) is not None
