"""What callers send, read strictly: JSON that means one thing only, and a query string without surprises.

Refused: duplicate keys, NaN and Infinity, text that is not UTF-8 or cannot be written as UTF-8, nesting
deeper than `DEPTH_MAX`, numbers of absurd length, more values or fields than anything here takes (each costs
time, also for who is nobody), anything but an object at the top. Numbers with a fraction
are read as decimals, so that an amount of money is exactly what was written.
"""

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from flask import Request
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.utils import cached_property

from api_service.errors import Complaint, Refused, refusal_of_fields, unknown_field

BODY_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 16
NUMBER_CHARACTERS_MAX = 40
EXPONENT_MAX = 30
FIELDS_MAX = 10_000  # of one object; a map of namespaces has as many
VALUES_MAX = 40_000  # by the commas between them, those in texts included
QUERY_FIELDS_MAX = 200


def _refused_json(why: str) -> Refused:
    return Refused(400, "malformed_json", f"the body is not acceptable JSON: {why}")


def decoded_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises: Refused, saying what is wrong with it."""
    if raw.count(b",") >= VALUES_MAX:
        raise _refused_json(f"it holds more than {VALUES_MAX} values")
    try:
        value = json.loads(
            raw.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_number(_decimal),
            parse_int=_number(int),
        )
    except UnicodeDecodeError as error:
        raise _refused_json("it is not UTF-8") from error
    except RecursionError as error:
        raise _refused_json("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise _refused_json(f"{error.msg.lower()} at character {error.pos}") from error
    if not isinstance(value, dict):
        raise _refused_json("an object is expected")
    _check_depth_and_text(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > FIELDS_MAX:
        raise _refused_json(f"an object has more than {FIELDS_MAX} fields")
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _refused_json("a field stands twice in one object")
    return made


def _no_constant(name: str) -> NoReturn:
    raise _refused_json("NaN and Infinity are not numbers")


def _number(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def bounded(text: str) -> Any:
        if len(text) > NUMBER_CHARACTERS_MAX:
            raise _refused_json(f"a number has more than {NUMBER_CHARACTERS_MAX} characters")
        return convert(text)

    return bounded


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > EXPONENT_MAX:
        raise _refused_json("a number is out of any sensible range")
    return number


def _check_depth_and_text(value: dict[str, Any]) -> None:
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        each, depth = pending.pop()
        if depth > DEPTH_MAX:
            raise _refused_json(f"it is nested deeper than {DEPTH_MAX} levels")
        if isinstance(each, dict):
            pending += [(name, depth) for name in each]
            pending += [(child, depth + 1) for child in each.values()]
        elif isinstance(each, list):
            pending += [(child, depth + 1) for child in each]
        elif isinstance(each, str) and not _is_encodable(each):
            raise _refused_json("a text holds half a surrogate pair")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class QueryFields(ImmutableMultiDict[str, str]):
    """The fields of a query string. Asking for one value of a field that was given twice is refused."""

    def get(self, key: str, default: Any = None, type: Any = None) -> Any:  # type: ignore[override]  # one form
        """The one value of the field. Raises: Refused."""
        values = self.getlist(key)
        if len(values) > 1:
            complaint = Complaint(key, "give this field once")
            raise Refused(422, "invalid_input", complaint.message, key, [complaint])
        return values[0] if values else default


def refuse_query(names: Iterable[str]) -> None:
    """Raises: Refused, naming every field of a query string that nobody reads."""
    complaints = [unknown_field(name) for name in names]
    if complaints:
        raise refusal_of_fields(complaints)


class StrictRequest(Request):
    """A request whose JSON and query string are read strictly."""

    max_content_length = BODY_BYTES_MAX

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The body's JSON object. Raises: Refused."""
        if (
            self.mimetype != "application/json"
            or self.headers.get("Content-Encoding", "identity") != "identity"
        ):
            raise Refused(
                415,
                "unsupported_media_type",
                "send the body as application/json, in UTF-8 and not compressed",
            )
        return decoded_object(self.get_data(cache=False))

    @cached_property
    def args(self) -> QueryFields:
        """The query string's fields; `name[]` is read as `name`. Raises: Refused."""
        try:
            pairs = parse_qsl(
                self.query_string.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=QUERY_FIELDS_MAX,
            )
        except ValueError as error:  # includes what is neither ASCII nor UTF-8
            raise Refused(400, "bad_request", "the query string is not readable as UTF-8 fields") from error
        return QueryFields((name.removesuffix("[]"), value) for name, value in pairs)
