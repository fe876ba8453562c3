"""What statistics cost to read as events grow: `python -m bench.statistics`.

Events of sixty days are stored as the proxy stores them (segments, the ledger's commits, compaction every
day), then every statistic of the API's own description is asked for thirty days through the real application.
Printed side by side: documents read, counted as Firestore bills them, p95, and the median of this process's
processor time, which tells more on a busy machine; and how both grow from the fewest events to the most. On
SQLite in a temporary folder, or with --firestore on the emulator; nothing passes or fails.

With --rollups no events are stored, only what they come to: rollup shards as the product plans them, of
events that were added up beforehand, compacted as ever. So ten million take a minute; sessions are left out.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from flask.testing import FlaskClient

from api_service.app import create_app
from api_service.settings import ApiSettings
from demo.emulator import running_emulator
from metering import compaction, firestore
from metering.active_days import DayMarks
from metering.directory import Directory, KeyTerms
from metering.events import CostEvent
from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.opening import open_store
from metering.rollups import QUARTER, beginning_of_day, quarter_of, rolled_up
from metering.segments import SegmentPacker
from metering.shards import Shards
from metering.stores import DocumentStore, Increment, Put
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore

DAYS = 60
ASKED = timedelta(days=30)
ASKED_OF = {
    "/v1/anomalies": timedelta(days=7)
}  # no more than this at once; each hour is held against 30 days
NOW = datetime(2026, 11, 21, 14, 20, tzinfo=UTC)  # the last quarter hours are still open
START = datetime(2026, 9, 23, tzinfo=UTC)
SIZES = (10_000, 100_000, 1_000_000)
SIZES_OF_ROLLUPS = (10_000, 100_000, 1_000_000, 10_000_000)
SIZES_OF_ROLLUPS_IN_FIRESTORE = SIZES_OF_ROLLUPS[:3]
QUARTERS_MADE_UP = 96  # of a size; days have them in turns
SIZES_OF_FIRESTORE = (10_000, 50_000, 200_000)
REPEATS = 20
# What is no statistic, by the first part of its path; whatever else the API describes is asked.
NO_STATISTICS = frozenset(
    {
        *("metrics", "health", "healthz", "readyz", "configuration-files", "retention", "audit-events"),
        *("session", "person", "sign-in", "sign-in-providers", "account", "accounts", "members", "invites"),
        *("keys", "budgets", "routing-rules", "report-schedules", "estimator"),
        *("alerts", "channels", "webhooks", "notices", "deliveries"),
        *("events", "exports"),  # call by call, as many as are asked for
    }
)
Query = dict[str, Any]
Written = Callable[[DocumentStore, ManualClock, str, int], int]

NEEDED: dict[str, Query] = {  # what an address wants beside its range
    "/v1/sessions/timeline": {"session_id": f"{quarter_of(NOW) - QUARTER:%d %H:%M} 0"},
    "/v1/reconciliations": {"provider": "openai"},
    "/v1/estimates": {
        **{"provider": "anthropic", "model": "claude-sonnet-4-6"},
        **{"input_tokens": 3_000, "output_tokens": 400, "requests_per_day": 10_000},
    },
}
MORE: dict[str, Query] = {  # the dearest forms of what is asked above in its plainest
    "/v1/usage, five dimensions": {"group_by": ["model", "team", "app", "feature", "customer_tier"]},
    "/v1/usage, teams by the hour": {"group_by": ["team"], "bucket_width": "1h"},
    "/v1/usage, one team": {"team": "team 7"},
    "/v1/stats/comparison, teams": {"group_by": ["team"]},
    "/v1/sessions, one team": {"team": "team 7"},
    "/v1/sessions, 1,000 a page": {"limit": "1000"},
}
MODELS = (
    ("anthropic", "claude-sonnet-4-5", 9_000_000),
    ("anthropic", "claude-haiku-4-5", 2_100_000),
    ("anthropic", "claude-opus-4-6", 31_000_000),
    ("openai", "gpt-4o", 7_000_000),
    ("openai", "gpt-4o-mini", 400_000),
    ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", 9_000_000),
)

_SECRET = b"the secret of a bench, of thirty-two bytes"
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


class Figures(NamedTuple):
    """What one question took."""

    documents: int
    p95_ms: float
    cpu_ms: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.statistics", description=__doc__)
    parser.add_argument("--firestore", action="store_true", help="on the emulator")
    parser.add_argument("--events", type=int, nargs="+", help=f"how many; else {', '.join(map(str, SIZES))}")
    parser.add_argument("--rollups", action="store_true", help="store what events come to, not events")
    options = parser.parse_args()
    sizes = options.events or _sizes(on_firestore=options.firestore, has_rollups_alone=options.rollups)
    with _stores(on_firestore=options.firestore) as opened:
        measured = {
            size: _measured(size, opened(size), write_rollups if options.rollups else write) for size in sizes
        }
    print(table(measured))


def _sizes(*, on_firestore: bool, has_rollups_alone: bool) -> tuple[int, ...]:
    if has_rollups_alone:
        return SIZES_OF_ROLLUPS_IN_FIRESTORE if on_firestore else SIZES_OF_ROLLUPS
    return SIZES_OF_FIRESTORE if on_firestore else SIZES


@contextmanager
def _stores(*, on_firestore: bool) -> Iterator[Callable[[int], DocumentStore]]:
    """Opens a store of its own for each size."""
    if on_firestore:
        with running_emulator() as emulator:
            print(f"on the Firestore emulator at {emulator}")
            yield lambda size: firestore.open_store(
                f"demo-bench-statistics-{size}", "(default)", emulator_address=emulator
            )
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield lambda size: open_store(f"sqlite:///{folder}/{size}")


def _measured(size: int, store: DocumentStore, written: Written) -> dict[str, Figures]:
    clock = ManualClock(START)
    directory = Directory(store, clock, _SECRET)
    account = directory.create_account("Bench")
    plain, _ = directory.create_key(account.account_id, KeyTerms(scopes=("read",)))
    began = time.perf_counter()
    commits = written(store, clock, account.account_id, size)
    seconds = time.perf_counter() - began
    print(
        f"{size:,} events in {commits:,} segments: {seconds:.0f} s, {size / seconds:,.0f} events/s;", end=" "
    )
    print(f"then a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    counting = CountingStore(store)
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(ApiSettings(data_dir=Path(folder), log_level="error"), counting, clock, _SECRET)
        client = app.test_client()
        headers = {"Authorization": f"Bearer {plain}"}
        found = {
            name: _asked(client, name, query, headers, counting)
            for name, query in questions(client).items()
            if written is write or not name.startswith("/v1/sessions")
        }
    store.close()
    return found


def write(store: DocumentStore, clock: ManualClock, account_id: str, size: int) -> int:
    """Store so many events, evenly over the quarter hours up to `NOW`; how many segments they came to."""
    chance = random.Random(7)
    packer, ledger, commits = SegmentPacker(new_instance_name()), Ledger(store, clock), 0
    quarters = int((NOW - START) / QUARTER)
    for number in range(quarters):
        begins, due = START + number * QUARTER, size * (number + 1) // quarters - size * number // quarters
        clock.advance((begins + QUARTER - clock.now()).total_seconds())
        for each in range(due):
            event = _event(account_id, begins, f"{begins:%d %H:%M} {each // 10}", chance)
            packer.add(event, clock.monotonic())
        for segment in packer.drain():
            ledger.commit(segment)
            commits += 1
        if clock.now().hour == 0 and clock.now().minute == 0:
            compaction.run(store, clock)
    clock.advance((NOW - clock.now()).total_seconds())
    compaction.run(store, clock)
    return commits


def write_rollups(store: DocumentStore, clock: ManualClock, account_id: str, size: int) -> int:
    """Store what so many events come to, evenly over the quarter hours up to `NOW`; how many shards that is.

    Quarter hours of some chance come again and again: a day of them is made up for each size.
    """
    quarters = int((NOW - START) / QUARTER)
    due = [size * (number + 1) // quarters - size * number // quarters for number in range(quarters)]
    chance = random.Random(7)
    made_up = [
        rolled_up(_event(account_id, START, "", chance) for _ in range(max(due)))
        for _ in range(QUARTERS_MADE_UP)
    ]
    few = [rolled_up(_event(account_id, START, "", chance) for _ in range(min(due))) for _ in range(4)]
    shards, marks = Shards(clock), DayMarks()
    for number in range(quarters):
        begins = START + number * QUARTER
        clock.advance((begins + QUARTER - clock.now()).total_seconds())
        cells = few[number % 4] if due[number] == min(due) else made_up[number % QUARTERS_MADE_UP]
        if cells:
            write = next(shards.writes(account_id, begins, f"bench-{number}", cells))
            day = beginning_of_day(begins)
            store.commit([_all_at_once(write.increment), *marks.writes(account_id, day, clock.now())])
            marks.noted(account_id, day)
        if clock.now().hour == 0 and clock.now().minute == 0:
            compaction.run(store, clock)
    clock.advance((NOW - clock.now()).total_seconds())
    compaction.run(store, clock)
    return sum(count > 0 for count in due)


def _all_at_once(increment: Increment) -> Put:
    """What many commits of some increments each would come to: the shard as it is after the last of them."""
    fields: dict[str, Any] = {}
    for path, value in (*increment.merge.items(), *increment.amounts.items()):
        within = fields
        for name in path[:-1]:
            within = within.setdefault(name, {})
        within[path[-1]] = value
    return Put(increment.path, fields)


def _event(account_id: str, begins: datetime, session_id: str, chance: random.Random) -> CostEvent:
    """A call of one of twenty teams, each with its own app, two of the models and three features."""
    team = chance.randrange(20)
    provider, model, nanodollars = MODELS[(team + chance.randrange(2)) % len(MODELS)]
    return make_event(
        account_id=account_id,
        timestamp=begins + timedelta(milliseconds=chance.randrange(900_000)),
        key_id=f"key_{team % 5:032x}",
        provider=provider,
        model=model,
        requested_model=model,
        cost_nanodollars=nanodollars + chance.randrange(1_000_000),
        latency_ms=chance.randrange(80, 9_000),
        team=f"team {team}" if team else "",  # one of them names itself nowhere
        app=f"app {team}",
        feature=f"feature {team % 5 + chance.randrange(3)}",
        customer_tier=("", "free", "pro")[team % 3],
        session_id=session_id,
        prompt_template_id=f"template {team % 12}",
        status_code=500 if chance.random() < 0.01 else 200,
    )


def questions(client: FlaskClient) -> dict[str, Query]:
    """The addresses of the statistics, as the API describes itself, each with what to ask there."""
    described = client.get("/openapi.json").get_json()["paths"]
    reading = {path: methods["get"] for path, methods in described.items() if "get" in methods}
    plain = {
        path: _query(path, operation)
        for path, operation in reading.items()
        if path.removeprefix("/v1").split("/")[1] not in NO_STATISTICS
    }
    return plain | {name: plain[name.partition(",")[0]] | more for name, more in MORE.items()}


def _query(path: str, operation: dict[str, Any]) -> Query:
    """Thirty days, where an address takes a range, and whatever else it wants."""
    names = {each["name"] for each in operation.get("parameters", ())}
    query = dict(NEEDED.get(path, {}))
    begins = NOW - ASKED_OF.get(path, ASKED)
    if "start_time" in names:
        query |= {"start_time": begins.strftime(_MOMENT), "end_time": NOW.strftime(_MOMENT)}
    return query


def _asked(
    client: FlaskClient, name: str, query: Query, headers: dict[str, str], counting: CountingStore
) -> Figures:
    path = name.partition(",")[0].format(period=f"{NOW:%Y-%m}")
    taken, worked = [], []
    for _ in range(REPEATS):
        before, began, cpu_began = counting.documents_read, time.perf_counter(), time.process_time()
        response = client.get(path, query_string=query, headers=headers)
        taken.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - cpu_began) * 1000)
        if response.status_code != 200:
            raise RuntimeError(f"{name}: {response.text}")
    return Figures(
        counting.documents_read - before, statistics.quantiles(taken, n=20)[-1], statistics.median(worked)
    )


def table(measured: dict[int, dict[str, Figures]]) -> str:
    """One line a question, three columns a size; and how the last size's times compare with the first's."""
    sizes = list(measured)
    lines = [
        f"{'':<32}" + "".join(f"{size:>18,} events" for size in sizes) + f"{'last / first':>14}",
        f"{'':<32}" + "  documents  p95 ms CPU ms" * len(sizes) + "     p95   CPU",
    ]
    for name in measured[sizes[0]]:
        figures = [measured[size][name] for size in sizes]
        shown = (f"{each.documents:>11}{each.p95_ms:>8.0f}{each.cpu_ms:>7.0f}" for each in figures)
        first, last = figures[0], figures[-1]
        grown = f"{last.p95_ms / first.p95_ms:>8.1f}{last.cpu_ms / first.cpu_ms:>6.1f}"
        lines.append(f"{name:<32}" + "".join(shown) + grown)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
