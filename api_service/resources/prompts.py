"""Prompt templates: what the calls of each came to, by the id that the caller gave it."""

from flask import Response

from api_service.access import needs
from api_service.breakdowns import BreakdownFields, BreakdownView, answer_breakdown
from api_service.routing import routes_of

prompts = routes_of("prompts")


@prompts.get("/v1/prompts", responses={200: BreakdownView})
@needs("read")
def list_prompts(query: BreakdownFields) -> Response:
    """Sum up by prompt template, and by which models.

    A template is what callers name with `X-ModelTrack-Prompt-Template`; calls that name none are unallocated.
    Of its calls only provider and model are known here, and nothing else filters them.
    """
    return answer_breakdown(query, ("prompt_template_id",), ("model",))
