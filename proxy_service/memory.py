"""A bounded memory."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Memory(Generic[T]):
    """The most recently used things, at most so many."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str) -> T | None:
        """The thing of that name, which is now the most recently used; None where it is not kept."""
        found = self._entries.get(name)
        if found is not None:
            self._entries.move_to_end(name)
        return found

    def put(self, name: str, thing: T) -> None:
        """Keep it; the least recently used makes room."""
        self._entries[name] = thing
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def forget(self, names: tuple[str, ...]) -> None:
        """Keep none of these."""
        for name in names:
            self._entries.pop(name, None)

    def names(self) -> tuple[str, ...]:
        """What is kept, the least recently used first."""
        return tuple(self._entries)

    def clear(self) -> None:
        """Keep nothing."""
        self._entries.clear()
