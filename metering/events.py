"""The cost event: one metered call, as recorded. Metadata only, by construction.

The schema is closed: numbers, enums, ids, moments and bounded tags. There is no field that could hold a
prompt, an answer or a key. A recorded event never changes; a correction is a new one.
"""

from datetime import datetime
from typing import Literal

import msgspec

from metering.money import usd_text
from metering.usage import EstimateMethod, Usage

Provider = Literal["anthropic", "openai", "bedrock", "azure"]

State = Literal[
    "completed",  # the answer reached the caller whole
    "client_closed",  # the caller hung up first
    "upstream_truncated",  # the upstream was cut in the middle of its answer
    "upstream_error",  # the upstream answered with an error, or could not be reached
    "refused",  # we refused it; nothing went upstream
    "cache_hit",  # answered from memory; nothing went upstream
    "unmetered",  # relayed on a path whose usage we cannot read
    "drained",  # cut by our own shutdown
    "lost",  # admitted, never settled: found by recovery
]


class Charge(msgspec.Struct, frozen=True, array_like=True):
    """What one budget was charged for a call, and from which lease."""

    budget_id: str
    period: str
    lease_id: str
    nanodollars: int


class CostEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One metered call.

    `timestamp` is the admission: quarter hour, price and budget period follow it. `model` is the model that
    served the call, `requested_model` the one the caller asked for. Tokens are disjoint buckets (`usage`).
    `cost_nanodollars` is 0 and `unpriced` true where no price is known: never a silent zero.
    `prompt_fingerprint` is a keyed hash of what makes the call's template, 32 hexadecimal digits, where the
    account asked for such. `counterfactual_nanodollars` is what a routed call's usage would have cost at
    `requested_model`; `unadmitted`: a budget could not be asked, and the call was served all the same.
    """

    request_id: str
    timestamp: datetime
    ended_at: datetime
    account_id: str
    key_id: str = ""
    deployment: str = "default"
    provider: Provider
    model: str = ""
    requested_model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    server_tool_calls: int = 0
    service_tier: str = ""
    region: str = ""
    cost_nanodollars: int = 0
    price_version: str = ""
    unpriced: bool = False
    estimated: bool = False
    estimate_method: EstimateMethod = "none"
    latency_ms: int = 0
    ttft_ms: int | None = None
    status_code: int = 0
    state: State = "completed"
    streaming: bool = False
    attempt: int = 1
    team: str = ""
    app: str = ""
    feature: str = ""
    customer_tier: str = ""
    session_id: str = ""
    trace_id: str = ""
    prompt_template_id: str = ""
    prompt_fingerprint: str = ""
    cache_hit: bool = False
    routed: bool = False
    routing_rule: str = ""
    saved_nanodollars: int = 0
    counterfactual_nanodollars: int = 0
    unadmitted: bool = False
    charges: tuple[Charge, ...] = ()

    @property
    def usage(self) -> Usage:
        """The call's billable units."""
        return Usage(**{name: getattr(self, name) for name in Usage.__struct_fields__})


_ENCODER = msgspec.json.Encoder()


def encoded_event(event: CostEvent) -> bytes:
    """The event as it is kept: JSON without what has its default."""
    return _ENCODER.encode(event)


PUBLISHED_NAMES = (
    "timestamp", "request_id", "provider", "model", "input_tokens", "output_tokens", "cost_usd",
    "latency_ms", "team", "app", "feature", "session_id", "cache_hit", "routed",
)  # fmt: skip


def wire_fields(event: CostEvent) -> dict[str, object]:
    """The event as JSON-ready fields for the REST API, all of them present.

    The fourteen published names keep their names and JSON types: `cost_usd` and `saved_usd` are JSON numbers
    printed from the integer (encode with `msgspec.json`), moments are RFC 3339 with Z.
    """
    fields: dict[str, object] = {name: getattr(event, name) for name in event.__struct_fields__}
    fields["cost_usd"] = msgspec.Raw(usd_text(event.cost_nanodollars).encode())
    fields["saved_usd"] = msgspec.Raw(usd_text(event.saved_nanodollars).encode())
    return fields
