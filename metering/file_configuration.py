"""Budgets, routing rules and namespaces from files, on a machine of one's own: the published formats.

| file | what it holds |
|---|---|
| `budgets.json` | `{"budgets": [{team, app ("" is the whole team), monthly_limit in USD, action}]}` |
| `routing.json` | `{"rules": [{name, description, trigger, threshold, from_models, to_model, …}]}` |
| `namespace_map.json` | `{namespace: team}` of a cluster |

They govern the machine's own account (`LOCAL_ACCOUNT_ID`), beside what its API was told. A file that is not
there says nothing; one that cannot be read, or makes no sense as a whole, leaves what was last good in force,
and `FileState` says why, never with a value of it. What was last good is kept beside, so that it is in force
after a restart, too.

A budget's id follows from its team and app, so a changed limit keeps what was counted.
"""

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

import msgspec
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

from metering.accounts import LOCAL_ACCOUNT_ID, Policy
from metering.budgets import BUDGETS_MAX, Budget, Scope
from metering.clock import Clock
from metering.ids import repeatable_digest
from metering.model_names import OUT_OF_REACH, is_within_reach
from metering.money import nanodollars_from_usd
from metering.routing import FROM_MODELS_MAX, RULES_MAX, RoutingRule
from metering.tags import TAG_CHARACTERS_MAX, normalised_tag

FILE_BYTES_MAX: Final = 1024 * 1024
NAMESPACES_MAX: Final = 10_000
COMPLAINTS_MAX: Final = 20
MONTHLY_LIMIT_USD_MAX: Final = 1_000_000_000
PERCENT_MAX: Final = 100

FileName = Literal["budgets.json", "routing.json", "namespace_map.json"]
State = Literal["absent", "in_force", "refused"]
M = TypeVar("M", bound=BaseModel)


class ConfigurationFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where the files are, and the folder in which what was last good in them is kept."""

    budgets: Path
    routing: Path
    namespace_map: Path
    kept: Path


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file. `entries` are in force; `changed_at` is when they last became so.

    `refused`: what stands in the file now is not in force, and `complaints` says why, a line each.
    """

    file: FileName
    state: State = "absent"
    entries: int = 0
    changed_at: datetime | None = None
    complaints: tuple[str, ...] = ()


class FileConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What the files say. `opt_out_header` "" leaves the published name."""

    budgets: tuple[Budget, ...] = ()
    routing_rules: tuple[RoutingRule, ...] = ()
    opt_out_header: str = ""
    namespace_teams: Mapping[str, str] = {}
    states: tuple[FileState, ...] = ()

    def merged(self, policy: Policy) -> Policy:
        """The policy as it governs calls: of the machine's own account with what the files say in front."""
        if policy.account_id != LOCAL_ACCOUNT_ID:
            return policy
        return msgspec.structs.replace(
            policy,
            budgets=(*self.budgets, *policy.budgets),
            routing_rules=(*self.routing_rules, *policy.routing_rules),
            opt_out_header=self.opt_out_header,
        )


NO_FILES: Final = FileConfiguration()


def configuration_files(data_dir: Path, routing_file: Path | None) -> ConfigurationFiles:
    """The files of a machine that keeps its data there; `routing_file` where its rules are elsewhere."""
    return ConfigurationFiles(
        budgets=data_dir / "budgets.json",
        routing=routing_file or data_dir / "routing.json",
        namespace_map=data_dir / "namespace_map.json",
        kept=data_dir,
    )


class WatchedFiles:
    """The files, looked at whenever somebody asks. For one thread.

    Files are small and are read whole each time: neither their times nor their sizes tell every change.
    """

    def __init__(self, files: ConfigurationFiles, clock: Clock) -> None:
        self._clock = clock
        self._watched: dict[FileName, _Watched] = {
            "budgets.json": _Watched(files.budgets, files.kept, _read_budgets),
            "routing.json": _Watched(files.routing, files.kept, _read_routing),
            "namespace_map.json": _Watched(files.namespace_map, files.kept, _read_namespaces),
        }
        self.configuration = NO_FILES

    def look(self) -> FileConfiguration:
        """What the files say now; the same object as before where nothing has changed."""
        now = self._clock.now()
        changes = [each.look(now) for each in self._watched.values()]
        if any(changes):
            self.configuration = FileConfiguration(
                budgets=self._watched["budgets.json"].content.budgets,
                routing_rules=self._watched["routing.json"].content.routing_rules,
                opt_out_header=self._watched["routing.json"].content.opt_out_header,
                namespace_teams=self._watched["namespace_map.json"].content.namespace_teams,
                states=tuple(each.state_of(name) for name, each in self._watched.items()),
            )
        return self.configuration


class _Refused(Exception):
    def __init__(self, complaints: Sequence[str]) -> None:
        super().__init__()
        self.complaints = tuple(complaints[:COMPLAINTS_MAX])


class _Watched:
    """One file: what it held when last looked at, and what was last good in it."""

    def __init__(
        self, path: Path, kept: Path, read: Callable[[bytes], tuple[FileConfiguration, int]]
    ) -> None:
        self._path = path
        self._kept = kept / f".{path.name}.last-good"
        self._read = read
        self._seen: object = ""  # nothing that a look gives
        self._state: State = "absent"
        self._entries = 0
        self._changed_at: datetime | None = None
        self._complaints: tuple[str, ...] = ()
        self.content = NO_FILES

    def look(self, now: datetime) -> bool:
        """Whether something is otherwise than at the last look."""
        is_first = self._seen == ""
        data, trouble = _data_at(self._path)
        seen = trouble or (None if data is None else hashlib.blake2b(data).digest())
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            content, entries = self._content(data, trouble)
        except _Refused as refused:
            self._state, self._complaints = "refused", refused.complaints
            if is_first:
                self._take_kept(now)
            return True
        self._state, self._complaints = ("absent" if data is None else "in_force"), ()
        self.content, self._entries = content, entries
        self._changed_at = None if data is None else now
        self._keep(data)
        return True

    def state_of(self, name: FileName) -> FileState:
        """What became of it."""
        return FileState(
            file=name,
            state=self._state,
            entries=self._entries,
            changed_at=self._changed_at,
            complaints=self._complaints,
        )

    def _content(self, data: bytes | None, trouble: str) -> tuple[FileConfiguration, int]:
        if trouble:
            raise _Refused([trouble])
        return (NO_FILES, 0) if data is None else self._read(data)

    def _take_kept(self, now: datetime) -> None:
        data, trouble = _data_at(self._kept)
        if data is None or trouble:
            return
        with contextlib.suppress(_Refused):  # of another version of ours: then nothing is in force
            self.content, self._entries = self._read(data)
            self._changed_at = now

    def _keep(self, data: bytes | None) -> None:
        # Where it cannot be kept, a restart with a bad file begins without one; nothing else changes.
        with contextlib.suppress(OSError):
            if data is None:
                self._kept.unlink(missing_ok=True)
            elif _data_at(self._kept)[0] != data:
                draft = self._kept.with_name(f"{self._kept.name}.{secrets.token_hex(8)}")
                draft.write_bytes(data)
                draft.replace(self._kept)


def _data_at(path: Path) -> tuple[bytes | None, str]:
    """What the file holds, None where there is none; and what is wrong with reading it, "" if nothing."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"the file cannot be read: {error.strerror}"
    if len(data) > FILE_BYTES_MAX:
        return None, f"the file is larger than {FILE_BYTES_MAX} bytes"
    return data, ""


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


def _read_budgets(data: bytes) -> tuple[FileConfiguration, int]:
    entries = _checked(_BudgetsFile, _parsed(data)).budgets
    budgets = tuple(_budget(entry) for entry in entries)
    seen: set[str] = set()
    for place, budget in enumerate(budgets):
        if budget.budget_id in seen:
            raise _Refused([f"budgets.{place}: there is one of that team and app already"])
        if not budget.scope.team:
            raise _Refused([f"budgets.{place}.team: give a team that can be seen"])
        seen.add(budget.budget_id)
    return FileConfiguration(budgets=budgets), len(budgets)


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


def _read_routing(data: bytes) -> tuple[FileConfiguration, int]:
    file = _checked(_RoutingFile, _parsed(data))
    names: set[str] = set()
    for place, entry in enumerate(file.rules):
        if entry.name in names:
            raise _Refused([f"rules.{place}.name: there is a rule of that name already"])
        if entry.to_model in entry.from_models:
            raise _Refused([f"rules.{place}.to_model: a rule leads to another model than it comes from"])
        if not is_within_reach(entry.provider, entry.from_models, entry.to_model):
            raise _Refused([f"rules.{place}.to_model: {OUT_OF_REACH}"])
        names.add(entry.name)
    rules = tuple(
        RoutingRule(
            rule_id=f"rule_{repeatable_digest('rule_of_file', entry.name)}",
            source="file",
            **(entry.model_dump() | {"from_models": tuple(entry.from_models)}),
        )
        for entry in file.rules
    )
    return FileConfiguration(routing_rules=rules, opt_out_header=file.opt_out_header), len(rules)


def _read_namespaces(data: bytes) -> tuple[FileConfiguration, int]:
    teams = _checked(_NamespacesFile, _parsed(data)).root
    normalised = {namespace: normalised_tag(team) for namespace, team in teams.items()}
    return FileConfiguration(namespace_teams=normalised), len(teams)


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
        return json.loads(data.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise _Refused([f"line {error.lineno}, column {error.colno}: this is no JSON"]) from None
    except (ValueError, ArithmeticError, RecursionError):
        raise _Refused(["this is no JSON in UTF-8"]) from None


def _no_number(_text: str) -> NoReturn:
    raise _Refused(["NaN and Infinity are not numbers"])


def _checked(model: type[M], content: Any) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _Refused(
            [_complaint(each) for each in error.errors(include_url=False, include_input=False)]
        ) from None


def _complaint(error: Any) -> str:
    place = ".".join(str(each) for each in error["loc"])
    wanted = _WANTED.get(error["type"])
    message = wanted.format(**error.get("ctx", {})) if wanted else error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
