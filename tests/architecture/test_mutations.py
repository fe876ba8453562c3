"""Deliberate breaks still fit the source, and each law has some. That they are noticed: `make mutants`."""

import ast
import re

import pytest

from tests.mutations import ROOT, Mutation, listed

EVERYTHING = listed()


@pytest.mark.parametrize("mutation", EVERYTHING.mutations, ids=lambda each: each.title)
def test_a_break_fits_the_source_as_it_is_and_names_tests_that_there_are(mutation: Mutation) -> None:
    broken = mutation.applied(ROOT)

    assert broken != (ROOT / mutation.file).read_text()
    ast.parse(broken)
    for test in mutation.tests:
        path, _, name = test.partition("::")
        assert re.search(rf"^(?:async )?def {name or 'test_'}", (ROOT / path).read_text(), re.MULTILINE), test


def test_each_law_is_broken_at_least_once() -> None:
    assert {str(each.law) for each in EVERYTHING.mutations} == set(EVERYTHING.laws)
    assert len(EVERYTHING.mutations) >= 12


def test_no_break_is_listed_twice() -> None:
    titles = [each.title for each in EVERYTHING.mutations]

    assert len(titles) == len(set(titles))
