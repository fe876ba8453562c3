"""Forecasts of spend, each beside the error that the same way of forecasting made on the account's own past.

Pure. In goes what each complete day cost, out come amounts for the days ahead. Floats stay inside: an amount
that comes out is an integer, and a forecast, never a record.

**Methods**, from the plainest up; each is a few lines below:

| method | the days ahead cost |
|---|---|
| `average` | the mean of the last four weeks |
| `weekday` | the mean of the same weekday over the last four weeks |
| `last_week` | what the same weekday cost last |
| `trend` | the weekdays' pattern along a line through the last eight weeks |

The line of `trend` has the median of all slopes between two days, so that a few odd days do not turn it; each
day ahead takes a little less of it than the one before, as growth seldom goes on for ever.

**Back-test** (rolling origin). The past is cut at each day of its last two thirds; each method forecasts
what followed, seeing only what came before. At each cut the method is chosen by its errors at earlier cuts
as far as they were known by then, just as the forecast itself is chosen by all of them: so the error that
is shown is that of forecasting and choosing together, on days that neither had seen.

**Interval**: four out of five outcomes are meant to lie in it. Its half width is the root mean square of
the back-test's errors over a like stretch of days ahead, times Student's t for as many errors as there are
without overlap. A stretch longer than the days that could be tested is taken for as many times over, and
what lies beyond them is widened with the square root of the distance. No past shows a change that has no
precedent in it: `tested_days` says how far the interval has been tried.
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Final, Literal

import msgspec

Method = Literal["average", "weekday", "last_week", "trend"]

HISTORY_DAYS_MAX: Final = 84
HISTORY_DAYS_MIN: Final = 7  # with fewer, nothing is forecast
HORIZON_DAYS_MAX: Final = 365
INTERVAL_PERCENT: Final = 80

_WEEK: Final = 7
_LEVEL_DAYS: Final = 28
_TREND_DAYS: Final = 56
_TREND_DAYS_MIN: Final = 21
_DAMPING: Final = 0.985  # what each day ahead takes of the trend of the day before it
_TRAINING_DAYS_MIN: Final = 14
# Student's t that four out of five stay within, by degrees of freedom.
_STUDENT: Final = (math.inf, 3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372)
_NORMAL: Final = 1.282

Days = Sequence[float]
Path = list[float]


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """What a stretch of days is forecast to cost, in nanodollars; `low` and `high` None where untested."""

    predicted: int
    low: int | None
    high: int | None


class BackTest(msgspec.Struct, frozen=True, kw_only=True):
    """How far off this way of forecasting was on the past.

    Errors are of the sum over `tested_days` days ahead, in percent of what these days cost; `bias_percent`
    is above 0 where it forecast too much. `naive_error_percent` is the error of repeating the last week:
    a forecast that is no better is worth no more. `daily_error_percent` is that of single days.
    `cover_percent`: how many outcomes lay in the interval that was known beforehand; None for too few.
    """

    origins: int
    tested_days: int
    error_percent: float
    bias_percent: float
    daily_error_percent: float
    naive_error_percent: float
    cover_percent: float | None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the days ahead are forecast to cost; day 0 is the first after the history."""

    method: Method
    days: tuple[float, ...]
    back_test: BackTest | None
    errors: tuple[Path, ...]  # of each origin: what each day cost above its forecast, in today's scale

    def between(self, first: int, end: int, *, times: float = 1) -> Range:
        """The sum of the days ahead from `first` to before `end`, each `times` over."""
        total = math.fsum(self.days[first:end])
        if not self.errors:
            return Range(predicted=round(times * total), low=None, high=None)
        half = _half_width(self.errors, first, end)
        return Range(
            predicted=round(times * total),
            low=round(times * max(0.0, total - half)),
            high=round(times * (total + half)),
        )


def forecast(history: Sequence[int], horizon_days: int) -> Forecast | None:
    """The forecast from what each complete day cost, oldest first; None where that is too little.

    Days before the first that cost anything are no history; later days without cost are.
    """
    first = next((place for place, cost in enumerate(history) if cost), len(history))
    past = [float(cost) for cost in history[first:][-HISTORY_DAYS_MAX:]]
    if len(past) < HISTORY_DAYS_MIN:
        return None
    trials = _trials(past, horizon_days)
    method = _best(trials, len(past))
    outcomes = _outcomes(trials, len(past))
    scale = _scale(past)
    return Forecast(
        method=method,
        days=tuple(_METHODS[method](past, horizon_days)),
        back_test=_back_test(outcomes),
        errors=tuple([error * scale / each.trial.scale for error in each.errors] for each in outcomes),
    )


class _Trial(msgspec.Struct, frozen=True):
    """What one cut of the past showed: each method's errors, and the days as they were."""

    cut: int
    scale: float
    actual: Path
    errors: dict[Method, Path]  # actual less forecast


class _Outcome(msgspec.Struct, frozen=True):
    """A cut whose days ahead are all known, with the errors of the method that was the choice then."""

    trial: _Trial
    errors: Path


def _trials(past: Days, horizon_days: int) -> list[_Trial]:
    first = max(_TRAINING_DAYS_MIN, len(past) // 3)
    tested = min(horizon_days, (len(past) - first) // 2)
    if tested < 1:
        return []
    return [_trial(past, cut, tested) for cut in range(first, len(past))]


def _trial(past: Days, cut: int, tested: int) -> _Trial:
    before, actual = past[:cut], past[cut : cut + tested]
    errors = {
        method: [cost - said for cost, said in zip(actual, forecast_by(before, tested), strict=False)]
        for method, forecast_by in _METHODS.items()
    }
    return _Trial(cut, _scale(before), list(actual), errors)


def _scale(past: Days) -> float:
    """What a day costs about, so that errors of a smaller past can be told in today's size."""
    return fmean(past[-_LEVEL_DAYS:]) or fmean(past) or 1.0


def _best(trials: Sequence[_Trial], now: int) -> Method:
    """The method that erred least up to day `now`; before there is anything to tell by, the second."""
    known = [(trial, min(len(trial.actual), now - trial.cut)) for trial in trials if trial.cut < now]
    judged = [(trial, days) for trial, days in known if days >= min(_WEEK, len(trials[0].actual))]
    if not judged:
        return "weekday" if now >= 2 * _WEEK else "average"
    return min(_METHODS, key=lambda method: sum(_badness(trial, method, days) for trial, days in judged))


def _badness(trial: _Trial, method: Method, days: int) -> float:
    """How far off the sum of the days was, and half as much each day of them, in days' cost."""
    errors = trial.errors[method][:days]
    return (abs(math.fsum(errors)) + math.fsum(map(abs, errors)) / 2) / trial.scale / days


def _outcomes(trials: Sequence[_Trial], now: int) -> list[_Outcome]:
    if not trials:
        return []
    whole = [trial for trial in trials if trial.cut + len(trials[0].actual) <= now]
    return [_Outcome(trial, trial.errors[_best(trials, trial.cut)]) for trial in whole]


def _back_test(outcomes: Sequence[_Outcome]) -> BackTest | None:
    actual = math.fsum(math.fsum(each.trial.actual) for each in outcomes)
    if not actual:
        return None

    def percent(amounts: Sequence[float]) -> float:
        return round(100 * math.fsum(amounts) / actual, 1)

    return BackTest(
        origins=len(outcomes),
        tested_days=len(outcomes[0].errors),
        error_percent=percent([abs(math.fsum(each.errors)) for each in outcomes]),
        bias_percent=-percent([math.fsum(each.errors) for each in outcomes]),
        daily_error_percent=percent([abs(error) for each in outcomes for error in each.errors]),
        naive_error_percent=percent([abs(math.fsum(each.trial.errors["last_week"])) for each in outcomes]),
        cover_percent=_cover_percent(outcomes),
    )


def _cover_percent(outcomes: Sequence[_Outcome]) -> float | None:
    days = min(_WEEK, len(outcomes[0].errors))
    covered = []
    for place in range(days + _WEEK, len(outcomes)):
        trial = outcomes[place].trial
        known = [
            [error * trial.scale / before.trial.scale for error in before.errors[:days]]
            for before in outcomes[: place - days + 1]
        ]
        covered.append(abs(math.fsum(outcomes[place].errors[:days])) <= _half_width(known, 0, days))
    return round(100 * fmean(covered), 1) if covered else None


def _half_width(errors: Sequence[Path], first: int, end: int) -> float:
    """Half the interval of the sum over that stretch, from the errors over its like in the back-test."""
    tested = len(errors[0])
    length = min(end - first, tested)
    begin = min(first, tested - length)
    squares = [math.fsum(path[begin : begin + length]) ** 2 for path in errors]
    apart = max(1, (len(errors) + length - 1) // length)
    student = _STUDENT[apart] if apart < len(_STUDENT) else _NORMAL
    stretched = (end - first) / length * math.sqrt(max(1.0, end / tested))
    return student * math.sqrt(fmean(squares)) * stretched


def _average(past: Days, days: int) -> Path:
    return [fmean(past[-_LEVEL_DAYS:])] * days


def _weekday(past: Days, days: int) -> Path:
    means = _weekday_means(past)
    return [means[(len(past) + ahead) % _WEEK] for ahead in range(days)]


def _last_week(past: Days, days: int) -> Path:
    return [past[len(past) - _WEEK + ahead % _WEEK] for ahead in range(days)]


def _trend(past: Days, days: int) -> Path:
    pattern = _weekday_pattern(past) if len(past) >= _TREND_DAYS_MIN else None
    if pattern is None:
        return _weekday(past, days)
    points = [
        (place, past[place] / pattern[place % _WEEK])
        for place in range(max(0, len(past) - _TREND_DAYS), len(past))
        if pattern[place % _WEEK]
    ]
    slope = median(
        (y - x) / (later - place) for n, (place, x) in enumerate(points) for later, y in points[n + 1 :]
    )
    level = median(y + slope * (len(past) - 1 - place) for place, y in points)
    found, step = [], slope
    for ahead in range(days):
        step *= _DAMPING
        level += step
        found.append(max(0.0, level) * pattern[(len(past) + ahead) % _WEEK])
    return found


def _weekday_pattern(past: Days) -> Path | None:
    """How many times the mean of the week around it each weekday costs, by its place; None of nothing.

    The week around it moves with the trend, so a rising line is not taken for dearer ends of weeks.
    """
    shares: list[list[float]] = [[] for _ in range(_WEEK)]
    half = _WEEK // 2
    for place in range(max(half, len(past) - _LEVEL_DAYS - half), len(past) - half):
        around = fmean(past[place - half : place + half + 1])
        if around:
            shares[place % _WEEK].append(past[place] / around)
    pattern = [fmean(each) if each else 0.0 for each in shares]
    mean = fmean(pattern)
    return [each / mean for each in pattern] if mean else None


def _weekday_means(past: Days) -> Path:
    """What each weekday cost on average over the last four weeks, by its place in the past."""
    begin = max(0, len(past) - _LEVEL_DAYS)
    found = [0.0] * _WEEK
    for weekday in range(_WEEK):
        found[weekday] = fmean(past[place] for place in range(begin, len(past)) if place % _WEEK == weekday)
    return found


_METHODS: Final[dict[Method, Callable[[Days, int], Path]]] = {
    "average": _average,
    "weekday": _weekday,
    "last_week": _last_week,
    "trend": _trend,
}
