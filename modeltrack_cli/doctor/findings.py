"""What was found: one finding a check, and what they come to."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

State = Literal["passed", "failed", "not_applicable", "not_checked"]

EXIT_WELL: Final = 0
EXIT_WRONG: Final = 1
EXIT_INCOMPLETE: Final = 2

WORDS_MAX: Final = 200


class Verdict(msgspec.Struct, frozen=True):
    """What one look came to. `advice` says what to do, where there is something to do.

    `bears`: though it is wrong, what rests on it can be looked at.
    """

    state: State
    found: str
    advice: str = ""
    bears: bool = False


class Finding(msgspec.Struct, frozen=True):
    """The verdict of the check of that name, and how long it took."""

    check: str
    title: str
    state: State
    found: str
    advice: str
    seconds: float


def passed(found: str) -> Verdict:
    """It is as it should be."""
    return Verdict("passed", found)


def failed(found: str, advice: str, *, bears: bool = False) -> Verdict:
    """It is not."""
    return Verdict("failed", found, advice, bears)


def not_applicable(why: str) -> Verdict:
    """There is nothing to look at here, and nothing is lacking."""
    return Verdict("not_applicable", why)


def not_checked(why: str, advice: str = "") -> Verdict:
    """It could not be looked at, so that nobody knows."""
    return Verdict("not_checked", why, advice)


def exit_code(findings: Iterable[Finding]) -> int:
    """0: all is well; 1: something is wrong; 2: nothing is known to be, but not all could be looked at."""
    states = {each.state for each in findings}
    if "failed" in states:
        return EXIT_WRONG
    return EXIT_INCOMPLETE if "not_checked" in states else EXIT_WELL


def words_of(text: str) -> str:
    """What somebody else said, fit for a terminal: one line, no signs that command it, not too long."""
    shown = on_one_line(text[: WORDS_MAX + 1])
    return shown if len(shown) <= WORDS_MAX else shown[:WORDS_MAX] + "…"


def on_one_line(text: str) -> str:
    """The text without signs that command a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
