"""The journals that earlier processes left: files of calls that may not be in the statistics.

A process that ends in order removes what it wrote, once the store has it. What a crash left stays, since only
recovery can tell which of its calls the store has.
"""

from pathlib import Path

import msgspec

from proxy_service.journal import FILES

_PIECE_BYTES = 1024 * 1024


class LeftJournals(msgspec.Struct, frozen=True):
    """How much there is. It counts towards the bound of all the journal's files, ours included."""

    files: int = 0
    lines: int = 0
    size_bytes: int = 0


def left_journals(journal: str, instance: str) -> LeftJournals:
    """What others than that instance wrote where `JOURNAL` leads, as far as it is files. Raises: OSError."""
    if not journal.startswith("file:"):
        return LeftJournals()
    files = lines = size_bytes = 0
    for path in Path(journal.removeprefix("file:")).glob(FILES):
        if path.name.startswith(f"cost_events-{instance}"):
            continue
        try:
            found, size = _lines_in(path), path.stat().st_size
        except FileNotFoundError:  # its process runs and has just removed it
            continue
        if found:
            files, lines, size_bytes = files + 1, lines + found, size_bytes + size
    return LeftJournals(files, lines, size_bytes)


def _lines_in(path: Path) -> int:
    lines, end = 0, b"\n"
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            lines, end = lines + piece.count(b"\n"), piece[-1:]
    return lines + (end != b"\n")  # a torn last line is one too
