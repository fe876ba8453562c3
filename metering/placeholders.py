"""Values that stand for a secret and are none: those of examples, and those that anybody guesses."""

import re
from itertools import pairwise
from typing import Final

GUESSED_RUN_MIN: Final = (
    8  # characters that follow one another in the alphabet, in counting, or on a keyboard
)

_ROWS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
# Long enough that 64 random characters hold one of them less than once in ten thousand secrets.
_WORDS: Final = (
    "changeme", "changethis", "default", "dummy", "example", "goeshere", "insecure", "modeltrack", "password",
    "placeholder", "replace", "sample", "secret",
)  # fmt: skip
_WHOLE: Final = frozenset({"test", "testing", "todo", "none", "null", "unset", "admin", "letmein", "hunter2"})


def is_placeholder(text: str) -> bool:
    """Whether this is what an example says in a secret's place, such as `change-me` or `<your-password>`."""
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    return plain in _WHOLE or any(word in plain for word in _WORDS)


def is_guessable(text: str) -> bool:
    """Whether this repeats itself, or runs along the alphabet, in counting, or along a row of a keyboard."""
    repeats = any(text[period:] == text[:-period] for period in range(1, len(text) // 2 + 1))
    return repeats or _has_run(text.lower())


def _has_run(text: str) -> bool:
    for start in range(len(text) - GUESSED_RUN_MIN + 1):
        piece = text[start : start + GUESSED_RUN_MIN]
        steps = {ord(after) - ord(before) for before, after in pairwise(piece)}
        if steps in ({0}, {1}, {-1}) or any(piece in row or piece[::-1] in row for row in _ROWS):
            return True
    return False
