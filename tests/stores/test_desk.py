"""Two desks over one store: what they let through together, and what both leave behind."""

import asyncio
import contextlib
import itertools
import random
import sys
from datetime import UTC, datetime, timedelta

import pytest

from metering.budgets import EACH_VALUES_MAX, Mode, Scope
from metering.collections import LEASES
from metering.counters import CLOSED
from metering.leases import FIRST_SLICES
from metering.stores import DocumentStore, Query
from proxy_service.stakes import Amounts, BudgetExceeded, BudgetUnverifiable, Held, Stake
from tests.builders import ACCOUNT_ID, make_policy
from tests.doubles.clock import ManualClock
from tests.doubles.unreliable_store import Fate, UnreliableStore
from tests.stores.spending import CENT, Crowd, Till, make_budget, totals

CALL = Amounts(CENT, CENT)
FATES_OF_FIVE: tuple[Fate, ...] = ("applied", "applied", "applied", "applied", "reply_lost")
LOOKS = 80  # enough for leases that nobody uses to be closed


def usual(chance: random.Random) -> int:
    """What a call costs of which a cent is expected, and four at most."""
    return chance.randint(CENT // 2, CENT * 3 // 2)


def dearest(_chance: random.Random) -> int:
    """What the same call costs where it goes as far as it may."""
    return 4 * CENT


async def tried(till: Till, amounts: Amounts = CALL, **changes: object) -> Held | BudgetExceeded:
    """A call's hold, or what it was refused with."""
    policy = make_policy(budgets=(make_budget(**changes),))
    try:
        return await till.desk.hold(till.stakes(policy), amounts)
    except BudgetExceeded as refused:
        return refused


@pytest.mark.battery("B1", "B2")
@pytest.mark.parametrize("mode", ["strict", "normal"])
@pytest.mark.parametrize("calls", [10, 10_000])
def test_two_hundred_callers_of_two_instances_spend_a_budget_and_no_more(
    store: DocumentStore, mode: Mode, calls: int
) -> None:
    clock = ManualClock()
    budget = make_budget(mode=mode, limit_nanodollars=calls * CENT)
    policy = make_policy(budgets=(budget,))

    async def spend() -> None:
        async with Till(store, clock) as one, Till(store, clock) as other:
            crowd = Crowd((one, other), policy, clock, Amounts(CENT, 4 * CENT), usual)
            figures = await crowd.spend()
            await one.leave()
            await other.leave()
            sys.stdout.write(figures.line(f"{store.kind}, {mode}, {calls} calls"))
            counter = totals(store, one.stakes(policy)[0])
            assert counter.settled == counter.reserved == figures.spent
            assert figures.overspent <= 2 * budget.overdraft_nanodollars
            assert figures.limit - figures.spent < 4 * CENT

    asyncio.run(spend())


@pytest.mark.battery("B2")
@pytest.mark.parametrize("mode", ["strict", "normal"])
def test_the_worst_overspend_is_the_overdraft_of_each_instance(
    sqlite_store: DocumentStore, mode: Mode
) -> None:
    clock = ManualClock()
    budget = make_budget(mode=mode, limit_nanodollars=2_000 * CENT)

    async def spend() -> None:
        async with Till(sqlite_store, clock) as one, Till(sqlite_store, clock) as other:
            policy = make_policy(budgets=(budget,))
            crowd = Crowd((one, other), policy, clock, Amounts(CENT, 4 * CENT), dearest)
            figures = await crowd.spend()
            sys.stdout.write(figures.line(f"{mode}, every call as dear as it may be"))
            assert figures.overspent <= 2 * budget.overdraft_nanodollars
            assert (figures.overspent == 0) == (mode == "strict")

    asyncio.run(spend())


@pytest.mark.battery_class("commits whose answers are lost")
def test_however_many_replies_are_lost_a_strict_budget_is_never_overspent(store: DocumentStore) -> None:
    clock = ManualClock()
    chance = random.Random(4711)  # noqa: S311 - chance of a test
    policy = make_policy(budgets=(make_budget(limit_nanodollars=300 * CENT),))
    fates = (chance.choice(FATES_OF_FIVE) for _ in itertools.count())

    async def spend() -> None:
        lossy = UnreliableStore(store, fates)
        async with (
            Till(lossy, clock, wait_seconds=0.02) as one,
            Till(lossy, clock, wait_seconds=0.02) as other,
        ):
            crowd = Crowd((one, other), policy, clock, Amounts(CENT, 4 * CENT), usual, callers=20)
            figures = await crowd.spend()
            for _ in range(LOOKS):
                clock.advance(1.1)
                for till in (one, other):
                    till.store_charges()
                    await till.looks()
            counter = totals(store, one.stakes(policy)[0])
            assert counter.settled == counter.reserved == figures.spent
            assert figures.overspent == 0

    asyncio.run(spend())


@pytest.mark.battery("B1")
def test_first_calls_at_once_share_what_there_is(store: DocumentStore) -> None:
    clock = ManualClock()

    async def hold() -> None:
        async with Till(store, clock) as one, Till(store, clock) as other:
            outcomes = await asyncio.gather(
                *(tried(till, limit_nanodollars=10 * CENT) for till in (one, other) for _ in range(100))
            )
            refused = [outcome for outcome in outcomes if isinstance(outcome, BudgetExceeded)]
            assert len(outcomes) - len(refused) == 10
            assert all(refusal.is_only_held for refusal in refused)

    asyncio.run(hold())


def test_an_idle_slice_near_the_limit_goes_to_whoever_needs_it(store: DocumentStore) -> None:
    clock = ManualClock()

    async def hold() -> None:
        async with Till(store, clock) as one, Till(store, clock) as other:
            held = await tried(one, Amounts(8 * CENT, 8 * CENT), limit_nanodollars=10 * CENT)
            assert isinstance(held, Held)
            assert isinstance(
                await tried(other, Amounts(3 * CENT, 3 * CENT), limit_nanodollars=10 * CENT), BudgetExceeded
            )
            one.settle(held, CENT)
            clock.advance(2.1)
            await one.looks()
            assert isinstance(
                await tried(other, Amounts(9 * CENT, 9 * CENT), limit_nanodollars=10 * CENT), Held
            )

    asyncio.run(hold())


def test_while_a_slice_lasts_no_store_is_asked(store: DocumentStore) -> None:
    clock = ManualClock()
    asked: list[str] = []
    watched = UnreliableStore(store, before=lambda: asked.append("asked"))

    async def hold() -> None:
        async with Till(watched, clock) as till:
            first = await tried(till, limit_nanodollars=100 * CENT * FIRST_SLICES)
            await till.looks()
            asked.clear()
            held = [await tried(till, limit_nanodollars=100 * CENT * FIRST_SLICES) for _ in range(50)]
            assert not asked
            for each in (first, *held):
                assert isinstance(each, Held)
                till.desk.release(each)

    asyncio.run(hold())


def test_a_call_belongs_to_the_month_of_its_admission_however_late_it_ends(store: DocumentStore) -> None:
    clock = ManualClock(datetime(2026, 11, 30, 23, 59, 59, 900_000, tzinfo=UTC))
    policy = make_policy(budgets=(make_budget(),))

    async def spend() -> None:
        async with Till(store, clock) as till:
            november = till.stakes(policy)
            streaming = await till.desk.hold(november, CALL)
            clock.advance(0.2)
            december = till.stakes(policy)
            till.settle(await till.desk.hold(december, CALL), 2)
            await till.looks()
            till.settle(streaming, 3)
            await till.leave()
            assert [hold.period for hold in streaming.holds] == ["2026-11"]
            assert totals(store, november[0]).settled == totals(store, november[0]).reserved == 3
            assert totals(store, december[0]).settled == totals(store, december[0]).reserved == 2

    asyncio.run(spend())


def test_where_one_of_two_budgets_is_full_the_other_holds_nothing(store: DocumentStore) -> None:
    clock = ManualClock()
    budgets = (
        make_budget(),
        make_budget(budget_id=f"bud_{2:032x}", scope=Scope(team="search"), limit_nanodollars=CENT - 1),
    )
    policy = make_policy(budgets=budgets)

    async def hold() -> None:
        async with Till(store, clock) as till:
            with pytest.raises(BudgetExceeded) as refused:
                await till.desk.hold(till.stakes(policy, team="search"), CALL)
            assert refused.value.standing.budget_id == budgets[1].budget_id
            assert not refused.value.is_only_held
            held = await till.desk.hold(till.stakes(policy), Amounts(100 * CENT, 100 * CENT))
            assert len(till.settle(held, CENT)) == 1
            charges = till.settle(await till.desk.hold(till.stakes(policy, team="search"), Amounts(7, 7)), 7)
            assert {charge.budget_id for charge in charges} == {budget.budget_id for budget in budgets}

    asyncio.run(hold())


def test_a_limit_lowered_below_what_is_spent_refuses_at_once_and_gives_back(store: DocumentStore) -> None:
    clock = ManualClock()
    policy = make_policy(budgets=(make_budget(limit_nanodollars=1_000 * CENT),))
    lowered = make_policy(budgets=(make_budget(limit_nanodollars=2 * CENT),))

    async def spend() -> None:
        async with Till(store, clock) as one, Till(store, clock) as other:
            for till in (one, other):
                till.settle(await till.desk.hold(till.stakes(policy), CALL), 2 * CENT)
                till.desk.on_policy(lowered)
                with pytest.raises(BudgetExceeded):
                    await till.desk.hold(till.stakes(lowered), CALL)
                await till.looks()
                clock.advance(2.1)
                await till.looks()
            counter = totals(store, one.stakes(lowered)[0])
            assert counter.reserved == counter.settled == 4 * CENT
            standing = other.desk.strictest(other.stakes(lowered))
            assert standing is not None
            assert (standing.spent_nanodollars, standing.percent) == (4 * CENT, 200)

    asyncio.run(spend())


def test_a_budget_that_is_gone_keeps_nothing(store: DocumentStore) -> None:
    clock = ManualClock()
    policy = make_policy(budgets=(make_budget(),))

    async def spend() -> None:
        async with Till(store, clock) as till:
            stakes = till.stakes(policy)
            till.settle(await till.desk.hold(stakes, CALL), CENT)
            till.store_charges()
            till.desk.on_policy(make_policy())
            await till.looks()
            assert totals(store, stakes[0]).reserved == CENT
            assert not till.desk.accounts

    asyncio.run(spend())


def test_each_of_a_thousand_values_has_a_limit_and_all_others_share_one(sqlite_store: DocumentStore) -> None:
    clock = ManualClock()
    policy = make_policy(budgets=(make_budget(each="team", limit_nanodollars=CENT),))

    async def hold() -> None:
        async with Till(sqlite_store, clock) as till:
            for number in range(EACH_VALUES_MAX):
                await till.desk.hold(till.stakes(policy, team=f"team-{number}"), CALL)
            with pytest.raises(BudgetExceeded):
                await till.desk.hold(till.stakes(policy, team="team-7"), CALL)
            await till.desk.hold(till.stakes(policy, team="one more"), CALL)
            with pytest.raises(BudgetExceeded):
                await till.desk.hold(till.stakes(policy, team="yet another"), CALL)

    asyncio.run(hold())


def test_a_stopped_instance_leaves_what_it_spent_and_nothing_else(store: DocumentStore) -> None:
    clock = ManualClock()
    policy = make_policy(budgets=(make_budget(), make_budget(budget_id=f"bud_{2:032x}", action="warn")))

    async def spend() -> None:
        async with Till(store, clock) as till:
            stakes = till.stakes(policy)
            till.settle(await till.desk.hold(stakes, CALL), 5)
            await till.leave()
            for stake in stakes:
                counter = totals(store, stake)
                assert (counter.reserved, counter.settled, counter.instances) == (5, 5, 0)

    asyncio.run(spend())
    found = store.query(Query(collection=LEASES, equal={"account_id": ACCOUNT_ID}))
    assert [lease.fields["state"] for lease in found] == [CLOSED, CLOSED]


def test_a_take_whose_reply_is_lost_grants_nothing_and_is_found_again(store: DocumentStore) -> None:
    clock = ManualClock()
    policy = make_policy(budgets=(make_budget(limit_nanodollars=10 * CENT),))
    lossy = UnreliableStore(store, ["reply_lost"])

    async def spend() -> None:
        async with Till(lossy, clock, wait_seconds=0.05) as one, Till(store, clock) as other:
            stakes = one.stakes(policy)
            with pytest.raises(BudgetUnverifiable):
                await one.desk.hold(stakes, CALL)
            await held_by_who_comes_again(one, stakes, clock)
            await one.looks()
            reserved = totals(store, stakes[0]).reserved
            await other.desk.hold(other.stakes(policy), Amounts(1, 10 * CENT - reserved))
            with pytest.raises(BudgetExceeded):
                await other.desk.hold(other.stakes(policy), Amounts(1, 1))
            assert totals(store, stakes[0]).reserved == 10 * CENT

    asyncio.run(spend())


async def held_by_who_comes_again(till: Till, stakes: tuple[Stake, ...], clock: ManualClock) -> Held:
    """What is held of a call that is tried anew each second, as whoever could not be told is asked to."""
    for _ in range(LOOKS):
        clock.advance(1.1)
        with contextlib.suppress(BudgetUnverifiable):
            return await till.desk.hold(stakes, CALL)
        await till.desk.synced()
    raise AssertionError("the store never answered in time")


def test_an_owner_that_was_long_cut_off_admits_nothing_from_its_lease(store: DocumentStore) -> None:
    clock = ManualClock()
    policy = make_policy(budgets=(make_budget(limit_nanodollars=2 * CENT * FIRST_SLICES),))
    nothing: Fate = "not_applied"
    fates: list[Fate] = ["applied", *([nothing] * 100)]
    cut_off = UnreliableStore(store, fates)

    async def spend() -> None:
        async with Till(cut_off, clock, wait_seconds=1.0) as till:
            stakes = till.stakes(policy)
            await till.desk.hold(stakes, CALL)
            clock.advance(49)
            await till.desk.hold(stakes, Amounts(1, 1))
            clock.advance(2)
            with pytest.raises(BudgetUnverifiable):
                await till.desk.hold(stakes, Amounts(1, 1))

    asyncio.run(spend())


def test_a_period_of_a_zone_ends_at_its_own_midnight(store: DocumentStore) -> None:
    clock = ManualClock(datetime(2026, 11, 21, 18, 29, 59, tzinfo=UTC))
    policy = make_policy(budgets=(make_budget(period="day", timezone="Asia/Kolkata"),))

    async def spend() -> None:
        async with Till(store, clock) as till:
            (before,) = till.stakes(policy)
            clock.advance(1)
            (after,) = till.stakes(policy)
            assert before.counter.period.text == "2026-11-21@Asia/Kolkata"
            assert after.counter.period.starts_at == clock.now() == before.counter.period.ends_at
            assert after.counter.period.ends_at - clock.now() == timedelta(days=1)
            assert before.counter.counter_id != after.counter.counter_id

    asyncio.run(spend())
