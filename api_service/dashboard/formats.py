"""How figures read: money from exact nanodollars, counts, shares and moments. No float holds money."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from metering.buckets import zone_named
from metering.money import NANODOLLARS_PER_DOLLAR, rounded_half_even, usd_text

NONE: Final = "–"
DIGITS_OF_SMALL_AMOUNTS: Final = 3
_SMALL: Final = NANODOLLARS_PER_DOLLAR // 10
_NANODOLLAR_PLACES: Final = 9
_SHORT: Final = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**4, "k"))
_AGES: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"))
_DAYS_TOLD: Final = 60  # an age beyond is told by its date


def money(nanodollars: int | None) -> str:
    """The amount to cents; below ten cents with as many digits as tell something: $0.0042."""
    if nanodollars is None:
        return NONE
    sign = "\u2212" if nanodollars < 0 else ""
    amount = abs(nanodollars)
    places = _places(amount)
    scaled = rounded_half_even(amount, 10 ** (_NANODOLLAR_PLACES - places))
    whole, fraction = divmod(scaled, 10**places)
    return f"{sign}${whole:,}.{_trimmed(f'{fraction:0{places}d}')}"


def _places(amount: int) -> int:
    if amount == 0 or amount >= _SMALL:
        return 2
    leading_zeros = _NANODOLLAR_PLACES - len(str(amount))
    return min(_NANODOLLAR_PLACES, leading_zeros + DIGITS_OF_SMALL_AMOUNTS)


def _trimmed(digits: str) -> str:
    return digits[:2] + digits[2:].rstrip("0")


def exact_money(nanodollars: int | None) -> str:
    """The amount to its last digit: $1,234.000000001."""
    if nanodollars is None:
        return "no figure"
    whole, _, fraction = usd_text(abs(nanodollars)).partition(".")
    sign = "\u2212" if nanodollars < 0 else ""
    return f"{sign}${int(whole):,}.{fraction:0<2}"


def count(number: int | None) -> str:
    """The number with its thousands apart."""
    return NONE if number is None else f"{number:,}".replace("-", "\u2212")


def short_count(number: int | None) -> str:
    """The number in at most four signs or so: 12.3k, 4.56M. Whoever shows it shows the exact one on hover."""
    if number is None:
        return NONE
    for size, letter in _SHORT:
        if abs(number) >= size:
            unit = 1_000 if letter == "k" else size
            tenths = rounded_half_even(number * 10, unit)
            return f"{tenths // 10:,}.{tenths % 10}{letter}".replace(".0", "")
    return count(number)


def share(rate: Decimal | float | None, places: int = 1) -> str:
    """A fraction as percent: 0.123 is 12.3%."""
    return NONE if rate is None else f"{Decimal(str(rate)) * 100:.{places}f}%".replace("-", "\u2212")


def change(rate: Decimal | float | None) -> str:
    """A change as percent with its sign: +12.3%; a manifold one without decimals."""
    if rate is None:
        return NONE
    text = share(rate, 0 if abs(Decimal(str(rate))) >= 1 else 1)
    return text if text.startswith("\u2212") else f"+{text}"


def part_of(part: int | None, whole: int | None) -> Decimal:
    """How many percent of the whole the part is, from 0 to 100; for bars."""
    if not part or not whole or part < 0:
        return Decimal(0)
    return min(Decimal(100), round(Decimal(part) * 100 / Decimal(whole), 2))


def milliseconds(number: int | None) -> str:
    """A length of time as people say it: 850 ms, 2.4 s."""
    if number is None:
        return NONE
    return f"{number} ms" if number < 1_000 else f"{Decimal(number) / 1000:.1f} s"


def length_of_time(milliseconds_: int | None) -> str:
    """A longer length of time, by its two largest parts: 1 h 5 min; one below a minute as `milliseconds`."""
    if milliseconds_ is None or abs(milliseconds_) < 60_000:
        return milliseconds(milliseconds_)
    sizes = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
    place = next(place for place, (size, _) in enumerate(sizes) if milliseconds_ >= size)
    (size, unit), (next_size, next_unit) = sizes[place], sizes[place + 1]
    rest = milliseconds_ % size // next_size
    return f"{milliseconds_ // size} {unit}" + (f" {rest} {next_unit}" if rest else "")


def moment_of(value: str | datetime | None) -> datetime | None:
    """The moment, as answers hold it."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def moment(value: str | datetime | None, zone: str = "UTC", *, seconds: bool = False) -> str:
    """A moment by the clock of the zone: 21 Nov 2026, 09:30."""
    found = moment_of(value)
    if found is None:
        return NONE
    local = found.astimezone(zone_named(zone) or UTC)
    return f"{local.day} {local:%b %Y, %H:%M:%S}" if seconds else f"{local.day} {local:%b %Y, %H:%M}"


def day(value: str | date | None) -> str:
    """A calendar day: 21 Nov 2026."""
    if value is None:
        return NONE
    found = date.fromisoformat(value[:10]) if isinstance(value, str) else value
    return f"{found.day} {found:%b %Y}"


def age(value: str | datetime | None, now: datetime) -> str:
    """How long ago that was: 3 minutes ago; what lies far back, by its date."""
    found = moment_of(value)
    if found is None:
        return "never"
    seconds = int((now - found).total_seconds())
    if seconds > _DAYS_TOLD * 86_400:
        return day(found)
    for length, name in _AGES:
        if seconds >= length:
            number = seconds // length
            return f"{number} {name}{'s' if number > 1 else ''} ago"
    return "just now"


def bucket_label(start: str, width: str, zone: str) -> str:
    """What a bucket that begins then is called on an axis: 14:00, Sat 21 Nov, Nov 2026."""
    local = datetime.fromisoformat(start).astimezone(ZoneInfo(zone))
    if width == "1h":
        return f"{local:%H:%M}"
    if width == "1mo":
        return f"{local:%b %Y}"
    return f"{local:%a} {local.day} {local:%b}"


def until(value: str | datetime | None, now: datetime) -> str:
    """How long it is until then: in 3 days."""
    found = moment_of(value)
    if found is None:
        return NONE
    left = found - now
    if left <= timedelta(0):
        return "now"
    for length, name in _AGES:
        number = int(left.total_seconds()) // length
        if number:
            return f"in {number} {name}{'s' if number > 1 else ''}"
    return "in a moment"
