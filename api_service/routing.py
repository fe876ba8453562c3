"""One group of routes a noun, each described with who may come in and what may go wrong."""

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api_service.errors import ErrorView

ERROR_STATUSES = (400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503)


def routes_of(noun: str, *, is_open: bool = False) -> APIBlueprint:
    """An empty group of routes; open ones need neither key nor session."""
    return APIBlueprint(
        noun,
        __name__,
        abp_tags=[Tag(name=noun)],
        abp_security=[] if is_open else [{"key": []}, {"session": []}],
        abp_responses=dict.fromkeys(ERROR_STATUSES, ErrorView),
    )
