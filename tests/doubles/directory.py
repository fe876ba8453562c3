"""A directory in memory whose store may be silent."""

from metering.accounts import Policy
from metering.directory import Changes
from metering.errors import StoreUnavailable
from metering.keys import KeyRecord


class DirectoryDouble:
    """Answers from what a test put in; `is_down` makes it raise StoreUnavailable; counts what it is asked."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyRecord] = {}
        self.policies: dict[str, Policy] = {}
        self.changed: list[str] = []
        self.forgotten = 0
        self.is_down = False
        self.look_ups: list[str] = []
        self.noted: list[str] = []

    def put(self, *things: KeyRecord | Policy) -> None:
        for thing in things:
            if isinstance(thing, KeyRecord):
                self.keys[thing.key_hash] = thing
                self.changed.append(thing.key_hash)
            else:
                self.policies[thing.account_id] = thing
                self.changed.append(thing.account_id)

    def key_by_hash(self, hashed: str) -> KeyRecord | None:
        self._ask(hashed)
        return self.keys.get(hashed)

    def policy(self, account_id: str) -> Policy | None:
        self._ask(account_id)
        return self.policies.get(account_id)

    def changes(self) -> Changes:
        self._ask("changes")
        return Changes(version=len(self.changed), recent=tuple(self.changed[self.forgotten :]))

    def note_key_use(self, hashed: str, _at: object) -> None:
        self.noted.append(hashed)

    def _ask(self, what: str) -> None:
        self.look_ups.append(what)
        if self.is_down:
            raise StoreUnavailable("this directory is down")
