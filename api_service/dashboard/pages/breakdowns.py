"""Models, teams and apps, features, customer tiers, prompts: what each used and cost.

All are one page: what it came to, the dearest over time, and a table of all with what names none as a line of
its own. `SHOWN` says in what they differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from flask import Response, request

from api_service.access import visitor
from api_service.breakdowns import PARTS
from api_service.dashboard.figures import Chart, Point, Rank
from api_service.dashboard.formats import bucket_label
from api_service.dashboard.pages.narrowing import OF_PROMPTS, TAGS, answer_address, narrowed
from api_service.dashboard.reading import Fields, Operation, Section, section_of, whole_list_of
from api_service.dashboard.rendering import page, render
from api_service.dashboard.view_state import ViewState
from api_service.resources.prompts import list_prompts
from api_service.resources.statistics import (
    show_apps,
    show_customer_tiers,
    show_features,
    show_models,
    show_providers,
    show_teams,
)
from api_service.resources.suggestions import list_suggestions
from api_service.resources.usage import sum_up_usage

SERIES_MAX: Final = 7  # and one for what names none: as many as there are colours
ROWS: Final = 50
SUGGESTIONS_SHOWN: Final = 5  # before one asks for the rest
SORTS: Final = ("cost", "requests", "cost_per_request", "errors")
BUCKETS: Final = {"1h": "Hour", "1d": "Day", "1w": "Week from", "1mo": "Month"}

_FIRST_BY: Final = {
    "cost": "dearest",
    "requests": "busiest",
    "cost_per_request": "dearest per call",
    "errors": "most failing",
}

# Where a value of each dimension is looked at closer.
PAGES_OF: Final = {
    "model": "/models",
    "team": "/teams",
    "app": "/teams",
    "feature": "/features",
    "customer_tier": "/customer-tiers",
}


class Kind(NamedTuple):
    """One table: by which dimension, and where its figures come from.

    `dimensions` are drawn over time, each by itself. Of several, a row has one. `nameless` is what the line
    is called of calls that name none; empty: every call has one.
    """

    dimensions: Sequence[str]
    one: str
    several: str
    operation: Operation
    path: str
    nameless: str = ""
    filters: Sequence[str] = TAGS

    @property
    def dimension(self) -> str:
        """The first dimension."""
        return self.dimensions[0]


class Shown(NamedTuple):
    """One page: what it says of itself, and its tables. The first of them is drawn."""

    lead: str
    kinds: Sequence[Kind]
    has_suggestions: bool = False


MODELS: Final = Kind(("model",), "Model", "models", show_models, "/v1/stats/models")
PROVIDERS: Final = Kind(("provider",), "Provider", "providers", show_providers, "/v1/stats/providers")
TEAMS: Final = Kind(("team",), "Team", "teams", show_teams, "/v1/stats/teams", "No team named")
APPS: Final = Kind(("app",), "App", "apps", show_apps, "/v1/stats/apps", "No app named")
FEATURES: Final = Kind(
    ("feature",), "Feature", "features", show_features, "/v1/stats/features", "No feature named"
)
TIERS: Final = Kind(
    ("customer_tier",),
    "Customer tier",
    "tiers",
    show_customer_tiers,
    "/v1/stats/customer-tiers",
    "No tier named",
)
PROMPTS: Final = Kind(
    ("prompt_template_id", "prompt_fingerprint"),
    "Prompt",
    "prompts",
    list_prompts,
    "/v1/prompts",
    "No prompt named",
    OF_PROMPTS,
)

SHOWN: Final[Mapping[str, Shown]] = {
    "models": Shown("What each model cost, how fast it answered, how often it failed.", (MODELS, PROVIDERS)),
    "teams": Shown("Whose calls cost what, by the team and the app that callers name.", (TEAMS, APPS)),
    "features": Shown("What each feature of your products costs to run.", (FEATURES,)),
    "customer_tiers": Shown("What it costs to serve the customers of each tier.", (TIERS,)),
    "prompts": Shown("What the calls of each prompt template came to.", (PROMPTS,), has_suggestions=True),
}


@dataclass(frozen=True)
class Row:
    """One line of a table. `href` narrows the page to it, `calls` leads to its events."""

    name: str
    fields: Fields
    calls: str
    href: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """One breakdown as the page has it: the answer, its rows, and where its links lead."""

    kind: Kind
    read: Section
    rows: Sequence[Row]
    unallocated: Row | None
    sorted_by: str
    sorts: Mapping[str, str]
    csv: str
    next_page: str = ""

    @property
    def has_latency(self) -> bool:
        """Whether any row tells how fast it was."""
        return any(each.fields["latency_ms"] for each in self.rows)

    @property
    def most(self) -> int:
        """What the dearest row cost."""
        return max((each.fields["cost_nanodollars"] for each in self.lines), default=0)

    @property
    def lines(self) -> Sequence[Row]:
        """The rows, and last what names none."""
        return [*self.rows, *([self.unallocated] if self.unallocated and not self.next_page else [])]


@dataclass(frozen=True)
class Ranked:
    """What of one row has which value of another dimension."""

    dimension: str
    rows: Sequence[Rank]


@dataclass(frozen=True)
class Parts:
    """The one row that a page is narrowed to, and what it is made of."""

    row: Row
    ranked: Sequence[Ranked]


def _show(shown: Shown, state: ViewState) -> Response:
    tables = [_table(kind, state, is_first=place == 0) for place, kind in enumerate(shown.kinds)]
    first = tables[0]
    return render(
        "breakdown.html",
        lead=shown.lead,
        tables=tables,
        charts=list(_charts(first, state)),
        parts=_parts(first, state),
        passed_over=narrowed(state, first.kind.filters).passed_over,
        suggestions=section_of(list_suggestions) if shown.has_suggestions else None,
        suggestions_shown=SUGGESTIONS_SHOWN,
        fingerprints_are_on=visitor().account.settings.prompt_fingerprints,
    )


for _name, _shown in SHOWN.items():
    page(_name)(partial(_show, _shown))


def _table(kind: Kind, state: ViewState, *, is_first: bool) -> Table:
    """The breakdown; a second one on a page has query fields of its own name."""
    prefix = "" if is_first else f"{kind.dimension}_"
    wanted = _asked(f"{prefix}sort")
    sorted_by = wanted if wanted in SORTS else SORTS[0]
    query = {**state.time, **narrowed(state, kind.filters).filters, "sort_by": sorted_by, "limit": ROWS}
    read = section_of(kind.operation, query={**query, "page": _asked(f"{prefix}page") or None})
    path = request.path
    rest, following = read["unallocated"], read["next_page"] or ""
    return Table(
        kind=kind,
        read=read,
        rows=[_row(kind, each, state) for each in read["data"] or ()],
        unallocated=None if rest is None else _nameless(kind, rest, state),
        sorted_by=sorted_by,
        sorts={name: state.address(path, **{f"{prefix}sort": name}) for name in SORTS},
        csv=answer_address(kind.path, {**query, "format": "csv"}),
        next_page=following
        and state.address(path, **{f"{prefix}sort": sorted_by, f"{prefix}page": following}),
    )


def _asked(name: str) -> str:
    return next(iter(request.args.getlist(name)), "")


def _row(kind: Kind, fields: Fields, state: ViewState) -> Row:
    named = {name: [fields[name]] for name in kind.dimensions if fields[name]}
    name = next(iter(named.values()))[0] if named else ""
    beside = {"provider": [fields["provider"]]} if fields["provider"] else {}
    return Row(
        name=name,
        fields=fields,
        href=state.address(request.path, **{**beside, **named}),
        calls=state.address("/events", **{**beside, **named}),
        note=_note(kind, fields, named),
    )


def _note(kind: Kind, fields: Fields, named: Mapping[str, object]) -> str:
    if kind is PROMPTS:
        return "fingerprint" if "prompt_fingerprint" in named else "template"
    return fields["provider"] or "" if kind is MODELS else ""


def _nameless(kind: Kind, fields: Fields, state: ViewState) -> Row:
    empty = {name: [""] for name in kind.dimensions}
    return Row(kind.nameless, fields, calls=state.address("/events", **empty))


def _charts(table: Table, state: ViewState) -> Iterator[Section]:
    """The dearest rows over time, dimension by dimension; where that has no answer, why."""
    for dimension in table.kind.dimensions:
        named = dict.fromkeys(each.fields[dimension] for each in table.rows if each.fields[dimension])
        names = list(named)[:SERIES_MAX]
        if len(table.kind.dimensions) == 1 and table.unallocated is not None:
            names.append("")
        if names:
            yield _chart(table, dimension, names, state)


def _chart(table: Table, dimension: str, names: Sequence[str], state: ViewState) -> Section:
    kind, width = table.kind, {"bucket_width": state.bucket_width, "group_by": [dimension]}
    query = {**state.time, **narrowed(state, kind.filters).filters, dimension: list(names), **width}
    found = whole_list_of(sum_up_usage, query)
    if found.fields is None:
        return found
    chart = Chart(
        title=_title(table, dimension, names),
        of=BUCKETS[state.bucket_width],
        series=[name or kind.nameless for name in names],
        points=[
            Point(
                bucket_label(each["start_time"], state.bucket_width, state.zone),
                _costs(each, dimension, names),
                href=_narrowed_to(state, each["start_time"]),
            )
            for each in found["data"]
        ],
        kind="stacked",
        csv=answer_address("/v1/usage", {**query, "format": "csv"}),
    )
    return Section({"chart": chart})


def _title(table: Table, dimension: str, names: Sequence[str]) -> str:
    known = {each.fields[dimension] for each in table.rows if each.fields[dimension]}
    shown = [name for name in names if name]
    if len(known) <= len(shown) and not table.next_page:
        return "Cost over time"
    return f"Cost over time of the {len(shown)} {_FIRST_BY[table.sorted_by]} {table.kind.several}"


def _costs(bucket: Fields, dimension: str, names: Sequence[str]) -> list[int]:
    """What each name cost in the bucket."""
    found = {each[dimension]: each["cost_nanodollars"] for each in bucket["results"]}
    return [found.get(name, 0) for name in names]


def _narrowed_to(state: ViewState, start: str) -> str:
    """The same page for the day of that bucket alone; other buckets lead nowhere."""
    if state.bucket_width != "1d":
        return ""
    day = state.day_of(start)
    return state.address(request.path, **{"range": "custom", "from": day, "to": day})


def _parts(table: Table, state: ViewState) -> Parts | None:
    """The one row that the page is narrowed to, by everything else; None: there are several."""
    asked = [name for name in table.kind.dimensions if name in state.filters]
    if not asked or len(table.lines) != 1:
        return None
    (row,) = table.lines
    ranked = [
        Ranked(name, [_part(name, each, state) for each in row.fields[f"by_{name}"]])
        for name in PARTS
        if row.fields[f"by_{name}"]
    ]
    return Parts(row, ranked)


def _part(name: str, part: Fields, state: ViewState) -> Rank:
    value, cost = part["value"], part["cost_nanodollars"]
    href = state.address(PAGES_OF[name], **{name: [value]})
    return Rank(value or f"no {name} named", cost, part["requests"], href, is_unnamed=not value)
