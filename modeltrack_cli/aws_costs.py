"""AWS Cost Explorer: what services cost a day, each amount once.

One question, grouped by service and by **one** tag: grouping by each tag in turn would answer the same money
again. Hours are added up to days, so that a change of granularity counts nothing twice either.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, Protocol

from modeltrack_cli.amounts import rounded_text
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.infrastructure_rows import Row, row_id, written

PAGES_MAX: Final = 200
SERVICES: Final[Mapping[str, str]] = {
    "SageMaker": "Amazon SageMaker",
    "EC2": "Amazon Elastic Compute Cloud - Compute",
    "Bedrock": "Amazon Bedrock",
}
Granularity = Literal["DAILY", "HOURLY"]


class CostExplorer(Protocol):
    """Of boto3's client, what is used here."""

    def get_cost_and_usage(self, **asked: Any) -> Mapping[str, Any]:
        """A page of costs."""


def aws_rows(
    explorer: CostExplorer,
    services: Sequence[str],
    tag: str,
    granularity: Granularity,
    days: tuple[datetime, datetime],
) -> list[Row]:
    """The rows of whole days, from the first moment to before the second. Raises: CommandFailed."""
    form = "%Y-%m-%d" if granularity == "DAILY" else "%Y-%m-%dT%H:%M:%SZ"
    asked: dict[str, Any] = {
        "TimePeriod": {"Start": days[0].strftime(form), "End": days[1].strftime(form)},
        "Granularity": granularity,
        "Metrics": ["UnblendedCost"],
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "TAG", "Key": tag}],
        "Filter": {
            "Dimensions": {"Key": "SERVICE", "Values": [SERVICES.get(each, each) for each in services]}
        },
    }
    costs: defaultdict[tuple[datetime, str, str], Decimal] = defaultdict(Decimal)
    for _ in range(PAGES_MAX):
        answer = explorer.get_cost_and_usage(**asked)
        _add(costs, answer)
        if not answer.get("NextPageToken"):
            return _rows(costs)
        asked["NextPageToken"] = answer["NextPageToken"]
    raise CommandFailed(f"AWS Cost Explorer: it has more than {PAGES_MAX} pages; ask for fewer days")


def _add(costs: dict[tuple[datetime, str, str], Decimal], answer: Mapping[str, Any]) -> None:
    for period in answer["ResultsByTime"]:
        moment = datetime.fromisoformat(period["TimePeriod"]["Start"]).replace(tzinfo=UTC)
        for group in period["Groups"]:
            service, tagged = group["Keys"]
            amount = group["Metrics"]["UnblendedCost"]
            if amount["Unit"] != "USD":
                raise CommandFailed("AWS Cost Explorer: an amount is not in US dollars")
            about = (moment.replace(hour=0, minute=0), service, tagged.partition("$")[2])
            costs[about] += Decimal(amount["Amount"])


def _rows(costs: Mapping[tuple[datetime, str, str], Decimal]) -> list[Row]:
    """A row for every day, service and team that was met, 0 where nothing was.

    So what AWS has moved since, from no team to one above all, is taken from where it was posted before.
    """
    days = sorted({day for day, _, _ in costs})
    services = sorted({service for _, service, _ in costs})
    teams = sorted({"", *(team for _, _, team in costs)})
    abouts = itertools.product(days, services, teams)
    return [_row(*about, costs.get(about, Decimal(0))) for about in abouts]


def _row(day: datetime, service: str, team: str, cost: Decimal) -> Row:
    return {
        "id": row_id("aws", day, service, team),
        "event_type": "aws_infrastructure",
        "service": service[:200],
        "start_time": written(day),
        "end_time": written(day + timedelta(days=1)),
        "cost_usd": rounded_text(cost),
        "team": team[:200],
    }
