import json
import unicodedata

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metering.log_lines import log_line

texts = st.text(st.characters(exclude_categories=["Cs"]) | st.characters(categories=["Cc", "Zl", "Zp", "Cf"]))


@given(texts, texts)
@example("\x7f", "\x80\x85\x9b\x9f")
@example("\u2028", '\u2029"\\')
def test_a_line_holds_no_control_character_and_parses_back_to_the_same(name: str, value: str) -> None:
    line = log_line({"": {name: [value]}})

    assert not {unicodedata.category(sign) for sign in line} & {"Cc", "Zl", "Zp"}
    assert len(line.splitlines()) == 1
    assert json.loads(line) == msgspec.json.decode(line) == {"": {name: [value]}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("~\x7f", "~\\u007f"),
        ("\x80\x9f\xa0", "\\u0080\\u009f\xa0"),
        ("\u2027\u2028\u202e\u202f", "\u2027\\u2028\\u202e\u202f"),
        ("\u2065\u2066\u2069\u206a", "\u2065\\u2066\\u2069\u206a"),
        ("Zoë 😀", "Zoë 😀"),
    ],
)
def test_what_acts_on_a_terminal_or_turns_text_is_escaped_and_letters_stay(text: str, told: str) -> None:
    assert log_line({"model": text}) == f'{{"model":"{told}"}}'


def test_of_a_value_of_an_unknown_kind_only_the_kind_is_told() -> None:
    assert log_line({"at": object()}) == '{"at":"object"}'
