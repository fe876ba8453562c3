"""What a process and its descendants have used, read from /proc."""

import os
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    parents: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            parent = _stat(int(folder.name))
            if parent:
                parents.setdefault(int(parent[1]), []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += parents.get(found[-1], [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat behind the program's name; empty where it has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree so far."""
    fields = [_stat(each) for each in tree(pid)]
    return sum(int(each[11]) + int(each[12]) for each in fields if each) / _TICKS_PER_SECOND


def resident_megabytes(pid: int) -> float:
    """Memory of the tree that is in RAM; pages that its processes share count once for each."""
    pages = 0
    for each in tree(pid):
        try:
            pages += int((_PROC / str(each) / "statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def busy_seconds(core: int) -> float:
    """How long one core has worked so far, for whomever."""
    line = next(each for each in (_PROC / "stat").read_text().splitlines() if each.startswith(f"cpu{core} "))
    user, nice, system, _idle, _waiting, irq, softirq, *_ = map(int, line.split()[1:])
    return (user + nice + system + irq + softirq) / _TICKS_PER_SECOND
