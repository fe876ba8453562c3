"""What is known of one request so far. Filled in by the exchange, step by step, and gone with it."""

import msgspec

from metering.accounts import Caller, Tags
from metering.clock import Clock
from metering.events import CostEvent
from metering.ids import RequestIds
from proxy_service.headers import Inbound
from proxy_service.identity import Identified
from proxy_service.providers import Ask, Prepared, Route
from proxy_service.settlement import Admitted
from proxy_service.stakes import NOTHING_HELD, Held
from proxy_service.wire import Downstream, Origin, RequestHead

NOTHING_PREPARED = Prepared(target=b"", headers=[], body=b"")

_NO_TAGS = Tags()
_request_ids = RequestIds()


class Errand(msgspec.Struct, frozen=True):
    """What is asked of which upstream, and for whom: known once the caller is identified."""

    route: Route
    who: Identified
    inbound: Inbound
    origin: Origin
    region: str

    def tags(self) -> Tags:
        """The call's attribution, as its caller gave it."""
        return self.inbound.tags() if self.inbound.ours else _NO_TAGS

    def admission(self, call: "Call", ask: Ask) -> Admitted:
        """What is known of the call as it is let through."""
        return Admitted(
            request_id=call.request_id,
            timestamp=call.at,
            caller=self.who.caller,
            policy=self.who.policy,
            tags=self.tags(),
            provider=self.route.provider,
            requested_model=ask.model,
            streaming=ask.streaming,
            service_tier=ask.service_tier,
            region=self.region,
            is_metered=self.route.kind == "metered",
            prompt_fingerprint=call.prompt_fingerprint,
        )


class Call:
    """One request on its way through the proxy. `waited_seconds`: spent on the caller or the upstream."""

    __slots__ = (
        "admitted",
        "at",
        "body_bytes",
        "cache",
        "caller",
        "downstream",
        "estimate_nanodollars",
        "event",
        "first_at",
        "head",
        "held",
        "is_open",
        "prepared",
        "prompt_fingerprint",
        "refusal",
        "request_id",
        "room_bytes",
        "route",
        "route_reason",
        "started",
        "status",
        "unseen_key_hash",
        "waited_seconds",
        "warning",
    )

    def __init__(self, downstream: Downstream, clock: Clock) -> None:
        self.request_id = _request_ids.new()
        self.at = clock.now()
        self.started = clock.monotonic()
        self.downstream = downstream
        self.head: RequestHead = downstream.head  # without the ingress id, once that is read
        self.route: Route | None = None
        self.caller: Caller | None = None  # also of a call that was refused at once
        self.prepared = NOTHING_PREPARED  # until it is sent
        self.prompt_fingerprint = ""  # where the account has it made
        self.room_bytes = 0  # taken of the room for all bodies
        self.body_bytes = 0  # of the request
        self.waited_seconds = 0.0
        self.first_at: float | None = None  # when the answer's body began
        self.cache = b""  # HIT, MISS or BYPASS, once that is known
        self.status = 0  # what the caller is given
        self.refusal = ""  # our own code, where we refused
        self.admitted: Admitted | None = None  # None: a call that costs nothing
        self.unseen_key_hash = ""
        self.estimate_nanodollars = 0  # of what it is expected to cost
        self.held: Held = NOTHING_HELD  # by its budgets, until it is settled
        self.warning = ""  # what its answer says of a budget
        self.route_reason = ""  # why another model serves it, or why not
        self.is_open = False  # in the books, and not yet closed
        self.event: CostEvent | None = None

    def overhead_ms(self, now: float) -> float:
        """What we added so far, in milliseconds."""
        return max(0.0, (now - self.started - self.waited_seconds) * 1000)
