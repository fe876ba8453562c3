"""The index gate: firestore.indexes.json holds what the queries of a run needed, and nothing else.

Every process that runs tests notes the shape of each query that either store is asked, since most tests ask
the embedded one. Before its emulator goes, it has the emulator answer one query of each shape, and asks which
composite indexes those needed, and which those of every project that tests used, in processes they started
too. When all is over, the process that leads the run judges:

- an index that was needed and is not declared fails any run;
- one that is declared and was not needed fails a run of the whole suite: of all that `testpaths` names, with
  nothing selected, deselected or left out, in which no test failed. Others did not ask everything.
"""

from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from demo.emulator import running_emulator
from metering import firestore
from metering.firestore import store as firestore_store
from metering.sqlite import store as sqlite_store
from metering.store_urls import DEFAULT_DATABASE
from metering.stores import Query
from tests.emulator import (
    INDEX_FILE,
    JOINED,
    Index,
    declared_fields,
    declared_indexes,
    indexes_of_judged,
    project_apart,
    used_indexes,
)

NAME = "index gate"
_OUTPUT = "index_usage"
_SELECTING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "collectonly")


class Shape(msgspec.Struct, frozen=True):
    """What an index has to serve in a query: its fields and their modes, whatever the values."""

    collection: str
    equal: tuple[str, ...]
    contains: str | None
    order_by: str | None
    is_descending: bool
    is_ranged: bool

    @property
    def fields(self) -> set[tuple[str, str]]:
        """The fields it is about, each with its collection."""
        named = (*self.equal, self.contains, self.order_by)
        return {(self.collection, name) for name in named if name is not None}

    def query(self) -> Query:
        """A query of this shape."""
        return Query(
            collection=self.collection,
            equal=dict.fromkeys(self.equal, "x"),
            contains=None if self.contains is None else (self.contains, "x"),
            order_by=self.order_by,
            descending=self.is_descending,
            at_least=datetime(2026, 1, 1, tzinfo=UTC) if self.is_ranged else None,
        )


class Usage(msgspec.Struct):
    """What a process's queries came to.

    Their `shapes`, those of them that the emulator was asked (`tried`), and the composite `indexes` needed.
    """

    shapes: set[Shape] = msgspec.field(default_factory=set)
    tried: set[Shape] = msgspec.field(default_factory=set)
    indexes: set[Index] = msgspec.field(default_factory=set)

    def add(self, other: "Usage") -> None:
        """Add another process's."""
        self.shapes |= other.shapes
        self.tried |= other.tried
        self.indexes |= other.indexes


def shape_of(query: Query) -> Shape:
    """The query's shape."""
    return Shape(
        collection=query.collection.rpartition("/")[2],
        equal=tuple(sorted(query.equal)),
        contains=query.contains[0] if query.contains else None,
        order_by=query.order_by,
        is_descending=query.descending,
        is_ranged=query.at_least is not None or query.below is not None,
    )


def complaints(usage: Usage, file: Path = INDEX_FILE, *, is_whole: bool) -> list[str]:
    """What is wrong with the file of indexes, given what was used; `is_whole`: by the whole suite."""
    declared = declared_indexes(file)
    fields = declared_fields(file)
    used_fields = {field for shape in usage.shapes for field in shape.fields}
    found = [f"missing: {_shown(index)}" for index in sorted(usage.indexes - declared - JOINED)]
    found += [f"missing: {'.'.join(field)}" for field in sorted(used_fields - fields)]
    if not is_whole:
        return found
    found += [f"used by no query: {_shown(index)}" for index in sorted(declared - usage.indexes)]
    found += [f"joined by no query: {_shown(index)}" for index in sorted(JOINED - usage.indexes)]
    return found + [f"used by no query: {'.'.join(field)}" for field in sorted(fields - used_fields)]


def _shown(index: Index) -> str:
    collection, fields = index
    return f"{collection} ({', '.join(f'{name} {mode}' for name, mode in fields)})"


class IndexGate:
    """The plugin, in each process that runs tests and in the one that leads them."""

    def __init__(self, config: pytest.Config, file: Path = INDEX_FILE) -> None:
        self._config = config
        self._file = file
        self._patch = pytest.MonkeyPatch()
        self._is_whole = False
        self._complaints: list[str] = []
        self.usage = Usage()

    @property
    def _leads(self) -> bool:
        return not hasattr(self._config, "workerinput")

    def pytest_sessionstart(self) -> None:
        """Note what either store is asked from now on."""
        for module in (sqlite_store, firestore_store):
            self._patch.setattr(module, "check_query", self._noting(module.check_query))

    def ask(self, emulator: str) -> None:
        """Learn from the emulator which indexes this process's queries needed."""
        apart = project_apart()
        shapes = self.usage.shapes - self.usage.tried
        with closing(firestore.open_store(apart, DEFAULT_DATABASE, emulator_address=emulator)) as store:
            for shape in shapes:
                store.query(shape.query())
        self.usage.tried |= shapes
        self.usage.indexes |= used_indexes(emulator, apart) | indexes_of_judged(emulator)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take over what a worker's queries came to."""
        told = getattr(node, "workeroutput", {}).get(_OUTPUT)
        if told is not None:
            self.usage.add(msgspec.json.decode(told, type=Usage))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand on what this process's queries came to, or judge what all came to."""
        self._patch.undo()
        if not self._leads:
            self._config.workeroutput[_OUTPUT] = msgspec.json.encode(self.usage).decode()  # type: ignore[attr-defined]  # xdist's
            return
        self._is_whole = is_whole_suite(self._config) and session.exitstatus == pytest.ExitCode.OK
        if self._is_whole and self.usage.shapes > self.usage.tried:  # of a worker that needed no emulator
            with running_emulator() as address:
                self.ask(address)
        self._complaints = complaints(self.usage, self._file, is_whole=self._is_whole)
        if self._complaints and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what is wrong, and after the whole suite how much was asked."""
        if self._complaints:
            terminalreporter.section(f"{NAME}: {self._file.name} is not what queries use", red=True)
            for complaint in self._complaints:
                terminalreporter.write_line(complaint, red=True)
        elif self._is_whole:
            terminalreporter.write_line(
                f"{NAME}: {len(self.usage.shapes)} shapes of queries use each of"
                f" {len(declared_indexes(self._file))} composite and {len(declared_fields(self._file))}"
                " single-field indexes, and no other"
            )

    def _noting(self, check: Callable[[Query], None]) -> Callable[[Query], None]:
        def checked(query: Query) -> None:
            check(query)
            self.usage.shapes.add(shape_of(query))

        return checked


def is_whole_suite(config: pytest.Config) -> bool:
    """Whether the run is of every test there is."""
    everything = _places(config, config.getini("testpaths"))
    selects = any(config.getoption(name, None) for name in _SELECTING)
    return _places(config, config.args) == everything and not selects


def _places(config: pytest.Config, names: Iterable[str]) -> set[Path]:
    return {(config.rootpath / name).resolve() for name in names}
