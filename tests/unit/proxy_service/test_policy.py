import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import msgspec
import pytest

from metering.accounts import LOCAL_ACCOUNT_ID, Policy
from metering.budgets import Budget
from metering.errors import StoreUnavailable
from metering.file_configuration import FileConfiguration
from metering.keys import KeyRecord
from metering.routing import RoutingRule
from proxy_service.lookups import IN_VAIN_BURST, LOOK_UPS_MAX, TooManyLookUps
from proxy_service.memory import Memory
from proxy_service.policy import FOLLOWED_LOOK_UPS_MAX, KeyUses, KnownKey, PolicyMemory
from proxy_service.tally import Tally
from tests.builders import ACCOUNT_ID, AT, make_key_record, make_policy
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.directory import DirectoryDouble

ASKER, FLOODER = ("198.51.100.77", 1000.0), ("203.0.113.7", 1000.0)


class Later(Executor):
    """Runs nothing until told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        self.waiting.append(lambda: done.set_result(work(*args, **kwargs)))
        return done

    def run(self) -> None:
        for work in self.waiting:
            work()
        self.waiting.clear()


def memory_over(directory: DirectoryDouble, threads: Executor | None = None) -> PolicyMemory:
    return PolicyMemory(directory, Tally(), look_up_threads=threads or AtOnce(), poll_thread=AtOnce())


@pytest.fixture
def directory() -> DirectoryDouble:
    directory = DirectoryDouble()
    directory.put(make_policy())
    return directory


@pytest.fixture
def record(directory: DirectoryDouble) -> KeyRecord:
    record = make_key_record(team="search")
    directory.put(record)
    return record


def test_what_is_known_is_asked_for_once(directory: DirectoryDouble, record: KeyRecord) -> None:
    async def scenario() -> None:
        memory = memory_over(directory)
        for _ in range(3):
            known = await memory.key(record.key_hash, *ASKER)
            assert known is not None
            assert (known.record, known.caller.team) == (record, "search")
            assert await memory.key("0" * 64, *ASKER) is None
            assert await memory.policy(ACCOUNT_ID) == make_policy()

    asyncio.run(scenario())

    assert directory.look_ups == [record.key_hash, "0" * 64, ACCOUNT_ID]


def test_what_changed_is_asked_for_anew_and_the_rest_is_not(
    directory: DirectoryDouble, record: KeyRecord
) -> None:
    async def scenario() -> None:
        memory = memory_over(directory)
        memory.take(directory.changes())
        await memory.key(record.key_hash, *ASKER)
        await memory.policy(ACCOUNT_ID)
        directory.put(make_policy(status="suspended"))
        memory.take(directory.changes())
        directory.look_ups.clear()

        policy = await memory.policy(ACCOUNT_ID)
        await memory.key(record.key_hash, *ASKER)

        assert policy is not None
        assert policy.status == "suspended"

    asyncio.run(scenario())

    assert directory.look_ups == [ACCOUNT_ID]


def test_a_key_that_was_unknown_is_found_once_it_exists(directory: DirectoryDouble) -> None:
    record = make_key_record()

    async def scenario() -> None:
        memory = memory_over(directory)
        memory.take(directory.changes())
        assert await memory.key(record.key_hash, *ASKER) is None
        directory.put(record)
        memory.take(directory.changes())
        assert await memory.key(record.key_hash, *ASKER) is not None

    asyncio.run(scenario())


def test_a_gap_in_what_changed_forgets_everything(directory: DirectoryDouble, record: KeyRecord) -> None:
    async def scenario() -> None:
        memory = memory_over(directory)
        memory.take(directory.changes())
        await memory.key(record.key_hash, *ASKER)
        directory.put(make_policy(), make_policy())
        directory.forgotten = len(directory.changed) - 1
        memory.take(directory.changes())
        directory.look_ups.clear()

        await memory.key(record.key_hash, *ASKER)

    asyncio.run(scenario())

    assert directory.look_ups == [record.key_hash]


def test_an_answer_overtaken_by_a_change_is_used_and_not_kept(
    directory: DirectoryDouble, record: KeyRecord
) -> None:
    async def scenario() -> None:
        threads = Later()
        memory = memory_over(directory, threads)
        memory.take(directory.changes())
        asking = asyncio.ensure_future(memory.key(record.key_hash, *ASKER))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        threads.run()  # the old record is on its way
        directory.put(record)
        memory.take(directory.changes())
        assert await asking is not None

        again = asyncio.ensure_future(memory.key(record.key_hash, *ASKER))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        threads.run()
        await again

    asyncio.run(scenario())

    assert directory.look_ups.count(record.key_hash) == 2


def test_a_key_read_as_revoked_stays_so_when_its_revocation_is_told_of(directory: DirectoryDouble) -> None:
    revoked = make_key_record(revoked_at=AT)
    directory.put(revoked)

    async def scenario() -> None:
        memory = memory_over(directory)
        memory.take(directory.changes())
        await memory.key(revoked.key_hash, *ASKER)
        directory.put(revoked)
        memory.take(directory.changes())
        directory.look_ups.clear()

        known = await memory.key(revoked.key_hash, *ASKER)
        assert known is not None
        assert known.record == revoked

    asyncio.run(scenario())

    assert directory.look_ups == []


def test_an_answer_is_kept_whatever_else_changes_meanwhile(
    directory: DirectoryDouble, record: KeyRecord
) -> None:
    async def scenario() -> None:
        threads = Later()
        memory = memory_over(directory, threads)
        memory.take(directory.changes())
        asking = asyncio.ensure_future(memory.key(record.key_hash, *ASKER))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        threads.run()
        directory.put(make_key_record())
        memory.take(directory.changes())
        await asking

        await memory.key(record.key_hash, *ASKER)

    asyncio.run(scenario())

    assert directory.look_ups.count(record.key_hash) == 1


def test_a_policy_overtaken_by_a_change_is_used_and_not_kept(directory: DirectoryDouble) -> None:
    async def scenario() -> None:
        threads = Later()
        memory = memory_over(directory, threads)
        memory.take(directory.changes())
        asking = asyncio.ensure_future(memory.policy(ACCOUNT_ID))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        threads.run()  # the old policy is on its way
        directory.put(make_policy(status="suspended"))
        memory.take(directory.changes())
        assert await asking == make_policy()

        again = asyncio.ensure_future(memory.policy(ACCOUNT_ID))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        threads.run()
        assert await again == make_policy(status="suspended")

    asyncio.run(scenario())


def test_those_who_ask_for_the_same_thing_share_one_look_up(
    directory: DirectoryDouble, record: KeyRecord
) -> None:
    async def scenario() -> None:
        threads = Later()
        memory = memory_over(directory, threads)
        asking = [asyncio.ensure_future(memory.key(record.key_hash, *ASKER)) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        threads.run()
        assert len(set(map(id, await asyncio.gather(*asking)))) == 1

    asyncio.run(scenario())

    assert directory.look_ups == [record.key_hash]


def test_a_silent_store_leaves_what_is_known_in_force(directory: DirectoryDouble, record: KeyRecord) -> None:
    async def scenario() -> None:
        memory = memory_over(directory)
        await memory.key(record.key_hash, *ASKER)
        directory.is_down = True

        assert await memory.key(record.key_hash, *ASKER) is not None
        with pytest.raises(StoreUnavailable):
            await memory.key("0" * 64, *ASKER)

    asyncio.run(scenario())


def test_look_ups_at_once_are_bounded(directory: DirectoryDouble) -> None:
    async def scenario() -> None:
        memory = memory_over(directory, Later())
        asking = [
            asyncio.ensure_future(memory.key(f"{number:064x}", f"198.51.100.{number}", 1000.0))
            for number in range(LOOK_UPS_MAX)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyLookUps):
            await memory.key("f" * 64, *ASKER)
        for each in asking:
            each.cancel()

    asyncio.run(scenario())


def test_a_flood_of_unknown_keys_keeps_no_key_of_another_address_and_no_policy_waiting(
    directory: DirectoryDouble, record: KeyRecord
) -> None:
    async def scenario() -> None:
        memory = memory_over(directory)
        for number in range(int(IN_VAIN_BURST)):
            assert await memory.key(f"{number:064x}", *FLOODER) is None
        with pytest.raises(TooManyLookUps):
            await memory.key("f" * 64, *FLOODER)

        assert await memory.key(record.key_hash, *ASKER) is not None
        assert await memory.policy(ACCOUNT_ID) == make_policy()
        assert await memory.key(record.key_hash, *FLOODER) is not None  # known now

    asyncio.run(scenario())


def test_policies_are_looked_up_while_there_is_no_room_for_more_keys(directory: DirectoryDouble) -> None:
    async def scenario() -> None:
        threads = Later()
        memory = memory_over(directory, threads)
        asking = [
            asyncio.ensure_future(memory.key(f"{number:064x}", f"198.51.100.{number}", 1000.0))
            for number in range(LOOK_UPS_MAX)
        ]
        policy = asyncio.ensure_future(memory.policy(ACCOUNT_ID))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        threads.run()

        assert await policy == make_policy()
        assert await asyncio.gather(*asking) == [None] * LOOK_UPS_MAX

    asyncio.run(scenario())


def test_a_key_that_is_found_is_no_look_up_in_vain(directory: DirectoryDouble) -> None:
    records = [make_key_record() for _ in range(int(2 * IN_VAIN_BURST))]
    directory.put(*records)

    async def scenario() -> None:
        memory = memory_over(directory)
        for each in records:
            assert await memory.key(each.key_hash, *ASKER) is not None

    asyncio.run(scenario())


def is_new(known: KnownKey | None) -> bool:
    return known is not None and known.caller.team == "new"


class Failing(Executor):
    """Fails in as many ways as a test says, then works."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._failures:
            failed: Future[Any] = Future()
            failed.set_exception(self._failures.pop(0))
            return failed
        return AtOnce().submit(work, *args, **kwargs)


def test_whatever_goes_wrong_with_one_poll_the_next_one_tells_what_was_missed(
    directory: DirectoryDouble, record: KeyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy_service.policy.CHANGES_POLL_SECONDS", 0)
    tally = Tally()

    async def scenario() -> None:
        poll = Failing(StoreUnavailable(), ValueError("a fault of ours"))
        memory = PolicyMemory(directory, tally, look_up_threads=AtOnce(), poll_thread=poll)
        memory.take(directory.changes())
        await memory.key(record.key_hash, *ASKER)
        directory.put(make_key_record(key_hash=record.key_hash, team="new"))

        following = asyncio.ensure_future(memory.follow_changes())
        while not is_new(await memory.key(record.key_hash, *ASKER)):  # noqa: ASYNC110 - turns of the loop
            await asyncio.sleep(0)
        following.cancel()

    asyncio.run(scenario())

    assert tally.changes_unread == 2


def test_a_key_use_is_noted_once_a_minute() -> None:
    clock, directory = ManualClock(), DirectoryDouble()

    async def scenario() -> None:
        uses = KeyUses(directory.note_key_use, clock, AtOnce())
        for seconds in (0, 59.5, 0.5):
            clock.advance(seconds)
            uses.note("a")
        uses.note("b")
        await asyncio.sleep(0)

    asyncio.run(scenario())

    assert directory.noted == ["a", "a", "b"]


def test_a_memory_keeps_the_most_recently_used() -> None:
    memory: Memory[int] = Memory(2)
    memory.put("a", 1)
    memory.put("b", 2)
    memory.get("a")

    memory.put("c", 3)

    assert (memory.get("a"), memory.get("b"), memory.get("c"), len(memory)) == (1, None, 3, 2)


BUDGET = Budget(budget_id="budget_1", limit_nanodollars=100)
OF_FILE = Budget(budget_id="budget_2", limit_nanodollars=200, source="file")
RULE_OF_FILE = RoutingRule(rule_id="r", name="cheap", threshold=70, from_models=("a",), to_model="b")


class Followed:
    """A memory over a directory, what its desk is told, and polls one at a time."""

    def __init__(self, directory: DirectoryDouble) -> None:
        self.directory = directory
        self.told: list[Policy] = []
        self.memory = PolicyMemory(
            directory, Tally(), look_up_threads=AtOnce(), poll_thread=AtOnce(), on_policy=self.told.append
        )

    async def poll(self) -> None:
        following = asyncio.ensure_future(self.memory.follow_changes())
        for _ in range(10):
            await asyncio.sleep(0)
        following.cancel()


def test_a_changed_budget_is_told_without_a_call() -> None:
    followed = Followed(DirectoryDouble())
    lowered = make_policy(budgets=(msgspec.structs.replace(BUDGET, limit_nanodollars=50),))

    async def scenario() -> None:
        followed.directory.put(make_policy(budgets=(BUDGET,)))
        await followed.poll()
        await followed.memory.policy(ACCOUNT_ID)
        followed.directory.put(lowered)
        await followed.poll()

    asyncio.run(scenario())

    assert followed.told == [make_policy(budgets=(BUDGET,)), lowered]


def test_the_end_of_the_last_budget_is_told_and_then_nothing_more() -> None:
    followed = Followed(DirectoryDouble())

    async def scenario() -> None:
        for budgets in ((BUDGET,), (), ()):
            followed.directory.put(make_policy(budgets=budgets))
            await followed.poll()
            await followed.memory.policy(ACCOUNT_ID)

    asyncio.run(scenario())

    assert [policy.budgets for policy in followed.told] == [(BUDGET,), ()]


def test_a_deleted_account_is_told_as_one_without_budgets() -> None:
    followed = Followed(DirectoryDouble())

    async def scenario() -> None:
        followed.directory.put(make_policy(budgets=(BUDGET,)))
        await followed.poll()
        await followed.memory.policy(ACCOUNT_ID)
        del followed.directory.policies[ACCOUNT_ID]
        followed.directory.changed.append(ACCOUNT_ID)
        await followed.poll()

    asyncio.run(scenario())

    assert followed.told[-1] == make_policy()


@pytest.mark.parametrize("is_gap", [False, True])
def test_what_changed_while_the_store_was_silent_is_told_when_it_is_back(is_gap: bool) -> None:
    followed = Followed(DirectoryDouble())
    lowered = make_policy(budgets=(msgspec.structs.replace(BUDGET, limit_nanodollars=50),))

    async def scenario() -> None:
        followed.directory.put(make_policy(budgets=(BUDGET,)))
        await followed.poll()
        await followed.memory.policy(ACCOUNT_ID)
        followed.directory.put(lowered)
        followed.directory.forgotten = len(followed.directory.changed) if is_gap else 0
        changes = followed.directory.changes()
        followed.directory.is_down = True
        followed.memory.take(changes)
        await followed.poll()
        assert len(followed.told) == 1
        followed.directory.is_down = False
        await followed.poll()

    asyncio.run(scenario())

    assert followed.told[1:] == [lowered]


def test_no_more_than_so_many_policies_are_looked_up_that_no_call_waits_for() -> None:
    followed = Followed(DirectoryDouble())
    accounts = [f"acct_{number}" for number in range(FOLLOWED_LOOK_UPS_MAX + 1)]
    threads = Later()

    async def scenario() -> None:
        policies = [make_policy(account_id=each, budgets=(BUDGET,)) for each in accounts]
        followed.directory.put(*policies)
        await followed.poll()
        for account_id in accounts:
            await followed.memory.policy(account_id)
        followed.memory._look_up_threads = threads
        followed.directory.put(*policies)
        await followed.poll()

        assert len(threads.waiting) == FOLLOWED_LOOK_UPS_MAX
        threads.run()
        await asyncio.sleep(0)

    asyncio.run(scenario())


def test_what_files_say_stands_in_front_of_the_machines_own_policy_and_of_no_other() -> None:
    followed = Followed(DirectoryDouble())
    own = make_policy(account_id=LOCAL_ACCOUNT_ID, budgets=(BUDGET,))
    merged = msgspec.structs.replace(own, budgets=(OF_FILE, BUDGET), routing_rules=(RULE_OF_FILE,))

    async def scenario() -> None:
        followed.directory.put(own, make_policy())
        followed.memory.take_files(FileConfiguration(budgets=(OF_FILE,), routing_rules=(RULE_OF_FILE,)))

        assert await followed.memory.policy(LOCAL_ACCOUNT_ID) == merged
        assert await followed.memory.policy(ACCOUNT_ID) == make_policy()

    asyncio.run(scenario())

    assert followed.told[-1] == merged


def test_a_changed_file_acts_at_once_also_while_the_store_is_silent() -> None:
    followed = Followed(DirectoryDouble())
    own = make_policy(account_id=LOCAL_ACCOUNT_ID, budgets=(BUDGET,))

    async def scenario() -> None:
        followed.directory.put(own)
        await followed.memory.policy(LOCAL_ACCOUNT_ID)
        followed.directory.is_down = True
        followed.memory.take_files(FileConfiguration(budgets=(OF_FILE,)))

        policy = await followed.memory.policy(LOCAL_ACCOUNT_ID)
        assert policy is not None
        assert policy.budgets == (OF_FILE, BUDGET)
        followed.memory.take_files(FileConfiguration())
        assert await followed.memory.policy(LOCAL_ACCOUNT_ID) == own

    asyncio.run(scenario())

    assert [policy.budgets for policy in followed.told] == [(BUDGET,), (OF_FILE, BUDGET), (BUDGET,)]


def test_without_a_store_the_machines_own_calls_have_the_budgets_of_its_files() -> None:
    followed = Followed(DirectoryDouble())
    followed.memory.take_files(FileConfiguration(budgets=(OF_FILE,)))

    assert followed.memory.policy_unread(LOCAL_ACCOUNT_ID).budgets == (OF_FILE,)
    assert followed.memory.policy_unread(ACCOUNT_ID) == make_policy()
