"""CloudWatch: how much GPUs were used, hour by whole hour. What they cost is told by others.

Hours, not the five minutes that CloudWatch may have: a day of them fits where a day's rows are kept.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Protocol

from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.infrastructure_rows import Row, row_id, written

METRICS: Final = ("nvidia_smi_utilization_gpu", "DCGM_FI_DEV_GPU_UTIL", "GPUUtilization")
GPUS_MAX: Final = 500  # what one question may hold
PAGES_MAX: Final = 50

_HOUR: Final = timedelta(hours=1)
_MACHINES: Final = ("InstanceId", "Host", "EndpointName", "Hostname")


class CloudWatch(Protocol):
    """Of boto3's client, what is used here."""

    def list_metrics(self, **asked: Any) -> Mapping[str, Any]:
        """A page of metrics."""

    def get_metric_data(self, **asked: Any) -> Mapping[str, Any]:
        """A page of their values."""


def gpu_rows(watch: CloudWatch, region: str, first: datetime, after: datetime) -> list[Row]:
    """The rows of the whole hours from `first` up to before `after`. Raises: CommandFailed.

    A value above 100 is of several GPUs together, of which nobody says how many; it is left out.
    """
    metrics = [metric for name in METRICS for metric in _metrics(watch, name)]
    if not metrics:
        return []
    if len(metrics) > GPUS_MAX:
        raise CommandFailed(f"CloudWatch: there are more than {GPUS_MAX} GPUs; collect by region")
    asked: dict[str, Any] = {
        "StartTime": first,
        "EndTime": after,
        "MetricDataQueries": [
            {
                "Id": f"gpu{number}",
                "MetricStat": {"Metric": metric, "Period": int(_HOUR.total_seconds()), "Stat": "Average"},
            }
            for number, metric in enumerate(metrics)
        ],
    }
    rows: list[Row] = []
    for _ in range(PAGES_MAX):
        answer = watch.get_metric_data(**asked)
        for result in answer["MetricDataResults"]:
            metric = metrics[int(result["Id"].removeprefix("gpu"))]
            values = zip(result["Timestamps"], result["Values"], strict=True)
            rows += [_row(metric, region, hour, value) for hour, value in values if 0 <= value <= 100]
        if not answer.get("NextToken"):
            return rows
        asked["NextToken"] = answer["NextToken"]
    raise CommandFailed(f"CloudWatch: it has more than {PAGES_MAX} pages; ask for fewer days")


def _metrics(watch: CloudWatch, name: str) -> Iterator[Mapping[str, Any]]:
    asked: dict[str, Any] = {"MetricName": name}
    for _ in range(PAGES_MAX):
        answer = watch.list_metrics(**asked)
        yield from answer["Metrics"]
        if not answer.get("NextToken"):
            return
        asked["NextToken"] = answer["NextToken"]


def _row(metric: Mapping[str, Any], region: str, hour: datetime, value: float) -> Row:
    dimensions = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
    machine = next((dimensions[name] for name in _MACHINES if name in dimensions), "")
    about = [part for name, text in sorted(dimensions.items()) for part in (name, text)]
    return {
        "id": row_id("gpu", hour, metric["Namespace"], metric["MetricName"], *about),
        "event_type": "gpu_compute",
        "service": metric["Namespace"],
        "start_time": written(hour),
        "end_time": written(hour + _HOUR),
        "resource_id": machine[:200],
        "instance_type": dimensions.get("InstanceType", "")[:200],
        "region": region,
        "gpu_type": dimensions.get("name", "")[:200],
        "gpu_count": 1,
        "gpu_utilization_percent": str(Decimal(str(value)).quantize(Decimal("0.01"))),
    }
