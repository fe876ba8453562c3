"""docs/cache.md says which answers are kept, word for word as the cache decides it."""

import re
from pathlib import Path

import msgspec
import pytest

from proxy_service.cache import is_worth_keeping

ROWS = re.findall(
    r"^\| (.+?) \| (yes|never) \|$",
    (Path(__file__).parents[2] / "docs" / "cache.md").read_text(),
    re.MULTILINE,
)
STATUSES = {"completed", "incomplete", "queued", "in_progress"}
WORDS = [
    (word, kept == "yes")
    for answer, kept in ROWS
    for word in re.findall(r"`(?:\"status\": )?\"?(\w+)\"?`", answer)
]


def answers(word: str) -> list[dict[str, object]]:
    """All answers that say why they ended by that word."""
    if word in STATUSES:
        return [{"status": word}]
    return [{"stop_reason": word}, {"stopReason": word}, {"choices": [{"finish_reason": word}]}]


def test_the_table_is_found() -> None:
    assert {("max_tokens", False), ("length", False), ("end_turn", True), ("completed", True)} <= set(WORDS)


@pytest.mark.parametrize(("word", "is_kept"), WORDS)
def test_each_word_of_the_table_is_decided_as_it_says(word: str, is_kept: bool) -> None:
    for answer in answers(word):
        assert is_worth_keeping("messages", [], msgspec.json.encode(answer)) is is_kept
