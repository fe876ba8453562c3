"""Passwords that are guessed first: those that leaked most often, names and words, and this product's own.

Also with the usual trimmings: in capitals, with up to `TRIMMINGS_MAX` digits and signs around, with digits
for letters, or said twice. `common_passwords.bin` has the list as sorted digests of its words;
`make passwords` compiles it from two that are published (`.ci/compile_passwords.py`).
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

LIST: Final = Path(__file__).with_name("common_passwords.bin")
DIGEST_BYTES: Final = 5  # so few words are listed that a good password meets one once in millions
WORD_CHARACTERS_MIN: Final = 4
TRIMMINGS_MAX: Final = 6
REPEATS_MAX: Final = 5
# docs/access.md tells them.
OWN_WORDS: Final = frozenset(
    {"modeltrack", "anthropic", "claude", "openai", "chatgpt", "bedrock", "azure", "dashboard"}
)
_AROUND: Final = re.compile(r"^[^a-z]+|[^a-z]+$")
_BEHIND: Final = re.compile(r"[^a-z]+$")
_LETTERS: Final = str.maketrans("4@0135$7!", "aaoiessti")


def is_common(password: str) -> bool:
    """Whether it is one of those, whatever its length."""
    return any(form in OWN_WORDS or _is_listed(form) for form in _forms(password.lower()))


def digest_of(word: str) -> bytes:
    """What stands for the word in the list."""
    return hashlib.sha256(word.encode()).digest()[:DIGEST_BYTES]


def _forms(password: str) -> Iterator[str]:
    """The password itself, and what it may be made of."""
    for trimmed in (password, _BEHIND.sub("", password), _AROUND.sub("", password)):
        if len(trimmed) >= WORD_CHARACTERS_MIN and len(password) - len(trimmed) <= TRIMMINGS_MAX:
            yield trimmed
            yield trimmed.translate(_LETTERS)
    for times in range(2, REPEATS_MAX + 1):
        length, rest = divmod(len(password), times)
        if not rest and password == password[:length] * times:
            yield password[:length]


def _is_listed(word: str) -> bool:
    digests, wanted = _digests(), digest_of(word)
    low, high = 0, len(digests) // DIGEST_BYTES
    while low < high:
        middle = (low + high) // 2
        found = digests[middle * DIGEST_BYTES : (middle + 1) * DIGEST_BYTES]
        if found == wanted:
            return True
        low, high = (middle + 1, high) if found < wanted else (low, middle)
    return False


@cache
def _digests() -> bytes:
    return LIST.read_bytes()
