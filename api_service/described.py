"""What the API's description says of routes alike: ranges of time, repeats and how often one may ask."""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from api_service.idempotency import HEADER, KEPT, REPLAYED_HEADER
from api_service.ranges import RangeFields
from api_service.request_limits import UNCOUNTED_ROUTES

_KEY: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A text of your own, such as a UUID: whoever sends the same again within"
    f" {KEPT.total_seconds() / 3600:.0f} hours does nothing again and gets the same answer, with"
    f" {REPLAYED_HEADER}: true. With another request, or while the first one is under way: 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "example": "0f8fad5b-d9cb-469f-a165-70867728950e",
}
_RATE_HEADERS: Final[dict[str, Any]] = {
    "X-RateLimit-Limit": "Requests a minute of the limit that has least left.",
    "X-RateLimit-Remaining": "What is left of it.",
    "X-RateLimit-Reset": "The unix second at which all of it is there again, if nothing more is asked.",
}


def describe_guards(document: dict[str, Any]) -> None:
    """Add to every operation what holds for it whatever it does."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            refusal = operation["responses"]["422"]
            if method == "post":
                others = [each for each in operation.get("parameters", []) if each["name"] != HEADER]
                operation["parameters"] = [*others, copy.deepcopy(_KEY)]
                operation["responses"].setdefault("409", copy.deepcopy(refusal) | _said("Conflict"))
            if path not in UNCOUNTED_ROUTES:
                operation["responses"].setdefault("429", copy.deepcopy(refusal) | _said("Too Many Requests"))
                _add_headers(operation["responses"])
            operation["responses"] = dict(sorted(operation["responses"].items()))


def describe_ranges(document: dict[str, Any], views: Mapping[str, Callable[..., Any]]) -> None:
    """Say of operations that take a range what it is where left out. `views` are by endpoint."""
    asked = {endpoint.rpartition(".")[2]: view for endpoint, view in views.items()}
    for methods in document["paths"].values():
        for operation in methods.values():
            query = inspect.signature(asked[operation["operationId"]]).parameters.get("query")
            if query is not None and issubclass(query.annotation, RangeFields):
                operation["description"] += f"\n\n{inspect.getdoc(query.annotation)}"


def _said(text: str) -> dict[str, str]:
    return {"description": text}


def _add_headers(responses: dict[str, Any]) -> None:
    for response in responses.values():
        headers = response.setdefault("headers", {})
        for name, text in _RATE_HEADERS.items():
            headers[name] = {"description": text, "schema": {"type": "integer"}}
    responses["429"]["headers"]["Retry-After"] = {
        "description": "Seconds until a request may succeed.",
        "schema": {"type": "integer"},
    }
