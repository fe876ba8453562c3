"""Infrastructure costs: handed in, summed up, and the map of namespaces to teams."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from flask import Response
from pydantic import ConfigDict, Field, RootModel, StrictStr, StringConstraints

from api_service.access import needs, require_unpinned, visitor
from api_service.answers import answer_fields
from api_service.fields import Form, Input, Moment, Tag, Usd, View, decimal_between, decimal_text, example_of
from api_service.routing import OF_BODIES, may_refuse, routes_of
from api_service.services import services
from api_service.sums import shown_money
from api_service.tables import answer_csv, with_csv
from api_service.utc_days import DayRangeFields
from metering.accounts import LOCAL_ACCOUNT_ID
from metering.errors import Conflict
from metering.file_formats import NAMESPACES_MAX
from metering.infrastructure import (
    GPU_COUNT_MAX,
    ROWS_MAX,
    CostLine,
    EventType,
    GpuUse,
    Infrastructure,
    InfrastructureCost,
    InfrastructureReport,
)
from metering.money import nanodollars_from_usd
from metering.tags import TAG_CHARACTERS_MAX

COST_USD_MAX = 100_000_000
COST_PLACES = 9
HUNDREDTHS_A_PERCENT = 100

infrastructure = routes_of("infrastructure")

_ROW_EXAMPLE: dict[str, Any] = {
    "id": "opencost-2026-11-20T09-ml-prod",
    "event_type": "gpu_compute",
    "service": "kubernetes",
    "start_time": "2026-11-20T09:00:00Z",
    "end_time": "2026-11-20T10:00:00Z",
    "cost_usd": "3.06",
    "namespace": "ml-prod",
    "gpu_type": "A100",
    "gpu_count": 1,
    "gpu_utilization_percent": "71.5",
}
_MAP_EXAMPLE: dict[str, Any] = {"ml-prod": "search", "batch": "research"}
_COST_EXAMPLE = {"cost_nanodollars": 3_060_000_000, "cost_usd": 3.06}
_REPORT_EXAMPLE: dict[str, Any] = {
    **_COST_EXAMPLE,
    "unallocated_nanodollars": 0,
    "unallocated_usd": 0,
    "by_service": [{"service": "kubernetes", **_COST_EXAMPLE}],
    "by_team": [{"team": "search", **_COST_EXAMPLE}],
    "gpu_utilization": [
        {
            "resource_id": "",
            "service": "kubernetes",
            "gpu_type": "A100",
            "instance_type": "",
            "namespace": "ml-prod",
            "team": "search",
            "gpu_count": 1,
            "utilization_percent": 71.5,
            "measured_seconds": 3600,
            **_COST_EXAMPLE,
        }
    ],
    "daily_trend": [{"day": "2026-11-20", **_COST_EXAMPLE}],
}


class RowFields(Input):
    """One cost, or one measurement of GPUs, within one UTC day."""

    id: Annotated[
        str, Form(r"[!-~]{1,100}", "give 1 to 100 printable characters of ASCII, without blanks")
    ] = Field(
        description="Your own name of the row: of a UTC day it stands once, and what comes again replaces it."
    )
    event_type: EventType
    service: Annotated[Tag, StringConstraints(min_length=1)] = Field(description="What was paid for.")
    start_time: Moment
    end_time: Moment = Field(description="Exclusive; at most the end of the UTC day that start_time is of.")
    cost_usd: Annotated[Decimal, decimal_between(-COST_USD_MAX, COST_USD_MAX, COST_PLACES)] = Field(
        default=Decimal(0), description="US dollars, as a decimal number or text; less than 0: a credit."
    )
    team: Tag = Field(default="", description="Whose it is; empty: whose the namespace is, by the map.")
    namespace: Tag = ""
    resource_id: Tag = ""
    region: Tag = ""
    instance_type: Tag = ""
    gpu_type: Tag = ""
    gpu_count: Annotated[int, Field(strict=True, ge=0, le=GPU_COUNT_MAX)] = 0
    gpu_utilization_percent: Annotated[Decimal, decimal_between(0, 100, 2)] | None = Field(
        default=None, description="How much of the GPUs was used in that time; null: not measured."
    )
    pod_name: Tag = ""
    job_name: Tag = ""


class NewRows(Input):
    """A batch of rows, of at most three UTC days."""

    model_config = example_of({"rows": [_ROW_EXAMPLE]})

    rows: list[RowFields] = Field(min_length=1, max_length=ROWS_MAX)


class TakenView(View):
    """What became of the rows."""

    model_config = example_of({"added": 1, "replaced": 0})

    added: int = Field(description="Rows that are new.")
    replaced: int = Field(description="Rows that stand in the place of an earlier one of that day and id.")


class InfrastructureFields(DayRangeFields):
    """Which days, and how they are shown."""

    format: Literal["json", "csv"] = Field(
        default="json",
        description="csv: one line a service, team and day, with the total and what is unallocated first.",
    )


class CostBase(View):
    """An amount of money, twice."""

    cost_nanodollars: int = Field(description="The cost.")
    cost_usd: Usd = Field(description="The cost in US dollars, exact.")


class ServiceCostView(CostBase):
    """One service."""

    service: str = Field(description="Its name; `other`: those beyond the first 1,000 together.")


class TeamCostView(CostBase):
    """One team."""

    team: str = Field(description="Its name; empty: unallocated; `other`: those beyond the first 1,000.")


class DayCostView(CostBase):
    """One UTC day."""

    day: date = Field(description="Which.")


class GpuView(CostBase):
    """The GPUs of one machine or namespace."""

    resource_id: str = Field(description="The machine; empty: not told.")
    service: str = Field(description="The service.")
    gpu_type: str = Field(description="What kind of GPU; empty: not told.")
    instance_type: str = Field(description="What kind of machine; empty: not told.")
    namespace: str = Field(description="The namespace; empty: none.")
    team: str = Field(description="Whose; empty: unallocated.")
    gpu_count: int = Field(description="How many at most; 0: not told.")
    utilization_percent: Usd = Field(description="The average over the time that was measured, GPU by GPU.")
    measured_seconds: int = Field(description="How long was measured.")


class InfrastructureView(CostBase):
    """What infrastructure cost. Services, teams and days each add up to the whole."""

    model_config = with_csv(_REPORT_EXAMPLE)

    unallocated_nanodollars: int = Field(description="The part that is of no team.")
    unallocated_usd: Usd = Field(description="That part in US dollars, exact.")
    by_service: list[ServiceCostView] = Field(description="Dearest first.")
    by_team: list[TeamCostView] = Field(description="Dearest first.")
    gpu_utilization: list[GpuView] = Field(description="Least used first, at most 1,000.")
    daily_trend: list[DayCostView] = Field(description="Every day of the range, oldest first.")


_Namespace = Annotated[StrictStr, StringConstraints(min_length=1, max_length=TAG_CHARACTERS_MAX)]
_Teams = Annotated[dict[_Namespace, Tag], Field(max_length=NAMESPACES_MAX)]


class NamespaceMap(RootModel[_Teams]):
    """Which team each namespace of a cluster is of, in the form of namespace_map.json."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"example": _MAP_EXAMPLE})


@infrastructure.post("/v1/infrastructure/costs", responses={200: TakenView, **may_refuse(409, *OF_BODIES)})
@needs("ingest")
def add_infrastructure_costs(body: NewRows) -> Response:
    """Hand in what infrastructure cost, and how much of its GPUs was used: all rows or none.

    They are never part of what calls cost. A row that is sent again, with its id and day, counts once.
    """
    require_unpinned(visitor())
    taken = _kept().add(visitor().account_id, [_row(each) for each in body.rows])
    return answer_fields(taken)


@infrastructure.get("/v1/infrastructure", responses={200: InfrastructureView})
@needs("read")
def show_infrastructure(query: InfrastructureFields) -> Response:
    """Show what infrastructure cost by service, team and UTC day, and how much of its GPUs was used.

    At most 92 days. Reads a document a day, and the map of namespaces.
    """
    days = query.days(services().clock.now())
    report = _kept().report(visitor().account_id, days, _namespace_map())
    if query.format == "csv":
        return answer_csv(_COLUMNS, _rows(report), None)
    return answer_fields(
        {
            **shown_money("cost", report.total_nanodollars),
            **shown_money("unallocated", report.unallocated_nanodollars),
            "by_service": _shown("service", report.services),
            "by_team": _shown("team", report.teams),
            "gpu_utilization": [_gpu_fields(each) for each in report.gpus],
            "daily_trend": _shown("day", report.days),
        }
    )


@infrastructure.get("/v1/infrastructure/namespace-map", responses={200: NamespaceMap})
@needs("read")
def show_namespace_map() -> Response:
    """Show which team each namespace is of."""
    return answer_fields(_namespace_map())


@infrastructure.put(
    "/v1/infrastructure/namespace-map", responses={200: NamespaceMap, **may_refuse(409, *OF_BODIES)}
)
@needs("write")
def put_namespace_map(body: NamespaceMap) -> Response:
    """Replace the map whole. It holds for costs that were handed in before, too.

    Costs of a namespace that is not in it are unallocated.
    """
    require_unpinned(visitor())
    if _file_teams() is not None:
        raise Conflict("the map is namespace_map.json of this machine; change it there")
    return answer_fields(_kept().put_namespace_map(visitor().account_id, body.root))


def _kept() -> Infrastructure:
    known = services()
    return Infrastructure(known.store, known.clock)


def _namespace_map() -> Mapping[str, str]:
    teams = _file_teams()
    return _kept().namespace_map(visitor().account_id) if teams is None else teams


def _file_teams() -> Mapping[str, str] | None:
    """What the machine's own file says of its own account; None: there is none, and the API's map counts."""
    if visitor().account_id != LOCAL_ACCOUNT_ID:
        return None
    files = services().files()
    is_there = any(each.file == "namespace_map.json" and each.state != "absent" for each in files.states)
    return files.namespace_teams if is_there else None


def _row(row: RowFields) -> InfrastructureCost:
    named = row.model_dump(exclude={"id", "start_time", "end_time", "cost_usd", "gpu_utilization_percent"})
    used = row.gpu_utilization_percent
    return InfrastructureCost(
        row_id=row.id,
        starts_at=row.start_time,
        ends_at=row.end_time,
        cost_nanodollars=nanodollars_from_usd(row.cost_usd),
        gpu_hundredths=None if used is None else int(used * HUNDREDTHS_A_PERCENT),
        **named,
    )


def _shown(name: str, lines: Iterable[CostLine]) -> Sequence[Mapping[str, object]]:
    return [{name: each.name, **shown_money("cost", each.cost_nanodollars)} for each in lines]


_COLUMNS = ("section", "value", *_COST_EXAMPLE)


def _rows(report: InfrastructureReport) -> Iterator[Mapping[str, object]]:
    """The report as lines of a CSV."""
    yield {"section": "total", "value": None, **shown_money("cost", report.total_nanodollars)}
    unallocated = shown_money("cost", report.unallocated_nanodollars)
    yield {"section": "unallocated", "value": None, **unallocated}
    for section, several in (("service", report.services), ("team", report.teams), ("day", report.days)):
        for each in several:
            yield {"section": section, "value": each.name, **shown_money("cost", each.cost_nanodollars)}


def _gpu_fields(use: GpuUse) -> Mapping[str, object]:
    return {
        "resource_id": use.resource_id,
        "service": use.service,
        "gpu_type": use.gpu_type,
        "instance_type": use.instance_type,
        "namespace": use.namespace,
        "team": use.team,
        "gpu_count": use.gpu_count,
        "utilization_percent": msgspec.Raw(decimal_text(use.gpu_hundredths, 2).encode()),
        "measured_seconds": use.measured_seconds,
        **shown_money("cost", use.cost_nanodollars),
    }
