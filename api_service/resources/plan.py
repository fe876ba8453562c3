"""The account's plan: its limits, what was used of them this month, and what happens at each."""

from collections.abc import Sequence
from datetime import datetime

from flask import Response
from pydantic import Field

from api_service.access import needs, visitor
from api_service.answers import answer
from api_service.fields import View, example_of
from api_service.routing import routes_of
from api_service.services import services
from metering.alerting import Calls, used_of
from metering.plans import Plan, at_limit, plan_named
from metering.stats import UsageBucket, UsageQuery

plan = routes_of("plan")

_LIMIT_EXAMPLE = {
    "name": "events_a_month",
    "limit": 50_000,
    "used": 1_200,
    "exceeded": False,
    "at_limit": at_limit()["events_a_month"],
}


class LimitView(View):
    """One limit of the plan."""

    name: str = Field(description="For programs; never changes its meaning.")
    limit: int | None = Field(description="The limit; null: there is none.")
    used: int | None = Field(
        description="What was used of it this month (UTC), whole dollars of money; null: not a thing that is"
        " used up."
    )
    exceeded: bool = Field(description="Whether more was used than the limit.")
    at_limit: str = Field(description="What happens there. No call is ever refused for a plan's sake.")


class PlanView(View):
    """The account's plan."""

    model_config = example_of(
        {
            "name": "free",
            "title": "Free",
            "paid": False,
            "month": "2026-11-01T00:00:00Z",
            "exceeded": False,
            "limits": [_LIMIT_EXAMPLE],
        }
    )

    name: str = Field(description="For programs: self_hosted, free, pro, enterprise.")
    title: str = Field(description="What people call it.")
    paid: bool = Field(description="Whether it is paid for.")
    month: datetime = Field(description="Where the month begins that `used` is of.")
    exceeded: bool = Field(description="Whether any limit is exceeded.")
    limits: list[LimitView] = Field(description="Every limit.")


@plan.get("/v1/plan", responses={200: PlanView})
@needs("read")
def show_plan() -> Response:
    """Show the account's plan, its limits and what was used of them this month."""
    known, account = services(), visitor().account
    found = plan_named(account.plan)
    now = known.clock.now()
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    asked = UsageQuery(start=month, end=now, bucket_width="1d", group_by=("provider", "team"))
    used = _used(known.statistics.usage(account.account_id, asked).buckets if now > month else ())
    limits = [_limit(found, name, used.get(name)) for name in at_limit()]
    return answer(
        PlanView(
            name=account.plan,
            title=found.title,
            paid=found.is_paid,
            month=month,
            exceeded=any(each.exceeded for each in limits),
            limits=limits,
        )
    )


def _used(buckets: Sequence[UsageBucket]) -> dict[str, int]:
    return used_of(
        Calls(
            group.values["provider"],
            group.values["team"],
            group.sums["requests"],
            group.sums["cost_nanodollars"],
        )
        for bucket in buckets
        for group in bucket.groups
    )


def _limit(found: Plan, name: str, used: int | None) -> LimitView:
    limit: int | None = getattr(found, name)
    return LimitView(
        name=name,
        limit=limit,
        used=used,
        exceeded=limit is not None and used is not None and used > limit,
        at_limit=at_limit()[name],
    )
