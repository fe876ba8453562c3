"""Where an account could spend less, and how that was reckoned. Pure.

Each suggestion prices what was really used in the last 30 days a second time, at the rates of another way
to use it; nothing is a share of a budget or a rule of thumb. **Exact** means that these very tokens would
have cost so much less; **at most**, that the saving depends on what no rollup tells (whether prompts
repeat, whether an answer may wait), and this is all there is to gain. Whether another model answers as well
is not ours to say.

| kind | prices again | saving |
|---|---|---|
| `cheaper_model` | a model's tokens, on another model of its provider that the account uses | exact |
| `prompt_cache_loses` | cache reads and writes as plain input, where that would have cost less | exact |
| `prompt_cache` | the input of long prompts that use no cache, as read from one | at most |
| `batch` | a feature's tokens, at batch rates | at most |
| `reasoning` | answers that are mostly reasoning, without it | at most |

What is exact becomes at most where a model has rates of its own for long prompts, as sums do not tell which
prompts were long.

Savings of different suggestions do not add up: each takes everything else as it was.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from metering.ids import repeatable_digest
from metering.mixes import Mix, Model, Prices, Switch, by_model, dearest, switched
from metering.usage import Usage

Kind = Literal["cheaper_model", "prompt_cache_loses", "prompt_cache", "batch", "reasoning"]

SAVING_NANODOLLARS_MIN: Final = 1_000_000_000  # a dollar in 30 days; less is not worth reading
SUGGESTIONS_MAX: Final = 50
MIXES_LOOKED_AT_MAX: Final = 200  # the dearest
TARGETS_MAX: Final = 20
ANSWERED_MIN: Final = 50  # calls; fewer say little of how a model or feature is used
CHEAPER_PERCENT_MIN: Final = 10
LONG_PROMPT_TOKENS: Final = 2_048  # on average; providers cache nothing below 1,024 to 4,096
REASONING_PERCENT_MIN: Final = 50
BATCH_TIER: Final = "batch"


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """One way to spend less. `mix` is what was used, `saved_nanodollars` what would have been saved of it.

    `how` says in a sentence or two how that was reckoned; `target` is the other model, where it is one.
    `dimensions` are those of the rollups that were read.
    """

    suggestion_id: str
    kind: Kind
    title: str
    how: str
    mix: Mix
    target: Model | None
    saved_nanodollars: int
    is_exact: bool
    dimensions: tuple[str, ...]


def suggestions(mixes: Sequence[Mix], prices: Prices) -> list[Suggestion]:
    """What the mixes of 30 days, by model and feature, speak for; the greatest saving first."""
    known = [mix for mix in dearest(mixes) if mix.is_known and mix.answered >= ANSWERED_MIN]
    found = [*_cheaper_models([mix for mix in by_model(mixes) if mix.is_known], prices)]
    for mix in known[:MIXES_LOOKED_AT_MAX]:
        found += [*_prompt_cache_loses(mix, prices), *_prompt_cache(mix, prices)]
        found += [*_batch(mix, prices), *_reasoning(mix, prices)]
    worth = [each for each in found if each.saved_nanodollars >= SAVING_NANODOLLARS_MIN]
    return sorted(worth, key=lambda each: (-each.saved_nanodollars, each.suggestion_id))[:SUGGESTIONS_MAX]


def cheapest_switch(mixes: Sequence[Mix], prices: Prices) -> Switch | None:
    """The dearest model's calls on whichever of the account's own models would have cost least."""
    models = [mix for mix in by_model(mixes) if mix.is_known and mix.answered >= ANSWERED_MIN]
    return _best_switch(models[0], models, prices) if models else None


def _best_switch(mix: Mix, models: Sequence[Mix], prices: Prices) -> Switch | None:
    """Of the models the account uses most for answers in words, the one on which it would have cost least."""
    answering = [other for other in models if other.answered >= ANSWERED_MIN and other.usage.output_tokens]
    switches = [
        switch
        for other in answering[:TARGETS_MAX]
        if other.model != mix.model
        and (switch := switched(mix, other.model, prices)) is not None
        and switch.target_nanodollars
    ]
    return min(switches, key=lambda switch: (switch.target_nanodollars, switch.target), default=None)


def _cheaper_models(models: Sequence[Mix], prices: Prices) -> Iterator[Suggestion]:
    for mix in models[:TARGETS_MAX]:
        same_provider = [other for other in models if other.model.provider == mix.model.provider]
        switch = _best_switch(mix, same_provider, prices)
        if switch is None or 100 * switch.saved_nanodollars < CHEAPER_PERCENT_MIN * mix.cost_nanodollars:
            continue
        yield Suggestion(
            suggestion_id=_id("cheaper_model", mix, switch.target),
            kind="cheaper_model",
            title=f"Serve calls of {mix.model.model} by {switch.target.model} where it answers as well",
            how=f"The same tokens of {_count(mix.answered)} cost {_usd(switch.source_nanodollars)} at the"
            f" standard rates of {mix.model.model} and {_usd(switch.target_nanodollars)} at those of"
            f" {switch.target.model}, which you already use. {_recorded(mix)}"
            " Try the answers first; a routing rule can make the change.",
            mix=mix,
            target=switch.target,
            saved_nanodollars=switch.saved_nanodollars,
            is_exact=switch.is_exact,
            dimensions=("provider", "model"),
        )


def _prompt_cache_loses(mix: Mix, prices: Prices) -> Iterator[Suggestion]:
    usage = mix.usage
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    if not written:
        return
    plain = msgspec.structs.replace(
        usage,
        input_tokens=usage.prompt_tokens,
        cache_read_tokens=0,
        cache_write_5m_tokens=0,
        cache_write_1h_tokens=0,
    )
    change = _change(mix, plain, prices)
    if change is not None:
        yield _of_feature(
            "prompt_cache_loses",
            mix,
            f"Write less to the prompt cache{_for(mix)}: it costs more than it saves",
            f"{written:,} tokens were written to the cache, {usage.cache_read_tokens:,} read from it. All as"
            f" plain input would have cost {_usd(change.after)} instead of {_usd(change.before)}.",
            change,
        )


def _prompt_cache(mix: Mix, prices: Prices) -> Iterator[Suggestion]:
    usage = mix.usage
    is_cached = usage.prompt_tokens != usage.input_tokens
    if is_cached or usage.input_tokens < LONG_PROMPT_TOKENS * mix.answered:
        return
    read = msgspec.structs.replace(usage, input_tokens=0, cache_read_tokens=usage.input_tokens)
    change = _change(mix, read, prices)
    if change is not None:
        yield _of_feature(
            "prompt_cache",
            mix,
            f"Let the provider cache what prompts{_for(mix)} have in common",
            f"{_count(mix.answered)} with {usage.input_tokens // mix.answered:,} tokens of prompt on average"
            f" used no prompt cache. With all of it read from the cache they would have cost"
            f" {_usd(change.after)} instead of {_usd(change.before)}; the part that does not repeat, and the"
            " first writing of the rest, take from that.",
            change,
            is_exact=False,
        )


def _batch(mix: Mix, prices: Prices) -> Iterator[Suggestion]:
    if not mix.feature:
        return
    change = _change(mix, mix.usage, prices, BATCH_TIER)
    if change is not None:
        yield _of_feature(
            "batch",
            mix,
            f"Send{_for(mix)} as batches what may wait for its answer",
            f"The same tokens of {_count(mix.answered)} cost {_usd(change.after)} at batch rates instead of"
            f" {_usd(change.before)}. This is all there is to gain if every one of them may wait.",
            change,
            is_exact=False,
        )


def _reasoning(mix: Mix, prices: Prices) -> Iterator[Suggestion]:
    usage = mix.usage
    if 100 * usage.reasoning_tokens < REASONING_PERCENT_MIN * max(1, usage.output_tokens):
        return
    without = msgspec.structs.replace(
        usage, output_tokens=max(0, usage.output_tokens - usage.reasoning_tokens), reasoning_tokens=0
    )
    change = _change(mix, without, prices)
    if change is not None:
        yield _of_feature(
            "reasoning",
            mix,
            f"Ask for less reasoning{_for(mix)} where answers do not need it",
            f"{usage.reasoning_tokens:,} of {usage.output_tokens:,} tokens of output were reasoning. Without"
            f" any of it the calls would have cost {_usd(change.after)} instead of {_usd(change.before)}.",
            change,
            is_exact=False,
        )


class _Change(msgspec.Struct, frozen=True):
    """A mix's cost, and that of using it another way, in nanodollars."""

    before: int
    after: int
    is_exact: bool


def _change(mix: Mix, usage: Usage, prices: Prices, service_tier: str = "") -> _Change | None:
    """What it would be to use the mix's model like that; None where a price is lacking.

    What was recorded counts where it is less than standard rates come to.
    """
    before = prices.of(mix.usage, mix.answered, mix.model)
    after = prices.of(usage, mix.answered, mix.model, service_tier)
    if before.unpriced or after.unpriced:
        return None
    return _Change(
        min(before.nanodollars, mix.cost_nanodollars), after.nanodollars, before.is_exact and after.is_exact
    )


def _of_feature(
    kind: Kind, mix: Mix, title: str, how: str, change: _Change, *, is_exact: bool = True
) -> Suggestion:
    return Suggestion(
        suggestion_id=_id(kind, mix, None),
        kind=kind,
        title=title,
        how=how,
        mix=mix,
        target=None,
        saved_nanodollars=change.before - change.after,
        is_exact=is_exact and change.is_exact,
        dimensions=("provider", "model", "feature"),
    )


def _id(kind: Kind, mix: Mix, target: Model | None) -> str:
    """The same for the same suggestion on another day."""
    other = (target.provider, target.model) if target else ()
    return repeatable_digest("suggestion", kind, mix.model.provider, mix.model.model, mix.feature, *other)


def _for(mix: Mix) -> str:
    feature = f" of {mix.feature}" if mix.feature else ""
    return f"{feature} on {mix.model.model}"


def _recorded(mix: Mix) -> str:
    return f"{_usd(mix.cost_nanodollars)} were recorded."


def _count(calls: int) -> str:
    return f"{calls:,} calls"


def _usd(nanodollars: int) -> str:
    """The amount in whole cents, for reading."""
    cents = (nanodollars + 5_000_000) // 10_000_000
    return f"${cents // 100:,}.{cents % 100:02d}"
