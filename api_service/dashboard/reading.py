"""What pages read: the API's own answers, made by the very functions that serve them under /v1.

A page speaks no HTTP to itself and repeats no rule of a resource: `answer_of` checks the operation's own
right against whoever asks for the page, builds the operation's own models from plain values, calls it, and
gives the fields that it answers. So a figure on a page is the API's figure (docs/decisions/0019).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec
from flask import Response, g
from pydantic import BaseModel, ValidationError

from api_service.access import Need, Visitor, check_right
from api_service.answers import JSON
from api_service.errors import Refused, invalid_fields, refusal_of
from api_service.services import services
from metering.errors import MeteringError, Unauthenticated

PAGES_READ_MAX: Final = 12  # of one list that a chart shows whole

Operation = Callable[..., Response]
Fields = dict[str, Any]

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass(frozen=True)
class Section:
    """A part of a page: what the API answered, or why it did not."""

    fields: Fields | None = None
    refusal: Refused | None = None

    def __getitem__(self, name: str) -> Any:
        """A field of the answer; None where there is no answer."""
        return None if self.fields is None else self.fields[name]

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer."""
        return self.fields is not None

    @property
    def is_out_of_role(self) -> bool:
        """Whether the visitor's role does not show this."""
        return self.refusal is not None and self.refusal.code in {"role_missing", "session_required"}


def answer_of(
    operation: Operation,
    *,
    path: Mapping[str, object] | None = None,
    query: Mapping[str, object] | None = None,
    body: Mapping[str, object] | None = None,
) -> Fields:
    """What the API answers to that, within the present request. Amounts in US dollars are decimals.

    What is None counts as not given.

    Raises: whatever the operation refuses, as it does under /v1.
    """
    _check(operation)
    given = {"path": path, "query": query, "body": body}
    response = operation(**_models(operation, given))
    if response.mimetype != JSON:
        raise TypeError("only JSON answers are read; link to a CSV instead")
    answered: Fields = _decode(response.get_data())
    return answered


def section_of(
    operation: Operation,
    *,
    path: Mapping[str, object] | None = None,
    query: Mapping[str, object] | None = None,
    body: Mapping[str, object] | None = None,
) -> Section:
    """As `answer_of`; what is refused becomes this section's own state, and the rest of the page stands."""
    return _section(lambda: answer_of(operation, path=path, query=query, body=body))


def whole_list_of(operation: Operation, query: Mapping[str, object]) -> Section:
    """All pages of a list as one answer, at most `PAGES_READ_MAX`; `has_more` says whether that was all."""
    return _section(lambda: _joined(operation, query))


def _section(read: Callable[[], Fields]) -> Section:
    try:
        return Section(read())
    except MeteringError as error:
        refusal = refusal_of(error)
        if refusal.status == 500:
            services().log.broken(error)
        return Section(refusal=refusal)


def _joined(operation: Operation, query: Mapping[str, object]) -> Fields:
    found = answer_of(operation, query=query)
    for _ in range(PAGES_READ_MAX - 1):
        if not found["has_more"]:
            break
        following = answer_of(operation, query={**query, "page": found["next_page"]})
        found = {**following, "data": found["data"] + following["data"]}
    return found


def _check(operation: Operation) -> None:
    need: Need = operation.__dict__["need"]
    if need == "anyone":
        return
    asking: Visitor | None = g.get("visitor")
    if asking is None:
        raise Unauthenticated("log in with e-mail address and password")
    check_right(asking, need, is_open_to_suspended=operation.__dict__["even_suspended"])


def _said(values: Mapping[str, object] | None) -> Fields:
    return {name: value for name, value in (values or {}).items() if value is not None}


def _models(operation: Operation, given: Mapping[str, Mapping[str, object] | None]) -> dict[str, BaseModel]:
    """The operation's own parameters, read from plain values as strictly as from a request."""
    parameters = inspect.signature(operation, eval_str=True).parameters
    unknown = [name for name, values in given.items() if values and name not in parameters]
    if unknown:
        raise TypeError(f"the operation takes no {unknown[0]}")
    try:
        return {name: each.annotation.model_validate(_said(given[name])) for name, each in parameters.items()}
    except ValidationError as error:
        raise invalid_fields(error) from error
