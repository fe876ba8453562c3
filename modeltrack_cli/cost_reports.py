"""Cost reports of OpenAI and Anthropic: what each UTC day cost by model, exactly.

OpenAI's `GET /v1/organization/costs` names a model at the head of a line item (`gpt-4o-2024-08-06, input`)
and gives US dollars; Anthropic's `GET /v1/organizations/cost_report` has the model in a field of its own and
gives cents, as decimal text. What names no model (searches, storage, credits) is kept under "". A day that
is in no answer is not reported at all, which is something else than a day that cost nothing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, localcontext
from typing import Any, Final, Literal

from modeltrack_cli.calls import Credential, get
from modeltrack_cli.errors import CommandFailed

Provider = Literal["openai", "anthropic"]
Fields = Mapping[str, Any]
DayCosts = dict[date, dict[str, Decimal]]  # day → model → US dollars

PAGES_MAX: Final = 100
DAYS_A_PAGE: Final = 31
AMOUNT_DIGITS_MAX: Final = 30  # before the point, and before the first behind it
EXACT_DIGITS: Final = 200  # so that sums of such amounts lose nothing
ANTHROPIC_VERSION: Final = "2023-06-01"

_PLACES: Final = {"openai": "OpenAI's cost report", "anthropic": "Anthropic's cost report"}
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}")
_AMOUNT: Final = re.compile(r"-?[0-9]{1,60}(?:\.[0-9]{1,60})?(?:[Ee][+-]?[0-9]{1,3})?")
_CENTS: Final = 100


def openai_costs(url: str, admin_key: str, first: date, after: date) -> DayCosts:
    """What the days from `first` up to before `after` cost by OpenAI's report. Raises: CommandFailed."""
    report = _Report(
        "openai", f"{url}/v1/organization/costs", Credential("Authorization", f"Bearer {admin_key}")
    )
    params = {
        "start_time": str(_unix(first)),
        "end_time": str(_unix(after)),
        "bucket_width": "1d",
        "group_by": "line_item",
        "limit": str(DAYS_A_PAGE),
    }
    return _within(report.costs(params, _openai_day, _openai_line), first, after)


def anthropic_costs(url: str, admin_key: str, first: date, after: date) -> DayCosts:
    """What the days from `first` up to before `after` cost by Anthropic's report. Raises: CommandFailed."""
    report = _Report(
        "anthropic",
        f"{url}/v1/organizations/cost_report",
        Credential("x-api-key", admin_key),
        {"anthropic-version": ANTHROPIC_VERSION},
    )
    params = {
        "starting_at": f"{first.isoformat()}T00:00:00Z",
        "ending_at": f"{after.isoformat()}T00:00:00Z",
        "bucket_width": "1d",
        "group_by[]": "description",
        "limit": str(DAYS_A_PAGE),
    }
    return _within(report.costs(params, _anthropic_day, _anthropic_line), first, after)


class _NotOfThisForm(Exception):
    """The answer is not what the provider documents."""


@dataclass(frozen=True)
class _Report:
    """One provider's report, read page by page."""

    provider: Provider
    url: str
    credential: Credential
    headers: Mapping[str, str] = field(default_factory=dict)

    def costs(
        self,
        params: Mapping[str, str],
        day_of: Callable[[Fields], date],
        line_of: Callable[[Fields], tuple[str, Decimal]],
    ) -> DayCosts:
        place, asked = _PLACES[self.provider], dict(params)
        costs: DayCosts = {}
        with localcontext(Context(prec=EXACT_DIGITS)):
            for _ in range(PAGES_MAX):
                answer = get(place, self.url, asked, credential=self.credential, headers=self.headers)
                try:
                    _add_page(costs, answer, day_of, line_of)
                    if answer["has_more"] is False:
                        return costs
                    asked["page"] = _text(answer["next_page"])
                except (
                    KeyError,
                    TypeError,
                    ValueError,
                    AttributeError,
                    ArithmeticError,
                    OSError,
                    _NotOfThisForm,
                ):
                    raise CommandFailed(f"{place}: the answer is not of the documented form") from None
        raise CommandFailed(f"{place}: it has more than {PAGES_MAX} pages; ask for fewer days")


def _add_page(
    costs: DayCosts,
    answer: Fields,
    day_of: Callable[[Fields], date],
    line_of: Callable[[Fields], tuple[str, Decimal]],
) -> None:
    for bucket in answer["data"]:
        models = costs.setdefault(day_of(bucket), {})
        for result in bucket["results"]:
            model, usd = line_of(result)
            models[model] = models.get(model, Decimal(0)) + usd


def _openai_day(bucket: Fields) -> date:
    return datetime.fromtimestamp(bucket["start_time"], UTC).date()


def _openai_line(result: Fields) -> tuple[str, Decimal]:
    amount = result["amount"]
    return _head(result["line_item"] or ""), _amount(amount["value"], amount["currency"])


def _anthropic_day(bucket: Fields) -> date:
    return datetime.fromisoformat(bucket["starting_at"]).astimezone(UTC).date()


def _anthropic_line(result: Fields) -> tuple[str, Decimal]:
    return _text(result["model"] or ""), _amount(result["amount"], result["currency"]) / _CENTS


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _NotOfThisForm
    return value


def _amount(value: object, currency: object) -> Decimal:
    is_number = isinstance(value, int | Decimal | str) and not isinstance(value, bool)
    if not is_number or _AMOUNT.fullmatch(str(value)) is None or _text(currency).lower() != "usd":
        raise _NotOfThisForm
    amount = Decimal(str(value))
    if abs(amount.adjusted()) > AMOUNT_DIGITS_MAX:
        raise _NotOfThisForm
    return amount


def _head(line_item: str) -> str:
    """The model that a line item begins with; "" where it names something else."""
    head = line_item.partition(",")[0].strip()
    return head if _MODEL.fullmatch(head) else ""


def _within(costs: DayCosts, first: date, after: date) -> DayCosts:
    return {day: dict(models) for day, models in sorted(costs.items()) if first <= day < after}


def _unix(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())
