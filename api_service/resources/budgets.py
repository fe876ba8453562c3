"""Budgets: made, shown with how they stand, changed, deleted."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from flask import Response
from pydantic import BeforeValidator, Field, StrictBool, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from api_service.access import needs, require_unpinned, visitor
from api_service.answers import answer_fields, nothing
from api_service.fields import Input, Tag, Usd, View, decimal_between, example_of, left_out
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from metering.budgets import Action, Budget, Dimension, Mode, PeriodKind, Scope, Source
from metering.errors import Conflict, NotFound, StoreError
from metering.money import nanodollars_from_usd, usd_text
from metering.rulebook import THRESHOLD_PERCENT_MAX, THRESHOLDS_MAX
from metering.standings import BudgetStanding, ValueStanding, standings_of

LIMIT_USD_MAX = 1_000_000_000
LIMIT_PLACES = 9
VALUES_SHOWN_MAX = 100
TIMEZONE_CHARACTERS_MAX = 64

budgets = routes_of("budgets")

_FIXED = "this is fixed when a budget is made, since its totals stand for it; make another budget instead"


def _refuse_fixed(_value: Any) -> Any:
    raise ValueError(_FIXED)


LimitUsd = Annotated[
    Decimal,
    decimal_between(0, LIMIT_USD_MAX, LIMIT_PLACES),
    Field(description="US dollars a period, as a decimal number or text; 0 allows nothing."),
]
Threshold = Annotated[int, Field(strict=True, ge=1, le=THRESHOLD_PERCENT_MAX)]
Thresholds = Annotated[list[Threshold], Field(max_length=THRESHOLDS_MAX)]
Zone = Annotated[
    str,
    Field(
        max_length=TIMEZONE_CHARACTERS_MAX,
        description="The IANA zone whose calendar counts, for example Europe/Berlin.",
    ),
]
Fixed = SkipJsonSchema[Annotated[Any, BeforeValidator(_refuse_fixed)]]

_SCOPE_EXAMPLE = {"team": "search", "app": "", "key_id": "", "model": "", "unattributed": False}
_NEW_BUDGET_EXAMPLE: dict[str, Any] = {
    "name": "search in production",
    "scope": {"team": "search"},
    "limit_usd": "500",
    "period": "month",
    "action": "block",
}
BUDGET_EXAMPLE: dict[str, Any] = {
    "id": "budget_0190f3c2a1b47d6e8f90a1b2c3d4e5f6",
    "name": "search in production",
    "scope": _SCOPE_EXAMPLE,
    "each": None,
    "limit_nanodollars": 500_000_000_000,
    "limit_usd": 500,
    "period": "month",
    "timezone": "UTC",
    "action": "block",
    "mode": "normal",
    "thresholds_percent": [80, 100],
    "enabled": True,
    "source": "api",
    "created_at": "2026-11-21T09:30:00Z",
    "current_period": "2026-11",
    "counting_from": "2026-11-01T00:00:00Z",
    "resets_at": "2026-12-01T00:00:00Z",
    "value": None,
    "spent_nanodollars": 120_500_000_000,
    "spent_usd": 120.5,
    "held_nanodollars": 4_000_000_000,
    "held_usd": 4,
    "left_nanodollars": 375_500_000_000,
    "left_usd": 375.5,
    "percent": 24,
    "bound_nanodollars": 25_000_000_000,
    "bound_usd": 25,
    "values": [],
}


class ScopeFields(Input):
    """Which calls count: those that every dimension given is true of; nothing given is the whole account.

    `unattributed` covers the calls that name no team. `model` is the model that serves the call.
    """

    team: Tag = ""
    app: Tag = ""
    key_id: Tag = ""
    model: Tag = ""
    unattributed: StrictBool = False


class NewBudget(Input):
    """What the budget is to be. With `each`, every value of that dimension has a limit of its own."""

    model_config = example_of(_NEW_BUDGET_EXAMPLE)

    name: Tag = ""
    scope: ScopeFields = ScopeFields()
    each: Dimension | None = None
    limit_usd: LimitUsd
    period: PeriodKind = "month"
    timezone: Zone = "UTC"
    action: Action = "block"
    mode: Mode = "normal"
    thresholds_percent: Thresholds = Field(default=[80, 100])
    enabled: StrictBool = True


class BudgetPatch(Input):
    """What to change of the budget; what is left out stays. Scope, each, period and timezone are fixed."""

    model_config = example_of({"limit_usd": "750", "action": "warn"})

    name: Tag = left_out("")
    limit_usd: LimitUsd = left_out(0)
    action: Action = left_out("block")
    mode: Mode = left_out("normal")
    thresholds_percent: Thresholds = left_out([])
    enabled: StrictBool = left_out(True)
    scope: Fixed = None
    each: Fixed = None
    period: Fixed = None
    timezone: Fixed = None


class BudgetPath(Input):
    """Which budget."""

    budget_id: str = Field(
        description="The `id` that creating and listing budgets show.",
        json_schema_extra={"example": BUDGET_EXAMPLE["id"]},
    )


class ScopeView(View):
    """Which calls count: those that every dimension named is true of."""

    team: str = Field(description="Only this team's calls; empty: any.")
    app: str = Field(description="Only this app's calls; empty: any.")
    key_id: str = Field(description="Only calls by this key; empty: any.")
    model: str = Field(description="Only calls that this model serves; empty: any.")
    unattributed: bool = Field(description="Only calls that name no team.")


Nanodollars = Annotated[int, WithJsonSchema({"type": "integer"})]


class ValueView(View):
    """How the limit of one value stands."""

    value: str | None = Field(description="The value; null: all beyond the first 1,000 of a period together.")
    spent_nanodollars: Nanodollars = Field(description="What its calls cost.")
    spent_usd: Usd = Field(description="The same in US dollars, exact.")
    held_nanodollars: Nanodollars = Field(
        description="Kept back for calls in flight, or by proxies for their next ones."
    )
    held_usd: Usd = Field(description="The same in US dollars, exact.")
    left_nanodollars: Nanodollars = Field(description="What nobody has spent or holds.")
    left_usd: Usd = Field(description="The same in US dollars, exact.")
    percent: int = Field(description="Whole percent of the limit that are spent.")


class BudgetView(ValueView):
    """A budget, and how it stands in the present period; with `each`, its value that has spent most."""

    model_config = example_of(BUDGET_EXAMPLE)

    id: str = Field(description="Names the budget.")
    name: str = Field(description="What its maker called it; refusals and warnings say so.")
    scope: ScopeView = Field(description="Which calls count.")
    each: Dimension | None = Field(
        description="The dimension of which every value has a limit of its own; null: one limit for all."
    )
    limit_nanodollars: Nanodollars = Field(description="The limit of a period.")
    limit_usd: Usd = Field(description="The limit in US dollars, exact.")
    period: PeriodKind = Field(description="The calendar period after which it begins anew.")
    timezone: str = Field(description="The zone whose calendar counts.")
    action: Action = Field(
        description="At the limit `block` refuses calls; `downgrade` first tries the cheaper models of the"
        " routing rules; `warn` lets them pass and says so."
    )
    mode: Mode = Field(
        description="`strict` holds the most a call can cost, and refuses what has no bound; `normal` holds"
        " what it is expected to cost."
    )
    thresholds_percent: list[int] = Field(
        description="Where warnings begin: the lowest shows in answers, each once in the log."
    )
    enabled: bool = Field(description="Switched off, it neither limits nor counts.")
    source: Source = Field(description="`file`: from budgets.json of this machine, and read-only here.")
    created_at: datetime | None = Field(description="When it was made; null: it is of a file.")
    current_period: str = Field(description="The present period, as refusals name it.")
    counting_from: datetime = Field(description="Since when it counts what is spent in the present period.")
    resets_at: datetime = Field(description="When the next period begins.")
    value: str | None = Field(description="Whose figures these are, with `each`; null without.")
    bound_nanodollars: Nanodollars | None = Field(
        description="How far calls in flight may pass the limit at most, all present instances together; 0 in"
        " strict mode; null: it only warns."
    )
    bound_usd: Usd | None = Field(description="The same in US dollars, exact.")
    values: list[ValueView] = Field(
        description=f"With `each`, how the first {VALUES_SHOWN_MAX} values stand that have spent most."
    )


class BudgetsView(View):
    """All budgets: those of files first, then the oldest."""

    model_config = example_of({"data": [BUDGET_EXAMPLE], "has_more": False, "next_page": None})

    data: list[BudgetView] = Field(description="The budgets.")
    has_more: bool = Field(description="Always false: all budgets are on one page.")
    next_page: str | None = Field(description="Always null.")


@budgets.get("/v1/budgets", responses={200: BudgetsView})
@needs("read")
def list_budgets() -> Response:
    """List the budgets, and how they stand."""
    return answer_fields({"data": _shown(_all_budgets()), "has_more": False, "next_page": None})


@budgets.post("/v1/budgets", responses={201: BudgetView, **may_refuse(409, *OF_BODIES)})
@needs("write")
def create_budget(body: NewBudget) -> Response:
    """Make a budget. Every instance of the proxy keeps to it within a second.

    It counts the whole present period: what matching calls cost before is added when it is made, or soon
    after; `counting_from` says whether that is done. At most eight budgets may apply to one call.
    """
    known = services()
    require_unpinned(visitor())
    terms = Budget(
        budget_id="",
        name=body.name,
        scope=Scope(**body.scope.model_dump()),
        each=body.each,
        limit_nanodollars=nanodollars_from_usd(body.limit_usd),
        period=body.period,
        timezone=body.timezone,
        action=body.action,
        mode=body.mode,
        thresholds_percent=tuple(body.thresholds_percent),
        enabled=body.enabled,
    )
    made = known.rulebook.create_budget(visitor().account_id, terms)
    _seed(made)
    return answer_fields(_shown([made])[0], 201)


@budgets.get("/v1/budgets/<budget_id>", responses={200: BudgetView, **may_refuse(404)})
@needs("read")
def show_budget(path: BudgetPath) -> Response:
    """Show a budget, and how it stands."""
    return answer_fields(_shown([_budget_named(path.budget_id)])[0])


@budgets.patch("/v1/budgets/<budget_id>", responses={200: BudgetView, **may_refuse(404, 409, *OF_BODIES)})
@needs("write")
def change_budget(path: BudgetPath, body: BudgetPatch) -> Response:
    """Change a budget; what is left out stays. Every instance of the proxy keeps to it within a second.

    A limit below what is spent and held refuses calls at once. What was counted stays counted.
    """
    known = services()
    require_unpinned(visitor())
    _refuse_files_own(path.budget_id)
    given = body.model_dump(exclude_unset=True)
    if "limit_usd" in given:
        given["limit_nanodollars"] = nanodollars_from_usd(given.pop("limit_usd"))
    if "thresholds_percent" in given:
        given["thresholds_percent"] = tuple(given["thresholds_percent"])
    changed = known.rulebook.change_budget(
        visitor().account_id, path.budget_id, lambda budget: msgspec.structs.replace(budget, **given)
    )
    if given.get("enabled"):
        _seed(changed)
    return answer_fields(_shown([changed])[0])


@budgets.delete("/v1/budgets/<budget_id>", responses={204: None, **may_refuse(404, 409)})
@needs("write")
def delete_budget(path: BudgetPath) -> Response:
    """Delete a budget: it limits nothing more within a second. What it counted is gone."""
    require_unpinned(visitor())
    _refuse_files_own(path.budget_id)
    services().rulebook.delete_budget(visitor().account_id, path.budget_id)
    return nothing()


def _all_budgets() -> tuple[Budget, ...]:
    known = services()
    return known.files().merged(known.rulebook.policy(visitor().account_id)).budgets


def _budget_named(budget_id: str) -> Budget:
    for budget in _all_budgets():
        if budget.budget_id == budget_id:
            return budget
    raise NotFound("there is no such budget")


def _refuse_files_own(budget_id: str) -> None:
    if _budget_named(budget_id).source == "file":
        raise Conflict("this budget is of budgets.json; change it there")


def _seed(budget: Budget) -> None:
    """Count what was spent before, now; where that fails, the job that does it again and again will."""
    known = services()
    try:
        known.seeder.seed(budget.budget_id)
    except StoreError as error:
        known.log.broken(error)


def _shown(found: Iterable[Budget]) -> list[dict[str, object]]:
    known = services()
    listed = list(found)
    standings = standings_of(known.store, visitor().account_id, listed, known.clock.now())
    return [_budget_fields(each, standings[each.budget_id]) for each in listed]


def _budget_fields(budget: Budget, standing: BudgetStanding) -> dict[str, object]:
    scope = budget.scope
    nearest = standing.values[0]
    has_values = budget.each is not None
    return {
        "id": budget.budget_id,
        "name": budget.name,
        "scope": {name: getattr(scope, name) for name in scope.__struct_fields__},
        "each": budget.each,
        **_money("limit", budget.limit_nanodollars),
        "period": budget.period,
        "timezone": budget.timezone,
        "action": budget.action,
        "mode": budget.mode,
        "thresholds_percent": budget.thresholds_percent,
        "enabled": budget.enabled,
        "source": budget.source,
        "created_at": budget.created_at,
        "current_period": standing.period.text,
        "counting_from": standing.counting_from,
        "resets_at": standing.period.ends_at,
        **_value_fields(nearest),
        "value": nearest.value if has_values else None,
        **_money("bound", standing.bound_nanodollars),
        "values": [_value_fields(each) for each in standing.values[:VALUES_SHOWN_MAX]] if has_values else [],
    }


def _value_fields(each: ValueStanding) -> Mapping[str, object]:
    standing = each.standing
    return {
        "value": each.value,
        **_money("spent", standing.spent_nanodollars),
        **_money("held", standing.held_nanodollars),
        **_money("left", standing.left_nanodollars),
        "percent": standing.percent,
    }


def _money(name: str, nanodollars: int | None) -> dict[str, object]:
    usd = None if nanodollars is None else msgspec.Raw(usd_text(nanodollars).encode())
    return {f"{name}_nanodollars": nanodollars, f"{name}_usd": usd}
