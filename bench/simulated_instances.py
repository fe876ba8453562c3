"""Instances of the proxy without their connections: what a call makes them ask of the store, and no more.

Everything that speaks to the store is the product's own: who calls and under which policy, the lease desk,
the recorder and its packer, the ledger with rollup shards and counts, joined as `proxy_service.instance`
joins them. Only the relay, the journal and the pricing of a call are left out: they ask the store nothing.
"""

import random
from concurrent.futures import Executor
from datetime import datetime
from typing import Final, cast

import msgspec

from bench.tallied_store import TalliedStore
from bench.virtual_time import VirtualClock, VirtualLoop
from metering.accounts import Policy
from metering.budgets import Budget, Subject
from metering.conservation import Admissions
from metering.directory import Directory, KeyTerms
from metering.events import CostEvent
from metering.leases import charge_writes, lease_expiry
from metering.ledger import Ledger, Stored
from metering.rulebook import Rulebook
from metering.segments import Segment, SegmentPacker
from proxy_service.desk import Desk
from proxy_service.policy import KeyUses, PolicyMemory
from proxy_service.recorder import Recorder
from proxy_service.stakes import Amounts, BudgetExceeded, Held
from proxy_service.tally import Tally
from tests.builders import make_event

SECRET: Final = b"the secret of a bench, of thirty-two bytes"
BOUND_OF_EXPECTED: Final = 4  # a call's upper bound, in what it is expected to cost
TEAMS: Final = 20
MODELS: Final = (
    ("anthropic", "claude-sonnet-4-5", 9_000_000),
    ("anthropic", "claude-haiku-4-5", 2_100_000),
    ("anthropic", "claude-opus-4-6", 31_000_000),
    ("openai", "gpt-4o", 7_000_000),
    ("openai", "gpt-4o-mini", 400_000),
    ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", 9_000_000),
)
MEAN_NANODOLLARS: Final = sum(cost for _, _, cost in MODELS) // len(MODELS)

_NO_THREADS: Final = cast(Executor, None)  # the loop does what is handed to them


class Tenant:
    """An account as it is met by calls: its id, the hash of its key, and what its teams call."""

    def __init__(self, account_id: str, hashed_key: str, key_id: str) -> None:
        self.account_id = account_id
        self.hashed_key = hashed_key
        self._key_id = key_id

    def event(self, at: datetime, chance: random.Random) -> CostEvent:
        """A call of one of twenty teams, to one of two models: forty combinations an account."""
        team = chance.randrange(TEAMS)
        provider, model, nanodollars = MODELS[(team + chance.randrange(2)) % len(MODELS)]
        return make_event(
            request_id=f"req_{chance.getrandbits(128):032x}",
            account_id=self.account_id,
            timestamp=at,
            key_id=self._key_id,
            provider=provider,
            model=model,
            requested_model=model,
            cost_nanodollars=nanodollars // 2 + chance.randrange(nanodollars),
            input_tokens=chance.randrange(5_000),
            output_tokens=chance.randrange(900),
            latency_ms=chance.randrange(80, 9_000),
            team=f"team {team}",
            app=f"app {team}",
            feature=f"feature {team % 5}",
            session_id=f"{chance.getrandbits(64):016x}",
        )


def tenant(store: TalliedStore, clock: VirtualClock, name: str, budgets: tuple[Budget, ...]) -> Tenant:
    """An account with a key and these budgets, made as the API makes them."""
    directory = Directory(store, clock, SECRET)
    rulebook = Rulebook(store, directory, clock)
    account = directory.create_account(name)
    _, record = directory.create_key(account.account_id, KeyTerms())
    for budget in budgets:
        rulebook.create_budget(account.account_id, budget)
    return Tenant(account.account_id, record.key_hash, record.key_id)


class SimulatedInstance:
    """One instance; `call` lets it serve one."""

    def __init__(
        self, store: TalliedStore, loop: VirtualLoop, clock: VirtualClock, chance: random.Random
    ) -> None:
        self.refused = 0
        self.waited = 0  # calls whose way to the provider took any time: the store was asked
        self.cost_nanodollars = 0
        self._loop = loop
        self._clock = clock
        self._chance = chance
        tally, directory, name = Tally(), Directory(store, clock, SECRET), f"{chance.getrandbits(128):032x}"
        self._desk = Desk(store, clock, name, threads=_NO_THREADS, on_fault=_fail)
        self._memory = PolicyMemory(
            directory,
            tally,
            look_up_threads=_NO_THREADS,
            poll_thread=_NO_THREADS,
            on_policy=self._desk.on_policy,
        )
        self._uses = KeyUses(directory.note_key_use, clock, _NO_THREADS)
        self._admissions = Admissions()
        self._ledger = Ledger(store, clock, admitted=self._admissions.of)
        self._recorder = Recorder(
            SegmentPacker(name, stretch=self._ledger.stretch),
            self._store_segment,
            clock,
            tally,
            threads=_NO_THREADS,
            on_stored=_heard,
            on_refused=_fail,
            on_left=_heard,
            on_reach=_heard,
        )

    async def poll(self) -> None:
        """Read what changed, as long as the instance lives."""
        await self._memory.follow_changes()

    async def look(self) -> None:
        """Tell the store what leases have to say, as long as the instance lives."""
        await self._desk.run()

    async def call(self, caller: Tenant, seconds: float) -> None:
        """Serve one call, which takes so long at its provider."""
        now, began = self._clock.now(), self._loop.time()
        known = await self._memory.key(caller.hashed_key, "", self._clock.monotonic())
        self._uses.note(caller.hashed_key)
        policy = await self._memory.policy(caller.account_id)
        if known is None or policy is None:
            raise RuntimeError("nobody knows the caller")
        event = caller.event(now, self._chance)
        held = await self._held(policy, event)
        self.waited += self._loop.time() > began
        if held is None:
            self.refused += 1
            return
        self._admissions.note(caller.account_id, now)
        self._loop.call_later(seconds, self._settle, held, event)

    async def _held(self, policy: Policy, event: CostEvent) -> Held | None:
        subject = Subject(team=event.team, app=event.app, key_id=event.key_id, model=event.model)
        stakes = self._desk.stakes(policy, subject, event.timestamp)
        await self._desk.ready(stakes)
        expected = event.cost_nanodollars
        try:
            return await self._desk.hold(stakes, Amounts(expected, BOUND_OF_EXPECTED * expected))
        except BudgetExceeded:
            return None

    def _settle(self, held: Held, event: CostEvent) -> None:
        self.cost_nanodollars += event.cost_nanodollars
        charges = self._desk.settle(held, event.cost_nanodollars)
        self._recorder.add(msgspec.structs.replace(event, charges=charges))

    def _store_segment(self, segment: Segment) -> Stored:
        looked_after_until = lease_expiry(self._clock.now())
        return self._ledger.commit(
            segment,
            lambda events: charge_writes(segment.account_id, events, expires_at=looked_after_until),
        )


def _heard(_what: object) -> None:
    """Nothing follows from it here."""


def _fail(error: BaseException) -> None:
    raise error
