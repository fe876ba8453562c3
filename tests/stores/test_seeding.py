"""What a new budget counts of the time before it was made, on both stores: each call once, exactly."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from metering.accounts import AccountSettings
from metering.budgets import EACH_VALUES_MAX, Budget, Scope
from metering.collections import SEEDINGS, seeding_path
from metering.counters import CounterTotals, counter_key, counter_totals, increments_of
from metering.directory import Directory
from metering.errors import StoreUnavailable
from metering.events import Charge, CostEvent
from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.periods import period_of
from metering.rulebook import Rulebook
from metering.seeding import (
    NEVER,
    STRAGGLERS,
    Seeder,
    begun,
    paused,
    resumed,
    seeding_of,
)
from metering.segments import SegmentPacker
from metering.stores import DocumentStore, Increment, Query
from tests.builders import AT, make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.unreliable_store import Fate, UnreliableStore

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
COST = 10_000_000
HOUR = timedelta(hours=1)


class Account:
    """One account whose calls are stored and whose budgets are seeded."""

    def __init__(self, store: DocumentStore) -> None:
        self.store = store
        self.clock = ManualClock()
        self.directory = Directory(store, self.clock, b"a secret of at least thirty-two bytes")
        self.account_id = self.directory.create_account("Ada & Co").account_id
        self.rulebook = Rulebook(store, self.directory, self.clock)
        self.seeder = Seeder(store, self.clock)

    def keep(self, *events: CostEvent) -> None:
        packer, ledger = SegmentPacker(new_instance_name()), Ledger(self.store, self.clock)
        for event in events:
            packer.add(event, 0.0)
        for segment in packer.drain():
            ledger.commit(segment)

    def call(self, at: datetime, **fields: Any) -> CostEvent:
        event = make_event(account_id=self.account_id, timestamp=at, **fields)
        self.keep(event)
        return event

    def budget(self, **terms: Any) -> Budget:
        fields: dict[str, Any] = {
            "budget_id": "",
            "limit_nanodollars": 10**12,
            "scope": Scope(team="search"),
        } | terms
        return self.rulebook.create_budget(self.account_id, Budget(**fields))

    def totals(self, budget: Budget, value: str = "", **terms: Any) -> CounterTotals:
        period = period_of(budget.period, budget.timezone, self.clock.now())
        document = self.store.get(counter_key(self.account_id, budget, period, value, **terms).path)
        return counter_totals(document.fields if document else None)

    def seeded(self, budget: Budget, value: str = "") -> int:
        totals = self.totals(budget, value)
        assert totals.reserved == totals.settled == totals.seeded
        return totals.seeded

    def counting_from(self, budget: Budget) -> datetime:
        document = self.store.get(seeding_path(budget.budget_id))
        assert document is not None
        period = period_of(budget.period, budget.timezone, self.clock.now())
        return seeding_of(document).counting_from_in(period)


@pytest.fixture
def account(store: DocumentStore) -> Account:
    return Account(store)


def charge(budget: Budget) -> tuple[Charge, ...]:
    return (Charge(budget.budget_id, "2026-11", f"{1:032x}.{1:032x}.1", COST),)


def test_a_budget_of_mid_month_counts_the_whole_month(account: Account) -> None:
    account.call(NOVEMBER - timedelta(microseconds=1))
    for at in (NOVEMBER, NOVEMBER + timedelta(days=9, hours=3), AT - HOUR, AT - timedelta(minutes=1)):
        account.call(at)
    account.call(AT - HOUR, team="ads")
    budget = account.budget()

    assert account.seeder.seed(budget.budget_id) == 1
    assert account.seeded(budget) == 4 * COST


def test_seeding_again_changes_nothing(account: Account) -> None:
    account.call(AT - HOUR)
    budget = account.budget()

    assert [account.seeder.seed(budget.budget_id) for _ in range(3)] == [1, 0, 0]
    assert account.seeded(budget) == COST


def test_a_call_that_was_under_way_is_counted_when_it_is_over(account: Account) -> None:
    budget = account.budget()
    account.seeder.run()
    account.clock.advance(60)
    account.call(AT - timedelta(seconds=5))

    account.seeder.run()

    assert account.seeded(budget) == COST


def test_a_call_that_was_charged_is_not_counted_twice(account: Account) -> None:
    budget = account.budget()
    account.clock.advance(60)
    account.call(AT + timedelta(seconds=5), charges=charge(budget))
    account.call(AT + timedelta(seconds=5))

    account.seeder.run()

    assert account.seeded(budget) == COST


def test_a_clock_a_little_behind_makes_no_call_count_twice(account: Account) -> None:
    account.clock.advance(30 * 60 + 1)  # just after an hour ended, which rollups tell of as a whole
    budget = account.budget()
    account.call(account.clock.now() - timedelta(minutes=3), charges=charge(budget))

    account.seeder.run()

    assert account.seeded(budget) == 0


def test_calls_of_one_segment_are_counted_up_to_the_last_stragglers(account: Account) -> None:
    budget = account.budget()
    last = account.clock.now() + STRAGGLERS
    account.clock.advance(STRAGGLERS.total_seconds() + 60)
    moments = (last - timedelta(microseconds=1), last, last + timedelta(seconds=1))
    account.keep(*(make_event(account_id=account.account_id, timestamp=at) for at in moments))

    account.seeder.seed(budget.budget_id)

    assert account.seeded(budget) == COST


def test_a_value_that_an_instance_gave_a_limit_of_its_own_leaves_the_shared_one(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.seeding.EACH_VALUES_MAX", 1)
    account.call(AT - HOUR, team="dear", cost_nanodollars=2 * COST)
    account.call(AT - HOUR, team="cheap")
    budget = account.budget(scope=Scope(), each="team")
    account.seeder.seed(budget.budget_id)
    assert account.totals(budget, is_shared=True).seeded == COST
    key = counter_key(account.account_id, budget, period_of(budget.period, budget.timezone, AT), "cheap")
    account.store.commit([Increment(key.path, increments_of(CounterTotals(instances=1)), key.identity)])

    account.seeder.seed(budget.budget_id)

    assert (account.seeded(budget, "dear"), account.seeded(budget, "cheap")) == (2 * COST, COST)
    assert account.totals(budget, is_shared=True).seeded == 0


def test_stragglers_are_looked_for_so_long_and_no_longer(account: Account) -> None:
    budget = account.budget()
    for _ in range(40):
        account.seeder.run()
        account.clock.advance(STRAGGLERS.total_seconds() / 40)
    account.call(AT - timedelta(minutes=1))
    account.seeder.run()
    assert account.seeded(budget) == COST

    account.call(AT - timedelta(minutes=1))
    account.clock.advance(3600)
    account.seeder.run()

    assert account.seeded(budget) == COST


SCOPES = {
    "everything": (Scope(), {}),
    "team": (Scope(team="search"), {"team": "ads"}),
    "team and app": (Scope(team="search", app="web"), {"app": "batch"}),
    "key": (Scope(key_id=f"key_{1:032x}"), {"key_id": f"key_{2:032x}"}),
    "model": (Scope(model="claude-sonnet-4-5"), {"model": "gpt-4o"}),
    "key and team, which no rollup tells": (
        Scope(team="search", key_id=f"key_{1:032x}"),
        {"key_id": f"key_{2:032x}"},
    ),
}


@pytest.mark.parametrize(("scope", "other"), SCOPES.values(), ids=list(SCOPES))
def test_every_scope_counts_its_own_calls(account: Account, scope: Scope, other: dict[str, str]) -> None:
    for at in (NOVEMBER, AT - timedelta(days=2), AT - timedelta(minutes=1)):
        account.call(at)
        if other:
            account.call(at, **other)
    budget = account.budget(scope=scope)

    account.seeder.seed(budget.budget_id)

    assert account.seeded(budget) == 3 * COST


def test_calls_without_a_team_are_counted_by_the_budget_of_the_unattributed(account: Account) -> None:
    for at in (NOVEMBER, AT - timedelta(minutes=1)):
        account.call(at, team="")
        account.call(at)
    budget = account.budget(scope=Scope(unattributed=True))

    account.seeder.seed(budget.budget_id)

    assert account.seeded(budget) == 2 * COST


def test_each_value_has_what_its_own_calls_cost(account: Account) -> None:
    for at in (NOVEMBER, AT - timedelta(minutes=1)):
        account.call(at, team="ads")
        account.call(at, team="")
        account.call(at, team="search")
        account.call(at, team="search")
    budget = account.budget(scope=Scope(), each="team")

    account.seeder.seed(budget.budget_id)

    assert [account.seeded(budget, team) for team in ("ads", "", "search", "none")] == [
        2 * COST,
        2 * COST,
        4 * COST,
        0,
    ]


def test_values_called_other_and_such_as_a_full_shard_collapsed_are_told_apart(account: Account) -> None:
    many = [
        make_event(account_id=account.account_id, timestamp=AT - 3 * HOUR, team=f"team {number}")
        for number in range(1_500)
    ]
    account.keep(*many)
    account.call(AT - 3 * HOUR, team="other")
    budget = account.budget(scope=Scope(team="other"))
    last = account.budget(scope=Scope(team="team 1499"))

    account.seeder.run()

    assert (account.seeded(budget), account.seeded(last)) == (COST, COST)


def test_values_beyond_the_first_thousand_share_one_limit(sqlite_store: DocumentStore) -> None:
    counting = CountingStore(sqlite_store)
    account = Account(counting)
    beyond = 40
    account.keep(
        *(
            make_event(account_id=account.account_id, timestamp=AT - 3 * HOUR, team=f"team {number:04}")
            for number in range(EACH_VALUES_MAX + beyond)
        )
    )
    budget = account.budget(scope=Scope(), each="team")

    account.seeder.seed(budget.budget_id)

    assert account.seeded(budget, "team 0999") == COST
    assert account.seeded(budget, "team 1000") == 0
    assert account.totals(budget, is_shared=True).seeded == beyond * COST
    assert account.seeder.seed(budget.budget_id) == 0
    counting.check_limits()


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"])
def test_a_zones_month_begins_at_its_own_midnight(account: Account, zone: str) -> None:
    period = period_of("month", zone, AT)
    account.call(period.starts_at - timedelta(microseconds=1))
    account.call(period.starts_at)
    account.call(period.starts_at + timedelta(days=3, minutes=20))
    budget = account.budget(timezone=zone)

    account.seeder.seed(budget.budget_id)

    assert account.seeded(budget) == 2 * COST


def test_a_month_with_a_change_of_clocks_and_31_days_counts_whole(account: Account) -> None:
    account.clock.advance((datetime(2027, 10, 31, 23, tzinfo=UTC) - account.clock.now()).total_seconds())
    starts_at = period_of("month", "Europe/Berlin", account.clock.now() - timedelta(hours=2)).starts_at
    for days in range(31):
        account.call(starts_at + timedelta(days=days, minutes=1))
    account.clock.advance(-2 * 3600)
    budget = account.budget(timezone="Europe/Berlin")

    account.seeder.seed(budget.budget_id)

    assert account.seeded(budget) == 31 * COST


@pytest.mark.parametrize("fate", ["reply_lost", "not_applied", "late"])
def test_a_commit_of_unknown_outcome_counts_once(account: Account, fate: Fate) -> None:
    account.call(AT - HOUR)
    budget = account.budget()
    unsure = UnreliableStore(account.store, [fate])

    with pytest.raises(StoreUnavailable):
        Seeder(unsure, account.clock).seed(budget.budget_id)
    account.seeder.seed(budget.budget_id)
    unsure.land()

    assert account.seeded(budget) == COST


@pytest.mark.parametrize("turn", range(6))
def test_two_at_once_are_as_good_as_one(account: Account, turn: int) -> None:
    account.call(AT - HOUR)
    budget = account.budget()
    turns = iter(range(100))

    def other() -> None:
        if next(turns) == turn:
            account.call(AT - HOUR)
            account.seeder.seed(budget.budget_id)

    Seeder(UnreliableStore(account.store, before=other), account.clock).seed(budget.budget_id)

    assert account.seeded(budget) == (2 * COST if next(turns) > turn else COST)


def test_the_seeding_of_a_deleted_budget_ends(account: Account) -> None:
    budget = account.budget()
    account.rulebook.delete_budget(account.account_id, budget.budget_id)

    assert account.seeder.run().budgets_seeded == 0
    assert account.seeder.seed(budget.budget_id) == 0


def switch(account: Account, budget: Budget, *, enabled: bool) -> Budget:
    return account.rulebook.change_budget(
        account.account_id,
        budget.budget_id,
        lambda each: msgspec.structs.replace(each, enabled=enabled),
    )


def test_a_budget_that_was_switched_off_counts_the_pause_when_it_is_on_again(account: Account) -> None:
    account.call(AT - HOUR)
    budget = account.budget()
    account.seeder.run()
    account.call(AT + timedelta(minutes=1), charges=charge(budget))
    account.clock.advance(120)
    switch(account, budget, enabled=False)
    account.clock.advance(86_400)
    account.call(AT + 5 * HOUR)
    assert account.seeder.run().budgets_seeded == 0

    switch(account, budget, enabled=True)
    account.seeder.run()

    assert account.seeded(budget) == 2 * COST


def test_a_budget_switched_on_in_a_later_month_counts_that_month_and_no_charge_twice(
    account: Account,
) -> None:
    budget = account.budget()
    account.clock.advance(timedelta(days=12).total_seconds())  # 3 December
    account.seeder.run()
    account.call(account.clock.now() - HOUR, charges=charge(budget))
    switch(account, budget, enabled=False)
    account.clock.advance(86_400)
    account.call(account.clock.now() - HOUR)

    switch(account, budget, enabled=True)
    account.seeder.run()

    assert account.seeded(budget) == COST


def test_a_budget_made_switched_off_counts_the_period_when_it_is_first_on(account: Account) -> None:
    budget = account.budget(enabled=False)
    account.call(AT - HOUR)
    account.clock.advance(86_400)
    account.call(AT + 5 * HOUR)
    assert account.seeder.seed(budget.budget_id) == 0

    switch(account, budget, enabled=True)
    account.seeder.run()

    assert account.seeded(budget) == 2 * COST


def test_a_later_period_is_counted_from_its_own_beginning(account: Account) -> None:
    account.call(AT - HOUR)
    budget = account.budget()
    account.seeder.run()
    account.clock.advance(timedelta(days=20).total_seconds())

    report = account.seeder.run()

    assert report.seedings_ended == 1
    assert account.totals(budget) == CounterTotals()
    document = account.store.get(seeding_path(budget.budget_id))
    assert document is not None
    assert document.fields["next_at"] == NEVER


def test_since_when_a_budget_counts_is_told_before_and_after(account: Account) -> None:
    budget = account.budget()

    assert account.counting_from(budget) == account.clock.now()
    account.seeder.run()
    assert account.counting_from(budget) == NOVEMBER


@pytest.mark.parametrize(
    ("kept_days", "since"), [(10, AT - timedelta(days=10)), (1, AT - timedelta(days=8)), (30, NOVEMBER)]
)
def test_what_only_deleted_events_could_tell_is_not_claimed(
    account: Account, kept_days: int, since: datetime
) -> None:
    account.directory.change_settings(account.account_id, AccountSettings(events_kept_days=kept_days))
    budget = account.budget(scope=Scope(team="search", key_id=f"key_{1:032x}"))
    told_by_rollups = account.budget()

    account.seeder.run()

    now = account.clock.now()
    assert account.counting_from(budget) == max(NOVEMBER, since - (AT - now))
    assert account.counting_from(told_by_rollups) == NOVEMBER


def test_a_budget_of_a_file_is_made_known_once_and_counts_what_it_missed(account: Account) -> None:
    budget = Budget(
        budget_id=f"budget_{1:032x}", scope=Scope(team="search"), limit_nanodollars=1, source="file"
    )
    account.call(AT - HOUR)
    for _ in range(2):
        account.seeder.adopt(account.account_id, budget, account.clock.now())
    account.seeder.run()
    assert account.seeded(budget) == COST
    account.clock.advance(60)

    account.seeder.part_with(budget.budget_id, account.clock.now())
    account.clock.advance(86_400)
    account.call(AT + 5 * HOUR)
    account.seeder.adopt(account.account_id, budget, account.clock.now())
    account.seeder.run()

    assert account.seeded(budget) == 2 * COST
    assert len(account.store.query(Query(collection=SEEDINGS))) == 1


def test_switching_off_twice_keeps_the_first_moment() -> None:
    seeding = begun("acct_1", Budget(budget_id="budget_1", limit_nanodollars=1), AT)

    off = paused(paused(seeding, AT + HOUR), AT + 2 * HOUR)

    assert off.paused_at == AT + HOUR
    assert resumed(seeding, seeding.budget, AT + HOUR) is seeding


@pytest.mark.parametrize(
    ("pause", "rolled_until"),
    [
        (STRAGGLERS, AT.replace(hour=9, minute=15, microsecond=0)),
        (STRAGGLERS - timedelta(microseconds=1), NOVEMBER),
    ],
    ids=["longer than any instance can miss it", "maybe not yet known to all"],
)
def test_after_a_pause_rollups_tell_what_cannot_have_been_charged(
    pause: timedelta, rolled_until: datetime
) -> None:
    october = NOVEMBER - timedelta(days=9)
    seeding = begun("acct_1", Budget(budget_id="budget_1", limit_nanodollars=1), october)

    again = resumed(paused(seeding, NOVEMBER - pause), seeding.budget, AT)

    assert (again.rolled_until, again.counting_from) == (rolled_until, AT)


@pytest.mark.parametrize("turn", range(10))
def test_two_that_seed_many_values_at_once_are_as_good_as_one(
    account: Account, turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.seeding.COUNTERS_A_COMMIT", 1)
    for team in ("a", "b", "c"):
        account.call(AT - HOUR, team=team)
    budget = account.budget(scope=Scope(), each="team")
    turns = iter(range(100))

    def other() -> None:
        if next(turns) == turn:
            account.seeder.seed(budget.budget_id)

    Seeder(UnreliableStore(account.store, before=other), account.clock).seed(budget.budget_id)

    assert [account.seeded(budget, team) for team in ("a", "b", "c")] == [COST] * 3


def test_as_many_values_as_fit_into_one_commit_are_seeded_and_said_to_be(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.seeding.COUNTERS_A_COMMIT", 2)
    for team in ("a", "b"):
        account.call(AT - HOUR, team=team)
    budget = account.budget(scope=Scope(), each="team")

    report = account.seeder.run()

    assert (report.budgets_seeded, report.counters_changed) == (1, 2)
    assert account.counting_from(budget) == NOVEMBER
    assert account.seeder.run().budgets_seeded == 0  # until it is due again


def test_a_call_that_another_budget_was_charged_for_counts_for_this_one(account: Account) -> None:
    other, budget = account.budget(), account.budget()
    account.clock.advance(60)
    account.call(AT + timedelta(seconds=5), charges=charge(other))

    account.seeder.run()

    assert (account.seeded(other), account.seeded(budget)) == (0, COST)


def test_a_budget_made_just_before_its_period_ends_counts_what_came_late_and_nothing_of_the_next(
    account: Account,
) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    account.clock.advance((midnight - AT - timedelta(minutes=10)).total_seconds())
    budget = account.budget(period="day")
    day = period_of("day", "UTC", AT)
    account.seeder.run()
    account.clock.advance(40 * 60)
    account.call(midnight - timedelta(minutes=5))
    account.call(midnight + timedelta(minutes=5))

    report = account.seeder.run()

    document = account.store.get(counter_key(account.account_id, budget, day).path)
    assert (report.budgets_seeded, report.seedings_ended) == (1, 0)
    assert counter_totals(document.fields if document else None).seeded == COST


def test_a_budget_that_is_switched_off_is_neither_due_nor_seeded(account: Account) -> None:
    account.call(AT - HOUR)
    budget = account.budget(enabled=False)

    assert account.seeder.run().budgets_seeded == 0
    assert account.seeder.seed(budget.budget_id) == 0
    assert account.seeded(budget) == 0


def test_a_budget_that_is_gone_from_its_file_is_not_seeded(account: Account) -> None:
    budget = Budget(budget_id=f"budget_{1:032x}", limit_nanodollars=1, source="file")
    account.seeder.adopt(account.account_id, budget, AT)
    account.call(AT - HOUR)
    account.seeder.part_with(budget.budget_id, AT)

    assert account.seeder.seed(budget.budget_id) == 0
    assert account.seeded(budget) == 0


def test_a_budget_switched_on_again_in_its_period_counts_from_when_it_did() -> None:
    seeding = begun("acct_1", Budget(budget_id="budget_1", limit_nanodollars=1), AT)
    seeding = msgspec.structs.replace(seeding, counting_from=NOVEMBER)

    again = resumed(paused(seeding, AT + HOUR), seeding.budget, AT + 2 * HOUR)

    assert (again.rolled_until, again.counting_from) == (seeding.rolled_until, NOVEMBER)


@pytest.mark.parametrize("turn", range(6))
def test_a_budget_deleted_while_it_is_seeded_stays_so(account: Account, turn: int) -> None:
    account.call(AT - HOUR)
    budget = account.budget()
    turns = iter(range(100))

    def delete() -> None:
        if next(turns) == turn:
            account.rulebook.delete_budget(account.account_id, budget.budget_id)

    Seeder(UnreliableStore(account.store, before=delete), account.clock).seed(budget.budget_id)

    is_deleted = next(turns) > turn
    assert (account.store.get(seeding_path(budget.budget_id)) is None) == is_deleted


@pytest.mark.parametrize("is_known", [False, True], ids=["new", "gone before"])
def test_two_processes_that_read_a_budgets_file_at_once_make_it_known_once(
    account: Account, is_known: bool
) -> None:
    budget = Budget(budget_id=f"budget_{1:032x}", limit_nanodollars=1, source="file")
    if is_known:
        account.seeder.adopt(account.account_id, budget, AT)
        account.seeder.part_with(budget.budget_id, AT)
    turns = iter(range(100))

    def other() -> None:
        if next(turns) == 1:  # before what was decided is written
            account.seeder.adopt(account.account_id, budget, AT)

    watched = UnreliableStore(account.store, before=other)
    Seeder(watched, account.clock).adopt(account.account_id, budget, AT)
    assert len(watched.commits) == 1
    Seeder(watched, account.clock).adopt(account.account_id, budget, AT)

    assert len(watched.commits) == 1  # it is known
    assert len(account.store.query(Query(collection=SEEDINGS))) == 1


def test_two_processes_that_miss_a_budget_in_its_file_at_once_switch_it_off_once(account: Account) -> None:
    budget = Budget(budget_id=f"budget_{1:032x}", limit_nanodollars=1, source="file")
    account.seeder.adopt(account.account_id, budget, AT)
    turns = iter(range(100))

    def other() -> None:
        if next(turns) == 1:
            account.seeder.part_with(budget.budget_id, AT)

    racing = Seeder(UnreliableStore(account.store, before=other), account.clock)
    racing.part_with(budget.budget_id, AT + HOUR)

    (document,) = account.store.query(Query(collection=SEEDINGS))
    assert seeding_of(document).paused_at == AT


def test_a_budget_deleted_as_its_seeding_ends_is_no_fault(account: Account) -> None:
    budget = account.budget()
    account.clock.advance((datetime(2026, 12, 2, tzinfo=UTC) - AT).total_seconds())
    turns = iter(range(100))

    def delete() -> None:
        if next(turns) == 1:
            account.rulebook.delete_budget(account.account_id, budget.budget_id)

    report = Seeder(UnreliableStore(account.store, before=delete), account.clock).run()

    assert report.seedings_ended == 0


def test_more_segments_than_may_be_read_move_since_when_a_budget_counts(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.seeding.SEGMENTS_READ_MAX", 2)
    monkeypatch.setattr("metering.seeding.SEGMENTS_A_READ", 1)
    moments = [AT - HOUR * number for number in (3, 2, 1)]
    for at in moments:
        account.call(at, key_id="key_1")
    budget = account.budget(scope=Scope(team="search", key_id="key_1"))  # which no rollup tells

    account.seeder.run()

    assert account.seeded(budget) == 2 * COST
    assert account.counting_from(budget) == moments[1]
