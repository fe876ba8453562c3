"""The journals that earlier processes left: files of calls that may not be in the statistics yet.

A process that ends in order removes what it wrote, once the store has it. What a crash left is stored by
recovery, which runs beside the API; a proxy only says at its start that there is some.
"""

from pathlib import Path

import msgspec

from metering.journal_files import dead_journal, instances_in, size_bytes


class LeftJournals(msgspec.Struct, frozen=True):
    """How much there is. It counts towards the bound of all the journal's files, ours included."""

    files: int = 0
    size_bytes: int = 0


def left_journals(journal: str, instance: str) -> LeftJournals:
    """What dead processes wrote where `JOURNAL` leads, as far as it is files. Raises: OSError."""
    if not journal.startswith("file:"):
        return LeftJournals()
    directory = Path(journal.removeprefix("file:"))
    sizes: list[int] = []
    for name in instances_in(directory):
        if name != instance:
            with dead_journal(directory, name) as left:
                sizes += [] if left is None else [size_bytes(path) for path in left.paths()]
    return LeftJournals(files=len(sizes), size_bytes=sum(sizes))
