"""Every failure on the list of others' has a check or a test of ours that would notice it, or a reason."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.battery import listed as battery
from tests.battery import marked
from tests.failures import BEGIN, DOCUMENT, END, Failure, listed, table

ROOT = Path(__file__).parents[2]
FAILURES = listed()
HELD = {check.id for check in battery().checks if not check.not_applicable}


@cache
def names_in(path: str) -> frozenset[str]:
    module = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("failure", FAILURES.failures, ids=lambda each: f"{each.number} {each.title}")
def test_a_failure_has_what_would_notice_it_or_says_why_not(failure: Failure) -> None:
    assert bool(failure.checks or failure.tests) != bool(failure.not_applicable)
    assert set(failure.checks) <= HELD & marked_ids()
    for test in (*failure.tests, *re.findall(r"`(tests/[^`]+)`", failure.exception)):
        path, _, name = test.partition("::")
        assert name in names_in(path), test


@cache
def marked_ids() -> frozenset[str]:
    return frozenset(marked())


def test_each_failure_stands_there_once_and_in_a_group() -> None:
    numbers = [each.number for each in FAILURES.failures]

    assert numbers == list(range(1, len(numbers) + 1))
    grouped = [each.number for group in FAILURES.groups for each in FAILURES.of_group(group)]
    assert grouped == numbers
    assert len({each.title for each in FAILURES.failures}) == len(numbers)


def test_the_page_shows_the_list() -> None:
    shown = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]

    assert shown.strip() == table(FAILURES).strip()
