"""The books of this instance: each call that is let through is opened once and settled once.

Opening writes the journal's `admitted` line. Settling makes the one cost event, charges the call's budgets,
gives the event to the recorder and writes the `settled` line, whose ticket the answer's last byte waits for.
"""

from typing import Final

import msgspec

from metering.clock import Clock
from metering.conservation import Admissions
from metering.events import CostEvent, State, encoded_event
from metering.ids import new_instance_name
from metering.journal import Admitted as AdmittedLine
from metering.journal import admitted_line, settled_line_of
from metering.segments import EVENTS_MAX
from metering.usage import Reading
from proxy_service.call import Call
from proxy_service.desk import Desk
from proxy_service.journal import Entry, Journal, Ticket
from proxy_service.recorder import Recorder
from proxy_service.settlement import Admitted, Outcome, Settlement
from proxy_service.stakes import NOTHING_HELD, Held
from proxy_service.tally import Tally

MILLISECONDS = 1000
_GUESSES: Final = frozenset(("delivered_bytes", "request_bytes", "missing_usage"))


class Books:
    """Opens and settles calls. On the loop. A call without admission costs nothing and is in no book."""

    def __init__(  # noqa: PLR0913  # where each thing of a call goes
        self,
        settlement: Settlement,
        recorder: Recorder,
        journal: Journal,
        tally: Tally,
        clock: Clock,
        *,
        desk: Desk,
        instance: str,
        admissions: Admissions,
    ) -> None:
        self._instance = instance
        self._settlement = settlement
        self._recorder = recorder
        self._journal = journal
        self._tally = tally
        self._clock = clock
        self._desk = desk
        self._admissions = admissions
        self._unseen_instance = new_instance_name()
        self._unseen_events = 0

    def open(self, call: Call) -> Ticket | None:
        """The call is let through: from here on it ends in an event. The ticket of its line.

        Nothing is sent on before that line is out: else a kill could leave a call that was billed, and that
        nobody knows of. None where there is nothing to open.
        """
        admitted = call.admitted
        if admitted is None:
            return None
        line = admitted_line(self._admitted(call, admitted))
        ticket = self._journal.append_and_tell(Entry(line, admitted.request_id))
        if not call.unseen_key_hash:  # else the account is for recovery to find
            self._admissions.note(admitted.caller.account_id, admitted.timestamp)
        call.is_open = True
        self._tally.admitted_calls += 1
        return ticket

    def settle(self, call: Call, state: State, reading: Reading) -> Ticket | None:
        """The call is over: its one event; the ticket of its line. None where there is nothing to settle."""
        admitted = call.admitted
        if admitted is None or call.event is not None:
            return None
        now = self._clock.monotonic()
        is_hit = state == "cache_hit"
        outcome = Outcome(
            state=state,
            status_code=call.status,
            reading=reading,
            ended_at=self._clock.now(),
            latency_ms=round((now - call.started) * MILLISECONDS),
            ttft_ms=_ttft_ms(call) if admitted.streaming else None,
            saved_nanodollars=self._settlement.cost(admitted, reading).nanodollars if is_hit else 0,
        )
        event = _as_expected(self._settlement.settle(admitted, outcome), call.estimate_nanodollars)
        if call.held is not NOTHING_HELD:
            event = _at_most(event, call.held)
            charges = self._desk.settle(call.held, event.cost_nanodollars)
            call.held = NOTHING_HELD
            event = msgspec.structs.replace(event, charges=charges)
        call.event = event
        self._tally.settled_calls += call.is_open  # not an answer from memory, or a refusal
        call.is_open = False
        self._tally.count(event)
        key_hash = call.unseen_key_hash
        encoded = encoded_event(event)
        segment, is_held = self._unseen_segment() if key_hash else self._recorder.add(event, len(encoded))
        line = settled_line_of(encoded, segment, key_hash=key_hash)
        return self._journal.append_and_tell(Entry(line, event.request_id, segment, is_held))

    def give_up(self, call: Call) -> None:
        """A call that was let through and never made: what its budgets hold for it is free again."""
        if call.held is not NOTHING_HELD:
            self._desk.release(call.held)
            call.held = NOTHING_HELD

    async def written(self, ticket: Ticket | None) -> None:
        """Wait for the line, for no longer than its ticket does; a late one is counted."""
        if ticket is not None and not await ticket:
            self._tally.journal_late += 1

    def _admitted(self, call: Call, admitted: Admitted) -> AdmittedLine:
        """All that an event is made of if the call never settles."""
        caller, tags = admitted.caller, admitted.tags
        return AdmittedLine(
            request_id=admitted.request_id,
            timestamp=admitted.timestamp,
            account_id=caller.account_id,
            key_hash=call.unseen_key_hash,
            key_id=caller.key_id,
            deployment=caller.deployment,
            provider=admitted.provider,
            model=self._settlement.expected_model(admitted),
            requested_model=admitted.requested_model,
            streaming=admitted.streaming,
            instance=self._unseen_instance if call.unseen_key_hash else self._instance,
            team=caller.team or tags.team,
            app=caller.app or tags.app,
            feature=tags.feature,
            customer_tier=tags.customer_tier,
            session_id=tags.session_id,
            trace_id=tags.trace_id,
            prompt_template_id=tags.prompt_template_id,
            prompt_fingerprint=admitted.prompt_fingerprint,
            # what the event says if the call is lost, of which nobody has seen anything
            estimate_nanodollars=max(call.estimate_nanodollars, call.held.most_nanodollars),
            holds=call.held.holds,
        )

    def _unseen_segment(self) -> tuple[str, bool]:
        """A segment for recovery to fill, once it has found whose the event is."""
        self._unseen_events += 1
        return f"{self._unseen_instance}-{1 + self._unseen_events // EVENTS_MAX}", False


def _as_expected(event: CostEvent, expected_nanodollars: int) -> CostEvent:
    """The event; an answer that came before anything was generated costs what was expected of the call.

    What it used in the end is told to whoever fetches it, and not read there: else a budget would never end.
    """
    if event.estimate_method != "hold" or event.unpriced:
        return event
    return msgspec.structs.replace(event, cost_nanodollars=max(event.cost_nanodollars, expected_nanodollars))


def _at_most(event: CostEvent, held: Held) -> CostEvent:
    """The event; under a strict budget, what nobody saw of an answer counts as the most it may have been.

    A plain answer is billed whole, whoever leaves before it is there, and one that never says what it used
    may have been thought over at length: else hanging up, or asking not to be told, would spend unseen.
    What was seen in part counts as far as it was seen, and no estimate as more than the most.
    """
    method = event.estimate_method
    most = held.most_nanodollars if method in _GUESSES else 0
    if not most:
        return event
    is_seen_in_part = method == "delivered_bytes" and event.streaming
    if is_seen_in_part and event.cost_nanodollars <= most:
        return event
    return msgspec.structs.replace(event, cost_nanodollars=most, estimate_method="hold")


def _ttft_ms(call: Call) -> int | None:
    return None if call.first_at is None else round((call.first_at - call.started) * MILLISECONDS)
