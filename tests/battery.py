"""The acceptance battery: which checks there are, which tests hold them, and what came of them.

A test takes a check's id with `@pytest.mark.battery("P1")`, and the class of cases that it generates with
`@pytest.mark.battery_class("bytes split anywhere")`.

    python -m tests.battery

writes into docs/battery.md what each check asks and which tests take its id;
tests/architecture/test_battery.py sees to it that it is what the files say. A run with `--battery-table`
writes what came of each, of which commit and on which stores; `make battery` does both, with everything at
full size.
"""

import ast
import os
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metering.firestore.store import FirestoreStore
from metering.sqlite.store import SqliteStore

TESTS = Path(__file__).parent
LIST = TESTS / "battery.toml"
DOCUMENT = TESTS.parent / "docs" / "battery.md"
NAME = "battery"
MARKS = ("battery", "battery_class")
BEGIN, END = "<!-- made by make battery -->", "<!-- end of what make battery made -->"
LIST_BEGIN, LIST_END = "<!-- made by python -m tests.battery -->", "<!-- end of what it made -->"
STORES = {"sqlite": SqliteStore, "firestore": FirestoreStore}
_FIGURE = "battery_figure"
_STORE = "battery_store"
_STORE_METHODS = ("get", "get_many", "query", "commit")


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
    stores: set[str] = msgspec.field(default_factory=set)

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
    """The plugin: has each test tell its ids and stores; writes what came of them where that is asked for."""

    def __init__(self, config: pytest.Config, document: Path = DOCUMENT) -> None:
        is_asked = bool(config.getoption("battery_table"))
        self._writes = is_asked and not hasattr(config, "workerinput")
        self._document = document
        self._asked: set[str] = set()  # of which kind the stores were that somebody here asked something
        self.outcomes: dict[str, Outcome] = {}
        if self._writes:
            self._of_what = of_what()
        if is_asked:
            self._watch_stores()

    def _watch_stores(self) -> None:
        for kind, store in STORES.items():
            for name in _STORE_METHODS:
                setattr(store, name, self._noting(kind, getattr(store, name)))

    def _noting(self, kind: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def noted(*given: Any, **named: Any) -> Any:
            self._asked.add(kind)
            return method(*given, **named)

        return noted

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Generator[None, None, None]:
        """Begin anew."""
        self._asked.clear()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Note which stores the test ran on: those it asked, and the emulator where its processes did."""
        try:
            return (yield)
        finally:
            has_emulator = "emulator" in getattr(item, "fixturenames", ())
            kinds = self._asked | ({"firestore"} if has_emulator else set())
            item.user_properties += [(_STORE, kind) for kind in sorted(kinds)]

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
                outcome.stores |= {str(kind) for name, kind in report.user_properties if name == _STORE}

    def pytest_sessionfinish(self) -> None:
        """Write what came of it."""
        if self._writes:
            size = "at full size" if os.environ.get("PROOF") == "full" else "at the size of `make test`"
            made = f"As it was run {size}, {self._of_what}:\n\n{results(listed(), self.outcomes)}"
            write_part(self._document, BEGIN, END, made)


def of_what() -> str:
    """When it is and which commit is looked at, and whether there are changes to it."""

    def git(*asked: str) -> str:
        told = subprocess.run(["git", *asked], cwd=TESTS, capture_output=True, text=True, check=False)
        return told.stdout.strip()

    changes = " + changes" if git("status", "--porcelain") else ""
    commit = git("rev-parse", "--short", "HEAD") or "of no commit"
    return f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC, {commit}{changes}"


def write_part(document: Path, begin: str, end: str, made: str) -> None:
    """Replace what stands between the two marks in the document."""
    before, _, rest = document.read_text().partition(begin)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}\n\n{made}\n{end}{after}")


def results(battery: Battery, outcomes: Mapping[str, Outcome]) -> str:
    """What came of every check and class."""
    lines = ["| id | tests | result | stores | figure |", "|---|---|---|---|---|"]
    lines += [_result(check, outcomes.get(check.id, Outcome())) for check in battery.checks]
    lines += ["", "| generated | tests | result | stores |", "|---|---|---|---|"]
    for each in battery.classes:
        outcome = outcomes.get(each.id, Outcome())
        lines.append(f"| {each.id} | {_count(outcome)} | {outcome.word} | {_stores(outcome)} |")
    return "\n".join([*lines, ""])


def _result(check: Check, outcome: Outcome) -> str:
    if check.not_applicable:
        return f"| {check.id} | | not applicable | | |"
    figure = "; ".join(sorted(outcome.figures)) if check.figure else ""
    told = f"{check.figure}: {figure}" if figure else ""
    return f"| {check.id} | {_count(outcome)} | {outcome.word} | {_stores(outcome)} | {told} |"


def _count(outcome: Outcome) -> str:
    names = outcome.passed.keys() | outcome.failed | outcome.skipped
    cases = sum(outcome.passed.values())
    return f"{len(names)}, {cases} case{'' if cases == 1 else 's'}"


def _stores(outcome: Outcome) -> str:
    if outcome.stores == STORES.keys():
        return "both"
    return next(iter(outcome.stores), "none")


def table(battery: Battery, tests: Mapping[str, set[str]]) -> str:
    """What every check and class asks, by group, and which tests take its id."""
    lines: list[str] = []
    for letter, group in battery.groups.items():
        checks = [check for check in battery.checks if check.id[0] == letter]
        lines += [f"### {letter}: {group}", "", "| id | what |", "|---|---|", *map(_row, checks), ""]
        lines += [_names(check.id, tests.get(check.id, set())) for check in checks if check.id in tests]
        classes = [each.id for each in battery.classes if each.group == letter]
        lines += [_names(f"generated: {taken}", tests.get(taken, set())) for taken in classes]
        lines.append("")
    return "\n".join(lines)


def _row(check: Check) -> str:
    title = check.title + (f". *{check.deviation}*" if check.deviation else "")
    title += f". Not applicable: {check.not_applicable}" if check.not_applicable else ""
    return f"| {f'**{check.id}**' if check.stopper else check.id} | {title} |"


def _names(title: str, tests: set[str]) -> str:
    return f"- {title}: " + ", ".join(f"`{name}`" for name in sorted(tests))


if __name__ == "__main__":
    write_part(DOCUMENT, LIST_BEGIN, LIST_END, table(listed(), marked()))
