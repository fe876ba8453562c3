"""What is guessed first is known however it is trimmed, and hardly anything else is taken for it."""

import re
import secrets
from pathlib import Path

import pytest

from api_service.common_passwords import DIGEST_BYTES, LIST, OWN_WORDS, TRIMMINGS_MAX, digest_of, is_common

ACCESS = Path(__file__).parents[3] / "docs" / "access.md"
WORDS_MIN = 3_000  # what OWASP's ASVS 5.0 asks for (6.2.4), of those that are long enough


@pytest.mark.parametrize(
    "password",
    [
        "1234567890", "qwertyuiop", "1q2w3e4r5t", "0987654321", "basketball", "Basketball1", "BASKETBALL",
        "password123", "P@ssw0rd2026", "!!password!!", "m0nk3y-2026", "passwordpassword", "dragondragon",
        "washington1789", "$unshine2026",
    ],
)  # fmt: skip
def test_what_is_guessed_first_is_known_with_the_usual_trimmings(password: str) -> None:
    assert is_common(password)


@pytest.mark.parametrize("word", sorted(OWN_WORDS))
def test_our_own_words_are_known_and_told(word: str) -> None:
    assert is_common(f"{word.title()}2026!")
    assert f"`{word}`" in ACCESS.read_text()


@pytest.mark.parametrize(
    "password", ["correct horse battery", "staple hoof seven", "x9-Kv2 pZ77q", "", "é" * 12, "団体職員の傘"]
)
def test_others_are_not(password: str) -> None:
    assert not is_common(password)


def test_a_word_with_more_around_it_than_trimmings_is_none() -> None:
    assert is_common("sunshine" + "0" * TRIMMINGS_MAX)
    assert not is_common("sunshine" + "0" * (TRIMMINGS_MAX + 1))


def test_random_passwords_are_not_taken_for_one() -> None:
    assert not [each for each in (secrets.token_urlsafe(9) for _ in range(2_000)) if is_common(each)]


def test_the_list_is_sorted_and_long_enough() -> None:
    content = LIST.read_bytes()
    digests = [content[at : at + DIGEST_BYTES] for at in range(0, len(content), DIGEST_BYTES)]

    assert digests == sorted(set(digests))
    assert len(digests) > 30 * WORDS_MIN
    assert digest_of("tinkerbell") in set(digests)
    told = re.search(r"([\d,]+) that\s+leaked most often", ACCESS.read_text())
    assert told
    assert int(told[1].replace(",", "")) <= len(digests)
