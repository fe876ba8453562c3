"""What this process did since its start, and how it is at this moment, for whoever watches it."""

from collections.abc import Callable

from metering.clock import Clock
from proxy_service.cache import AnswerCache
from proxy_service.exposition import Figures, ProcessState
from proxy_service.tally import Tally

BUDGET_EXCEEDED = "budget_exceeded"  # our own code


class ProcessFigures:
    """Puts them together when asked; on the loop. `state` tells what the tally does not."""

    def __init__(
        self,
        tally: Tally,
        cache: AnswerCache,
        clock: Clock,
        state: Callable[[], ProcessState] = ProcessState,
    ) -> None:
        self._tally = tally
        self._cache = cache
        self._state = state
        self._started_at = clock.now()

    def now(self) -> Figures:
        """All of it, of all accounts together."""
        tally = self._tally
        return Figures(
            since=self._started_at,
            requests=sum(tally.calls.values()),
            tokens=sum(tally.tokens.values()),
            cost_nanodollars=sum(tally.cost_nanodollars.values()),
            cache_hits=tally.cache_hits,
            cache_misses=tally.cache_misses,
            cache_entries=len(self._cache),
            saved_nanodollars=tally.saved_nanodollars,
            routed=tally.routed,
            blocked=tally.refusals[BUDGET_EXCEEDED],
            routing_saved_nanodollars=tally.routing_saved_nanodollars,
            rule_hits=dict(tally.rule_hits),
            tally=tally,
            state=self._state(),
        )
