"""The index gate: red for an index that is missing, and after the whole suite for one that is not needed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tests.emulator import JOINED, Index
from tests.index_gate import Shape, Usage, complaints, is_whole_suite

ROOT = Path(__file__).resolve().parents[2]
BY_SESSION: Index = ("segments", (("session_ids", "CONTAINS"), ("last_at", "DESCENDING")))
OF_SESSION = Shape("segments", (), "session_ids", "last_at", is_descending=True, is_ranged=False)
DECLARED = {
    "collectionGroup": "segments",
    "queryScope": "COLLECTION",
    "fields": [
        {"fieldPath": "session_ids", "arrayConfig": "CONTAINS"},
        {"fieldPath": "last_at", "order": "DESCENDING"},
    ],
}
UNUSED = {**DECLARED, "fields": [*DECLARED["fields"], {"fieldPath": "first_at", "order": "ASCENDING"}]}

CONFTEST = """
from pathlib import Path
import pytest
from tests.conftest import firestore_project, firestore_store, sqlite_store
from tests.index_gate import IndexGate

def pytest_configure(config):
    config.pluginmanager.register(IndexGate(config, Path(config.rootpath) / "indexes.json"), "gate")

@pytest.fixture(scope="session")
def emulator(request):
    yield {address!r}
    request.config.pluginmanager.getplugin("gate").ask({address!r})
"""
TESTS = """
from metering.stores import Query
from tests.emulator import JOINED

def test_embedded(sqlite_store):
    by_session = {"contains": ("session_ids", "x"), "order_by": "last_at", "descending": True}
    sqlite_store.query(Query(collection="accounts/a/segments", **by_session))

def test_joined(firestore_store):
    for collection, fields in JOINED:
        firestore_store.query(Query(collection=collection, equal={name: "x" for name, _ in fields}))
"""


def _file(folder: Path, indexes: Sequence[Mapping[str, Any]], fields: Sequence[tuple[str, str]]) -> Path:
    overrides = [
        {"collectionGroup": collection, "fieldPath": name, "indexes": [{"order": "ASCENDING"}]}
        for collection, name in fields
    ]
    path = folder / "indexes.json"
    path.write_text(json.dumps({"indexes": indexes, "fieldOverrides": overrides}))
    return path


SESSION_FIELDS = [("segments", "session_ids"), ("segments", "last_at")]
USED = Usage({OF_SESSION}, {OF_SESSION}, {BY_SESSION, *JOINED})


def test_a_file_of_just_what_was_used_is_in_order(tmp_path: Path) -> None:
    file = _file(tmp_path, [DECLARED], SESSION_FIELDS)

    assert complaints(USED, file, is_whole=True) == []


@pytest.mark.parametrize("is_whole", [True, False])
def test_an_index_that_was_needed_and_is_not_declared_is_told_of_any_run(
    tmp_path: Path, is_whole: bool
) -> None:
    file = _file(tmp_path, [], SESSION_FIELDS[1:])

    assert complaints(USED, file, is_whole=is_whole) == [
        "missing: segments (session_ids CONTAINS, last_at DESCENDING)",
        "missing: segments.session_ids",
    ]


def test_what_no_query_used_is_told_of_the_whole_suite_alone(tmp_path: Path) -> None:
    file = _file(tmp_path, [DECLARED, UNUSED], [*SESSION_FIELDS, ("segments", "first_at")])
    used = Usage({OF_SESSION}, {OF_SESSION}, {BY_SESSION})

    assert complaints(used, file, is_whole=False) == []
    assert complaints(used, file, is_whole=True) == [
        "used by no query: segments (session_ids CONTAINS, last_at DESCENDING, first_at ASCENDING)",
        "joined by no query: leases (account_id ASCENDING, state ASCENDING)",
        "joined by no query: memberships (account_id ASCENDING, person_id ASCENDING)",
        "used by no query: segments.first_at",
    ]


class Asked:
    """What pytest was asked to run."""

    rootpath = ROOT

    def __init__(self, args: Sequence[str], options: Mapping[str, object]) -> None:
        self.args = args
        self._options = options

    def getini(self, name: str) -> list[str]:
        return ["tests"]

    def getoption(self, name: str, default: object) -> object:
        return self._options.get(name, default)


@pytest.mark.parametrize(
    ("args", "options", "is_whole"),
    [
        (["tests"], {}, True),
        ([f"{ROOT}/tests"], {"keyword": "", "deselect": None}, True),
        (["tests/stores"], {}, False),
        (["tests", "bench"], {}, False),
        (["tests"], {"keyword": "rules"}, False),
        (["tests"], {"markexpr": "slow"}, False),
        (["tests"], {"deselect": ["tests/x"]}, False),
        (["tests"], {"ignore_glob": ["tests/s*"]}, False),
        (["tests"], {"lf": True}, False),
    ],
    ids=str,
)
def test_the_whole_suite_is_all_of_it(args: list[str], options: dict[str, object], is_whole: bool) -> None:
    assert is_whole_suite(cast(pytest.Config, Asked(args, options))) is is_whole


@pytest.fixture
def suite(tmp_path: Path, emulator: str) -> Path:
    """A small suite of its own, on the same emulator: a query of SQLite alone, and those of JOINED."""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\ntestpaths = suite\npythonpath = {ROOT}\n")
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "conftest.py").write_text(CONFTEST.format(address=emulator))
    (tmp_path / "suite" / "test_suite.py").write_text(TESTS)
    return tmp_path


def _run(suite: Path, *options: str) -> tuple[int, str]:
    ended = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "xdist.plugin",
            *options,
        ],
        cwd=suite,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # which take seconds to load
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return ended.returncode, ended.stdout


FIELDS = [*SESSION_FIELDS, *{(collection, name) for collection, fields in JOINED for name, _ in fields}]


def test_a_run_whose_queries_are_just_those_declared_is_green(suite: Path) -> None:
    _file(suite, [DECLARED], FIELDS)

    status, told = _run(suite, "-n", "0")

    assert (status, "3 shapes of queries use each of 1 composite" in told) == (0, True), told


def test_a_run_is_red_for_an_index_too_few_or_too_many_though_every_test_passed(suite: Path) -> None:
    _file(suite, [UNUSED], [*FIELDS, ("segments", "first_at")])

    status, told = _run(suite, "-n", "2")

    assert (status, "2 passed" in told) == (1, True), told
    assert "missing: segments (session_ids CONTAINS, last_at DESCENDING)\n" in told
    assert "used by no query: segments (session_ids CONTAINS, last_at DESCENDING, first_at" in told
