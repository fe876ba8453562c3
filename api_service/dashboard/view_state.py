"""What a page is asked to show: a range of days in some zone, and whose calls. It stands in the address.

    ?range=30d&tz=Europe/Berlin&team=search

One range and zone govern every page, and links between pages carry them on. What cannot be read counts as
not given, and `complaint` says so: an address that was mistyped shows something, never an error alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Literal, Protocol, get_args
from urllib.parse import urlencode

from metering.buckets import RANGE_MAX, BucketWidth, Earlier, zone_named

RangeName = Literal["today", "7d", "30d", "90d", "month", "last-month", "custom"]

DEFAULT_RANGE: Final[RangeName] = "30d"
ZONE_COOKIE: Final = "modeltrack_zone"
ZONE_CHARACTERS_MAX: Final = 64
FILTERS: Final = (
    "provider", "model", "team", "app", "feature", "customer_tier", "deployment", "key_id",
    "prompt_template_id", "prompt_fingerprint",
)  # fmt: skip
FILTER_VALUES_MAX: Final = 20
DAYS_BY_HOUR_MAX: Final = 2
DAYS_MAX: Final = RANGE_MAX["1d"].days  # so that a chart's table is one CSV
EARLIEST_DAY: Final = date(2020, 1, 1)
LATEST_DAY: Final = date(2099, 1, 1)

TITLES: Final[Mapping[RangeName, str]] = {
    "today": "Today",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "90d": "Last 90 days",
    "month": "This month",
    "last-month": "Last month",
    "custom": "Custom range",
}
# Offered beside the browser's own; any other is taken from the address.
ZONES: Final = (
    "UTC", "America/Los_Angeles", "America/Denver", "America/Chicago", "America/New_York",
    "America/Sao_Paulo", "Europe/London", "Europe/Berlin", "Europe/Helsinki", "Africa/Lagos",
    "Africa/Johannesburg", "Asia/Dubai", "Asia/Kolkata", "Asia/Singapore", "Asia/Shanghai", "Asia/Tokyo",
    "Australia/Sydney", "Pacific/Auckland",
)  # fmt: skip
_DAYS: Final[Mapping[str, int]] = {"today": 1, "7d": 7, "30d": 30, "90d": 90}


class QueryText(Protocol):
    """The fields of an address, each of which may stand there several times."""

    def getlist(self, key: str) -> list[str]:
        """All values of the field."""


@dataclass(frozen=True)
class ViewState:
    """A range, a zone and filters, as the address asks for them.

    `first` and `last` are days of the zone, both inclusive. `zone_of_browser` is used where the address names
    none; `complaint` is what of the address could not be read.
    """

    range: RangeName
    first: date
    last: date
    zone: str
    zone_of_browser: str
    now: datetime
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    complaint: str = ""

    @property
    def tzinfo(self) -> tzinfo:
        """The zone."""
        return zone_named(self.zone) or UTC

    @property
    def days(self) -> int:
        """How many days the range has."""
        return (self.last - self.first).days + 1

    @property
    def is_running(self) -> bool:
        """Whether the range ends now, in the middle of its last day."""
        return self.last >= self.now.astimezone(self.tzinfo).date()

    @property
    def title(self) -> str:
        """What the range is called."""
        return TITLES[self.range] if self.range != "custom" else self.span

    @property
    def span(self) -> str:
        """The range's first and last day: 23 Oct – 21 Nov 2026."""
        last = f"{self.last.day} {self.last:%b %Y}"
        if self.first == self.last:
            return last
        year = "" if self.first.year == self.last.year else f" {self.first.year}"
        return f"{self.first.day} {self.first:%b}{year} \u2013 {last}"

    @property
    def query(self) -> dict[str, object]:
        """The range, zone and filters as the API's operations take them."""
        return {**self.time, **{name: list(values) for name, values in self.filters.items()}}

    @property
    def time(self) -> dict[str, object]:
        """The range and zone alone, as the API's operations take them; a range that runs ends now."""
        end = {} if self.is_running else {"end_time": (self.last + timedelta(1)).isoformat()}
        return {"start_time": self.first.isoformat(), **end, "timezone": self.zone}

    @property
    def moments(self) -> dict[str, str]:
        """The range's first moment and the one after its last, for what is found by moments alone."""
        days = {"start_time": self.first, "end_time": self.last + timedelta(1)}
        return {name: datetime.combine(day, time(), self.tzinfo).isoformat() for name, day in days.items()}

    @property
    def time_before(self) -> dict[str, object]:
        """As many whole days, right before the range."""
        first = self.first - timedelta(self.days)
        return {"start_time": first.isoformat(), "end_time": self.first.isoformat(), "timezone": self.zone}

    @property
    def bucket_width(self) -> BucketWidth:
        """In what pieces a chart of the range is drawn."""
        return "1h" if self.days <= DAYS_BY_HOUR_MAX else "1d"

    @property
    def compare_to(self) -> Earlier:
        """With when the range is compared: with the same weekdays or month where it has a like."""
        if self.range in {"today", "7d"}:
            return "week"
        return "month" if self.range == "month" else "period"

    @property
    def compared_with(self) -> str:
        """What that is called."""
        names: dict[str, str] = {"today": "last week", "7d": "week before", "month": "last month"}
        return names.get(self.range, "period before")

    def address(self, path: str, **changes: object) -> str:
        """That page of ours with this range, zone and filters; `changes` replace fields, None takes one away.

        A list stands several times. `range="7d"` leaves the days of a custom range behind.
        """
        fields: dict[str, object] = {**self._own_fields(), **changes}
        if fields.get("range", "custom") != "custom":
            fields |= {"from": None, "to": None}
        return _joined(path, fields)

    def day_of(self, moment: str) -> str:
        """The day of the zone in which that moment of an answer lies."""
        return datetime.fromisoformat(moment).astimezone(self.tzinfo).date().isoformat()

    def without_filters(self, path: str) -> str:
        """That page of ours with this range and zone alone."""
        return self.address(path, **dict.fromkeys(self.filters))

    def answer_address(self, path: str, **fields: object) -> str:
        """The API's answer for this range, zone and filters: what a CSV link leads to."""
        return _joined(path, {**self.query, **fields})

    def _own_fields(self) -> dict[str, object]:
        fields: dict[str, object] = {} if self.range == DEFAULT_RANGE else {"range": self.range}
        if self.range == "custom":
            fields |= {"from": self.first.isoformat(), "to": self.last.isoformat()}
        if self.zone != self.zone_of_browser:
            fields["tz"] = self.zone
        return {**fields, **self.filters}


def view_state(asked: QueryText, cookies: Mapping[str, str], now: datetime) -> ViewState:
    """What the address asks for, today where it says nothing."""
    own = cookies.get(ZONE_COOKIE, "")
    zone_of_browser = own if len(own) <= ZONE_CHARACTERS_MAX and zone_named(own) else "UTC"
    named = _first(asked, "tz")[:ZONE_CHARACTERS_MAX]
    zone = named if named and zone_named(named) else zone_of_browser
    complaint = "" if zone == named or not named else "There is no such time zone; this is your own."
    today = now.astimezone(zone_named(zone) or UTC).date()
    name = _range_name(_first(asked, "range"))
    days = _custom(asked, today) if name == "custom" else _days_of(name, today)
    if days is None:
        name, days = DEFAULT_RANGE, _days_of(DEFAULT_RANGE, today)
        complaint = f"Give days up to today, {DAYS_MAX} at most; this is the last 30 days."
    filters = {each: _values(asked, each) for each in FILTERS if asked.getlist(each)}
    return ViewState(name, *days, zone, zone_of_browser, now, filters, complaint)


def _first(asked: QueryText, name: str) -> str:
    values = asked.getlist(name)
    return values[0] if values else ""


def _values(asked: QueryText, name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(asked.getlist(name)))[:FILTER_VALUES_MAX]


def _range_name(text: str) -> RangeName:
    names: tuple[RangeName, ...] = get_args(RangeName)
    return next((each for each in names if each == text), DEFAULT_RANGE)


def _days_of(name: RangeName, today: date) -> tuple[date, date]:
    months: dict[str, Callable[[], tuple[date, date]]] = {
        "month": lambda: (today.replace(day=1), today),
        "last-month": lambda: _month_before(today),
    }
    if name in months:
        return months[name]()
    return today - timedelta(_DAYS[name] - 1), today


def _month_before(today: date) -> tuple[date, date]:
    last = today.replace(day=1) - timedelta(1)
    return last.replace(day=1), last


def _custom(asked: QueryText, today: date) -> tuple[date, date] | None:
    try:
        first, last = (date.fromisoformat(_first(asked, each)) for each in ("from", "to"))
    except ValueError:
        return None
    has_begun = EARLIEST_DAY <= first <= today
    is_sound = has_begun and first <= last <= LATEST_DAY and (last - first).days < DAYS_MAX
    return (first, last) if is_sound else None


def _joined(path: str, fields: Mapping[str, object]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in fields.items():
        if value is not None:
            several = value if isinstance(value, list | tuple) else [value]
            pairs += [(name, str(each)) for each in several]
    return f"{path}?{urlencode(pairs)}" if pairs else path
