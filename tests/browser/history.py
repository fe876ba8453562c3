"""The weeks behind an account that looks like somebody's: teams that grow, quiet nights, one that is not.

Events are stored as the proxy stores them (segments, the ledger's commits, compaction every day), so pages
show them as they would show those of real calls.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from metering import compaction
from metering.events import CostEvent
from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.rollups import QUARTER, quarter_of
from metering.segments import SegmentPacker
from metering.stores import DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock

SURGE_HOURS_AGO: Final = 2  # when one team's agent went in circles
SURGE_FACTOR: Final = 40


@dataclass(frozen=True)
class Model:
    """A model, and what a token costs in nanodollars."""

    provider: str
    name: str
    input_nanodollars: int
    output_nanodollars: int


OPUS = Model("anthropic", "claude-opus-4-6", 5_000, 25_000)
SONNET = Model("anthropic", "claude-sonnet-4-6", 3_000, 15_000)
HAIKU = Model("anthropic", "claude-haiku-4-5", 1_000, 5_000)
GPT = Model("openai", "gpt-4o", 2_500, 10_000)
GPT_MINI = Model("openai", "gpt-4o-mini", 150, 600)
BEDROCK = Model("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 3_300, 16_500)


@dataclass(frozen=True)
class Workload:
    """What one app of one team does all day. `calls` is how many in a busy hour."""

    team: str
    app: str
    features: Sequence[str]
    models: Sequence[Model]
    calls: float
    input_tokens: int
    output_tokens: int
    is_nightly: bool = False
    growth_percent: int = 0  # from the first day to the last


WORKLOADS: Final = (
    Workload(
        "search", "web", ("answer", "rerank", "suggest"), (SONNET, HAIKU), 7, 26_000, 840, growth_percent=60
    ),
    Workload("search", "ios", ("answer",), (HAIKU,), 3, 15_000, 520),
    Workload("support", "helpdesk", ("draft-reply", "summarise-ticket"), (GPT, GPT_MINI), 6, 21_000, 760),
    Workload("support", "voice", ("transcript-notes",), (GPT,), 2, 48_000, 1_400, growth_percent=150),
    Workload("research", "notebooks", ("deep-read", "evaluate"), (OPUS, SONNET), 2, 110_000, 3_800),
    Workload(
        "data platform", "etl", ("classify", "extract"), (BEDROCK, GPT_MINI), 9, 9_600, 180, is_nightly=True
    ),
    Workload("growth", "campaigns", ("write-variant",), (SONNET, GPT), 1.5, 7_200, 1_280, growth_percent=-50),
    Workload("", "", ("",), (GPT_MINI,), 1, 5_600, 300),  # somebody names themselves nowhere
)
TIERS: Final = ("free", "pro", "pro", "enterprise", "")
SURGING: Final = WORKLOADS[4]


@dataclass(frozen=True)
class Past:
    """So many days up to a moment, of one account, by these keys; calls that a rule routed name it."""

    account_id: str
    key_ids: Sequence[str]
    days: int
    until: datetime
    routing_rule: str = ""

    def events(self) -> Iterator[tuple[datetime, list[CostEvent]]]:
        """The events of every hour in which there are any, in order."""
        chance = random.Random(5)  # noqa: S311 - chance, not secrecy
        first = quarter_of(self.until).replace(minute=0) - timedelta(days=self.days)
        for number in range(self.days * 24 + 1):
            begins = first + timedelta(hours=number)
            found = [event for each in WORKLOADS for event in self._of(each, begins, chance)]
            yield begins, [event for event in found if event.ended_at < self.until]

    def _of(self, workload: Workload, begins: datetime, chance: random.Random) -> Iterator[CostEvent]:
        age = self.until - begins
        grown = 1 + workload.growth_percent / 100 * (1 - age / timedelta(days=self.days))
        rate = workload.calls * grown * _busyness(begins, workload)
        if workload is SURGING and age // timedelta(hours=1) == SURGE_HOURS_AGO:
            rate = workload.calls * SURGE_FACTOR
        for number in range(int(rate) + (chance.random() < rate % 1)):
            yield self._call(workload, begins, number, chance)

    def _call(self, workload: Workload, begins: datetime, number: int, chance: random.Random) -> CostEvent:
        model = chance.choice(workload.models)
        tokens_in = int(workload.input_tokens * chance.lognormvariate(0, 0.5))
        tokens_out = int(workload.output_tokens * chance.lognormvariate(0, 0.6))
        cost = tokens_in * model.input_nanodollars + tokens_out * model.output_nanodollars
        latency = int(400 + tokens_out * chance.uniform(6, 14))
        feature = chance.choice(workload.features)
        fields: dict[str, Any] = {
            "account_id": self.account_id,
            "timestamp": begins + timedelta(milliseconds=chance.randrange(900_000)),
            "key_id": self.key_ids[WORKLOADS.index(workload) % len(self.key_ids)],
            "provider": model.provider,
            "model": model.name,
            "requested_model": model.name,
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "cost_nanodollars": cost,
            "latency_ms": latency,
            "ttft_ms": latency // 3,
            "streaming": chance.random() < 0.6,
            "team": workload.team,
            "app": workload.app,
            "feature": feature,
            "customer_tier": chance.choice(TIERS) if workload.app in {"web", "ios", "helpdesk"} else "",
            "session_id": f"{workload.app}-{begins:%m%d%H}-{number // 6}" if workload.app else "",
            "prompt_template_id": f"{feature}@v{2 + begins.day % 2}" if feature else "",
        }
        return make_event(**fields | self._turn(model, tokens_in, tokens_out, cost, chance))

    def _turn(
        self, model: Model, tokens_in: int, tokens_out: int, cost: int, chance: random.Random
    ) -> dict[str, Any]:
        """What became of some calls: answered from memory, failed, or routed to a cheaper model."""
        dice = chance.random()
        if dice < 0.04:
            return {"cache_hit": True, "state": "cache_hit", "cost_nanodollars": 0, "saved_nanodollars": cost}
        if dice < 0.055:
            return {"status_code": 529, "state": "upstream_error", "cost_nanodollars": 0, "output_tokens": 0}
        if self.routing_rule and model is SONNET and dice < 0.3:
            cheaper = tokens_in * HAIKU.input_nanodollars + tokens_out * HAIKU.output_nanodollars
            return {
                "model": HAIKU.name,
                "routed": True,
                "routing_rule": self.routing_rule,
                "cost_nanodollars": cheaper,
                "counterfactual_nanodollars": cost,
                "saved_nanodollars": cost - cheaper,
            }
        return {}


def _busyness(moment: datetime, workload: Workload) -> float:
    """A share of the busy hour's calls: people work by day and on weekdays, batches by night."""
    if workload.is_nightly:
        return 1.0 if moment.hour < 5 else 0.1
    by_hour = 1.0 if 8 <= moment.hour < 18 else 0.3 if 6 <= moment.hour < 23 else 0.05
    return by_hour * (0.35 if moment.weekday() >= 5 else 1.0)


def write(store: DocumentStore, past: Past) -> int:
    """Store the past; how many events it has."""
    clock, written = ManualClock(datetime(2020, 1, 1, tzinfo=UTC)), 0
    packer, ledger = SegmentPacker(new_instance_name()), Ledger(store, clock)
    for begins, events in past.events():
        clock.advance((min(begins + QUARTER, past.until) - clock.now()).total_seconds())
        for event in events:
            packer.add(event, clock.monotonic())
        for segment in packer.drain():
            ledger.commit(segment)
        written += len(events)
        if begins.hour == 0:
            compaction.run(store, clock)
    clock.advance((past.until - clock.now()).total_seconds())
    compaction.run(store, clock)
    return written
