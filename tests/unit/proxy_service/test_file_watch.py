"""The watch over the machine's own files: what changed is handed on, told once, and kept in the store."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from metering.collections import seeding_path
from metering.errors import StoreUnavailable
from metering.file_configuration import FileConfiguration, FileState, WatchedFiles, configuration_files
from metering.seeding import Seeder, Seeding, seeding_of
from metering.stores import DocumentStore
from proxy_service.file_watch import FileWatch
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.unreliable_store import UnreliableStore


class Watched:
    """A folder, a watch over it that looks without pause, and what it has told."""

    def __init__(self, folder: Path, store: DocumentStore) -> None:
        self.folder = folder
        self.store = store
        self.clock = ManualClock()
        self.taken: list[FileConfiguration] = []
        self.told: list[FileState] = []
        self.is_silent = False
        self._running: asyncio.Future[None] | None = None
        self.watch = FileWatch(
            WatchedFiles(configuration_files(folder, None), self.clock),
            Seeder(UnreliableStore(store, before=self._answer), self.clock),
            self.clock,
            take=self.taken.append,
            tell=self.told.append,
            look_thread=AtOnce(),
            store_thread=AtOnce(),
        )

    def write(self, *teams: str, limit: int = 1) -> None:
        entries = [{"team": team, "app": "", "monthly_limit": limit, "action": "block"} for team in teams]
        (self.folder / "budgets.json").write_text(json.dumps({"budgets": entries}))

    def seeding(self) -> Seeding | None:
        for configuration in reversed(self.taken):
            for budget in configuration.budgets:
                document = self.store.get(seeding_path(budget.budget_id))
                return None if document is None else seeding_of(document)
        return None

    async def until(self, claim: Callable[[], bool]) -> None:
        """Let the watch run for as many turns of the loop as it takes, within a bound."""
        self._running = self._running or asyncio.ensure_future(self.watch.run())
        for _ in range(1_000):
            await asyncio.sleep(0)
            if claim():
                return
        raise AssertionError("it did not come to that")

    async def a_while(self) -> None:
        """Let the watch look many times."""
        for _ in range(100):
            await self.until(lambda: True)

    def _answer(self) -> None:
        if self.is_silent:
            raise StoreUnavailable("silent")


@pytest.fixture
def watched(tmp_path: Path, sqlite_store: DocumentStore, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr("proxy_service.file_watch.LOOK_SECONDS", 0)
    monkeypatch.setattr("proxy_service.file_watch.RETRY_SECONDS", 0)
    return Watched(tmp_path, sqlite_store)


def test_what_files_say_is_in_force_before_the_first_call(watched: Watched) -> None:
    watched.write("search")

    watched.watch.look()

    assert [budget.name for budget in watched.taken[-1].budgets] == ["search"]
    assert [(state.file, state.state) for state in watched.told] == [("budgets.json", "in_force")]


def test_a_change_is_handed_on_and_what_is_unchanged_is_not(watched: Watched) -> None:
    async def scenario() -> None:
        watched.write("search")
        watched.watch.look()
        watched.write("search", limit=2)
        await watched.until(lambda: len(watched.taken) == 2)
        await watched.a_while()

    asyncio.run(scenario())

    limits = [each.budgets[0].limit_nanodollars for each in watched.taken]
    assert limits == [1_000_000_000, 2_000_000_000]


def test_a_bad_file_is_told_once_and_what_was_good_stays(watched: Watched) -> None:
    async def scenario() -> None:
        watched.write("search")
        watched.watch.look()
        (watched.folder / "budgets.json").write_text("{")
        await watched.until(lambda: len(watched.told) == 2)
        await watched.a_while()

    asyncio.run(scenario())

    assert watched.told[1].complaints == ("line 1, column 2: this is no JSON",)
    assert len(watched.told) == 2
    assert [budget.name for budget in watched.taken[-1].budgets] == ["search"]


def test_a_new_budget_is_made_known_to_the_store_and_one_that_is_gone_too(watched: Watched) -> None:
    async def scenario() -> None:
        watched.write("search")
        watched.watch.look()
        await watched.until(lambda: watched.seeding() is not None)
        known = watched.seeding()
        assert known is not None
        assert (known.since, known.paused_at) == (watched.clock.now(), None)
        watched.write()
        await watched.until(lambda: (found := watched.seeding()) is not None and found.paused_at is not None)
        watched.write("search")
        await watched.until(lambda: (found := watched.seeding()) is not None and found.paused_at is None)

    asyncio.run(scenario())


def test_a_silent_store_hears_of_a_budget_when_it_is_back(watched: Watched) -> None:
    seen_at = watched.clock.now()

    async def scenario() -> None:
        watched.is_silent = True
        watched.write("search")
        watched.watch.look()
        await watched.a_while()
        watched.clock.advance(600)
        watched.is_silent = False
        await watched.until(lambda: watched.seeding() is not None)

    asyncio.run(scenario())

    known = watched.seeding()
    assert known is not None
    assert known.since == seen_at
