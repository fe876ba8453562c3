"""The lease desk: what the budgets over a call keep back for it, taken and given back in memory.

The desk has one lease of each counter that calls of this instance are counted by (`metering.leases` says what
a lease does), makes them when a budget is first met, tells the store what they have to say, and hands them
back when nobody needs them. While a lease has room, a call asks no store.

| | what a call meets |
|---|---|
| the first call of a counter | waits, at most `WAIT_SECONDS`, for what the store says |
| the lease has room | admitted, from memory |
| it has none | waits for one sync, as do all who need more at that moment; then admitted or refused |
| the store gives no answer | `warn` and `normal` serve it, unadmitted; `strict` does so while it has room |
| the store gave no answer lately | the same, without waiting |
| others of its account wait for the store | waits behind them; calls of other accounts do not |

Whether the limit is reached is never forgotten for the store's silence: what was spent stays spent.

All holds of a call are taken in one step of the loop, or none is. With `each`, the first `EACH_VALUES_MAX`
values that this instance meets in a period have a limit of their own, and all others share one.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from metering.accounts import Policy
from metering.budgets import EACH_VALUES_MAX, Budget, PeriodKind, Subject, matching
from metering.clock import Clock
from metering.counters import CounterKey, LeaseName, Standing, counter_key, has_reached, standing_from
from metering.errors import RevisionChanged, StoreUnavailable
from metering.events import Charge
from metering.journal import Hold
from metering.leases import CallHold, Lease, Sync, Told, carry_out
from metering.periods import Period, period_of
from metering.stores import DocumentStore
from proxy_service.memory import Memory
from proxy_service.policy import POLICIES_MAX
from proxy_service.stakes import (
    NOTHING_HELD,
    Amounts,
    BudgetExceeded,
    BudgetUnverifiable,
    Held,
    Stake,
    StakeStanding,
    Unbounded,
)

WAIT_SECONDS: Final = 2.0  # a call waits no longer for its budgets
SYNC_SECONDS: Final = 5.0  # a sync waits longer: an answer that comes late is one
LOOK_SECONDS: Final = 0.2  # between two looks at what leases have to say
LOOKS_A_ROUND: Final = 20  # in so many of them, each lease is looked at, also those that nobody uses
LOOKED_AT_ONCE: Final = 100  # then other work of the loop has its turn
ACTIVE_SECONDS: Final = 5.0  # since its last call, a lease is looked at each time
RETRY_PAUSE_SECONDS: Final = 0.1  # of a call whose lease waits to ask again
SYNCS_AT_ONCE: Final = 32  # beyond, only calls that wait begin one
SYNC_THREADS: Final = 4
SYNCS_OF_ACCOUNT: Final = 4  # at the store at once; its others wait, and no other account's behind them
FAILURES_OF_SILENCE: Final = 3  # in a row, or one that took so long:
SECONDS_OF_SILENCE: Final = 1.0
CLOSING_SECONDS_MAX: Final = 2.0
LEASES_MAX: Final = 50_000  # of all accounts; beyond, each may have
LEASES_OF_ACCOUNT_MIN: Final = 100
LEASES_OF_ACCOUNT_MAX: Final = 10_000  # eight budgets of a thousand values each, and those that end
ZONES_MAX: Final = 2_000
STAKES_MAX: Final = 10_000  # kinds of calls whose stakes are remembered
STAKES_KEPT_FOR: Final = timedelta(days=1)  # where there are none


class Desk:
    """Takes and gives back what calls hold of their budgets. On the loop; the store is told in threads.

    `on_fault` hears of what the store refuses, which it never should.
    """

    def __init__(
        self,
        store: DocumentStore,
        clock: Clock,
        instance: str,
        *,
        threads: Executor,
        on_fault: Callable[[BaseException], None],
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._instance = instance
        self._threads = threads
        self._on_fault = on_fault
        self._wait_seconds = wait_seconds
        self._numbers = 0
        self._current: dict[CounterKey, Lease] = {}  # which lease of a counter calls are admitted against
        self._leases: dict[str, dict[Lease, None]] = {}  # of an account, also those that only settle
        self._count = 0
        self._active: dict[Lease, float] = {}  # since when nothing happened
        self._round: deque[Lease] = deque()
        self._syncing: dict[Lease, asyncio.Task[bool]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()  # by account
        self._telling: Counter[str] = Counter()  # syncs by account, also those that wait for their turn
        self._at_store = 0
        self._answered_at = 0.0  # by the store, anybody
        self._waiting: Counter[Lease] = Counter()  # calls that wait for room
        self._budgets: Memory[dict[str, Budget]] = Memory(POLICIES_MAX)  # in force, by account and id
        self._values: dict[tuple[str, str, str], _Values] = {}
        self._periods: dict[tuple[PeriodKind, str], Period] = {}
        self._stakes: dict[tuple[str, Subject], _Known] = {}  # of calls like one another
        self._failures = 0
        self._is_silent = False
        self.syncs_unanswered = 0

    @property
    def accounts(self) -> Collection[str]:
        """The accounts whose budgets this instance has leases of: a change of their policies matters here."""
        return self._leases.keys()

    # What a call asks

    def stakes(self, policy: Policy, subject: Subject, at: datetime) -> tuple[Stake, ...]:
        """The budgets over a call admitted at that moment. From memory."""
        like = (policy.account_id, subject)
        known = self._stakes.get(like)
        if known is not None and known.budgets is policy.budgets and known.since <= at < known.until:
            return known.stakes
        stakes = tuple(
            Stake(budget, self._counter(policy.account_id, budget, subject, at))
            for budget in matching(policy.budgets, subject)
        )
        if all(map(self._is_settled, stakes)):
            periods = [stake.counter.period for stake in stakes]
            since = max([period.starts_at for period in periods], default=at)
            until = min([period.ends_at for period in periods], default=at + STAKES_KEPT_FOR)
            if len(self._stakes) >= STAKES_MAX:
                self._stakes.clear()
            self._stakes[like] = _Known(policy.budgets, since, until, stakes)
        return stakes

    def are_known(self, stakes: Sequence[Stake]) -> bool:
        """Whether the store has told how each of these budgets stands."""
        for stake in stakes:
            lease = self._current.get(stake.counter)
            if lease is None or not lease.is_known:
                return False
        return True

    async def ready(self, stakes: Sequence[Stake]) -> None:
        """Wait until the store has told how each of these budgets stands, if it does soon."""
        unknown = [lease for lease in map(self._lease, stakes) if lease and not lease.is_known]
        if unknown and not self._is_silent:
            begun = asyncio.get_running_loop().time()
            telling = [self._told(lease) for lease in unknown]
            _, late = await asyncio.wait(telling, timeout=self._wait_seconds)
            if late:
                self._note_wait(begun)

    def percent_reached(self, stakes: Sequence[Stake], threshold: int) -> bool:
        """Whether so many percent of the strictest budget are spent, to the nanodollar."""
        return any(self._standing(stake).has_reached(threshold) for stake in stakes)

    def strictest(self, stakes: Sequence[Stake]) -> StakeStanding | None:
        """The budget of which most is spent, in parts of its limit; None where there is none."""
        most: tuple[Stake, Standing] | None = None
        for stake in stakes:
            standing = self._standing(stake)
            if most is None or _is_stricter(standing, most[1]):
                most = (stake, standing)
        return None if most is None else _told_of(*most)

    def has_warned(self, stakes: Sequence[Stake]) -> bool:
        """Whether any of the budgets has reached the first of its thresholds."""
        for stake in stakes:
            lease, thresholds = self._current.get(stake.counter), stake.budget.thresholds_percent
            spent = 0 if lease is None else lease.spent
            limit = (stake.budget if lease is None else lease.budget).limit_nanodollars
            if thresholds and has_reached(spent, min(thresholds), limit):
                return True
        return False

    def strict_room(self, stakes: Sequence[Stake]) -> int | None:
        """What the strict budgets have room for, as far as is known here; None where none is strict."""
        now = self._clock.monotonic()
        rooms = [
            0 if lease is None else lease.room(now)
            for stake, lease in ((stake, self._current.get(stake.counter)) for stake in stakes)
            if stake.budget.takes_leases and stake.budget.mode == "strict"
        ]
        return min(rooms, default=None)

    def may_hold(self, stakes: Sequence[Stake], amounts: Amounts) -> bool:
        """Whether all budgets may have room for so much once the store is asked. Raises: what `hold` does."""
        now = self._clock.monotonic()
        return all(
            not part.stake.budget.takes_leases or part.need.nanodollars <= part.lease.room(now)
            for part in self._parts(stakes, amounts)
        )

    def held_at_once(self, stakes: Sequence[Stake], amounts: Amounts) -> Held | None:
        """What is held where every lease has room, as nearly always; None: nothing is, look more closely."""
        now = self._clock.monotonic()
        parts: list[tuple[Lease, CallHold]] = []
        for stake in stakes:
            lease = self._current.get(stake.counter)
            if lease is None:
                return None
            need = lease.need(amounts.expected_nanodollars, amounts.upper_bound_nanodollars)
            if need is None or not lease.admits(need, now):
                return None
            parts.append((lease, need))
        return self._taken(parts, now)

    async def hold(self, stakes: Sequence[Stake], amounts: Amounts) -> Held:
        """Have every budget keep back what the call needs of it, or none.

        Raises: BudgetExceeded, BudgetUnverifiable, Unbounded: nothing is held.
        """
        if not stakes:
            return NOTHING_HELD
        deadline = 0.0
        while True:
            parts = self._parts(stakes, amounts)
            now = self._clock.monotonic()
            short = [part for part in parts if not part.lease.admits(part.need, now)]
            if not short:
                return self._taken(_needs(parts), now, unadmitted=len(parts) < len(stakes))
            deadline = deadline or asyncio.get_running_loop().time() + self._wait_seconds
            if not await self._may_ask_again(short[0], deadline):
                return self._taken_at_last(stakes, amounts)

    def settle(self, held: Held, cost_nanodollars: int) -> tuple[Charge, ...]:
        """The call cost so much: its charges, one a budget; what was held beyond is free again."""
        charges = []
        now = self._clock.monotonic()
        for lease, need in held.parts:
            lease.settle(need, cost_nanodollars)
            self._active[lease] = now
            charges.append(_charge(lease, cost_nanodollars))
        return tuple(charges) if cost_nanodollars else ()

    def release(self, held: Held) -> None:
        """The call cost nothing: all that was held is free again."""
        for lease, need in held.parts:
            lease.release(need)
            self._note_activity(lease)

    def charge(self, stakes: Sequence[Stake], cost_nanodollars: int) -> tuple[Charge, ...]:
        """The charges of what was spent without being held, and may be told of again (a batch's item).

        The store counts them, once, with the event; this instance hears of them when the lease is closed.
        """
        leases = [lease for lease in map(self._lease, stakes) if lease is not None]
        for lease in leases:
            self._note_activity(lease)
        return tuple(_charge(lease, cost_nanodollars) for lease in leases)

    # What the instance asks

    def on_policy(self, policy: Policy) -> None:
        """The account's policy is this one now: limits act at once, what budgets lost is handed back."""
        budgets = {budget.budget_id: budget for budget in policy.budgets if budget.enabled}
        self._budgets.put(policy.account_id, budgets)
        for lease in list(self._leases.get(policy.account_id, ())):
            budget = budgets.get(lease.key.budget_id)
            if budget is None:
                self._retire(lease)
            elif budget != lease.budget:
                lease.govern(budget)
            self._attend(lease)

    async def run(self) -> None:
        """Tell the store what leases have to say, for as long as the process lives."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - a fault with one lease must not let all others expire
                self._on_fault(error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Begin what is due of the leases in use, and of some of the others."""
        now, at = self._clock.monotonic(), self._clock.now()
        for place, lease in enumerate(self._looked_at(now)):
            if at >= lease.key.period.ends_at:
                self._retire(lease)
            self._attend(lease, calls_wait=False)
            if place % LOOKED_AT_ONCE == LOOKED_AT_ONCE - 1:
                await asyncio.sleep(0)

    @property
    def is_syncing(self) -> bool:
        """Whether the store is being told anything."""
        return bool(self._syncing)

    async def synced(self) -> None:
        """Return when what is being told to the store now has been."""
        if self._syncing:
            await asyncio.wait(list(self._syncing.values()))

    async def close(self, seconds: float) -> None:
        """Hand everything back, for at most so long; whatever stays open is left to the reaper."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(seconds, CLOSING_SECONDS_MAX)
        for lease in self._all():
            self._retire(lease)
        while (left := deadline - loop.time()) > 0 and self._count:
            for lease in self._all():
                self._attend(lease)
            running = list(self._syncing.values())
            if running:
                await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(min(left, RETRY_PAUSE_SECONDS))
        for task in self._syncing.values():
            task.cancel()

    # Counters and their leases

    def _counter(self, account_id: str, budget: Budget, subject: Subject, at: datetime) -> CounterKey:
        period = self._period(budget, at)
        value = budget.value_of(subject)
        if budget.each is not None:
            values = self._values.get((account_id, budget.budget_id, period.text))
            if values is not None and values.are_full and value not in values.own:
                return counter_key(account_id, budget, period, is_shared=True)
        return counter_key(account_id, budget, period, value)

    def _is_settled(self, stake: Stake) -> bool:
        """Whether the stake's counter is the one for calls like this until its period ends."""
        budget, key = stake.budget, stake.counter
        if budget.each is None or key.is_shared:
            return True
        values = self._values.get((key.account_id, key.budget_id, key.period.text))
        return values is not None and key.value in values.own

    def _period(self, budget: Budget, at: datetime) -> Period:
        kind_and_zone = (budget.period, budget.timezone)
        period = self._periods.get(kind_and_zone)
        if period is None or not period.holds(at):
            period = period_of(budget.period, budget.timezone, at)
            if len(self._periods) >= ZONES_MAX:
                self._periods.clear()
            self._periods[kind_and_zone] = period
        return period

    def _lease(self, stake: Stake) -> Lease | None:
        """The lease that the stake's calls are admitted against; None where no more fit into memory."""
        lease = self._current.get(stake.counter)
        if lease is None and self._has_room(stake.counter.account_id):
            lease = self._begun(stake)
        return lease

    def _has_room(self, account_id: str) -> bool:
        most = LEASES_OF_ACCOUNT_MAX if self._count < LEASES_MAX else LEASES_OF_ACCOUNT_MIN
        return len(self._leases.get(account_id, ())) < most

    def _begun(self, stake: Stake) -> Lease:
        key = stake.counter
        self._numbers += 1
        name = LeaseName(key.counter_id, self._instance, self._numbers)
        in_force = self._budgets.get(key.account_id) or {}
        budget = in_force.get(key.budget_id, stake.budget)  # the call may have come before a change
        lease = self._current[key] = Lease(key, budget, name, self._clock.monotonic())
        self._leases.setdefault(key.account_id, {})[lease] = None
        self._count += 1
        if stake.budget.each is not None and not key.is_shared:
            group = (key.account_id, key.budget_id, key.period.text)
            self._values.setdefault(group, _Values(key.period)).own.add(key.value)
        return lease

    def _retire(self, lease: Lease) -> None:
        lease.retire()
        if self._current.get(lease.key) is lease:
            del self._current[lease.key]

    def _forget(self, lease: Lease) -> None:
        self._retire(lease)
        self._active.pop(lease, None)
        of_account = self._leases.get(lease.key.account_id, {})
        if lease in of_account:
            del of_account[lease]
            self._count -= 1
        if not of_account:
            self._leases.pop(lease.key.account_id, None)

    def _all(self) -> list[Lease]:
        return [lease for of_account in self._leases.values() for lease in of_account]

    def _looked_at(self, now: float) -> list[Lease]:
        quiet = [lease for lease, at in self._active.items() if now - at >= ACTIVE_SECONDS]
        for lease in quiet:
            del self._active[lease]
        if not self._round:
            self._round.extend(self._all())
            self._forget_old_values()
        some = min(len(self._round), self._count // LOOKS_A_ROUND + 1)
        return [*self._active, *(self._round.popleft() for _ in range(some))]

    def _forget_old_values(self) -> None:
        at = self._clock.now()
        for group in [group for group, values in self._values.items() if at >= values.period.ends_at]:
            del self._values[group]

    def _note_activity(self, lease: Lease) -> None:
        self._active[lease] = self._clock.monotonic()

    # What calls hold

    def _parts(self, stakes: Sequence[Stake], amounts: Amounts) -> list["_Part"]:
        """A part a stake, but for warnings that find no memory: they refuse nothing, and miss the call."""
        parts = [self._part(stake, amounts) for stake in stakes]
        return [part for part in parts if part is not None]

    def _part(self, stake: Stake, amounts: Amounts) -> "_Part | None":
        lease = self._lease(stake)
        if lease is None:
            if not stake.budget.takes_leases:
                return None
            raise BudgetUnverifiable(_told_of(stake, self._standing(stake)))
        need = lease.need(amounts.expected_nanodollars, amounts.upper_bound_nanodollars)
        if need is None:
            raise Unbounded(_told_of(stake, lease.standing))
        return _Part(stake, lease, need)

    def _taken(
        self, parts: Sequence[tuple[Lease, CallHold]], now: float, *, unadmitted: bool = False
    ) -> Held:
        holds = []
        for lease, need in parts:
            key = lease.key
            lease.hold(need, now)
            self._active[lease] = now
            holds.append(Hold(key.budget_id, key.period.text, lease.lease_id, need.nanodollars))
        return Held(tuple(parts), tuple(holds), unadmitted)

    def _taken_at_last(self, stakes: Sequence[Stake], amounts: Amounts) -> Held:
        """Decide, whatever is known by now. Raises: BudgetExceeded, BudgetUnverifiable."""
        parts = self._parts(stakes, amounts)
        now = self._clock.monotonic()
        short = [part for part in parts if not part.lease.admits(part.need, now)]
        for part in short:
            lease = part.lease
            standing, needed = _told_of(part.stake, lease.standing), part.need.nanodollars
            if lease.is_known and not lease.is_only_held(part.need):
                raise BudgetExceeded(standing, is_only_held=False, needed_nanodollars=needed)
            if self._is_answered(lease):
                raise BudgetExceeded(standing, is_only_held=True, needed_nanodollars=needed)
            if lease.budget.mode == "strict":
                raise BudgetUnverifiable(standing)
        return self._taken(_needs(parts), now, unadmitted=bool(short) or len(parts) < len(stakes))

    def _is_answered(self, lease: Lease) -> bool:
        return lease.is_known and not (self._is_silent or lease.is_silent)

    async def _may_ask_again(self, part: "_Part", deadline: float) -> bool:
        """Have the store asked for room; whether it may be there now, or can be asked for once more."""
        lease, loop = part.lease, asyncio.get_running_loop()
        lease.want(part.need)
        if self._is_silent or (left := deadline - loop.time()) <= 0:
            self._attend(lease, calls_wait=False)  # nobody waits for it, and the next call may know more
            return False
        telling = self._told(lease)
        if not await self._waited_for(telling, lease, left):
            return False
        if lease.is_silent:  # not for long, it seems: others' syncs are answered
            await asyncio.sleep(RETRY_PAUSE_SECONDS)
            return True
        return _asked(telling) or lease.admits(part.need, self._clock.monotonic())

    async def _waited_for(self, telling: asyncio.Task[bool], lease: Lease, seconds: float) -> bool:
        self._waiting[lease] += 1
        begun = asyncio.get_running_loop().time()
        try:
            done, _ = await asyncio.wait((telling,), timeout=seconds)
            if not done and seconds > self._wait_seconds / 2:
                self._note_wait(begun)
        finally:
            self._waiting[lease] -= 1
            if not self._waiting[lease]:
                del self._waiting[lease]
        return bool(done)

    def _standing(self, stake: Stake) -> Standing:
        lease = self._current.get(stake.counter)
        return standing_from(stake.budget, 0, 0) if lease is None else lease.standing

    # What the store is told

    def _told(self, lease: Lease) -> asyncio.Task[bool]:
        """The sync under way, or one that begins once all who wait by now have said what they want."""
        return self._syncing.get(lease) or self._begin(lease, None)

    def _attend(self, lease: Lease, *, calls_wait: bool = True) -> None:
        """Begin what the lease has to say, if anything."""
        if lease in self._syncing or not (calls_wait or self._may_begin(lease)):
            return
        sync = self._next_sync(lease)
        if sync is not None:
            self._begin(lease, sync)
        elif lease.is_done:
            self._forget(lease)

    def _may_begin(self, lease: Lease) -> bool:
        """Whether the store may be told though no call waits: not many at once, nor many of an account."""
        if self._is_silent:
            return not self._syncing
        return self._at_store < SYNCS_AT_ONCE and self._telling[lease.key.account_id] < SYNCS_OF_ACCOUNT

    def _begin(self, lease: Lease, sync: Sync | None) -> asyncio.Task[bool]:
        self._telling[lease.key.account_id] += 1
        task = self._syncing[lease] = asyncio.create_task(self._sync(lease, sync))
        task.add_done_callback(lambda done: self._has_ended(lease, done))
        return task

    def _has_ended(self, lease: Lease, done: asyncio.Task[bool]) -> None:
        del self._syncing[lease]
        account_id = lease.key.account_id
        self._telling[account_id] -= 1
        if not self._telling[account_id]:
            del self._telling[account_id]
        if not done.cancelled() and (error := done.exception()) is not None:
            self._on_fault(error)
        elif lease.is_done:
            self._forget(lease)
        elif _asked(done) and not lease.is_silent and not self._waiting[lease]:
            self._attend(lease)  # what was too much goes back at once, but for what calls have waited for

    def _next_sync(self, lease: Lease) -> Sync | None:
        sync = lease.next_sync(self._clock.monotonic())
        if sync is not None and sync.kind == "close":
            self._retire(lease)  # calls that come now have another one
        return sync

    async def _sync(self, lease: Lease, sync: Sync | None) -> bool:
        """Tell the store what the lease has to say, in its account's turn; whether that was anything."""
        turn = self._turns.setdefault(lease.key.account_id, asyncio.Semaphore(SYNCS_OF_ACCOUNT))
        async with turn:
            sync = sync or self._next_sync(lease)
            if sync is None:
                return False
            self._at_store += 1
            try:
                await self._tell(lease, sync)
            finally:
                self._at_store -= 1
        return True

    async def _tell(self, lease: Lease, sync: Sync) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            told = await loop.run_in_executor(self._threads, self._carried_out, sync)
        except BaseException as error:
            # Whether it was stored is not known: nothing is granted by it, and the lease says it anew later.
            lease.unknown(sync, self._clock.monotonic())
            if isinstance(error, StoreUnavailable):
                self._note_silence(loop.time() - begun)
            elif not isinstance(error, RevisionChanged):
                raise
        else:
            lease.applied(sync, told, self._clock.monotonic())
            self._failures, self._is_silent = 0, False
            self._answered_at = loop.time()

    def _note_wait(self, begun: float) -> None:
        """A call has waited in vain: that is the store's silence, unless it answered others meanwhile."""
        if self._answered_at < begun:
            self._is_silent = True

    def _note_silence(self, seconds: float) -> None:
        self.syncs_unanswered += 1
        self._failures += 1
        if self._failures >= FAILURES_OF_SILENCE or seconds >= SECONDS_OF_SILENCE:
            self._is_silent = True

    def _carried_out(self, sync: Sync) -> Told:
        return carry_out(self._store, sync, self._clock.now(), timeout_seconds=SYNC_SECONDS)


class _Part(msgspec.Struct, frozen=True):
    """What one of a call's budgets is to keep back, and where."""

    stake: Stake
    lease: Lease
    need: CallHold


def _needs(parts: Sequence[_Part]) -> list[tuple[Lease, CallHold]]:
    return [(part.lease, part.need) for part in parts]


class _Known(msgspec.Struct, frozen=True):
    """The stakes of calls like one another, while the account has these budgets, and until a period ends."""

    budgets: tuple[Budget, ...]
    since: datetime
    until: datetime
    stakes: tuple[Stake, ...]


class _Values:
    """The values with a limit of their own, of one budget in one period."""

    __slots__ = ("own", "period")

    def __init__(self, period: Period) -> None:
        self.period = period
        self.own: set[str] = set()

    @property
    def are_full(self) -> bool:
        return len(self.own) >= EACH_VALUES_MAX


def _charge(lease: Lease, nanodollars: int) -> Charge:
    key = lease.key
    return Charge(key.budget_id, key.period.text, lease.lease_id, nanodollars)


def _asked(telling: asyncio.Task[bool]) -> bool:
    return not telling.cancelled() and telling.exception() is None and telling.result()


def _is_stricter(standing: Standing, other: Standing) -> bool:
    if standing.limit_nanodollars <= 0 or other.limit_nanodollars <= 0:
        return other.limit_nanodollars > 0
    return (
        standing.spent_nanodollars * other.limit_nanodollars
        > other.spent_nanodollars * standing.limit_nanodollars
    )


def _told_of(stake: Stake, standing: Standing) -> StakeStanding:
    budget = stake.budget
    return StakeStanding(
        budget_id=budget.budget_id,
        name=budget.name,
        action=budget.action,
        mode=budget.mode,
        period=stake.counter.period.text,
        value=stake.counter.value,
        limit_nanodollars=standing.limit_nanodollars,
        spent_nanodollars=standing.spent_nanodollars,
        held_nanodollars=standing.held_nanodollars,
        percent=standing.percent,
        resets_at=stake.counter.period.ends_at,
    )
