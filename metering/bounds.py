"""What a call may cost before anything of it has happened: what is expected, and the most it can be. Pure.

The **upper bound** holds whatever the model does: every token of the prompt at the dearest kind of prompt
token, every answer as long as it may be, in the dearest service tier, region and snapshot, and every call of
the provider's own tools that is allowed for. A text of n bytes has at most n tokens. A prompt that refers to
content elsewhere is as long as the model's context window; an answer without a limit as long as the model's
longest (`metering.model_limits`). Where one of these is not known, or the call may be unpriced, there is no
bound, and `Bound.param` names the field whose setting would give one.

The **expected cost** takes four bytes for a token and a usual answer.
"""

from bisect import bisect_left
from datetime import datetime
from typing import Final

import msgspec

from metering.accounts import PriceSettings
from metering.model_limits import ModelLimits, ModelLimitsTable
from metering.price_sheet import DearestRates
from metering.pricing import Pricer

BYTES_A_TOKEN: Final = 4  # as expected
OUTPUT_TOKENS_EXPECTED: Final = 500
FRAME_TOKENS: Final = 256  # what a provider may wrap a prompt in
TOOLS_TOKENS: Final = 4_096  # what a provider may tell the model about tools, beside their own definitions
ANSWER_TOKENS_MIN: Final = 16  # a shorter answer is of no use, and OpenAI allows no lower limit
ANSWER_TOKENS_MAX: Final = 1_000_000  # no model answers longer
LIMIT_BYTES: Final = 64  # by which a body grows that names a limit for its answer

ANSWER_LIMITS: Final = frozenset(
    ("inferenceConfig.maxTokens", "max_completion_tokens", "max_output_tokens", "max_tokens")
)


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """How far a call may reach, by what its request says.

    `prompt_bytes` is the size of all that the model reads, None where some of it lies elsewhere;
    `elsewhere_param` names the field that says so. `prompt_reads`: how often the model may read it, once and
    again after each of the provider's own tools. `is_one_prompt`: the context window holds all of it.
    `answer_tokens_max` is the longest answer allowed, None where the model's longest is; `answer_param` names
    the field that limits it (one of `ANSWER_LIMITS`), or keeps it from being limited. There are at most
    `answers` of them, and `answer_tokens_beside` on top. `unbounded_param` names a field because of which
    nothing bounds the call.
    """

    prompt_bytes: int | None
    elsewhere_param: str = ""
    prompt_reads: int = 1
    is_one_prompt: bool = True
    has_tools: bool = False
    answer_tokens_max: int | None = None
    answer_param: str = ""
    answers: int = 1
    answer_tokens_beside: int = 0
    tool_calls: int = 0
    unbounded_param: str = ""

    def limited_to(self, answer_tokens: int) -> "Extent":
        """The same call with that limit for its answers, which its body may have to name first."""
        size = self.prompt_bytes
        grown = 0 if size is None or self.answer_tokens_max is not None else LIMIT_BYTES
        return msgspec.structs.replace(
            self,
            prompt_bytes=None if size is None else size + grown,
            answer_tokens_max=answer_tokens,
        )


class Bound(msgspec.Struct, frozen=True):
    """The most that a call can cost; None where nothing bounds it, and `param` says which field would."""

    nanodollars: int | None
    param: str = ""


class Bounds:
    """Bounds calls by prices and limits."""

    def __init__(self, pricer: Pricer, limits: ModelLimitsTable) -> None:
        self._pricer = pricer
        self._limits = limits
        self._widest: dict[tuple[str, ...], ModelLimits | None] = {}

    def upper_bound(
        self, extent: Extent, provider: str, model: str, at: datetime, settings: PriceSettings
    ) -> Bound:
        """The most that a call of that reach can cost, served by that model, admitted at that moment."""
        if extent.unbounded_param:
            return Bound(None, extent.unbounded_param)
        dearest = self._pricer.dearest(provider, model, at, settings)
        if dearest is None:
            return Bound(None, "model")
        limits = self.limits(dearest)
        prompt_tokens = _prompt_tokens(extent, limits)
        if prompt_tokens is None:
            return Bound(None, extent.elsewhere_param)
        answer_tokens = extent.answer_tokens_max
        if answer_tokens is None:
            if limits is None:
                return Bound(None, extent.answer_param)
            answer_tokens = limits.output_tokens
        output_tokens = answer_tokens * extent.answers + extent.answer_tokens_beside
        if dearest.missing:
            used = {"output_tokens": output_tokens, "server_tool_calls": extent.tool_calls, "input_tokens": 1}
            if any(amount and name in dearest.missing for name, amount in used.items()):
                return Bound(None, "model")
        return Bound(
            dearest.nanodollars(
                prompt_tokens=prompt_tokens, output_tokens=output_tokens, tool_calls=extent.tool_calls
            )
        )

    def longest_answer(
        self,
        extent: Extent,
        provider: str,
        model: str,
        at: datetime,
        settings: PriceSettings,
        nanodollars: int,
    ) -> int | None:
        """The highest limit for its answers by which the call costs no more than that.

        None where nobody can limit them, or the rest of the call is too dear already.
        """
        if extent.answer_param not in ANSWER_LIMITS:
            return None

        def is_too_long(answer_tokens: int) -> bool:
            bound = self.upper_bound(extent.limited_to(answer_tokens), provider, model, at, settings)
            return bound.nanodollars is None or bound.nanodollars > nanodollars

        longest = bisect_left(range(ANSWER_TOKENS_MAX), True, key=is_too_long) - 1
        return longest if longest >= ANSWER_TOKENS_MIN else None

    def limits(self, dearest: DearestRates) -> ModelLimits | None:
        """The widest limits of what may serve the call; None where those of one are not known."""
        names = dearest.listed_names
        if names not in self._widest:  # the price list's own names, so there are few
            self._widest[names] = self._widest_of(names)
        return self._widest[names]

    def _widest_of(self, names: tuple[str, ...]) -> ModelLimits | None:
        widest = None
        for name in names:
            limits = self._limits.find(name)
            if limits is None:
                return None
            if widest is not None:
                limits = ModelLimits(
                    max(widest.context_tokens, limits.context_tokens),
                    max(widest.output_tokens, limits.output_tokens),
                )
            widest = limits
        return widest


def _prompt_tokens(extent: Extent, limits: ModelLimits | None) -> int | None:
    window = None if limits is None else limits.context_tokens
    if extent.prompt_bytes is None:
        tokens = window
    else:
        tokens = extent.prompt_bytes + FRAME_TOKENS + (TOOLS_TOKENS if extent.has_tools else 0)
        if window is not None and extent.is_one_prompt:
            tokens = min(tokens, window)
    return None if tokens is None else tokens * extent.prompt_reads
