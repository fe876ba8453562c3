"""Numbers of command lines: both sides of each bound, and what is none."""

import argparse

import pytest

from demo.arguments import number, whole_number


@pytest.mark.parametrize("text", ["0.1", "1440", "1e1", " 2 "])
def test_a_number_within_its_bounds_is_taken(text: str) -> None:
    assert number(0.1, 1440)(text) == float(text)


@pytest.mark.parametrize("text", ["0.0999", "1440.1", "-1", "nan", "inf", "-inf", "half", "", "1e999"])
def test_a_number_beyond_its_bounds_is_refused_with_both(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"give a number from 0.1 to 1,440, not '{text}'"):
        number(0.1, 1440)(text)


@pytest.mark.parametrize("text", ["1", "007", "1000"])
def test_a_whole_number_within_its_bounds_is_taken(text: str) -> None:
    assert whole_number(1, 1000)(text) == int(text)


@pytest.mark.parametrize("text", ["0", "1001", "-5", "1.5", "1_0", "٣", "²", "", "nan"])
def test_a_whole_number_beyond_its_bounds_is_refused_with_both(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"from 1 to 1,000, not '{text}'"):
        whole_number(1, 1000)(text)


def test_of_a_text_without_end_only_the_beginning_is_repeated() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"not '{'9' * 36}…'"):
        whole_number(1, 1000)("9" * 5_000)
