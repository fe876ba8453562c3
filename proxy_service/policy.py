"""What this instance knows of keys and accounts: a bounded memory over the directory, told what changed.

`changes` is read each half second; what it names is forgotten and looked up anew on the next call, so that
a revoked key, a suspended account or a new setting acts within a second. A gap forgets everything.

Policies with budgets are looked up anew at once, call or no call: what this instance holds of a limit that
was lowered has to go back. The policy of the machine's own account has what its files say in front.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from metering.accounts import LOCAL_ACCOUNT_ID, Caller, Policy
from metering.clock import Clock
from metering.errors import StoreUnavailable
from metering.file_configuration import NO_FILES, FileConfiguration
from metering.keys import LAST_USE_RESOLUTION_SECONDS, KeyRecord
from proxy_service.lookups import LOOK_UPS_MAX, LookUpRoom, RateCap, TooManyLookUps
from proxy_service.memory import Memory
from proxy_service.tally import Tally

KEYS_MAX = 20_000
UNKNOWN_KEYS_MAX = 10_000  # a memory of their own: a flood of made-up keys pushes out no real one
POLICIES_MAX = 10_000
USES_WAITING_MAX = 256
POLICY_LOOK_UPS_MAX = LOOK_UPS_MAX  # a bound of their own: a flood of keys delays no known one
FOLLOWED_LOOK_UPS_MAX = 16  # of the above, at most, for policies that no call waits for
CHANGES_POLL_SECONDS = 0.5

T = TypeVar("T")


class Changed(Protocol):
    """Which keys and accounts changed after a version; see `metering.directory.Changes`."""

    @property
    def version(self) -> int:
        """How many changes there were so far."""

    def since(self, version: int) -> tuple[str, ...] | None:
        """What changed after that version; None: not known."""


class KeyDirectory(Protocol):
    """As much of `metering.directory.Directory` as calls need. Blocks; raises StoreUnavailable."""

    def key_by_hash(self, hashed: str) -> KeyRecord | None:
        """The key's record, live or not."""

    def policy(self, account_id: str) -> Policy | None:
        """The account's policy."""

    def changes(self) -> Changed:
        """What changed lately."""


class KnownKey(msgspec.Struct, frozen=True):
    """A key's record, and the caller it stands for."""

    record: KeyRecord
    caller: Caller


class PolicyMemory:
    """Keys by hash and policies by account. On the event loop; looks up in threads.

    The store being silent raises StoreUnavailable from a look-up and leaves what is known in force.
    `on_policy` is told each policy that comes to be in force, and of a deleted account an empty one.
    """

    def __init__(
        self,
        directory: KeyDirectory,
        tally: Tally,
        *,
        look_up_threads: Executor,
        poll_thread: Executor,
        on_policy: Callable[[Policy], None] | None = None,
    ) -> None:
        self._directory = directory
        self._tally = tally
        self._look_up_threads = look_up_threads
        self._poll_thread = poll_thread  # its own, so that hanging look-ups delay no revocation
        self._keys: Memory[KnownKey] = Memory(KEYS_MAX)
        self._unknown: Memory[bool] = Memory(UNKNOWN_KEYS_MAX)
        self._policies: Memory[Policy] = Memory(POLICIES_MAX)
        self._room = LookUpRoom()
        self._keys_asked: dict[str, asyncio.Task[KnownKey | None]] = {}
        self._policies_asked: dict[str, asyncio.Task[Policy | None]] = {}
        self._outdated: set[str] = set()  # of what is being asked for, what changed meanwhile
        self._version: int | None = None
        self._on_policy = on_policy or _nobody
        self._files = NO_FILES
        self._own_policy: Policy | None = None  # the machine's own account's, without what files say
        self._followed: Memory[bool] = Memory(POLICIES_MAX)  # accounts that have budgets or are suspended
        self._overtaken: dict[str, None] = {}  # those of them that changed since, the longest ago first

    def known_key(self, hashed: str) -> KnownKey | None:
        """The key with that hash, where it is in memory."""
        return self._keys.get(hashed)

    def known_policy(self, account_id: str) -> Policy | None:
        """The account's policy, where it is in memory."""
        return self._policies.get(account_id)

    async def key(self, hashed: str, address: str, now: float) -> KnownKey | None:
        """The key with that hash, None where there is none; `address` is who asks, see `lookups`.

        Raises: StoreUnavailable, TooManyLookUps.
        """
        known = self._keys.get(hashed)
        if known is not None:
            return known
        if self._unknown.get(hashed):
            return None
        if hashed not in self._keys_asked:
            allowance = self._room.take(address, len(self._keys_asked), now)
            _ask(self._keys_asked, hashed, self._fetched_key(hashed, allowance))
        return await asyncio.shield(self._keys_asked[hashed])

    async def policy(self, account_id: str) -> Policy | None:
        """The account's policy, None where there is none. Raises: StoreUnavailable, TooManyLookUps."""
        known = self._policies.get(account_id)
        if known is not None:
            return known
        if account_id not in self._policies_asked:
            if len(self._policies_asked) >= POLICY_LOOK_UPS_MAX:
                raise TooManyLookUps
            _ask(self._policies_asked, account_id, self._fetched_policy(account_id))
        return await asyncio.shield(self._policies_asked[account_id])

    def policy_unread(self, account_id: str) -> Policy:
        """What is known of an account whose policy cannot be had: what the machine's own files say."""
        return self._files.merged(Policy(account_id=account_id))

    def take_files(self, files: FileConfiguration) -> None:
        """The machine's own files say this now."""
        self._files = files
        policy = files.merged(self._own_policy or Policy(account_id=LOCAL_ACCOUNT_ID))
        if self._policies.get(LOCAL_ACCOUNT_ID) is not None:
            self._policies.put(LOCAL_ACCOUNT_ID, policy)
        self._tell(policy)

    async def follow_changes(self) -> None:
        """Read what changed, each half second, for as long as the process lives.

        The store being silent: what is known holds, and the next read tells what was missed. Whatever else
        goes wrong with one read, the next is made: a revoked key must not live on for a fault of ours.
        """
        while True:
            try:
                loop = asyncio.get_running_loop()
                self.take(await loop.run_in_executor(self._poll_thread, self._directory.changes))
            except Exception:  # noqa: BLE001 - see above; it is counted
                self._tally.changes_unread += 1
            self._look_up_overtaken()
            await asyncio.sleep(CHANGES_POLL_SECONDS)

    def take(self, changes: Changed) -> None:
        """Forget what changed since the last time."""
        if changes.version == self._version:
            return
        changed = None if self._version is None else changes.since(self._version)
        self._version = changes.version
        asked = self._keys_asked.keys() | self._policies_asked.keys()
        self._outdated |= asked if changed is None else asked & set(changed)
        self._keys.forget(
            tuple(filter(self._may_be_live, self._keys.names() if changed is None else changed))
        )
        for memory in (self._unknown, self._policies):
            if changed is None:
                memory.clear()
            else:
                memory.forget(changed)
        overtaken = self._followed.names() if changed is None else changed
        self._overtaken |= {name: None for name in overtaken if self._followed.get(name)}

    def _may_be_live(self, hashed: str) -> bool:
        """Whether to ask for the key again: it may have been read as revoked before we heard that it was.

        Nothing makes it live again, and while the store is silent it would pass for one never seen.
        """
        known = self._keys.get(hashed)
        return known is None or known.record.revoked_at is None

    def _look_up_overtaken(self) -> None:
        """Begin to look up what changed of the policies we follow; what fails is due at the next poll."""
        for account_id in list(self._overtaken):
            if len(self._policies_asked) >= FOLLOWED_LOOK_UPS_MAX:
                return
            if account_id not in self._policies_asked:
                _ask(self._policies_asked, account_id, self._fetched_policy(account_id))

    async def _fetched_key(self, hashed: str, allowance: RateCap) -> KnownKey | None:
        record, is_current = await self._looked_up(hashed, lambda: self._directory.key_by_hash(hashed))
        known = None if record is None else KnownKey(record, _caller(record))
        if known is not None:
            allowance.give_back()
        if is_current:
            if known is None:
                self._unknown.put(hashed, True)
            else:
                self._keys.put(hashed, known)
        return known

    async def _fetched_policy(self, account_id: str) -> Policy | None:
        stored, is_current = await self._looked_up(account_id, lambda: self._directory.policy(account_id))
        policy = None if stored is None else self._files.merged(stored)
        if is_current:
            if account_id == LOCAL_ACCOUNT_ID:
                self._own_policy = stored
            if policy is not None:
                self._policies.put(account_id, policy)
            self._overtaken.pop(account_id, None)
            self._tell(policy or self.policy_unread(account_id))
        return policy

    def _tell(self, policy: Policy) -> None:
        if policy.budgets or policy.status == "suspended":
            self._followed.put(policy.account_id, True)
        elif self._followed.get(policy.account_id):
            self._followed.forget((policy.account_id,))
        else:
            return  # neither had budgets nor has any, nor is kept out: nobody waits for news of it
        self._on_policy(policy)

    async def _looked_up(self, name: str, read: Callable[[], T]) -> tuple[T, bool]:
        """What was read, and whether it may be kept: what changed meanwhile may be newer than the answer.

        Then it serves those who asked and nobody else. Changes of other things do not matter: a verdict that
        is not kept is none any more when the store falls silent.
        """
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._look_up_threads, read)
        except StoreUnavailable:
            self._tally.look_ups_unanswered += 1
            raise
        else:
            return found, name not in self._outdated
        finally:
            self._outdated.discard(name)


class KeyUses:
    """Notes when keys are used: at most once a minute each, in a thread, and never in a call's way.

    The store being silent, or too many waiting: the note is dropped; the next minute brings another.
    """

    def __init__(self, note: Callable[[str, datetime], None], clock: Clock, thread: Executor) -> None:
        self._note = note
        self._clock = clock
        self._thread = thread
        self._noted_at: Memory[float] = Memory(KEYS_MAX)
        self._waiting = 0

    def note(self, hashed: str) -> None:
        """The key has just been used."""
        now = self._clock.monotonic()
        noted_at = self._noted_at.get(hashed)
        if noted_at is not None and now - noted_at < LAST_USE_RESOLUTION_SECONDS:
            return
        self._noted_at.put(hashed, now)
        if self._waiting < USES_WAITING_MAX:
            self._waiting += 1
            noting = asyncio.get_running_loop().run_in_executor(
                self._thread, self._note, hashed, self._clock.now()
            )
            noting.add_done_callback(self._has_noted)

    def _has_noted(self, done: asyncio.Future[None]) -> None:
        self._waiting -= 1
        if not done.cancelled():
            done.exception()  # see the class


def _nobody(_policy: Policy) -> None:
    """Nobody wants to know."""


def _ask(asked: dict[str, asyncio.Task[T]], name: str, look_up: Coroutine[Any, Any, T]) -> None:
    """Begin one look-up for all who will wait for the same thing."""

    def has_ended(done: asyncio.Task[T]) -> None:
        del asked[name]
        if not done.cancelled():
            done.exception()  # whoever waited has it; if nobody waits any more, it is of no interest

    asked[name] = asyncio.create_task(look_up)
    asked[name].add_done_callback(has_ended)


def _caller(record: KeyRecord) -> Caller:
    return Caller(
        account_id=record.account_id,
        key_id=record.key_id,
        scopes=record.scopes,
        team=record.team,
        app=record.app,
        deployment=record.deployment,
    )
