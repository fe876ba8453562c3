"""What callers saw, what the demo provider billed and what the store holds, compared call by call."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.system.deployment import Deployment, Row, Tenant, event_summary, nanodollars, summary
from tests.system.traffic import Made

EVENTS_A_PAGE = 1_000

# The states in which a call's event may stand, by what its caller saw of it.
STATES = {
    "whole": {"completed"},
    "provider_error": {"upstream_error"},
    "hung_up": {"client_closed", "completed", "upstream_truncated", "lost"},
    "cut": {
        "upstream_truncated",
        "lost",
        "completed",
        "client_closed",
        "upstream_error",
        "drained",
        "refused",
    },
    "refused": {"refused"},
    "not_taken": set(),
}
FROM_MEMORY = {"whole", "cut"}  # how a call that memory answered ends for its caller
# Nobody listened, or we refused whom we could not name: such a call need not be in the books.
MAY_LACK_AN_EVENT = {"not_taken", "refused", "cut"}


@dataclass(frozen=True)
class Statement:
    """Every call made, the bill by customer, and every event, each by its trace id.

    `repeated` says what stands there more often than it may, a line each.
    """

    made: Sequence[Made]
    bill: Mapping[str, Row]
    events: Mapping[str, Row]
    salt: str
    repeated: Sequence[str] = ()

    def billed(self, made: Made) -> Row | None:
        """The call's row of the bill; of calls that are the same, one that could be its."""
        return self.bill.get(made.planned.customer(self.salt))

    def event(self, made: Made) -> Row | None:
        """The call's event."""
        return self.events.get(made.planned.trace_id)

    def without_event(self) -> list[Made]:
        """The calls that had to leave an event, and left none."""
        return [made for made in self.made if self._needs_event(made) and self.event(made) is None]

    def _was_from_memory(self, made: Made) -> bool:
        event = self.event(made)
        return event is not None and bool(event["cache_hit"])

    def _needs_event(self, made: Made) -> bool:
        if made.outcome not in MAY_LACK_AN_EVENT:
            return True
        return made.planned.like is None and self.billed(made) is not None

    def differences(self) -> list[str]:
        """Everything that is not as it must be, a line each."""
        found = [f"no event: {_said(made)}, billed: {self.billed(made)}" for made in self.without_event()]
        for made in self.made:
            event, billed = self.event(made), self.billed(made)
            if event is None:
                continue
            if event["cache_hit"] and made.planned.like is not None:
                if made.outcome not in FROM_MEMORY or event["state"] != "cache_hit" or event["cost_usd"]:
                    found.append(f"from memory: {_said(made)}, {event}")
                continue
            if event["state"] not in STATES[made.outcome]:
                found.append(f"state {event['state']}: {_said(made)}")
            if made.outcome == "whole" and (billed is None or summary(billed) != event_summary(event)):
                found.append(f"not as billed: {_said(made)}, {billed}, {event}")
        known = {made.planned.trace_id for made in self.made}
        found += [f"an event of no call: {trace_id}" for trace_id in self.events.keys() - known]
        return [*self.repeated, *found]

    def printed(self) -> str:
        """The counts, for whoever runs the test."""
        whole = [made for made in self.made if made.outcome == "whole" and not self._was_from_memory(made)]
        from_memory = sum(self._was_from_memory(made) for made in self.made)
        others = [made for made in self.made if made.outcome != "whole"]
        billed = sum(row["nanodollars"] for made in whole if (row := self.billed(made)))
        recorded = sum(nanodollars(row["cost_usd"]) for made in whole if (row := self.event(made)))
        lines = [
            f"calls made: {len(self.made)}",
            f"answers that came whole: {len(whole)}; billed {billed} nanodollars, recorded {recorded}",
            *([f"answered from memory: {from_memory}"] if from_memory else []),
            f"other calls: {len(others)}",
        ]
        for outcome, count in sorted(Counter(made.outcome for made in others).items()):
            states = Counter(
                str(event["state"]) if (event := self.event(made)) else "no event"
                for made in others
                if made.outcome == outcome
            )
            lines.append(f"  {outcome}: {count} = {_counts(states)}")
        lines.append(
            f"errors in the proxy's own words: {_counts(Counter(made.code for made in others if made.code))}"
        )
        charged = sum(bool(event["charges"]) for event in self.events.values())
        unadmitted = sum(event["unadmitted"] for event in self.events.values())
        lines.append(f"events: {len(self.events)}, charged to budgets {charged}, unadmitted {unadmitted}")
        return "\n".join(lines)


def statement(deployment: Deployment, tenant: Tenant, made: Sequence[Made], salt: str) -> Statement:
    """The statement as of now."""
    return compared(made, deployment.whole_bill(), all_events(deployment, tenant), salt)


def compared(made: Sequence[Made], rows: Sequence[Row], events: Sequence[Row], salt: str) -> Statement:
    """The statement of these calls, from everybody's bill and the tenant's events."""
    senders = Counter(call.planned.customer(salt) for call in made)
    billed = [row for row in rows if row["customer"] in senders]
    named = [event for event in events if event["trace_id"]]
    by_trace = {str(event["trace_id"]): event for event in named}
    from_memory = Counter(
        call.planned.customer(salt)
        for call in made
        if by_trace.get(call.planned.trace_id, {}).get("cache_hit")
    )
    sent = Counter(str(row["customer"]) for row in billed)
    often = {each: count for each, count in sent.items() if count > senders[each] - from_memory[each]}
    repeated = [
        *(f"{count} times with the provider: a call of {each}" for each, count in often.items()),
        *(f"{count} events of {each}" for each, count in _repeated(event["trace_id"] for event in named)),
        *(f"{count} events with the id {each}" for each, count in _repeated(e["request_id"] for e in events)),
    ]
    bill = {str(row["customer"]): row for row in billed}
    return Statement(made, bill, by_trace, salt, repeated)


def all_events(deployment: Deployment, tenant: Tenant) -> list[Row]:
    """Every event of the tenant, page by page."""
    events: list[Row] = []
    address = path = f"/v1/events?limit={EVENTS_A_PAGE}"
    while True:
        page = deployment.ask_api(tenant, path)
        events += page["data"]
        if not page["next_page"]:
            return events
        path = f"{address}&page={page['next_page']}"


def recorded_nanodollars(events: Iterable[Row]) -> int:
    """What the events cost together."""
    return nanodollars(sum((event["cost_usd"] for event in events), Decimal(0)))


def _said(made: Made) -> str:
    return f"call {made.planned.number}: {made.outcome} {made.status} {made.code}".strip()


def _counts(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _repeated(values: Iterable[object]) -> list[tuple[object, int]]:
    return [(value, count) for value, count in Counter(values).items() if count > 1]
