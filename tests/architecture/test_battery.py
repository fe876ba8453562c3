"""Every check of the acceptance battery, and every class of cases, has a test or a reason why it has none."""

from pathlib import Path

import pytest

from tests.battery import BEGIN, END, Battery, CaseClass, Check, Outcome, listed, marked, table, write_part

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


def test_the_table_tells_what_came_of_each_check() -> None:
    checks = (
        Check("P1", "bytes cross"),
        Check("P2", "pieces come at once", figure="median"),
        Check("P3", "nobody asks", not_applicable="there is nothing to ask"),
        Check("P4", "nothing is cut"),
    )
    made = Battery({"P": "Fidelity"}, checks, (CaseClass("any bytes", "P"),))
    outcomes = {name: Outcome() for name in ("P1", "P2", "any bytes")}
    outcomes["P1"].add("tests/a.py::test_a", "passed", [])
    outcomes["P1"].add("tests/a.py::test_b", "failed", [])
    outcomes["P2"].add("tests/a.py::test_c", "passed", ["3 ms"])
    outcomes["P2"].add("tests/a.py::test_c", "passed", ["2 ms"])
    outcomes["any bytes"].add("tests/a.py::test_d", "skipped", [])

    rows = [line.split("|") for line in table(made, outcomes).splitlines() if line.startswith("| P")]

    assert [tuple(cell.strip() for cell in (row[1], *row[3:6])) for row in rows] == [
        ("P1", "2, 1 case", "**failed**", ""),
        ("P2", "1, 2 cases", "held", "median: 2 ms; 3 ms"),
        ("P3", "", "not applicable: there is nothing to ask", ""),
        ("P4", "0, 0 cases", "**not run**", ""),
    ]


def test_only_what_stands_between_the_marks_is_written(tmp_path: Path) -> None:
    document = tmp_path / "battery.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    write_part(document, BEGIN, END, "new\n")

    assert document.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
