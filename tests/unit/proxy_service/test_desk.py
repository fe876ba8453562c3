import asyncio
import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from metering.accounts import Policy
from metering.budgets import Budget, Scope
from metering.leases import CLOSING_SECONDS, FIRST_SLICES
from metering.stores import STORE_TIMEOUT_SECONDS, DocumentStore, Write, WriteResult
from proxy_service import desk as desk_module
from proxy_service.desk import FAILURES_OF_SILENCE
from proxy_service.stakes import Amounts, BudgetExceeded, BudgetUnverifiable, Held, Unbounded
from tests.builders import make_policy
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown
from tests.doubles.unreliable_store import Fate, UnreliableStore
from tests.stores.spending import CENT, Till, make_budget, totals

CALL = Amounts(CENT, 2 * CENT)
NOTHING: Fate = "not_applied"


class StoreThatFaults(StoreDown):
    """Refuses what it is asked as no store should."""

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        self.calls += 1
        raise ValueError("this commit makes no sense")


class StoreThatHoldsUp:
    """Answers what is written for one account only once `let_go` is called."""

    def __init__(self, inner: DocumentStore, account_id: str) -> None:
        self._inner = inner
        self._account_id = account_id
        self._may_go = threading.Event()

    def let_go(self) -> None:
        self._may_go.set()

    def commit(
        self, writes: Sequence[Write], *, timeout_seconds: float = STORE_TIMEOUT_SECONDS
    ) -> list[WriteResult]:
        if any(self._account_id in write.path for write in writes):
            self._may_go.wait(timeout_seconds)
        return self._inner.commit(writes, timeout_seconds=timeout_seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def governed(**changes: object) -> Policy:
    """A policy of one budget."""
    return make_policy(budgets=(make_budget(**changes),))


async def silenced(till: Till, policy: Policy) -> None:
    """Have the desk find out that its store is silent."""
    for _ in range(FAILURES_OF_SILENCE):
        await till.desk.ready(till.stakes(policy))
        till.clock.advance(1.1)


async def spent(till: Till, policy: Policy, cost: int) -> None:
    """Have a call cost so much."""
    held = await till.desk.hold(till.stakes(policy), Amounts(cost, cost))
    till.settle(held, cost)


def test_while_the_store_is_silent_a_normal_budget_serves_and_says_so() -> None:
    async def hold() -> None:
        async with Till(StoreDown(), ManualClock(), wait_seconds=0.02) as till:
            held = await till.desk.hold(till.stakes(governed(mode="normal")), CALL)
            assert held.unadmitted
            (charge,) = till.settle(held, 3)
            assert (charge.lease_id, charge.nanodollars) == (held.holds[0].lease_id, 3)

    asyncio.run(hold())


def test_while_the_store_is_silent_a_strict_budget_refuses() -> None:
    async def hold() -> None:
        async with Till(StoreDown(), ManualClock(), wait_seconds=0.02) as till:
            with pytest.raises(BudgetUnverifiable) as refused:
                await till.desk.hold(till.stakes(governed()), CALL)
            assert refused.value.standing.name == "everything"

    asyncio.run(hold())


def test_a_budget_that_only_warns_is_never_in_the_way() -> None:
    async def hold() -> None:
        async with Till(StoreDown(), ManualClock(), wait_seconds=0.02) as till:
            policy = governed(action="warn", limit_nanodollars=0)
            held = await till.desk.hold(till.stakes(policy), Amounts(CENT, None))
            assert not held.unadmitted
            assert len(till.settle(held, CENT)) == 1

    asyncio.run(hold())


def test_nobody_waits_for_a_store_that_was_silent_just_now() -> None:
    async def hold() -> None:
        async with Till(StoreDown(), ManualClock()) as till:
            await silenced(till, governed(mode="normal"))
            for number in range(100):
                policy = governed(mode="normal", budget_id=f"bud_{number:032x}")
                await till.desk.ready(till.stakes(policy))
                assert (await till.desk.hold(till.stakes(policy), CALL)).unadmitted

    asyncio.run(asyncio.wait_for(hold(), 10))


def test_what_was_served_in_silence_is_told_when_the_store_is_back(sqlite_store: DocumentStore) -> None:
    clock = ManualClock()
    store = UnreliableStore(sqlite_store, [NOTHING] * FAILURES_OF_SILENCE)
    policy = governed(mode="normal", limit_nanodollars=2 * CENT)

    async def spend() -> None:
        async with Till(store, clock) as till:
            await silenced(till, policy)
            for _ in range(5):
                till.settle(await till.desk.hold(till.stakes(policy), CALL), CENT)
            for _ in range(2):
                clock.advance(1.1)
                await till.looks()
            counter = totals(sqlite_store, till.stakes(policy)[0])
            assert counter.settled == counter.reserved == 5 * CENT
            with pytest.raises(BudgetExceeded) as refused:
                await till.desk.hold(till.stakes(policy), CALL)
            assert not refused.value.is_only_held

    asyncio.run(spend())


def test_a_limit_that_was_reached_stays_reached_in_silence(sqlite_store: DocumentStore) -> None:
    clock = ManualClock()
    store = UnreliableStore(sqlite_store, ["applied", *([NOTHING] * 50)])
    policy = governed(mode="normal", limit_nanodollars=CENT)

    async def spend() -> None:
        async with Till(store, clock, wait_seconds=0.5) as till:
            await spent(till, policy, CENT)
            clock.advance(1.1)
            await till.looks()
            with pytest.raises(BudgetExceeded):
                await till.desk.hold(till.stakes(policy), CALL)

    asyncio.run(spend())


def test_a_strict_budget_serves_what_it_has_leased_in_silence(sqlite_store: DocumentStore) -> None:
    clock = ManualClock()
    store = UnreliableStore(sqlite_store, ["applied", *([NOTHING] * 50)])
    policy = governed(limit_nanodollars=10 * CENT * FIRST_SLICES)

    async def spend() -> None:
        async with Till(store, clock, wait_seconds=0.5) as till:
            for _ in range(5):
                await till.desk.hold(till.stakes(policy), CALL)
            with pytest.raises(BudgetUnverifiable):
                await till.desk.hold(till.stakes(policy), CALL)

    asyncio.run(spend())


def test_a_call_that_nothing_bounds_is_refused_by_a_strict_budget_only(sqlite_store: DocumentStore) -> None:
    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            with pytest.raises(Unbounded):
                await till.desk.hold(till.stakes(governed()), Amounts(CENT, None))
            policy = governed(mode="normal", budget_id=f"bud_{2:032x}")
            assert isinstance(await till.desk.hold(till.stakes(policy), Amounts(CENT, None)), Held)

    asyncio.run(hold())


@pytest.mark.parametrize(("cost", "threshold", "is_reached"), [(6999, 70, False), (7000, 70, True)])
def test_a_percentage_is_reached_to_the_nanodollar(
    sqlite_store: DocumentStore, cost: int, threshold: int, is_reached: bool
) -> None:
    policy = governed(limit_nanodollars=10_000)

    async def spend() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            await spent(till, policy, cost)
            stakes = till.stakes(policy)
            assert till.desk.percent_reached(stakes, threshold) == is_reached
            standing = till.desk.strictest(stakes)
            assert standing is not None
            assert standing.percent == cost // 100

    asyncio.run(spend())


def test_the_strictest_budget_is_the_one_of_which_most_is_spent(sqlite_store: DocumentStore) -> None:
    small: Budget = make_budget(budget_id="small", limit_nanodollars=1_000)
    policy = make_policy(budgets=(make_budget(limit_nanodollars=1_000_000), small))

    async def spend() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            await spent(till, policy, 500)
            standing = till.desk.strictest(till.stakes(policy))
            assert standing is not None
            assert (standing.budget_id, standing.percent) == ("small", 50)
            nothing = make_policy(budgets=(small, make_budget(budget_id="nothing", limit_nanodollars=0)))
            strictest = till.desk.strictest(till.stakes(nothing))
            assert strictest is not None
            assert (strictest.budget_id, strictest.percent) == ("nothing", 100)

    asyncio.run(spend())


def test_only_budgets_that_cover_the_call_are_at_stake(sqlite_store: DocumentStore) -> None:
    policy = make_policy(
        budgets=(make_budget(scope=Scope(team="search")), make_budget(budget_id="off", enabled=False))
    )

    async def look() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            assert till.stakes(policy, team="chat") == ()
            assert till.desk.strictest(()) is None
            assert not till.desk.percent_reached((), 0)
            assert await till.desk.hold((), CALL) == Held()

    asyncio.run(look())


def test_a_call_from_before_a_change_does_not_bring_the_old_limit_back(sqlite_store: DocumentStore) -> None:
    old, new = governed(limit_nanodollars=100 * CENT), governed(limit_nanodollars=CENT)

    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            till.desk.on_policy(new)
            with pytest.raises(BudgetExceeded) as refused:
                await till.desk.hold(till.stakes(old), CALL)
            assert refused.value.standing.limit_nanodollars == CENT

    asyncio.run(hold())


def test_a_raised_limit_admits_at_once(sqlite_store: DocumentStore) -> None:
    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            policy = governed(limit_nanodollars=CENT)
            with pytest.raises(BudgetExceeded):
                await till.desk.hold(till.stakes(policy), CALL)
            raised = governed(limit_nanodollars=2 * CENT)
            till.desk.on_policy(raised)
            assert isinstance(await till.desk.hold(till.stakes(raised), CALL), Held)

    asyncio.run(hold())


def test_a_call_that_is_too_dear_keeps_no_cheaper_one_out(sqlite_store: DocumentStore) -> None:
    policy = governed(limit_nanodollars=4 * CENT)

    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            with pytest.raises(BudgetExceeded) as refused:
                await till.desk.hold(till.stakes(policy), Amounts(5 * CENT, 5 * CENT))
            assert not refused.value.is_only_held
            assert isinstance(await till.desk.hold(till.stakes(policy), CALL), Held)

    asyncio.run(hold())


def test_what_is_released_is_free_again(sqlite_store: DocumentStore) -> None:
    policy = governed(limit_nanodollars=2 * CENT)

    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            for _ in range(3):
                held = await till.desk.hold(till.stakes(policy), CALL)
                with pytest.raises(BudgetExceeded) as refused:
                    await till.desk.hold(till.stakes(policy), CALL)
                assert refused.value.is_only_held
                till.desk.release(held)

    asyncio.run(hold())


def test_a_call_that_is_given_up_while_it_waits_holds_nothing(sqlite_store: DocumentStore) -> None:
    policy = governed(limit_nanodollars=2 * CENT)

    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            waiting = asyncio.create_task(till.desk.hold(till.stakes(policy), CALL))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert isinstance(await till.desk.hold(till.stakes(policy), CALL), Held)

    asyncio.run(hold())


def test_a_fault_with_one_lease_is_told_and_stops_no_other() -> None:
    async def hold() -> None:
        async with Till(StoreThatFaults(), ManualClock(), wait_seconds=0.02) as till:
            with pytest.raises(BudgetUnverifiable):
                await till.desk.hold(till.stakes(governed()), CALL)
            assert [type(fault) for fault in till.faults] == [ValueError]
            till.faults.clear()

    asyncio.run(hold())


def test_counters_beyond_what_fits_into_memory_are_not_verified(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "LEASES_OF_ACCOUNT_MAX", 1)

    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            await till.desk.hold(till.stakes(governed()), CALL)
            policy = governed(budget_id=f"bud_{2:032x}")
            await till.desk.ready(till.stakes(policy))
            with pytest.raises(BudgetUnverifiable):
                await till.desk.hold(till.stakes(policy), CALL)

    asyncio.run(hold())


def test_an_account_with_many_counters_keeps_no_other_out(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "LEASES_MAX", 1)
    monkeypatch.setattr(desk_module, "LEASES_OF_ACCOUNT_MIN", 1)

    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            await till.desk.hold(till.stakes(governed()), CALL)
            with pytest.raises(BudgetUnverifiable):
                await till.desk.hold(till.stakes(governed(budget_id="bud_2")), CALL)
            other = Policy(account_id=f"acct_{2:032x}", budgets=(make_budget(),))
            assert isinstance(await till.desk.hold(till.stakes(other), CALL), Held)

    asyncio.run(hold())


def test_a_warning_that_finds_no_memory_refuses_no_call(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "LEASES_OF_ACCOUNT_MAX", 1)
    budgets = (make_budget(), make_budget(budget_id="bud_2", action="warn"))

    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            held = await till.desk.hold(till.stakes(make_policy(budgets=budgets)), CALL)
            assert held.unadmitted
            assert [charge.budget_id for charge in till.settle(held, 1)] == [budgets[0].budget_id]

    asyncio.run(hold())


def test_budgets_that_are_gone_make_room_for_others(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "LEASES_MAX", 1)
    monkeypatch.setattr(desk_module, "LEASES_OF_ACCOUNT_MIN", 0)
    other = Policy(account_id=f"acct_{2:032x}", budgets=(make_budget(),))

    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            till.desk.release(await till.desk.hold(till.stakes(governed()), CALL))
            with pytest.raises(BudgetUnverifiable):
                await till.desk.hold(till.stakes(other), CALL)
            till.desk.on_policy(make_policy())
            await till.looks()
            assert isinstance(await till.desk.hold(till.stakes(other), CALL), Held)

    asyncio.run(hold())


def test_a_call_that_cost_nothing_charges_nothing(sqlite_store: DocumentStore) -> None:
    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            held = await till.desk.hold(till.stakes(governed()), CALL)
            assert till.settle(held, 0) == ()

    asyncio.run(hold())


@pytest.mark.parametrize("change", [{"enabled": False}, {"budget_id": "bud_2"}])
def test_a_budget_that_is_switched_off_or_gone_gets_everything_back(
    sqlite_store: DocumentStore, change: dict[str, Any]
) -> None:
    policy = governed()

    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            till.desk.release(await till.desk.hold(till.stakes(policy), CALL))
            till.desk.on_policy(governed(**change))
            await till.looks()
            counter = totals(sqlite_store, till.stakes(policy)[0])
            assert (counter.reserved, counter.instances) == (0, 0)

    asyncio.run(hold())


@pytest.mark.parametrize(("early", "instances"), [(0.001, 1), (0.0, 0)])
def test_a_period_that_is_over_gets_everything_back_at_its_end(
    sqlite_store: DocumentStore, early: float, instances: int
) -> None:
    clock = ManualClock()
    policy = governed(period="day")

    async def hold() -> None:
        async with Till(sqlite_store, clock) as till:
            stakes = till.stakes(policy)
            clock.advance((stakes[0].counter.period.ends_at - clock.now()).total_seconds() - 1.0)
            till.desk.release(await till.desk.hold(stakes, CALL))
            clock.advance(1.0 - early)
            await till.looks()
            assert totals(sqlite_store, stakes[0]).instances == instances

    asyncio.run(hold())


def test_values_without_a_limit_of_their_own_share_one_the_untold_value_included(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "EACH_VALUES_MAX", 1)
    policy = governed(each="team")

    async def hold() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            for team in ("own", "second", ""):
                await till.desk.hold(till.stakes(policy, team=team), CALL)
            shared = [till.stakes(policy, team=team)[0].counter.is_shared for team in ("own", "third", "")]
            assert shared == [False, True, True]

    asyncio.run(hold())


def test_what_a_quiet_lease_settles_is_told_at_the_next_look(sqlite_store: DocumentStore) -> None:
    clock = ManualClock()
    policies = [governed(budget_id=f"bud_{number}") for number in range(3)]

    async def spend() -> None:
        async with Till(sqlite_store, clock) as till:
            first, *_ = [await till.desk.hold(till.stakes(policy), CALL) for policy in policies]
            clock.advance(desk_module.ACTIVE_SECONDS)
            await till.looks()  # nobody uses any: of three, one is looked at each time, and the first was
            till.settle(first, CENT)
            await till.looks()
            assert totals(sqlite_store, till.stakes(policies[0])[0]).settled == CENT

    asyncio.run(spend())


def test_a_lease_that_is_being_closed_takes_no_more_calls(sqlite_store: DocumentStore) -> None:
    clock = ManualClock()
    policy = governed(action="warn")

    async def hold() -> None:
        async with Till(sqlite_store, clock) as till:
            first = await till.desk.hold(till.stakes(policy), CALL)
            till.desk.release(first)
            await till.looks()
            clock.advance(CLOSING_SECONDS)
            await till.desk.look()
            second = await till.desk.hold(till.stakes(policy), CALL)
            assert second.holds[0].lease_id != first.holds[0].lease_id
            await till.desk.synced()
            third = await till.desk.hold(till.stakes(policy), CALL)
            assert third.holds[0].lease_id == second.holds[0].lease_id

    asyncio.run(hold())


def test_a_call_that_finds_the_store_silent_has_it_asked_for_the_next(sqlite_store: DocumentStore) -> None:
    clock = ManualClock()
    store = UnreliableStore(sqlite_store, [NOTHING] * FAILURES_OF_SILENCE)

    async def hold() -> None:
        async with Till(store, clock) as till:
            await silenced(till, governed())
            with pytest.raises(BudgetUnverifiable):
                await till.desk.hold(till.stakes(governed()), CALL)
            await till.desk.synced()
            assert isinstance(await till.desk.hold(till.stakes(governed()), CALL), Held)

    asyncio.run(hold())


def test_one_failure_that_took_long_is_silence_and_nobody_asks_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "SECONDS_OF_SILENCE", 0.0)
    store = StoreDown()

    async def ask() -> None:
        async with Till(store, ManualClock()) as till:
            await till.desk.ready(till.stakes(governed()))
            asked = store.calls
            await till.desk.ready(till.stakes(governed(budget_id="bud_2")))
            assert store.calls == asked

    asyncio.run(ask())


def test_once_the_store_answers_again_the_first_call_of_a_budget_waits_for_it(
    sqlite_store: DocumentStore,
) -> None:
    clock = ManualClock()
    store = UnreliableStore(sqlite_store, [NOTHING] * FAILURES_OF_SILENCE)

    async def hold() -> None:
        async with Till(store, clock) as till:
            await silenced(till, governed())
            await till.looks()
            policy = governed(budget_id="bud_2")
            await till.desk.ready(till.stakes(policy))
            assert isinstance(await till.desk.hold(till.stakes(policy), CALL), Held)

    asyncio.run(hold())


def test_failures_between_which_the_store_answers_are_no_silence(sqlite_store: DocumentStore) -> None:
    fates: list[Fate] = [NOTHING, "applied"] * FAILURES_OF_SILENCE
    store = UnreliableStore(sqlite_store, fates)

    async def hold() -> None:
        async with Till(store, ManualClock()) as till:
            for number in range(len(fates)):
                await till.desk.ready(till.stakes(governed(budget_id=f"bud_{number}")))
            policy = governed(budget_id="bud_last")
            await till.desk.ready(till.stakes(policy))
            assert isinstance(await till.desk.hold(till.stakes(policy), CALL), Held)

    asyncio.run(hold())


def test_what_may_only_be_held_elsewhere_is_not_verified_in_silence(sqlite_store: DocumentStore) -> None:
    clock = ManualClock()
    store = UnreliableStore(sqlite_store, ["applied", *([NOTHING] * 50)])
    policy = governed(limit_nanodollars=100 * CENT)

    async def hold() -> None:
        async with Till(store, clock) as till:
            await till.desk.hold(till.stakes(policy), CALL)
            for number in range(FAILURES_OF_SILENCE):
                await till.desk.ready(till.stakes(governed(budget_id=f"bud_{number}")))
            with pytest.raises(BudgetUnverifiable):
                await till.desk.hold(till.stakes(policy), Amounts(50 * CENT, 50 * CENT))

    asyncio.run(hold())


def test_what_was_spent_without_being_held_is_charged_to_each_budget(sqlite_store: DocumentStore) -> None:
    policy = make_policy(budgets=(make_budget(), make_budget(budget_id="bud_2", action="warn")))

    async def charge() -> None:
        async with Till(sqlite_store, ManualClock()) as till:
            charges = till.desk.charge(till.stakes(policy), 7)
            assert [each.nanodollars for each in charges] == [7, 7]
            assert len({each.budget_id for each in charges}) == 2

    asyncio.run(charge())


def test_an_account_that_meets_many_budgets_at_once_makes_no_other_account_wait(
    sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "SYNCS_OF_ACCOUNT", 1)
    greedy = Policy(
        account_id=f"acct_{2:032x}", budgets=tuple(make_budget(budget_id=f"bud_{n}") for n in range(4))
    )
    store = StoreThatHoldsUp(sqlite_store, greedy.account_id)

    async def hold() -> None:
        async with Till(cast(DocumentStore, store), ManualClock(), wait_seconds=0.5) as till:
            waiting = asyncio.create_task(till.desk.hold(till.stakes(greedy), CALL))
            await asyncio.sleep(0)
            first, second = governed(), governed(budget_id=f"bud_{2:032x}")
            assert isinstance(await till.desk.hold(till.stakes(first), CALL), Held)
            with pytest.raises(BudgetUnverifiable):  # it waits in vain, and the store is silent for it alone
                await waiting
            assert isinstance(await till.desk.hold(till.stakes(second), CALL), Held)
            store.let_go()
            await till.desk.synced()

    asyncio.run(hold())
