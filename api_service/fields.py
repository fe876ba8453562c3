"""The kinds of field that callers send, each with what it allows said in its refusal."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from api_service.common_passwords import is_common
from api_service.passwords import PASSWORD_CHARACTERS_MAX, PASSWORD_CHARACTERS_MIN
from api_service.people import EMAIL_CHARACTERS_MAX, normalised_email
from metering.tags import TAG_CHARACTERS_MAX, normalised_tag

NAME_CHARACTERS_MAX = 100
ID_CHARACTERS_MAX = 100
TOKEN_CHARACTERS_MAX = 200
DISTINCT_PASSWORD_CHARACTERS_MIN = 5
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_UNIX_SECONDS = re.compile(r"\d{1,12}")
_MOMENT_WANTED = (
    "give a moment as RFC 3339 with its zone (2026-11-21T09:30:00Z; in a query, + is written %2B) "
    "or as unix seconds, from the year 2000 to 2099"
)


_MOMENT_OR_DAY_WANTED = _MOMENT_WANTED.replace("give a moment", "give a day (2026-11-21) or a moment", 1)


class Input(BaseModel):
    """What a caller sends. A field that we do not know is refused by its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Its schema. Asked for plainly, it is made once and only to be read: each request asks for it so."""
        if arguments or options:
            return super().model_json_schema(*arguments, **options)
        if cls not in _schemas:
            _schemas[cls] = super().model_json_schema()
        return _schemas[cls]


_schemas: Final[dict[type[Input], dict[str, Any]]] = {}


class View(BaseModel):
    """What a caller gets."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def example_of(example: dict[str, Any]) -> ConfigDict:
    """The configuration of a model that the API's description shows with that example."""
    return ConfigDict(json_schema_extra={"example": example})


def _moment(value: Any) -> datetime:
    moment = _from_text(value) if isinstance(value, str) else _from_unix(value)
    if moment is None or not EARLIEST <= moment < LATEST:
        raise ValueError(_MOMENT_WANTED)
    return moment


def _moment_or_day(value: Any) -> datetime | date:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        try:
            return _moment(value)
        except ValueError as error:
            raise ValueError(_MOMENT_OR_DAY_WANTED) from error
    try:
        day = date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(_MOMENT_OR_DAY_WANTED) from error
    if not EARLIEST.date() <= day < LATEST.date():
        raise ValueError(_MOMENT_OR_DAY_WANTED)
    return day


def start_of(moment: datetime | date, zone: tzinfo) -> datetime:
    """The moment; of a day, its first moment in that zone."""
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time(), zone).astimezone(UTC)


def _from_text(text: str) -> datetime | None:
    if _UNIX_SECONDS.fullmatch(text):
        return _from_unix(int(text))
    if not _RFC_3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _from_unix(value: Any) -> datetime | None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LATEST.timestamp():
        return None
    return datetime.fromtimestamp(value, UTC)


def _password(value: Any) -> str:
    wanted = f"give a password of {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters"
    if not isinstance(value, str) or not PASSWORD_CHARACTERS_MIN <= len(value) <= PASSWORD_CHARACTERS_MAX:
        raise ValueError(wanted)
    if len(set(value)) < DISTINCT_PASSWORD_CHARACTERS_MIN:
        raise ValueError(f"{wanted}, at least {DISTINCT_PASSWORD_CHARACTERS_MIN} of them different")
    if is_common(value):
        raise ValueError(
            f"{wanted} that is not guessed first: no common one, no word or name with some digits"
        )
    return value


def _email(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("give an e-mail address such as ada@example.com")  # noqa: TRY004 - pydantic wants it
    return normalised_email(value)


@dataclass(frozen=True)
class Form:
    """A text that matches `pattern` as a whole; `wanted` says what to give, with an example."""

    pattern: str
    wanted: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: object) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^({self.pattern})$"}

    def _read(self, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise ValueError(self.wanted)
        return value


def any_of(what: str, most: int) -> Any:
    """A filter that may be given several times, and then passes any of its values."""
    return Field(
        default_factory=list, max_length=most, description=f"Only {what}; several times: any of those."
    )


def decimal_between(least: int, most: int, places: int) -> BeforeValidator:
    """A decimal number in that range with at most so many places, as text or as a JSON number."""
    wanted = f"give a decimal number from {least} to {most} with at most {places} decimal places"

    def read(value: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal) or len(str(value)) > 40:
            raise ValueError(wanted)
        if isinstance(value, str) and _DECIMAL.fullmatch(value) is None:
            raise ValueError(wanted)  # Decimal would take other alphabets' digits, blanks and underscores
        number = Decimal(value)
        if not number.is_finite() or not least <= number <= most or number != round(number, places):
            raise ValueError(wanted)
        return number

    return BeforeValidator(read)


def decimal_text(numerator: int, places: int) -> str:
    """The integer divided by ten to the power of `places`, as an exact decimal text."""
    return f"{Decimal(numerator).scaleb(-places).normalize():f}"


def without_default(schema: dict[str, Any]) -> None:
    """For a field of a patch: what is left out stays as it is; its default stands for nothing."""
    del schema["default"]


def left_out(default: Any) -> Any:
    """A field of a patch that may be left out, and may not be null; its default is never used."""
    return Field(default=default, json_schema_extra=without_default)


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "minimum": 0}]}),
]
MomentOrDay = Annotated[
    datetime | date,
    PlainValidator(_moment_or_day),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]
Email = Annotated[
    str,
    BeforeValidator(_email),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": EMAIL_CHARACTERS_MAX}),
]
NewPassword = Annotated[
    str,
    BeforeValidator(_password),
    WithJsonSchema(
        {"type": "string", "minLength": PASSWORD_CHARACTERS_MIN, "maxLength": PASSWORD_CHARACTERS_MAX}
    ),
]
Password = Annotated[str, StringConstraints(max_length=PASSWORD_CHARACTERS_MAX)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_CHARACTERS_MAX)]
PersonName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=NAME_CHARACTERS_MAX),
    AfterValidator(normalised_tag),
]
MailedToken = Annotated[
    str,
    StringConstraints(min_length=1, max_length=TOKEN_CHARACTERS_MAX),
    Field(description="What the mailed link carries behind `#token=`."),
]
FilterTag = Annotated[
    str, StringConstraints(max_length=4 * TAG_CHARACTERS_MAX), AfterValidator(normalised_tag)
]
ModelName = Annotated[
    str, Form(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}", "give a model's name, for example gpt-4o")
]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, max_length=TAG_CHARACTERS_MAX)]
Usd = Annotated[Decimal, WithJsonSchema({"type": "number"})]  # an exact JSON number, printed from an integer
