"""Rows of infrastructure, as `POST /v1/infrastructure/costs` takes them, and their posting.

A row's id follows from what it is about and when, never from when it was collected: collecting the same span
again replaces its rows, so that overlapping runs count nothing twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from metering.ids import repeatable_digest
from modeltrack_cli.calls import Credential, post

ROWS_A_POST: Final = 1_000

Row = Mapping[str, Any]


def row_id(source: str, starts_at: datetime, *about: str) -> str:
    """The id of a row of that source about something from that moment on."""
    return f"{source}-{starts_at:%Y%m%dT%H%M}-{repeatable_digest(source, *about)}"


def written(moment: datetime) -> str:
    """The moment as it is posted."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def post_rows(url: str, key: str, rows: Iterable[Row]) -> int:
    """Post the rows, each day's by themselves; how many there were. Raises: CommandFailed."""
    by_day: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_day[row["start_time"][:10]].append(row)
    credential = Credential("Authorization", f"Bearer {key}")
    for of_day in by_day.values():
        for start in range(0, len(of_day), ROWS_A_POST):
            body = {"rows": of_day[start : start + ROWS_A_POST]}
            post("ModelTrack", f"{url}/v1/infrastructure/costs", body, credential=credential)
    return sum(map(len, by_day.values()))
