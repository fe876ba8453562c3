"""Deliberate breaks of each law, and the tests that must notice: `python -m tests.mutations`."""

from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutations.toml")


class Mutation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One replacement in one file, and the tests of which at least one must go red."""

    title: str
    law: int
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, root: Path) -> str:
        """The file with the break in it. Raises: ValueError, where the text is not there exactly once."""
        source = (root / self.file).read_text()
        if source.count(self.old) != 1:
            raise ValueError(f"{self.file} has {source.count(self.old)} times what is to be replaced")
        return source.replace(self.old, self.new)


class Mutations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of them, and what each law says."""

    laws: dict[str, str]
    mutations: tuple[Mutation, ...]


def listed() -> Mutations:
    """The list as its file says."""
    return msgspec.toml.decode(LIST.read_bytes(), type=Mutations)
