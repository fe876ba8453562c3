"""Prompt templates: what the calls of each came to.

A call's template is what its caller names. Where it names none and the account has fingerprints made, the
call is told by its fingerprint.
"""

from flask import Response

from api_service.access import needs
from api_service.breakdowns import BreakdownFields, BreakdownView, answer_breakdown
from api_service.routing import routes_of

prompts = routes_of("prompts")


@prompts.get("/v1/prompts", responses={200: BreakdownView})
@needs("read")
def list_prompts(query: BreakdownFields) -> Response:
    """Sum up by prompt template, and by which models.

    A row has either a `prompt_template_id`, which callers name with `X-ModelTrack-Prompt-Template`, or, for
    calls that name none, a `prompt_fingerprint`, where the account's `prompt_fingerprints` are on; the other
    of the two is empty. Calls with neither are unallocated.
    Of these calls only provider and model are known here, and nothing else filters them.
    """
    return answer_breakdown(query, ("prompt_template_id", "prompt_fingerprint"), ("model",))
