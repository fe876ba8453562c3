"""No test sleeps: what has to be waited for is waited for in one place, on a condition with a deadline."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
LOOKING = {TESTS / "doubles" / "waiting.py"}
OF_REAL_PROCESSES = (TESTS / "system", TESTS / "browser")

_SLEEP = re.compile(r"\bsleep\((?!0\))")  # asyncio.sleep(0) is a turn of the loop


def test_nobody_sleeps_but_who_waits_for_real_processes() -> None:
    sleeping = {
        f"{path.relative_to(TESTS)}:{number}"
        for path in TESTS.rglob("*.py")
        if path not in LOOKING | {Path(__file__)}
        and not any(folder in path.parents for folder in OF_REAL_PROCESSES)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if _SLEEP.search(line)
    }

    assert not sleeping
