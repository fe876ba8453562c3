"""Leases against a plain ledger: any order of any steps, with any commit lost, late, or done unheard."""

import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from metering.budgets import Action, Budget, Mode
from tests.doubles.unreliable_store import FATES, Fate
from tests.unit.metering.lease_world import World

LIMIT = 1_000
STEPS = 10_000

places = st.integers(0, 2)
numbers = st.integers(0, 20)
fates = st.sampled_from(FATES)
bounds = st.integers(1, 120)


def make_budget(action: Action = "block", mode: Mode = "strict", limit: int = LIMIT) -> Budget:
    return Budget(budget_id="budget_1", limit_nanodollars=limit, period="day", action=action, mode=mode)


class Leases(RuleBasedStateMachine):
    """Two or three instances and one strict budget; see `World` for what each step is."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(make_budget(), instances=2)

    @rule(place=places, bound=bounds)
    def admit(self, place: int, bound: int) -> None:
        self.world.admit(place, bound, bound)

    @rule(place=places, number=numbers, part=st.integers(0, 100))
    def settle(self, place: int, number: int, part: int) -> None:
        self.world.settle(place, number, part)

    @rule(place=places, number=numbers)
    def release(self, place: int, number: int) -> None:
        self.world.release(place, number)

    @rule(place=places, fate=fates)
    def store_events(self, place: int, fate: Fate) -> None:
        self.world.store_events(place, fate)

    @rule(place=places, number=numbers, fate=fates)
    def sync(self, place: int, number: int, fate: Fate) -> None:
        self.world.sync(place, number, fate)

    @precondition(lambda self: self.world.store.in_flight)
    @rule(number=numbers)
    def land(self, number: int) -> None:
        self.world.land(number)

    @rule(place=places)
    def crash(self, place: int) -> None:
        self.world.crash(place)

    @rule(number=numbers, fate=fates)
    def recover(self, number: int, fate: Fate) -> None:
        self.world.recover(number, fate)

    @rule(number=numbers, fate=fates)
    def reap(self, number: int, fate: Fate) -> None:
        self.world.reap(number, fate)

    @rule(limit=st.integers(0, 2 * LIMIT))
    def limit(self, limit: int) -> None:
        self.world.limit(limit)

    @rule(place=places)
    def hear(self, place: int) -> None:
        self.world.hear(place)

    @rule(nanodollars=st.integers(0, LIMIT // 2))
    def seed(self, nanodollars: int) -> None:
        self.world.seed(nanodollars)

    @rule(seconds=st.sampled_from([0.1, 1, 5, 31, 61, 150, 86_400]))
    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    @invariant()
    def all_holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.settle_down()


Leases.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestLeases = Leases.TestCase


def take_a_step(world: World, chance: random.Random) -> None:
    """One step of a busy hour: calls and syncs are frequent, crashes and changes rare."""
    place, number = chance.randrange(3), chance.randrange(100)
    fate: Fate = "applied" if chance.random() < 0.7 else chance.choice(FATES)
    bound = chance.randrange(1, 120)
    steps: dict[str, Callable[[], object]] = {
        "admit": lambda: world.admit(place, chance.randrange(1, bound + 1), bound),
        "settle": lambda: world.settle(place, number, chance.randrange(101)),
        "release": lambda: world.release(place, number),
        "store": lambda: world.store_events(place, fate),
        "sync": lambda: world.sync(place, number, fate),
        "land": lambda: world.land(number),
        "recover": lambda: world.recover(number, fate),
        "reap": lambda: world.reap(number, fate),
        "advance": lambda: world.advance(chance.choice([0.1, 0.5, 1, 2, 10])),
        "crash": lambda: world.crash(place),
        "limit": lambda: world.limit(chance.randrange(LIMIT // 2, 3 * LIMIT)),
        "hear": lambda: world.hear(place),
        "night": lambda: world.advance(20_000),
    }
    weights = (20, 16, 2, 16, 20, 4, 4, 4, 10, 0.3, 0.2, 1, 1)
    steps[chance.choices(list(steps), weights)[0]]()


@pytest.mark.battery_class("budgets, leases, holds, crashes, expiry and settlement against a plain ledger")
@pytest.mark.parametrize(
    ("action", "mode", "faults"),
    [
        ("block", "strict", {}),
        ("downgrade", "strict", {}),
        ("block", "strict", {"reaps_the_living": True}),
        ("block", "normal", {}),
        ("block", "normal", {"serves_unadmitted": True}),
        ("warn", "normal", {"serves_unadmitted": True, "reaps_the_living": True}),
    ],
)
def test_leases_equal_a_plain_ledger_over_ten_thousand_steps(
    action: Action, mode: Mode, faults: dict[str, bool]
) -> None:
    world = World(make_budget(action, mode), instances=3, **faults)
    chance = random.Random(f"{action} {mode} {faults}")  # noqa: S311 - a repeatable walk

    for number in range(STEPS):
        take_a_step(world, chance)
        world.check(thoroughly=number % 50 == 0)
    world.settle_down()

    assert world.admitted > STEPS / 20
