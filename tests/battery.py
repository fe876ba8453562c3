"""The acceptance battery: which checks there are, which tests hold them, and the table of what came of them.

A test takes a check's id with `@pytest.mark.battery("P1")`, and the class of cases that it generates with
`@pytest.mark.battery_class("bytes split anywhere")`. A run with `--battery-table` writes what came of each
into docs/battery.md; `make battery` does, with everything at full size.
"""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

TESTS = Path(__file__).parent
LIST = TESTS / "battery.toml"
DOCUMENT = TESTS.parent / "docs" / "battery.md"
NAME = "battery"
MARKS = ("battery", "battery_class")
BEGIN, END = "<!-- made by make battery -->", "<!-- end of what make battery made -->"
_FIGURE = "battery_figure"


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked at from outside. `not_applicable` says why nothing of ours could be looked at."""

    id: str
    title: str
    stopper: bool = False
    figure: str = ""
    deviation: str = ""
    not_applicable: str = ""


class CaseClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cases that are generated, since the next case will be none of the listed; of which group."""

    id: str
    group: str


class Battery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole list."""

    groups: dict[str, str]
    checks: tuple[Check, ...]
    classes: tuple[CaseClass, ...]


def listed() -> Battery:
    """The list as its file says."""
    return msgspec.toml.decode(LIST.read_bytes(), type=Battery)


def marked() -> dict[str, set[str]]:
    """By each id of a check or class, the tests that take it, as `path::name`; read, not imported."""
    found: dict[str, set[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if "mark.battery" not in text:
            continue
        for name, taken in _ids_of_file(ast.parse(text)):
            found.setdefault(taken, set()).add(f"{path.relative_to(TESTS.parent)}::{name}")
    return found


def _ids_of_file(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from ((node.name, taken) for taken in _ids(node.decorator_list))
        elif isinstance(node, ast.Assign):
            yield from ((ast.unparse(node.targets[0]), taken) for taken in _ids([node.value]))


def _ids(decorators: list[ast.expr]) -> Iterator[str]:
    for mark in decorators:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr in MARKS:
            yield from (str(each.value) for each in mark.args if isinstance(each, ast.Constant))


class Outcome(msgspec.Struct):
    """What came of the tests of one id: how many cases of each test went how, and the figures they told."""

    passed: dict[str, int] = msgspec.field(default_factory=dict)
    failed: set[str] = msgspec.field(default_factory=set)
    skipped: set[str] = msgspec.field(default_factory=set)
    figures: list[str] = msgspec.field(default_factory=list)

    def add(self, test: str, outcome: str, figures: list[str]) -> None:
        """Count one case of the test."""
        if outcome == "passed":
            self.passed[test] = self.passed.get(test, 0) + 1
        else:
            (self.failed if outcome == "failed" else self.skipped).add(test)
        self.figures += [figure for figure in figures if figure not in self.figures]

    @property
    def word(self) -> str:
        """The result in a word or two."""
        if self.failed:
            return "**failed**"
        if self.skipped:
            return "held but for what this machine lacks"
        return "held" if self.passed else "**not run**"


class BatteryTable:
    """The plugin: has each test tell its ids, and writes the table where one was asked for."""

    def __init__(self, config: pytest.Config, document: Path = DOCUMENT) -> None:
        self._writes = bool(config.getoption("battery_table")) and not hasattr(config, "workerinput")
        self._document = document
        self.outcomes: dict[str, Outcome] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Have reports carry the ids to the process that leads the run."""
        for item in items:
            for name in MARKS:
                ids = [taken for mark in item.iter_markers(name) for taken in mark.args]
                item.user_properties += [(NAME, taken) for taken in ids]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what came of a test with an id."""
        if report.when != "call" and report.outcome == "passed":
            return
        test = report.nodeid.partition("[")[0]
        figures = [str(text) for name, text in report.user_properties if name == _FIGURE]
        for name, taken in report.user_properties:
            if name == NAME:
                outcome = self.outcomes.setdefault(str(taken), Outcome())
                told = [figure.partition(" ")[2] for figure in figures if figure.split(" ")[0] == taken]
                outcome.add(test, report.outcome, told)

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        if self._writes:
            size = "at full size" if os.environ.get("PROOF") == "full" else "at the size of `make test`"
            made = f"As it was run {size}:\n\n{table(listed(), self.outcomes)}"
            write_part(self._document, BEGIN, END, made)


def write_part(document: Path, begin: str, end: str, made: str) -> None:
    """Replace what stands between the two marks in the document."""
    before, _, rest = document.read_text().partition(begin)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}\n\n{made}\n{end}{after}")


def table(battery: Battery, outcomes: dict[str, Outcome]) -> str:
    """What came of every check and class, by group."""
    lines: list[str] = []
    for letter, group in battery.groups.items():
        lines += [
            f"### {letter}: {group}",
            "",
            "| id | what | tests | result | figure |",
            "|---|---|---|---|---|",
        ]
        lines += [
            _row(check, outcomes.get(check.id, Outcome()))
            for check in battery.checks
            if check.id[0] == letter
        ]
        lines += ["", *_tests_of(battery, letter, outcomes)]
    return "\n".join(lines)


def _row(check: Check, outcome: Outcome) -> str:
    title = check.title + (f". *{check.deviation}*" if check.deviation else "")
    marked_id = f"**{check.id}**" if check.stopper else check.id
    if check.not_applicable:
        return f"| {marked_id} | {title} | | not applicable: {check.not_applicable} | |"
    figure = f"{'; '.join(sorted(outcome.figures))}" if check.figure else ""
    told = f"{check.figure}: {figure}" if figure else ""
    return f"| {marked_id} | {title} | {_count(outcome)} | {outcome.word} | {told} |"


def _count(outcome: Outcome) -> str:
    names = outcome.passed.keys() | outcome.failed | outcome.skipped
    cases = sum(outcome.passed.values())
    return f"{len(names)}, {cases} case{'' if cases == 1 else 's'}"


def _tests_of(battery: Battery, letter: str, outcomes: dict[str, Outcome]) -> list[str]:
    """The names of the tests of one group, by check and by class."""
    ids = [check.id for check in battery.checks if check.id[0] == letter]
    generated = [each.id for each in battery.classes if each.group == letter]
    lines = [_names(taken, taken, outcomes) for taken in ids]
    lines += [_names(f"generated: {taken}", taken, outcomes) for taken in generated]
    return [*filter(None, lines), ""]


def _names(title: str, taken: str, outcomes: dict[str, Outcome]) -> str:
    outcome = outcomes.get(taken)
    if outcome is None:
        return ""
    names = sorted(outcome.passed.keys() | outcome.failed | outcome.skipped)
    failed = "" if outcome.word == "held" else f" ({outcome.word})"
    return f"- {title}{failed}: " + ", ".join(f"`{name}`" for name in names)
