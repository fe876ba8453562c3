"""The story of one call, top to bottom: identify → read → decide → cache → relay → meter → settle.

This is the only module that knows the order; each step is a module and none calls another. Whatever happens
once a call is let through (the caller leaves, the upstream is cut, silent or refuses, we shut down, a fault
of ours) ends in exactly one cost event. Before that nothing was spent, and nothing is recorded.

Nothing of a request outlives it: bodies go as soon as they are sent, and an error's trace, which would hold
them, is dropped where the error is caught.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from metering.clock import Clock
from metering.usage import Reading
from proxy_service.admission import Admission, Admittance
from proxy_service.batch_items import BatchItems
from proxy_service.bodies import BodyRoom
from proxy_service.books import Books
from proxy_service.cache import AnswerCache, CacheKey, Kept
from proxy_service.call import NOTHING_PREPARED, Call, Errand
from proxy_service.delivery import Delivery, is_small
from proxy_service.fingerprints import Fingerprints
from proxy_service.headers import read_answer, read_inbound
from proxy_service.identity import Identity, credentials, refuse_misplaced_key, split_ingress
from proxy_service.journal import Ticket
from proxy_service.lifeline import Lifeline, ReadingOn
from proxy_service.logs import CallLog
from proxy_service.origins import Origins
from proxy_service.providers import (
    Ask,
    Prepared,
    RequestRefused,
    answer_edit,
    make_meter,
    match,
    prepare,
    read_ask,
    read_template,
    refuse_signature,
)
from proxy_service.replies import answer_headers, cost_header, refusal, refuse, savings_header
from proxy_service.service_routes import ServiceRoutes, check_method
from proxy_service.settlement import Ending, nothing_seen, state_of, status_given
from proxy_service.switches import UsageInjection
from proxy_service.tally import Tally
from proxy_service.wire import (
    Answer,
    CallerGone,
    Downstream,
    Headers,
    ResponseHead,
    Upstream,
    UpstreamTimedOut,
    WireError,
)

ERROR_STATUS: Final = 400
FAULT_STATUS: Final = 500  # what the listener answers in our place

Opening = Coroutine[Any, Any, Answer]

_WHOLE: Final = Reading(is_complete=True)  # of an answer that nobody meters


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What the story is made of."""

    identity: Identity
    room: BodyRoom
    admittance: Admittance
    cache: AnswerCache
    fingerprints: Fingerprints
    origins: Origins
    upstream: Upstream
    books: Books
    batch_items: BatchItems
    service_routes: ServiceRoutes
    tally: Tally
    log: CallLog
    clock: Clock
    body_limit_bytes: int
    forwarding_hops: int


class Exchange:
    """Tells the story of each request: `handle` is what the listener awaits."""

    def __init__(self, steps: Steps) -> None:
        self.reading_on = ReadingOn()
        self._steps = steps
        self._injection = UsageInjection()

    async def handle(self, downstream: Downstream) -> None:
        """Answer one request. Raises nothing that a caller or an upstream can cause."""
        call = Call(downstream, self._steps.clock)
        try:
            await self._tell(call)
        except RequestRefused as refused:
            refuse(call, refused, self._steps.service_routes.own_headers)
        except CallerGone:
            pass  # before anything was sent on: nothing was spent
        except WireError as error:
            told = refusal(error, self._steps.body_limit_bytes)
            refuse(call, told, self._steps.service_routes.own_headers)
        except Exception as error:  # noqa: BLE001 - the edge: a fault of ours costs its own call only
            self._steps.log.fault("call failed", error)
        finally:
            self._close(call)

    async def _tell(self, call: Call) -> None:
        """identify, then what the route asks for."""
        steps, downstream = self._steps, call.downstream
        ingress_id, target = split_ingress(call.head.target)
        if ingress_id is not None:
            call.head = msgspec.structs.replace(call.head, target=target)
        inbound = read_inbound(call.head.headers, forwarding_hops=steps.forwarding_hops)
        call.route = route = match(call.head)
        given = credentials(inbound, ingress_id, downstream.peer_address)
        if route is None:
            reply = await steps.service_routes.reply(call.head, given, downstream.peer_address)
            call.status = reply.status
            said = answer_headers(call, steps.clock.monotonic())
            headers = reply.headers + steps.service_routes.own_headers + said
            return downstream.answer(reply.status, reply.reason, headers, reply.body)
        check_method(call.head, route)
        refuse_misplaced_key(inbound.outbound)
        who = await steps.identity.identify(given, "proxy")
        call.caller = who.caller
        call.unseen_key_hash = who.unseen_key_hash
        origin = steps.origins.origin(route.upstream, who.policy)
        errand = Errand(route, who, inbound, origin, steps.origins.region(route.upstream, who.policy))
        await (self._metered(call, errand) if route.kind == "metered" else self._unread(call, errand))
        return None

    async def _metered(self, call: Call, errand: Errand) -> None:
        """Read → decide → cache → relay, of a call whose usage is read."""
        steps, route, headers = self._steps, errand.route, errand.inbound.outbound
        now = steps.clock.monotonic
        began = now()
        body = await steps.room.read(call, steps.body_limit_bytes)
        call.waited_seconds = now() - began
        ask = read_ask(route, headers, body)
        if errand.who.policy.settings.prompt_fingerprints:
            call.prompt_fingerprint = self._fingerprint(errand, body)
        admission = await self._decide(call, errand, ask, steps.admittance.decide(errand, ask, body, call.at))
        if admission.rule is not None:  # from here on it is the call that the rule made of it
            route, ask, body = admission.route, admission.ask, admission.body
            errand = msgspec.structs.replace(errand, route=route)
        del admission
        key = steps.cache.key(errand, ask, route.target, body)
        kept = None if key is None else steps.cache.find(key, call.started)
        if kept is not None:
            return await self._repeat(call, kept)
        if key is not None:
            steps.tally.cache_misses += 1
        call.cache = b"BYPASS" if key is None else b"MISS"
        call.prepared = prepare(route, ask, headers, body, self._injection.settings(errand.origin))
        del body
        return await self._relay(call, errand, ask, key)

    def _fingerprint(self, errand: Errand, body: bytes) -> str:
        """Of what makes the call's template; "" where nothing does."""
        template = read_template(errand.route, errand.inbound.outbound, body)
        if template is None:
            return ""
        return self._steps.fingerprints.of(errand.who.policy.account_id, template)

    async def _relay(self, call: Call, errand: Errand, ask: Ask, key: CacheKey | None) -> None:
        """Relay → meter → settle."""
        steps, route, now = self._steps, errand.route, self._steps.clock.monotonic
        lifeline = await self._begin(call, None if ask.streaming else self.reading_on)
        try:
            prepared, opening = self._sent(call, errand)
            answer = await self._answer_to(call, lifeline, opening)
            meter = make_meter(route, ask, answer.head, call.body_bytes)
            edit = answer_edit(route, prepared, answer.head, call.request_id)
            delivery = Delivery(call.downstream, lifeline, answer, meter, edit, now)
            if is_small(answer.head) and not (ask.streaming and answer.head.status < ERROR_STATUS):
                began = now()
                await delivery.hold()
                call.waited_seconds += now() - began
            else:
                await delivery.pass_on(self._headers(call, delivery.head), copies=key is not None)
            call.first_at = delivery.first_at
            reading = meter.finish()
            ticket = self._settle(call, _ending(lifeline, delivery), reading)
            if delivery.body is not None:
                self._injection.learn(errand.origin, prepared.edits, answer.head.status, delivery.body)
                if key is not None:
                    steps.cache.keep_if_worth(
                        key, route.operation, answer.head, delivery.body, reading, call.started
                    )
            await steps.books.written(ticket)
            is_held = delivery.is_held
            delivery.release(self._headers(call, delivery.head) + cost_header(call.event) if is_held else [])
        finally:
            lifeline.close()

    async def _unread(self, call: Call, errand: Errand) -> None:
        """relay, of a call that costs nothing or whose usage cannot be read: streamed untouched both ways."""
        steps, route, head = self._steps, errand.route, call.head
        refuse_signature(route, errand.inbound.outbound)
        if route.kind == "unmetered":
            deciding = steps.admittance.decide_unmetered(errand, call.at)
            await self._decide(call, errand, Ask(model=route.model), deciding)
        elif route.makes_batch:
            await self._decide(call, errand, Ask(model=""), steps.admittance.decide_batch(errand, call.at))
            call.admitted = None  # this costs nothing: its items have events of their own
        has_body = head.is_chunked or bool(head.content_length)
        body = call.downstream.pump_body if has_body else b""
        lifeline = await self._begin(call, None)
        try:
            opening = steps.upstream.open(
                errand.origin, head.method, route.target, errand.inbound.outbound, body,
                content_length=head.content_length,
            )  # fmt: skip
            answer = await self._answer_to(call, lifeline, opening)
            async with steps.batch_items.fetched(call, errand, answer.head) as items:
                delivery = Delivery(call.downstream, lifeline, answer, items, None, steps.clock.monotonic)
                await delivery.pass_on(self._headers(call, answer.head), copies=False)
            ticket = self._settle(call, _ending(lifeline, delivery), _WHOLE)
            await steps.books.written(ticket if items is None else items.ticket)
            delivery.release([])
        finally:
            lifeline.close()

    async def _decide(
        self, call: Call, errand: Errand, ask: Ask, deciding: Coroutine[Any, Any, Admission]
    ) -> Admission:
        """Let the call through, or record that it was refused. Raises: RequestRefused."""
        call.admitted = admitted = errand.admission(call, ask)
        try:
            admission = await deciding
        except RequestRefused as refused:
            call.status = refused.status
            self._steps.books.settle(call, "refused", Reading())
            raise
        call.held = admission.held
        call.estimate_nanodollars = admission.estimate_nanodollars
        call.warning, call.route_reason = admission.warning, admission.route_reason
        if admission.rule is not None or admission.held.unadmitted:
            call.admitted = msgspec.structs.replace(
                admitted,
                sent_model="" if admission.rule is None else admission.ask.model,
                routing_rule="" if admission.rule is None else admission.rule.name,
                unadmitted=admission.held.unadmitted,
            )
        return admission

    async def _repeat(self, call: Call, kept: Kept) -> None:
        """Answer from memory: nothing goes upstream, and the event says what that saved."""
        call.cache, call.status = b"HIT", kept.status
        reading = Reading(
            usage=kept.usage,
            model=kept.model,
            service_tier=kept.service_tier,
            region=kept.region,
            is_complete=True,
        )
        ticket = self._steps.books.settle(call, "cache_hit", reading)
        headers = [*kept.headers, *answer_headers(call, self._steps.clock.monotonic())]
        headers += cost_header(call.event) + savings_header(call.event)
        await self._steps.books.written(ticket)
        call.downstream.answer(kept.status, kept.reason, headers, kept.body)

    async def _begin(self, call: Call, reading_on: ReadingOn | None) -> Lifeline:
        """From here on money may be spent. Raises: CallerGone where nobody waits for an answer any more."""
        if call.downstream.is_gone:
            raise CallerGone
        await self._steps.books.written(self._steps.books.open(call))
        account_id = "" if call.admitted is None else call.admitted.caller.account_id
        return Lifeline(call.downstream, reading_on, account_id)

    def _sent(self, call: Call, errand: Errand) -> tuple[Prepared, Opening]:
        """The prepared call on its way out; what is kept of it holds neither its body nor its headers."""
        prepared = call.prepared
        opening = self._steps.upstream.open(
            errand.origin, call.head.method, prepared.target, prepared.headers, prepared.body
        )
        call.prepared = NOTHING_PREPARED
        kept = Prepared(
            target=prepared.target, headers=[], body=b"", withhold=prepared.withhold, edits=prepared.edits
        )
        return kept, opening

    async def _answer_to(self, call: Call, lifeline: Lifeline, opening: Opening) -> Answer:
        """The upstream's answer. Raises: RequestRefused where there is none; the call is settled then."""
        now = self._steps.clock.monotonic
        began = now()
        try:
            answer = await lifeline.open(opening)
        except WireError as error:
            error.__traceback__ = None  # its frames hold the request
            refused = refusal(error, self._steps.body_limit_bytes)
            ending = Ending(
                is_gone=lifeline.is_caller_gone,
                is_drained=lifeline.is_drained,
                may_bill=lifeline.is_cut or isinstance(error, UpstreamTimedOut),
            )
            call.status = status_given(ending, refused.status)
            await self._steps.books.written(self._settle(call, ending, nothing_seen(call.body_bytes, ending)))
            raise refused from None
        call.waited_seconds += now() - began
        self._steps.room.give_back(call)
        call.status = answer.head.status
        return answer

    def _headers(self, call: Call, head: ResponseHead) -> Headers:
        now = self._steps.clock.monotonic()
        self._steps.tally.count_overhead(call.overhead_ms(now))
        return read_answer(head.headers) + answer_headers(call, now)

    def _settle(self, call: Call, ending: Ending, reading: Reading) -> Ticket | None:
        if call.admitted is None:
            return None
        return self._steps.books.settle(call, state_of(call.admitted, ending, reading), reading)

    def _close(self, call: Call) -> None:
        """Whatever happened: settled if it was let through, and nothing of it kept."""
        steps = self._steps
        steps.room.give_back(call)
        if call.is_open:  # a fault of ours, or the listener has ended us
            is_gone, is_drained = call.downstream.is_gone, call.downstream.is_drained
            ending = Ending(
                status=call.status, is_cut=True, is_gone=is_gone, is_drained=is_drained, may_bill=True
            )
            call.status = call.status or status_given(ending, FAULT_STATUS)
            self._settle(call, ending, nothing_seen(call.body_bytes, ending))
        steps.books.give_up(call)
        if call.refusal:
            steps.tally.refusals[call.refusal] += 1
        steps.log.write(call, round((steps.clock.monotonic() - call.started) * 1000))


def _ending(lifeline: Lifeline, delivery: Delivery) -> Ending:
    return Ending(
        status=delivery.head.status,
        is_cut=delivery.is_cut,
        is_gone=lifeline.is_caller_gone,
        is_drained=lifeline.is_drained,
    )
