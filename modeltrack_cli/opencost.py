"""OpenCost: what the GPUs of each namespace cost, hour by whole hour.

Only hours that are over are asked for, each once: `/allocation/compute` with a window of whole days and
steps of an hour. OpenCost gives what is idle or nobody's names of its own (`__idle__`); these have no
namespace, and so are unallocated.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from modeltrack_cli.amounts import rounded_text
from modeltrack_cli.calls import get
from modeltrack_cli.errors import CommandFailed
from modeltrack_cli.infrastructure_rows import Row, row_id, written

_PLACE: Final = "OpenCost"
_HOUR: Final = timedelta(hours=1)


def opencost_rows(endpoint: str, first: datetime, after: datetime) -> list[Row]:
    """The rows of the whole hours from `first` up to before `after`. Raises: CommandFailed."""
    rows: list[Row] = []
    start = first
    while start < after:
        end = min(start.replace(hour=0) + timedelta(days=1), after)
        params = {
            "window": f"{written(start)},{written(end)}",
            "step": "1h",
            "aggregate": "cluster,namespace",
            "accumulate": "false",
        }
        answer = get(_PLACE, f"{endpoint}/allocation/compute", params)
        try:
            rows += _rows(answer, start, end)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            raise CommandFailed(f"{_PLACE}: the answer is not of the documented form") from None
        start = end
    return rows


def _rows(answer: Mapping[str, Any], start: datetime, end: datetime) -> Iterator[Row]:
    for allocations in answer["data"]:
        for name, allocation in (allocations or {}).items():
            hour = datetime.fromisoformat(allocation["window"]["start"]).astimezone(UTC)
            hours_end = datetime.fromisoformat(allocation["window"]["end"]).astimezone(UTC)
            if hours_end - hour != _HOUR or not start <= hour < end:
                raise ValueError("a step of another length than was asked for")
            cost = Decimal(str(allocation["gpuCost"]))
            gpu_hours = Decimal(str(allocation.get("gpuHours", 0)))
            if cost or gpu_hours:
                properties = allocation.get("properties") or {}
                namespace = str(properties.get("namespace") or "")
                yield {
                    "id": row_id("opencost", hour, name),
                    "event_type": "gpu_compute",
                    "service": "kubernetes",
                    "start_time": written(hour),
                    "end_time": written(hours_end),
                    "cost_usd": rounded_text(cost),
                    "namespace": "" if namespace.startswith("__") else namespace,
                    "gpu_count": int(gpu_hours.to_integral_value()),
                }
