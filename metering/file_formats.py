"""What the files of a machine of one's own may hold, and what is said of one that makes no sense.

Apart from `metering.file_configuration`, which loads it where there is a file: most machines have none.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    StrictBool,
    StrictStr,
    ValidationError,
)

from metering.budgets import BUDGETS_MAX, Budget, Scope
from metering.ids import repeatable_digest
from metering.model_names import OUT_OF_REACH, is_within_reach
from metering.money import nanodollars_from_usd
from metering.routing import FROM_MODELS_MAX, RULES_MAX, RoutingRule
from metering.tags import TAG_CHARACTERS_MAX, normalised_tag

NAMESPACES_MAX: Final = 10_000
COMPLAINTS_MAX: Final = 20
MONTHLY_LIMIT_USD_MAX: Final = 1_000_000_000
PERCENT_MAX: Final = 100

M = TypeVar("M", bound=BaseModel)


class FileRefused(Exception):
    """The file makes no sense. `complaints` says why, a line each, without any value."""

    def __init__(self, complaints: Sequence[str]) -> None:
        super().__init__()
        self.complaints = tuple(complaints[:COMPLAINTS_MAX])


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _usd(value: Any) -> int:
    wanted = f"give US dollars from 0 to {MONTHLY_LIMIT_USD_MAX}, as a number"
    if (
        isinstance(value, bool)
        or not isinstance(value, int | Decimal)
        or not 0 <= value <= MONTHLY_LIMIT_USD_MAX
    ):
        raise ValueError(wanted)
    return nanodollars_from_usd(value)


def _whole_percent(value: Any) -> int:
    wanted = f"give a whole number from 0 to {PERCENT_MAX}"
    # The range comes first: to make a whole number of 1e9999999 would take hours.
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= PERCENT_MAX:
        raise ValueError(wanted)
    if value != int(value):
        raise ValueError(wanted)
    return int(value)


def _form(pattern: str, wanted: str) -> AfterValidator:
    def checked(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(wanted)
        return value

    return AfterValidator(checked)


Tag = Annotated[StrictStr, Field(max_length=TAG_CHARACTERS_MAX)]
Model = Annotated[
    StrictStr, _form(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}", "give a model's name, as its provider writes it")
]


class _BudgetEntry(_Model):
    team: Annotated[Tag, Field(min_length=1)]
    app: Tag = ""
    monthly_limit: Annotated[int, BeforeValidator(_usd)]
    action: Literal["block", "warn"]


class _BudgetsFile(_Model):
    budgets: list[_BudgetEntry] = Field(max_length=BUDGETS_MAX)


class _RuleEntry(_Model):
    name: Annotated[
        StrictStr, _form(r"[!-~]([ -~]{0,98}[!-~])?", "give 1 to 100 printable characters of ASCII")
    ]
    description: StrictStr = Field(default="", max_length=1_000)
    trigger: Literal["budget_percent_above"]
    threshold: Annotated[int, BeforeValidator(_whole_percent)]
    from_models: list[Model] = Field(min_length=1, max_length=FROM_MODELS_MAX)
    to_model: Model
    provider: Literal["", "anthropic", "openai"] = ""
    action: Literal["downgrade"]
    enabled: StrictBool = True


class _RoutingFile(_Model):
    rules: list[_RuleEntry] = Field(max_length=RULES_MAX)
    opt_out_header: Annotated[
        StrictStr, _form(r"[A-Za-z0-9-]{0,100}", "give a header's name, of letters, digits and dashes")
    ] = ""
    fallback_behavior: StrictStr = ""  # published, and without a meaning


_Namespace = Annotated[StrictStr, Field(min_length=1, max_length=253)]


class _NamespacesFile(RootModel[Annotated[dict[_Namespace, Tag], Field(max_length=NAMESPACES_MAX)]]):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


def read_budgets(data: bytes) -> tuple[Budget, ...]:
    """What stands in `budgets.json`. Raises: FileRefused."""
    entries = _checked(_BudgetsFile, _parsed(data)).budgets
    budgets = tuple(_budget(entry) for entry in entries)
    seen: set[str] = set()
    for place, budget in enumerate(budgets):
        if budget.budget_id in seen:
            raise FileRefused([f"budgets.{place}: there is one of that team and app already"])
        if not budget.scope.team:
            raise FileRefused([f"budgets.{place}.team: give a team that can be seen"])
        seen.add(budget.budget_id)
    return budgets


def _budget(entry: _BudgetEntry) -> Budget:
    team, app = normalised_tag(entry.team), normalised_tag(entry.app)
    return Budget(
        budget_id=f"budget_{repeatable_digest('budget_of_file', team, app)}",
        name=f"{team}/{app}" if app else team,
        scope=Scope(team=team, app=app),
        limit_nanodollars=entry.monthly_limit,
        action=entry.action,
        source="file",
    )


def read_routing(data: bytes) -> tuple[tuple[RoutingRule, ...], str]:
    """What stands in `routing.json`, and the opt-out header's name. Raises: FileRefused."""
    file = _checked(_RoutingFile, _parsed(data))
    names: set[str] = set()
    for place, entry in enumerate(file.rules):
        if entry.name in names:
            raise FileRefused([f"rules.{place}.name: there is a rule of that name already"])
        if entry.to_model in entry.from_models:
            raise FileRefused([f"rules.{place}.to_model: a rule leads to another model than it comes from"])
        if not is_within_reach(entry.provider, entry.from_models, entry.to_model):
            raise FileRefused([f"rules.{place}.to_model: {OUT_OF_REACH}"])
        names.add(entry.name)
    rules = tuple(
        RoutingRule(
            rule_id=f"rule_{repeatable_digest('rule_of_file', entry.name)}",
            source="file",
            **(entry.model_dump() | {"from_models": tuple(entry.from_models)}),
        )
        for entry in file.rules
    )
    return rules, file.opt_out_header


def read_namespaces(data: bytes) -> dict[str, str]:
    """What stands in `namespace_map.json`: the team by namespace. Raises: FileRefused."""
    teams = _checked(_NamespacesFile, _parsed(data)).root
    return {namespace: normalised_tag(team) for namespace, team in teams.items()}


# Kind of complaint of the models → what to do about it.
_WANTED: Final[Mapping[str, str]] = {
    "extra_forbidden": "there is no such field",
    "missing": "this field is required",
    "literal_error": "give {expected}",
    "string_type": "give a text",
    "string_too_short": "this may not be empty",
    "string_too_long": "give at most {max_length} characters",
    "bool_type": "give true or false",
    "list_type": "give a list",
    "too_short": "give at least {min_length}",
    "too_long": "give at most {max_length}",
    "dict_type": "give a JSON object",
    "model_type": "give a JSON object",
}


def _parsed(data: bytes) -> Any:
    try:
        # Some editors begin a file with a mark of its byte order.
        return json.loads(
            data.decode("utf-8-sig"),
            parse_float=Decimal,
            parse_constant=_no_number,
            object_pairs_hook=_each_once,
        )
    except json.JSONDecodeError as error:
        raise FileRefused([f"line {error.lineno}, column {error.colno}: this is no JSON"]) from None
    except (ValueError, ArithmeticError, RecursionError):
        raise FileRefused(["this is no JSON in UTF-8"]) from None


def _no_number(_text: str) -> NoReturn:
    raise FileRefused(["NaN and Infinity are not numbers"])


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, where no name stands twice: which of two limits is meant is not ours to guess."""
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise FileRefused([f"{name[:TAG_CHARACTERS_MAX]}: this stands twice in one object"])
        found[name] = value
    return found


def _checked(model: type[M], content: Any) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise FileRefused(
            [_complaint(each) for each in error.errors(include_url=False, include_input=False)]
        ) from None


def _complaint(error: Any) -> str:
    place = ".".join(str(each) for each in error["loc"])
    wanted = _WANTED.get(error["type"])
    message = wanted.format(**error.get("ctx", {})) if wanted else error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
