"""Failures that other gateways really had, and what of ours would turn red if we had them.

    python -m tests.failures

writes the table into docs/failures.md; tests/architecture/test_failures.py sees to it that it is the list's.
"""

from pathlib import Path

import msgspec

from tests.battery import write_part

TESTS = Path(__file__).parent
LIST = TESTS / "failures.toml"
DOCUMENT = TESTS.parent / "docs" / "failures.md"
BEGIN, END = "<!-- made by python -m tests.failures -->", "<!-- end of what it made -->"


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What went wrong elsewhere. `checks` are the battery's; `not_applicable` says why nothing is tested.

    `exception`: where we do so too, on purpose, and what says so.
    """

    number: int
    title: str
    checks: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    not_applicable: str = ""
    exception: str = ""


class Failures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole list. `groups`: what the failures from one number to another have in common."""

    groups: dict[str, str]
    failures: tuple[Failure, ...]

    def of_group(self, numbers: str) -> list[Failure]:
        """Those of one group."""
        first, last = map(int, numbers.split("-"))
        return [each for each in self.failures if first <= each.number <= last]


def listed() -> Failures:
    """The list as its file says."""
    return msgspec.toml.decode(LIST.read_bytes(), type=Failures)


def table(everything: Failures) -> str:
    """Each failure by group, with the checks and tests that would notice it."""
    lines: list[str] = []
    for numbers, group in everything.groups.items():
        lines += [f"## {group}", "", "| | what went wrong elsewhere | would turn red here |", "|---|---|---|"]
        lines += [_row(each) for each in everything.of_group(numbers)]
        lines.append("")
    return "\n".join(lines)


def _row(failure: Failure) -> str:
    if failure.not_applicable:
        return f"| {failure.number} | {failure.title} | not applicable: {failure.not_applicable} |"
    checks = [f"[{check}](battery.md)" for check in failure.checks]
    tests = [f"`{test}`" for test in failure.tests]
    but = f". Except: {failure.exception}" if failure.exception else ""
    return f"| {failure.number} | {failure.title} | {', '.join(checks + tests)}{but} |"


if __name__ == "__main__":
    write_part(DOCUMENT, BEGIN, END, table(listed()))
