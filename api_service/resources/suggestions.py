"""Where an account could spend less, and how that was reckoned."""

from datetime import datetime, timedelta
from typing import Literal

from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer_fields
from api_service.fields import Usd, View, example_of
from api_service.outlook import MODEL_EXAMPLE, ModelView, Nanodollars, outlooks, prices_now, shown_model
from api_service.routing import routes_of
from api_service.services import services
from api_service.sums import shown_money
from metering.outlooks import MIX_DAYS
from metering.rollups import QUARTER, USAGE_SUMS, quarter_of
from metering.suggestions import SUGGESTIONS_MAX, Suggestion, suggestions

suggestion_routes = routes_of("suggestions")

_USED_EXAMPLE = {
    "requests": 12_000,
    "answered": 11_950,
    **dict.fromkeys(USAGE_SUMS, 0),
    "input_tokens": 60_000_000,
    "output_tokens": 24_000_000,
    "cost_nanodollars": 900_000_000_000,
    "cost_usd": 900,
}
_SUGGESTION_EXAMPLE = {
    "id": "8b1f3c2a1b47d6e8f90a1b2c3d4e5f60",
    "kind": "cheaper_model",
    "title": "Serve calls of claude-opus-4-6 by claude-sonnet-4-6 where it answers as well",
    "how": "The same tokens of 11,950 calls cost $900.00 at the standard rates of claude-opus-4-6 and $540.00"
    " at those of claude-sonnet-4-6, which you already use. $900.00 were recorded. Try the answers first; a"
    " routing rule can make the change.",
    "provider": "anthropic",
    "model": "claude-opus-4-6",
    "feature": None,
    "target": MODEL_EXAMPLE,
    "saving_nanodollars": 360_000_000_000,
    "saving_usd": 360,
    "saving_is": "exact",
    "used": _USED_EXAMPLE,
    "rollups": {
        "start_time": "2026-10-22T09:30:00Z",
        "end_time": "2026-11-21T09:45:00Z",
        "group_by": ["provider", "model"],
    },
}


class UsedView(View):
    """What the calls in question used and cost."""

    requests: int = Field(description="Calls.")
    answered: int = Field(description="Those that a provider answered: neither failed nor from memory.")
    input_tokens: int = Field(description="Uncached input.")
    output_tokens: int = Field(description="Output, reasoning included.")
    cache_read_tokens: int = Field(description="Input read from the prompt cache.")
    cache_write_5m_tokens: int = Field(description="Input cached for five minutes.")
    cache_write_1h_tokens: int = Field(description="Input cached for an hour.")
    reasoning_tokens: int = Field(description="The part of the output that was reasoning.")
    server_tool_calls: int = Field(description="Calls of the provider's own tools.")
    cost_nanodollars: Nanodollars = Field(description="What they were recorded at.")
    cost_usd: Usd = Field(description="The same in US dollars, exact.")


class RollupsView(View):
    """The sums it was reckoned from; `/v1/usage` shows the same."""

    start_time: datetime = Field(description="From when on.")
    end_time: datetime = Field(description="Up to when.")
    group_by: list[str] = Field(description="By which dimensions they were grouped.")


class SuggestionView(View):
    """One way to spend less, over the last 30 days as they were."""

    id: str = Field(description="The same for the same suggestion on another day.")
    kind: Literal["cheaper_model", "prompt_cache_loses", "prompt_cache", "batch", "reasoning"] = Field(
        description="What to change."
    )
    title: str = Field(description="The same in words.")
    how: str = Field(description="How the saving was reckoned.")
    provider: str = Field(description="Whose calls it concerns.")
    model: str = Field(description="Calls of which model.")
    feature: str | None = Field(
        description="Calls of which feature; empty: those that name none; null: all calls."
    )
    target: ModelView | None = Field(description="The model to try instead; null: none.")
    saving_nanodollars: Nanodollars = Field(description="What would have been saved in these 30 days.")
    saving_usd: Usd = Field(description="The same in US dollars, exact.")
    saving_is: Literal["exact", "at_most"] = Field(
        description="`exact`: these very tokens would have cost so much less; `at_most`: it depends on what"
        " no sum tells, and this is all there is to gain."
    )
    used: UsedView = Field(description="What the calls in question used and cost.")
    rollups: RollupsView = Field(description="What it was reckoned from.")


class SuggestionsView(View):
    """Ways to spend less, the greatest saving first. They do not add up: each leaves all else as it was."""

    model_config = example_of({"data": [_SUGGESTION_EXAMPLE], "has_more": False, "next_page": None})

    data: list[SuggestionView] = Field(description=f"At most {SUGGESTIONS_MAX}; none below a dollar.")
    has_more: bool = Field(description="Always false: all are on one page.")
    next_page: str | None = Field(description="Always null.")


@suggestion_routes.get("/v1/suggestions", responses={200: SuggestionsView})
@needs("read")
def list_suggestions() -> Response:
    """List where the account could spend less, and how that was reckoned.

    What was used in the last 30 days is priced a second time, at the rates of another way to use it.
    """
    now = services().clock.now()
    mixes = outlooks().mixes(visitor().account_id, now)
    found = suggestions(mixes, prices_now())
    return answer_fields(
        {"data": [_shown(each, now) for each in found], "has_more": False, "next_page": None}
    )


def _shown(each: Suggestion, now: datetime) -> dict[str, object]:
    mix = each.mix
    return {
        "id": each.suggestion_id,
        "kind": each.kind,
        "title": each.title,
        "how": each.how,
        **shown_model(mix.model),
        "feature": mix.feature if "feature" in each.dimensions else None,
        "target": None if each.target is None else shown_model(each.target),
        **shown_money("saving", each.saved_nanodollars),
        "saving_is": "exact" if each.is_exact else "at_most",
        "used": {
            "requests": mix.requests,
            "answered": mix.answered,
            **{name: getattr(mix.usage, name) for name in USAGE_SUMS},
            **shown_money("cost", mix.cost_nanodollars),
        },
        "rollups": {
            "start_time": quarter_of(now - timedelta(days=MIX_DAYS)),
            "end_time": quarter_of(now) + QUARTER,
            "group_by": each.dimensions,
        },
    }
