"""Notices as Slack takes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_service.slack import (
    BAR_BLOCKS,
    HEADER_CHARACTERS_MAX,
    SECTION_CHARACTERS_MAX,
    budget_bar,
    slack_message,
)


@pytest.mark.parametrize(
    ("percent", "full"), [(-5, 0), (0, 0), (9, 0), (10, 1), (80, 8), (99, 9), (100, 10), (1_000_000, 10)]
)
def test_a_bar_shows_how_much_is_spent(percent: int, full: int) -> None:
    assert budget_bar(percent) == "█" * full + "░" * (BAR_BLOCKS - full)


@given(st.text(alphabet="&<>a;x", max_size=5_000), st.text(alphabet="&<>a", max_size=300))
def test_no_words_break_out_of_their_place_or_its_bounds(text: str, title: str) -> None:
    message = slack_message(title, text, "warning", {"percent": 80})

    header, section = (block["text"] for block in message["blocks"])
    assert len(header["text"]) <= HEADER_CHARACTERS_MAX
    assert header["type"] == "plain_text"
    for shown in (section["text"], message["text"]):
        assert len(shown) <= SECTION_CHARACTERS_MAX
        assert "<" not in shown
        assert ">" not in shown
        unescaped = shown.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        assert "&" not in unescaped
