"""How much of each billable unit one call used, in one normal form for all providers.

The input buckets are **disjoint**: `input_tokens` holds what was neither read from nor written to a prompt
cache. Anthropic reports it that way; OpenAI's total includes cached tokens, so its reader subtracts them
once. `reasoning_tokens` is the one memo: a part of `output_tokens`, never added to it.
"""

from typing import Literal

import msgspec

TOKENS_MAX = 1_000_000_000  # a single call above this is a provider's sentinel or a fault, never a figure

EstimateMethod = Literal[
    "none",  # every figure is the provider's
    "delivered_bytes",  # output counted from the bytes the caller was sent, four to a token
    "request_bytes",  # nothing was seen of the answer; input from the bytes of the request, four to a token
    "hold",  # nothing is known but what the call was admitted with, or a strict budget held for it
    "missing_usage",  # the answer was whole, but carried no usage
    "audio_as_text",  # audio tokens priced at the text rate
]


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Billable units of one call. Units: tokens, and calls of the provider's own tools."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    server_tool_calls: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    @property
    def prompt_tokens(self) -> int:
        """Everything the model read: uncached, cache-read and cache-written input together."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
        )


class Reading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a meter learnt from one answer.

    `usage` is None where nothing at all could be read or estimated. `model`, `service_tier` and `region`
    (where it ran) are the provider's own words in the answer, None where it said nothing. `is_complete` is
    true when the end that the protocol promises was seen (a whole JSON body, `message_stop`, `[DONE]`, the
    last event-stream frame); `is_error` when the answer, whatever its status, carried the provider's error
    object.
    """

    usage: Usage | None = None
    estimate_method: EstimateMethod = "none"
    model: str | None = None
    service_tier: str | None = None
    region: str | None = None
    is_complete: bool = False
    is_error: bool = False

    @property
    def is_estimated(self) -> bool:
        """Whether any figure is ours rather than the provider's."""
        return self.estimate_method != "none"
