"""How many answers of a revision were errors of the server, by Cloud Monitoring's count; and what that means.

The count is `run.googleapis.com/request_count`: sampled every 60 s and visible up to 120 s later
(https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run, 2026-11-21).
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from infra.release.asking import answer_to
from infra.release.gcloud import Gcloud
from infra.release.services import Service

METRIC: Final = "run.googleapis.com/request_count"
METRIC_DELAY_SECONDS: Final = 180.0
MONITORING_URL: Final = "https://monitoring.googleapis.com"
_ANSWER_SECONDS_MAX: Final = 30
_PAGES_MAX: Final = 20

RATE_FLOOR: Final = 0.01  # of a revision's answers; below that it is never worse than the one before
TIMES_WORSE_MAX: Final = 2.0
# Fewer are the weather: a provider's own 5xx pass through the proxy as they are. A function has none to pass.
ERRORS_MIN: Final = 5
ERRORS_OF_FUNCTIONS_MIN: Final = 1
SILENCE_MIN: Final = 50  # answers that its share of the traffic would have been


class RatesUnknown(Exception):
    """Cloud Monitoring did not say, so that nobody knows whether the new revision does well."""


@dataclass(frozen=True)
class Answers:
    """A revision's answers in a while."""

    total: int = 0
    errors: int = 0

    @property
    def rate(self) -> float:
        """The share of errors; 0 of none."""
        return self.errors / self.total if self.total else 0.0

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(self.total + other.total, self.errors + other.errors)

    def __str__(self) -> str:
        return f"{self.errors} errors of {self.total} answers"


def is_worse(service: Service, new: Answers, before: Answers) -> bool:
    """Whether a revision fails so much more often than the one before that it must not go on serving.

    That takes a handful of errors, a share above the floor, and one of more than twice what it was.
    """
    errors_min = ERRORS_OF_FUNCTIONS_MIN if service.is_scheduled else ERRORS_MIN
    return new.errors >= errors_min and new.rate > max(RATE_FLOOR, TIMES_WORSE_MAX * before.rate)


def is_silent(new: Answers, before: Answers, percent: int) -> bool:
    """Whether a revision with that share of the traffic has answered nothing where it had to answer much.

    One that lets every call hang makes no error that could be counted. `before`: of the same while, and with
    the rest of the traffic; where it has none, nothing says how much would have come.
    """
    return percent < 100 and not new.total and before.total * percent >= SILENCE_MIN * (100 - percent)


def answers_by_revision(
    gcloud: Gcloud, service: Service, since: datetime, until: datetime, url: str = MONITORING_URL
) -> Mapping[str, Answers]:
    """The answers of each revision of a service between two moments. Raises: RatesUnknown, GcloudFailed."""
    token = gcloud.run("auth", "print-access-token").strip()
    asked = {
        "filter": f'metric.type="{METRIC}" AND resource.type="cloud_run_revision" '
        f'AND resource.labels.service_name="{service.name}" AND resource.labels.location="{gcloud.region}"',
        "interval.startTime": since.isoformat(),
        "interval.endTime": until.isoformat(),
    }
    found: defaultdict[str, Answers] = defaultdict(Answers)
    page = ""
    for _ in range(_PAGES_MAX):
        query = urllib.parse.urlencode({**asked, **({"pageToken": page} if page else {})})
        page = _add(_ask(f"{url}/v3/projects/{gcloud.project}/timeSeries?{query}", token), found)
        if not page:
            return found
    raise RatesUnknown(f"Cloud Monitoring has more than {_PAGES_MAX} pages on {service.name}")


def _add(answer: Any, found: defaultdict[str, Answers]) -> str:
    """Add what a page counts; the token of the next page, or nothing."""
    try:
        for series in answer.get("timeSeries", ()):
            found[series["resource"]["labels"]["revision_name"]] += _counted(series)
        return str(answer.get("nextPageToken", ""))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RatesUnknown(f"Cloud Monitoring's answer is none: {type(error).__name__}") from None


def _counted(series: Any) -> Answers:
    total = sum(int(point["value"]["int64Value"]) for point in series["points"])
    is_error = series["metric"]["labels"]["response_code_class"] == "5xx"
    return Answers(total, total if is_error else 0)


def _ask(url: str, token: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - https
    try:
        with answer_to(request, _ANSWER_SECONDS_MAX) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise RatesUnknown(f"Cloud Monitoring did not say how the new revisions do: {error}") from None
