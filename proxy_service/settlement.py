"""Settle: from what was seen of a call to its one cost event. Pure."""

from datetime import datetime
from typing import Final

import msgspec

from metering.accounts import Caller, Policy, Tags
from metering.events import CostEvent, Provider, State
from metering.model_names import served_model
from metering.money import Nanodollars
from metering.pricing import Cost, Pricer
from metering.tags import normalised_tag
from metering.usage import EstimateMethod, Reading, Usage

BYTES_A_TOKEN = 4  # of an estimate
OK, REDIRECTION, ERROR = 200, 300, 400
CALLER_GONE_STATUS: Final = 499  # recorded where the caller left before there was a status to give it
DRAINED_STATUS: Final = 503

_NOTHING_USED: Final = Usage()
_FREE_STATES: Final = frozenset(("refused", "upstream_error"))


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """What was known of a call when it was let through.

    `sent_model` is the model it was turned to by `routing_rule`, "" where it goes as asked. `unadmitted`: a
    budget could not be asked. `prompt_fingerprint` is "" where none was made.
    """

    request_id: str
    timestamp: datetime
    caller: Caller
    policy: Policy
    tags: Tags
    provider: Provider
    requested_model: str
    streaming: bool = False
    service_tier: str = ""
    region: str = ""
    is_metered: bool = True
    sent_model: str = ""
    routing_rule: str = ""
    unadmitted: bool = False
    prompt_fingerprint: str = ""

    @property
    def asked_model(self) -> str:
        """The model that the upstream is asked for."""
        return self.sent_model or self.requested_model


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a call ended. `saved_nanodollars` is what an answer from memory would have cost."""

    state: State
    status_code: int
    reading: Reading
    ended_at: datetime
    latency_ms: int
    ttft_ms: int | None = None
    saved_nanodollars: int = 0


class Ending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a call that went upstream ended. `status` is the upstream's, 0 where it never answered.

    `is_cut`: the upstream's answer broke off. `is_gone`: the caller had left before the end. `may_bill`: the
    upstream never answered, but had the call and did not break it off itself.
    """

    status: int = 0
    is_cut: bool = False
    is_gone: bool = False
    is_drained: bool = False
    may_bill: bool = False


def state_of(admitted: Admitted, ending: Ending, reading: Reading) -> State:
    """The state of a call that went upstream.

    A caller that has a stream's end in hand may leave before the framing's: that call is complete.
    """
    is_success = OK <= ending.status < REDIRECTION
    if not admitted.is_metered:
        return "unmetered" if 0 < ending.status < ERROR or ending.may_bill else "upstream_error"
    has_all = admitted.streaming and reading.is_complete
    if ending.is_drained and not has_all:
        return "drained"
    if ending.is_gone and not has_all:
        return "client_closed"
    if not is_success or reading.is_error:
        return "upstream_error"
    if (ending.is_cut and not ending.is_gone) or not reading.is_complete:
        return "upstream_truncated"
    return "completed"


def status_given(ending: Ending, refused_status: int) -> int:
    """The status that is recorded for a call whose answer never began."""
    if ending.is_drained:
        return DRAINED_STATUS
    return CALLER_GONE_STATUS if ending.is_gone else refused_status


def nothing_seen(request_body_bytes: int, ending: Ending) -> Reading:
    """The reading of a call without an answer: an estimate of what was read, where that may be billed."""
    if not ending.may_bill:
        return Reading()
    tokens = -(-request_body_bytes // BYTES_A_TOKEN)
    return Reading(usage=Usage(input_tokens=tokens), estimate_method="request_bytes")


class Settlement:
    """Prices calls and makes their events."""

    def __init__(self, pricer: Pricer) -> None:
        self._pricer = pricer

    def settle(self, admitted: Admitted, outcome: Outcome) -> CostEvent:
        """The event of a call that is over."""
        reading = outcome.reading
        model = self._served_model(admitted, reading)
        cost = self._cost(admitted, outcome, model)
        unrouted = _FREE
        if admitted.sent_model and outcome.state != "cache_hit":
            unrouted = self._unrouted(admitted, reading)
        return _event(admitted, outcome, model, cost, unrouted)

    def expected_model(self, admitted: Admitted) -> str:
        """The name of the model that will serve the call, as far as it is known before its answer."""
        return served_model(admitted.provider, admitted.asked_model, None, admitted.policy.settings)

    def cost(self, admitted: Admitted, reading: Reading) -> Cost:
        """What the usage that was read costs."""
        return self._priced(
            admitted, reading, self._served_model(admitted, reading), reading.usage or _NOTHING_USED
        )

    def _served_model(self, admitted: Admitted, reading: Reading) -> str:
        answered = normalised_tag(reading.model) if reading.model else None
        return served_model(admitted.provider, admitted.asked_model, answered, admitted.policy.settings)

    def _cost(self, admitted: Admitted, outcome: Outcome, model: str) -> Cost:
        if outcome.state == "unmetered":
            return _UNKNOWN
        usage = outcome.reading.usage or _NOTHING_USED
        if outcome.state == "cache_hit" or (usage == _NOTHING_USED and outcome.state in _FREE_STATES):
            return _FREE
        return self._priced(admitted, outcome.reading, model, usage)

    def _priced(self, admitted: Admitted, reading: Reading, model: str, usage: Usage) -> Cost:
        return self._pricer.cost(
            usage,
            provider=admitted.provider,
            model=model,
            at=admitted.timestamp,
            service_tier=reading.service_tier or admitted.service_tier,
            region=reading.region or "",
            settings=admitted.policy.settings.prices,
            requested_model=admitted.asked_model,
        )

    def _unrouted(self, admitted: Admitted, reading: Reading) -> Cost:
        """What a routed call would have cost as it was asked for, had it used the same."""
        as_asked = msgspec.structs.replace(admitted, sent_model="")
        model = self.expected_model(as_asked)
        return self._priced(as_asked, reading, model, reading.usage or _NOTHING_USED)


_FREE: Final = Cost(nanodollars=Nanodollars(0), unpriced=False, price_version="")
_UNKNOWN: Final = Cost(nanodollars=Nanodollars(0), unpriced=True, price_version="")


def _event(admitted: Admitted, outcome: Outcome, model: str, cost: Cost, unrouted: Cost) -> CostEvent:
    reading, tags, caller = outcome.reading, admitted.tags, admitted.caller
    usage = reading.usage or _NOTHING_USED
    is_hit = outcome.state == "cache_hit"
    billed = _NOTHING_USED if is_hit else usage
    method = _estimate_method(outcome)
    saved = outcome.saved_nanodollars
    if unrouted.nanodollars and not unrouted.unpriced and not cost.unpriced:
        saved = unrouted.nanodollars - cost.nanodollars
    return CostEvent(
        request_id=admitted.request_id,
        timestamp=admitted.timestamp,
        ended_at=outcome.ended_at,
        account_id=caller.account_id,
        key_id=caller.key_id,
        deployment=caller.deployment,
        provider=admitted.provider,
        model=model,
        requested_model=admitted.requested_model,
        input_tokens=billed.input_tokens,
        output_tokens=billed.output_tokens,
        cache_read_tokens=billed.cache_read_tokens,
        cache_write_5m_tokens=billed.cache_write_5m_tokens,
        cache_write_1h_tokens=billed.cache_write_1h_tokens,
        reasoning_tokens=billed.reasoning_tokens,
        server_tool_calls=billed.server_tool_calls,
        service_tier=reading.service_tier or admitted.service_tier,
        region=reading.region or admitted.region,
        cost_nanodollars=cost.nanodollars,
        price_version=cost.price_version,
        unpriced=cost.unpriced,
        estimated=method != "none",
        estimate_method=method,
        latency_ms=outcome.latency_ms,
        ttft_ms=outcome.ttft_ms,
        status_code=outcome.status_code,
        state=outcome.state,
        streaming=admitted.streaming,
        team=caller.team or tags.team,
        app=caller.app or tags.app,
        feature=tags.feature,
        customer_tier=tags.customer_tier,
        session_id=tags.session_id,
        trace_id=tags.trace_id,
        prompt_template_id=tags.prompt_template_id,
        prompt_fingerprint=admitted.prompt_fingerprint,
        cache_hit=is_hit,
        routed=bool(admitted.sent_model),
        routing_rule=admitted.routing_rule,
        saved_nanodollars=saved,
        counterfactual_nanodollars=unrouted.nanodollars,
        unadmitted=admitted.unadmitted,
    )


def _estimate_method(outcome: Outcome) -> EstimateMethod:
    reading = outcome.reading
    if reading.usage is None and outcome.state == "completed":
        return "missing_usage"  # a whole answer of which nothing could be read is no call for nothing
    return reading.estimate_method
