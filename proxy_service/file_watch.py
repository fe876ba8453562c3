"""The machine's own budgets and rules, from files: looked at again and again, so that a change acts at once.

Self-hosted only. Files are read in a thread; what they say is handed to the policies in memory without asking
the store. Budgets that are new to the store are made known there, so that they count what the present period
had cost before (`metering.seeding`); a silent store hears of it when it is back.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime
from typing import Final

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.budgets import Budget
from metering.clock import Clock
from metering.errors import StoreError
from metering.file_configuration import NO_FILES, FileConfiguration, FileState, WatchedFiles
from metering.seeding import Seeder

LOOK_SECONDS: Final = 0.25
RETRY_SECONDS: Final = 2.0  # while the store does not take what it is told


class FileWatch:
    """Looks at the files for as long as the process lives. On the event loop; reads and writes in threads.

    `take` is handed what they say whenever it changed; `tell` each file whose state changed, for the log.
    """

    def __init__(
        self,
        files: WatchedFiles,
        seeder: Seeder,
        clock: Clock,
        *,
        take: Callable[[FileConfiguration], None],
        tell: Callable[[FileState], None],
        look_thread: Executor,
        store_thread: Executor,
    ) -> None:
        self._files = files
        self._seeder = seeder
        self._clock = clock
        self._take = take
        self._tell = tell
        self._look_thread = look_thread
        self._store_thread = store_thread
        self._taken = NO_FILES
        self._states: dict[str, FileState] = {}
        self._wanted: dict[str, tuple[Budget, datetime]] = {}
        self._known: set[str] = set()  # to the store, as counting
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Look once, here and now: before calls are served."""
        self._took(self._files.look())

    async def run(self) -> None:
        """Look every `LOOK_SECONDS`, and let the store know what it must."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_looking())
            tasks.create_task(self._keep_store_informed())

    async def _keep_looking(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = await loop.run_in_executor(self._look_thread, self._files.look)
            if now is not self._taken:
                self._took(now)

    def _took(self, configuration: FileConfiguration) -> None:
        self._taken = configuration
        self._take(configuration)
        for state in configuration.states:
            if self._states.get(state.file, FileState(file=state.file)) != state:
                self._tell(state)
            self._states[state.file] = state
        now = self._clock.now()
        self._wanted = {
            budget.budget_id: self._wanted.get(budget.budget_id, (budget, now))
            for budget in configuration.budgets
        }
        self._changed.set()

    async def _keep_store_informed(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await loop.run_in_executor(self._store_thread, self._inform_store)
            except StoreError:
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()

    def _inform_store(self) -> None:
        wanted = self._wanted
        for budget_id, (budget, since) in wanted.items():
            if budget_id not in self._known:
                self._seeder.adopt(LOCAL_ACCOUNT_ID, budget, since)
                self._known.add(budget_id)
        for budget_id in [each for each in self._known if each not in wanted]:
            self._seeder.part_with(budget_id, self._clock.now())
            self._known.discard(budget_id)
