"""What a text in the environment is read as, and what is said of one that cannot be read."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from metering.setting_kinds import Range, Secret, reader_of


def complaint(kind: Any, given: object) -> str:
    with pytest.raises(ValueError, match=r"^give ") as refused:
        reader_of(kind)(given)
    return str(refused.value)


@pytest.mark.parametrize("word", ["1", "true", "True", "t", "yes", "Y", "ON"])
def test_a_yes_in_any_words_is_true(word: str) -> None:
    assert reader_of(bool)(word) is True


@pytest.mark.parametrize("word", ["0", "false", "FALSE", "f", "no", "n", "off"])
def test_a_no_in_any_words_is_false(word: str) -> None:
    assert reader_of(bool)(word) is False


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (int, "8080", 8080),
        (int, " -1 ", -1),
        (int, 8080, 8080),
        (float, "0.25", 0.25),
        (float, 3, 3.0),
        (Path, "/data", Path("/data")),
        (int | None, "7", 7),
        (int | None, None, None),
        (Literal["any", "zero"], "zero", "zero"),
        (Secret, "text", Secret("text")),
        (Secret, Secret("text"), Secret("text")),
    ],
    ids=str,
)
def test_a_text_or_a_value_of_the_kind_is_read(kind: Any, given: object, value: object) -> None:
    assert reader_of(kind)(given) == value


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        (bool, "maybe", "give true or false"),
        (bool, 1, "give true or false"),
        (int, "1.5", "give a whole number"),
        (int, "9" * 5000, "give a whole number"),
        (int, True, "give a whole number"),
        (int, "٣", "give a whole number"),
        (float, "nan", "give a number"),
        (float, "1e400", "give a number"),
        (float, 10**400, "give a number"),
        (float, True, "give a number"),
        (str, 1, "give a text"),
        (Path, 1, "give a path"),
        (Literal["a", "b", "c"], "d", "give 'a', 'b' or 'c'"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_answered_with_what_to_give(kind: Any, given: object, wanted: str) -> None:
    assert complaint(kind, given) == wanted


PORT = Annotated[int, Range(1, 65535)]
SECONDS = Annotated[float, Range(above=0, most=3600)]


@pytest.mark.parametrize(
    ("kind", "given"), [(PORT, "1"), (PORT, "65535"), (SECONDS, "0.001"), (SECONDS, "3600")], ids=str
)
def test_a_number_at_the_end_of_its_range_is_taken(kind: Any, given: str) -> None:
    assert reader_of(kind)(given) == float(given)


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        (PORT, "0", "give a number of at least 1"),
        (PORT, "65536", "give a number of at most 65535"),
        (SECONDS, "0", "give a number greater than 0"),
        (SECONDS, "3600.1", "give a number of at most 3600"),
    ],
    ids=str,
)
def test_a_number_beyond_its_range_is_answered_with_where_it_ends(kind: Any, given: str, wanted: str) -> None:
    assert complaint(kind, given) == wanted


def test_a_kind_that_no_setting_has_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError):
        reader_of(list)


def test_a_secret_does_not_show() -> None:
    secret = Secret("canary")

    assert "canary" not in f"{secret} {secret!r}"
    assert secret.get_secret_value() == "canary"
    assert len({secret, Secret("canary"), Secret("another")}) == 2
