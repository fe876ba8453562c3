"""One group of routes a noun, each described with who may come in and what may go wrong."""

from typing import Any

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel

from api_service.errors import ErrorView

Responses = dict[str | int, type[BaseModel] | dict[Any, Any] | None]

OF_ALL = (400, 422, 500)
OF_VISITORS = (401, 403, 503)  # where somebody must be known, by key or session
OF_BODIES = (413, 415)


def routes_of(noun: str, *, is_open: bool = False) -> APIBlueprint:
    """An empty group of routes; open ones need neither key nor session, unless they say so themselves."""
    return APIBlueprint(
        noun,
        __name__,
        abp_tags=[Tag(name=noun)],
        operation_id_callback=_named,
        abp_security=[] if is_open else [{"key": []}, {"session": []}],
        abp_responses=may_refuse(*OF_ALL, *(() if is_open else OF_VISITORS)),
    )


def _named(name: str, path: str, method: str) -> str:
    """The route's own name alone, as the audit log has it too."""
    return name


def may_refuse(*statuses: int) -> Responses:
    """What a route is described with that may also answer with these statuses."""
    return {status: ErrorView for status in statuses}
