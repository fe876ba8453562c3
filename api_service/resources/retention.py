"""How long what is kept."""

from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer
from api_service.fields import View, example_of
from api_service.routing import routes_of
from metering.retention_rules import RULES

retention = routes_of("retention")

_EXAMPLE = {
    "name": "audit_events",
    "what": "The audit log: who changed what, or was refused to",
    "until": "90 days",
    "days": 90,
}


class RetentionRuleView(View):
    """How long something is kept."""

    name: str = Field(description="For programs; never changes its meaning.")
    what: str = Field(description="What it is about.")
    until: str = Field(description="How long it is kept, for people.")
    days: int | None = Field(
        description="The same in days, rounded down; null: as long as something else, as `until` says."
    )


class RetentionView(View):
    """How long what is kept of this account, and of all."""

    model_config = example_of({"data": [_EXAMPLE], "has_more": False, "next_page": None})

    data: list[RetentionRuleView] = Field(description="The rules.")
    has_more: bool = Field(description="Always false: all rules are on one page.")
    next_page: str | None = Field(description="Always null.")


@retention.get("/v1/retention", responses={200: RetentionView})
@needs("read")
def list_retention_rules() -> Response:
    """List how long what is kept.

    The job that deletes goes by the same table, and so does docs/retention.md.
    """
    shown = visitor().account.settings.events_kept_days
    data = [
        RetentionRuleView(
            name=name,
            what=rule.what,
            until=rule.until,
            days=shown if name == "events" else None if rule.kept is None else rule.kept.days,
        )
        for name, rule in RULES.items()
    ]
    return answer(RetentionView(data=data, has_more=False, next_page=None))
