"""Every check of the acceptance battery, and every class of cases, has a test or a reason why it has none."""

import re
from pathlib import Path

import pytest

from tests.battery import (
    BEGIN,
    DOCUMENT,
    END,
    LIST_BEGIN,
    LIST_END,
    Battery,
    CaseClass,
    Check,
    Outcome,
    listed,
    marked,
    results,
    table,
    write_part,
)

BATTERY = listed()
TESTS = marked()


@pytest.mark.parametrize("check", BATTERY.checks, ids=lambda each: each.id)
def test_a_check_is_held_by_a_test_or_says_why_it_does_not_apply(check: Check) -> None:
    assert bool(TESTS.get(check.id)) != bool(check.not_applicable)
    assert check.id[0] in BATTERY.groups


@pytest.mark.parametrize("case_class", BATTERY.classes, ids=lambda each: each.id)
def test_cases_of_each_class_are_generated_by_a_test(case_class: CaseClass) -> None:
    assert TESTS.get(case_class.id)
    assert case_class.group in BATTERY.groups


def test_each_group_has_a_class_of_cases_of_its_own() -> None:
    assert {each.group for each in BATTERY.classes} == set(BATTERY.groups)


def test_no_test_takes_an_id_that_nobody_listed() -> None:
    ids = [check.id for check in BATTERY.checks] + [each.id for each in BATTERY.classes]

    assert len(ids) == len(set(ids))
    assert TESTS.keys() <= set(ids)


def part(begin: str, end: str) -> str:
    return DOCUMENT.read_text().partition(begin)[2].partition(end)[0].strip()


def test_the_document_lists_each_check_with_exactly_the_tests_that_take_its_id() -> None:
    assert part(LIST_BEGIN, LIST_END) == table(BATTERY, TESTS).strip(), "run python -m tests.battery"


def test_the_document_tells_what_came_of_each_check_when_and_of_which_commit() -> None:
    told = part(BEGIN, END)
    ids = [line.split(" ")[1] for line in told.partition("| generated")[0].splitlines() if line[:2] == "| "]

    assert ids[1:] == [check.id for check in BATTERY.checks]
    assert re.match(r"As it was run at .*, \d\d \w+ \d{4}, \d\d:\d\d UTC, [0-9a-f]{7,}( \+ changes)?:", told)


MADE = Battery(
    {"P": "Fidelity"},
    (
        Check("P1", "bytes cross", stopper=True, deviation="Most do."),
        Check("P2", "pieces come at once", figure="median"),
        Check("P3", "nobody asks", not_applicable="there is nothing to ask"),
        Check("P4", "nothing is cut"),
    ),
    (CaseClass("any bytes", "P"),),
)


def test_what_came_of_each_check_is_told_with_its_stores() -> None:
    outcomes = {name: Outcome() for name in ("P1", "P2", "any bytes")}
    outcomes["P1"].add("tests/a.py::test_a", "passed", [])
    outcomes["P1"].add("tests/a.py::test_b", "failed", [])
    outcomes["P1"].stores |= {"sqlite", "firestore"}
    outcomes["P2"].add("tests/a.py::test_c", "passed", ["3 ms"])
    outcomes["P2"].add("tests/a.py::test_c", "passed", ["2 ms"])
    outcomes["P2"].stores.add("sqlite")
    outcomes["any bytes"].add("tests/a.py::test_d", "skipped", [])

    assert results(MADE, outcomes).splitlines()[2:] == [
        "| P1 | 2, 1 case | **failed** | both |  |",
        "| P2 | 1, 2 cases | held | sqlite | median: 2 ms; 3 ms |",
        "| P3 | | not applicable | | |",
        "| P4 | 0, 0 cases | **not run** | none |  |",
        "",
        "| generated | tests | result | stores |",
        "|---|---|---|---|",
        "| any bytes | 1, 0 cases | held but for what this machine lacks | none |",
    ]


def test_what_each_check_asks_is_told_with_the_tests_that_take_its_id() -> None:
    told = table(MADE, {"P1": {"b", "a"}, "any bytes": {"c"}})

    assert told.splitlines()[4:] == [
        "| **P1** | bytes cross. *Most do.* |",
        "| P2 | pieces come at once |",
        "| P3 | nobody asks. Not applicable: there is nothing to ask |",
        "| P4 | nothing is cut |",
        "",
        "- P1: `a`, `b`",
        "- generated: any bytes: `c`",
    ]


def test_only_what_stands_between_the_marks_is_written(tmp_path: Path) -> None:
    document = tmp_path / "battery.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    write_part(document, BEGIN, END, "new\n")

    assert document.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
