"""What the API answers when it does not do what was asked: one envelope, one table of statuses.

    {"error": {"code", "message", "param", "retryable", "request_id", "details"}}

`code` is for programs and never changes its meaning; `message` tells a person what to do next; `param` is
the path of the field that is meant; `details` lists every complaint about the input, each with its own path.
Nothing the caller sent is ever repeated, but for names of fields.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from flask import Flask, Response, g, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails
from werkzeug.exceptions import HTTPException

from api_service.logs import ApiLog
from api_service.request_figures import RequestFigures
from metering.errors import (
    AlreadyExists,
    Conflict,
    DocumentMissing,
    DocumentTooLarge,
    Forbidden,
    InvalidInput,
    MeteringError,
    NotFound,
    RevisionChanged,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
)
from metering.tags import normalised_tag

RETRY_AFTER_SECONDS = 2
READING_METHODS = frozenset({"GET", "HEAD"})
COMPLAINTS_MAX = 50
PARAM_CHARACTERS_MAX = 200


class Complaint(msgspec.Struct, frozen=True):
    """One thing wrong with the input: which field, and what would be right."""

    param: str
    message: str


class ComplaintView(BaseModel):
    """One thing wrong with the input: which field, and what would be right."""

    param: str = Field(description="The path of the field that is meant.")
    message: str = Field(description="What would be right.")


class ErrorFields(BaseModel):
    """What went wrong, and what to do about it."""

    code: str = Field(description="For programs; never changes its meaning.")
    message: str = Field(description="Tells a person what to do.")
    param: str | None = Field(description="The field that is meant, where it is one; null: none.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    request_id: str = Field(description="Names the request in our log; the answer's X-Request-ID.")
    details: list[ComplaintView] = Field(description="Every complaint about the input.")


_ERROR_EXAMPLE: JsonDict = {
    "error": {
        "code": "invalid_input",
        "message": "there is no such field",
        "param": "strat_time",
        "retryable": False,
        "request_id": "req_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
        "details": [{"param": "strat_time", "message": "there is no such field"}],
    }
}


class ErrorView(BaseModel):
    """Every refusal and failure looks like this."""

    model_config = ConfigDict(json_schema_extra={"example": _ERROR_EXAMPLE})

    error: ErrorFields = Field(description="What went wrong.")

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Its schema. Made once: each operation asks for it several times, which was half of the start."""
        asked = (arguments, tuple(sorted(options.items())))
        if asked not in _schemas:
            _schemas[asked] = super().model_json_schema(*arguments, **options)
        return copy.deepcopy(_schemas[asked])


_schemas: Final[dict[tuple[object, ...], dict[str, Any]]] = {}  # of an ErrorView, by how it was asked for


@dataclass
class Refused(MeteringError):
    """A refusal of the API's own, as it will be answered."""

    status: int
    code: str
    message: str
    param: str | None = None
    details: list[Complaint] = field(default_factory=list)
    retry_after_seconds: int | None = None

    def __str__(self) -> str:
        return self.message


# Kind of error → status and code. The first kind that matches counts.
_KINDS: tuple[tuple[type[MeteringError], int, str], ...] = (
    (InvalidInput, 422, "invalid_input"),
    (Unauthenticated, 401, "unauthenticated"),
    (Forbidden, 403, "forbidden"),
    (NotFound, 404, "not_found"),
    (Conflict, 409, "conflict"),
    (AlreadyExists, 409, "conflict"),
    (RevisionChanged, 409, "conflict"),
    (DocumentMissing, 409, "conflict"),
    (DocumentTooLarge, 422, "too_large"),
    (StoreUnavailable, 503, "store_unavailable"),  # any other StoreError is a mistake of ours
)

_STORE_MESSAGES = {
    "conflict": "this was changed by somebody else at the same moment; try again",
    "too_large": "this is more than can be kept in one place; make it smaller",
    "store_unavailable": "the database gave no answer in time, and this may or may not have happened; "
    "look before you try again",
}
_STORE_UNREAD = "the database gave no answer in time; try again"

# Kind of complaint of the models → what to do about it.
_WANTED: dict[str, str] = {
    "extra_forbidden": "there is no such field",
    "missing": "this field is required",
    "literal_error": "give {expected}",
    "string_type": "give a text",
    "string_too_short": "give at least {min_length} character{s}",
    "string_too_long": "give at most {max_length} character{s}",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_from_float": "give a whole number",
    "greater_than_equal": "give a number of at least {ge}",
    "less_than_equal": "give a number of at most {le}",
    "bool_type": "give true or false",
    "bool_parsing": "give true or false",
    "list_type": "give a list",
    "too_short": "give at least {min_length} of them",
    "too_long": "give at most {max_length} of them",
    "dict_type": "give an object",
    "model_type": "give an object",
    "model_attributes_type": "give an object",
}

_HTTP_CODES: dict[int, tuple[str, str]] = {
    400: ("bad_request", "the request is malformed"),
    404: ("not_found", "there is nothing at this address"),
    405: ("method_not_allowed", "this address does not know that method"),
    413: ("body_too_large", "the body is larger than 1 MiB"),
    414: ("address_too_long", "the address is too long"),
    415: ("unsupported_media_type", "send the body as application/json, in UTF-8 and not compressed"),
}


def invalid_fields(error: ValidationError, known: Sequence[str] = ()) -> Refused:
    """The refusal that lists everything a model found wrong; `known` are the fields there are, if they help.

    They are told once, by the first complaint about a field that there is not.
    """
    complaints = []
    for each in error.errors(include_url=False, include_input=False)[:COMPLAINTS_MAX]:
        message = _message(each)
        if known and each["type"] == "extra_forbidden" and len(each["loc"]) == 1:
            message, known = f"{message}; there are {', '.join(known)}", ()
        complaints.append(Complaint(_param(each["loc"]), message))
    return refusal_of_fields(complaints)


def unknown_field(name: str) -> Complaint:
    """The complaint about a field that we do not know."""
    return Complaint(_param((name,)), _WANTED["extra_forbidden"])


def refusal_of_fields(complaints: list[Complaint]) -> Refused:
    """The refusal for that, at least one complaint."""
    return Refused(
        status=422,
        code="invalid_input",
        message=complaints[0].message
        if len(complaints) == 1
        else "several fields are not right; see details",
        param=complaints[0].param,
        details=complaints[:COMPLAINTS_MAX],
    )


def refusal_of(error: Exception) -> Refused:
    """How an error is answered. One that nobody foresaw is a 500 that says nothing of its cause."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, HTTPException):
        status = error.code or 500
        code, message = _HTTP_CODES.get(status, ("bad_request", "the request cannot be served"))
        return Refused(status, code, message)
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            return _of_kind(error, status, code)
    return Refused(500, "internal_error", "something went wrong on our side; quote the request id to us")


def _of_kind(error: MeteringError, status: int, code: str) -> Refused:
    if isinstance(error, InvalidInput):
        details = [Complaint(each.param or "", each.message) for each in error.details or (error,)]
        return Refused(status, code, error.message, error.param, details)
    message = _STORE_MESSAGES[code] if isinstance(error, StoreError) else str(error)
    if code == "store_unavailable" and request.method in READING_METHODS:
        message = _STORE_UNREAD
    return Refused(status, code, message, retry_after_seconds=RETRY_AFTER_SECONDS if status == 503 else None)


def answer_errors(app: Flask, log: ApiLog, figures: RequestFigures) -> None:
    """Answer every error of the application in the one envelope."""

    def answer(error: Exception) -> Response:
        refusal = refusal_of(error)
        if refusal.status == 500:
            log.broken(error)
        if isinstance(error, StoreUnavailable):
            figures.note_store_error(is_read=request.method in READING_METHODS)
        response = answer_of(refusal)
        if isinstance(error, HTTPException) and (allow := dict(error.get_headers()).get("Allow")):
            response.headers["Allow"] = allow
        return response

    app.register_error_handler(Exception, answer)


def answer_of(refusal: Refused) -> Response:
    """The refusal as an answer."""
    envelope = {
        "error": {
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "retryable": refusal.status in {429, 503} or refusal.retry_after_seconds is not None,
            "request_id": g.request_id,
            "details": refusal.details,
        }
    }
    response = Response(msgspec.json.encode(envelope), refusal.status, mimetype="application/json")
    if refusal.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(refusal.retry_after_seconds)
    if refusal.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="ModelTrack"'
    return response


def _param(location: tuple[int | str, ...]) -> str:
    path = ".".join(normalised_tag(str(each)) for each in location if each != "[key]")
    return path[:PARAM_CHARACTERS_MAX]


def _message(error: ErrorDetails) -> str:
    wanted = _WANTED.get(error["type"])
    if wanted is None:
        return error["msg"].removeprefix("Value error, ")
    limits = error.get("ctx", {})
    return wanted.format(**limits, s="" if 1 in limits.values() else "s")
