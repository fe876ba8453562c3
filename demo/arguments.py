"""Numbers on a command line, between bounds: types for argparse, which says what is wrong and ends with 2."""

import argparse
from collections.abc import Callable
from typing import Final

_DIGITS_MAX: Final = 18  # of a whole number; Python takes no text of thousands


def number(least: float, most: float) -> Callable[[str], float]:
    """What reads a number from `least` to `most`. It raises: argparse.ArgumentTypeError."""

    def read(text: str) -> float:
        try:
            given = float(text)
        except ValueError:
            given = float("nan")
        if not least <= given <= most:  # neither is nan
            raise argparse.ArgumentTypeError(f"give a number from {least:g} to {most:,g}, not {_shown(text)}")
        return given

    return read


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """What reads a whole number from `least` (0 at least) to `most`. It raises as `number` does."""

    def read(text: str) -> int:
        is_whole = text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
        if not is_whole or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"give a whole number from {least:,} to {most:,}, not {_shown(text)}"
            )
        return int(text)

    return read


def _shown(text: str) -> str:
    return repr(text if len(text) <= 2 * _DIGITS_MAX else f"{text[: 2 * _DIGITS_MAX]}…")
