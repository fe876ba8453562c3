"""What this process did since its start: plain integers, added to on the loop, read by the service routes.

Labels are our own words only (provider, state, class of status, kind of token), so their number is bounded;
routing rules, which have names of their accounts' giving, are counted by name up to `RULE_NAMES_MAX`.
"""

from collections import Counter
from typing import Final

from metering.events import CostEvent

OVERHEAD_BOUNDS_MS: Final = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)
RULE_NAMES_MAX: Final = 1_000
OTHER_RULES: Final = "other"
CACHE_TOKEN_KINDS: Final = ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
TOKEN_KINDS: Final = ("input_tokens", "output_tokens", *CACHE_TOKEN_KINDS)


class Tally:
    """Counts of one process. Not safe between threads: whoever counts does so on the loop."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str, str]] = Counter()  # provider, state, class of status
        self.tokens: Counter[tuple[str, str]] = Counter()  # provider, kind
        self.cost_nanodollars: Counter[str] = Counter()  # provider
        self.unpriced: Counter[str] = Counter()  # provider
        self.refusals: Counter[str] = Counter()  # our own code
        self.admitted_calls = 0  # those under way are admitted and not settled
        self.settled_calls = 0
        self.look_ups_unanswered = 0  # of keys and policies, by the store
        self.overhead_counts = [0] * (len(OVERHEAD_BOUNDS_MS) + 1)
        self.overhead_ms_sum = 0.0
        self.cache_hits = 0
        self.cache_misses = 0
        self.saved_nanodollars = 0  # by answers from memory
        self.routed = 0
        self.routing_saved_nanodollars = 0
        self.rule_hits: Counter[str] = Counter()  # by the rule's name
        self.changes_unread = 0  # polls of what changed that the store did not answer
        self.unseen_keys_served = 0  # calls of keys the store could not tell us of
        self.journal_late = 0  # answers that went out before their line was written
        self.journal_lines_lost = 0
        self.commits_repeated = 0
        self.events_stored = 0
        self.events_left_to_journal = 0  # no room in memory, or refused by the store
        self.batch_items_read = 0  # each time one was fetched; what is new of them the store knows
        self.batch_lines_unread = 0
        self.batch_fetches_unread = 0  # in an unknown content encoding, or broken off by a fault

    def count(self, event: CostEvent) -> None:
        """Count one event."""
        provider = event.provider
        self.calls[provider, event.state, f"{event.status_code // 100}xx"] += 1
        tokens = self.tokens
        if event.input_tokens:
            tokens[provider, "input_tokens"] += event.input_tokens
        if event.output_tokens:
            tokens[provider, "output_tokens"] += event.output_tokens
        if event.cache_read_tokens or event.cache_write_5m_tokens or event.cache_write_1h_tokens:
            for kind in CACHE_TOKEN_KINDS:
                if amount := getattr(event, kind):
                    tokens[provider, kind] += amount
        self.cost_nanodollars[provider] += event.cost_nanodollars
        if event.unpriced:
            self.unpriced[provider] += 1
        if event.cache_hit:
            self.cache_hits += 1
            self.saved_nanodollars += event.saved_nanodollars
        if event.routed:
            self._count_routed(event)

    def _count_routed(self, event: CostEvent) -> None:
        self.routed += 1
        if not event.cache_hit:
            self.routing_saved_nanodollars += event.saved_nanodollars
        rule = event.routing_rule
        has_room = rule in self.rule_hits or len(self.rule_hits) < RULE_NAMES_MAX
        self.rule_hits[rule if has_room else OTHER_RULES] += 1

    def count_overhead(self, milliseconds: float) -> None:
        """Count what we added to one call."""
        self.overhead_ms_sum += milliseconds
        for place, bound in enumerate(OVERHEAD_BOUNDS_MS):
            if milliseconds <= bound:
                self.overhead_counts[place] += 1
                return
        self.overhead_counts[-1] += 1
