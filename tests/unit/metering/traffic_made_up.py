"""Spending that never was, of known kinds, so that what is said of it can be held against what is true."""

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Literal

DAY_NANODOLLARS = 100_000_000_000
CALL_NANODOLLARS = 20_000_000
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)

DayKind = Literal["level", "weekly", "growing", "falling", "workdays", "wandering", "bursts"]
HourKind = Literal["busy", "steady", "even", "low", "sparse", "growing", "nightly", "mondays", "office"]

DAY_KINDS: tuple[DayKind, ...] = (
    "level", "weekly", "growing", "falling", "workdays", "wandering", "bursts",
)  # fmt: skip
HOUR_KINDS: tuple[HourKind, ...] = (
    "busy", "steady", "even", "low", "sparse", "growing", "nightly", "mondays", "office",
)  # fmt: skip

_WEEK = (1, 1.1, 1.15, 1.1, 1, 0.35, 0.3)


def daily_spend(kind: DayKind, days: int, chance: random.Random) -> list[int]:
    """What so many days cost."""
    found, wandered = [], 1.0
    for day in range(days):
        wandered *= math.exp(chance.gauss(0, 0.04))
        size = {
            "level": 1,
            "weekly": _WEEK[day % 7],
            "growing": (1 + 0.02 * day) * _WEEK[day % 7],
            "falling": max(0.1, 1 - 0.007 * day) * _WEEK[day % 7],
            "workdays": day % 7 < 5,
            "wandering": wandered * _WEEK[day % 7],
            "bursts": _WEEK[day % 7] * (12 if chance.random() < 0.03 else 1),
        }[kind]
        found.append(round(DAY_NANODOLLARS * size * chance.lognormvariate(0, 0.25)))
    return found


def hourly_spend(kind: HourKind, hours: int, chance: random.Random, *, spread: float) -> list[int]:
    """What so many hours cost from `MONDAY` on; calls come at random, their costs differ by that spread."""
    return [
        _spent(_calls(_rate(kind, hour) * chance.lognormvariate(0, 0.2), chance), chance, spread)
        for hour in range(hours)
    ]


def _rate(kind: HourKind, hour: int) -> float:
    """Calls to be expected in that hour."""
    of_day, weekday = hour % 24, hour // 24 % 7
    waking = 0.05 if of_day < 6 or of_day > 21 else 1.0 if 9 <= of_day <= 17 else 0.4
    people = waking * (0.2 if weekday >= 5 else 1)
    return {
        "busy": 3_000 * people,
        "steady": 300 * people,
        "even": 60,
        "low": 5 * people,
        "sparse": 0.4 * people,
        "growing": 200 * people * (1 + hour / 480),
        "nightly": 500 * (of_day == 3),
        "mondays": 800 if (of_day, weekday) == (3, 0) else 5 * people,
        "office": 100 * (weekday < 5 and 9 <= of_day <= 17),
    }[kind]


def _calls(expected: float, chance: random.Random) -> int:
    if expected > 50:
        return max(0, round(chance.gauss(expected, math.sqrt(expected))))
    calls, left = 0, chance.random()
    while left > math.exp(-expected):
        calls, left = calls + 1, left * chance.random()
    return calls


def _spent(calls: int, chance: random.Random, spread: float) -> int:
    drawn = min(calls, 100)  # of more, the mean is even enough
    cost = sum(chance.lognormvariate(0, spread) for _ in range(drawn)) * calls / max(1, drawn)
    return round(CALL_NANODOLLARS * cost)


def hours_from_monday(hours: int) -> list[datetime]:
    """The starts of so many hours."""
    return [MONDAY + timedelta(hours=hour) for hour in range(hours)]
