"""What statistics cost to read as events grow: `python -m bench.statistics`.

Events of sixty days are stored as the proxy stores them (segments, the ledger's commits, compaction every
day), then every statistic of the API's own description is asked for thirty days through the real application.
All sizes are asked in turns, so that a busy machine is so for all. Printed side by side: documents read,
counted as Firestore bills them; the first answer, when nothing is remembered of that question; then, of
answers that repeat, as of a service that runs, p95, and p95 and median of this process's processor time,
which tell more on a busy machine, all in milliseconds. And how these grow from the fewest events to the most,
and how the answers themselves do. On SQLite in a temporary folder, or with --firestore on the emulator;
nothing passes or fails.

Fewer events also have fewer combinations of dimensions an hour, and so less to tell by the hour: what a day
of each size has is printed. With --teams 1 all of six combinations are soon seen, with 20 there are 120.

With --rollups no events are stored, only what they come to: rollup shards as the product plans them, of
events that were added up beforehand, compacted as ever. So ten million take a minute; sessions are left out.
For the emulator they are made on SQLite, then copied; shards that are compacted are left behind, which nobody
reads. With --folder the SQLite stores are kept there, and those found there are asked again, not made.
"""

import argparse
import gc
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from flask.testing import FlaskClient

from api_service.app import create_app
from api_service.settings import ApiSettings
from demo.arguments import whole_number
from demo.emulator import EmulatorMissing, running_emulator
from metering import compaction, firestore
from metering.active_days import DayMarks
from metering.collections import ACCOUNTS
from metering.day_documents import QUARTERS_A_DAY, day_path, stored_part
from metering.directory import Directory, KeyTerms
from metering.events import CostEvent
from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.opening import open_store
from metering.rollups import QUARTER, beginning_of_day, quarter_of, rolled_up
from metering.segments import SegmentPacker
from metering.shards import Shards
from metering.stores import DocumentStore, Increment, Put, Query
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
REPEATS = 40
TEAMS = 20
TEAMS_MAX = 1_000_000
EVENTS_MAX = 1_000_000_000
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
Parameters = dict[str, Any]
Written = Callable[[DocumentStore, ManualClock, str, int, int], int]

NEEDED: dict[str, Parameters] = {  # what an address wants beside its range
    "/v1/sessions/timeline": {"session_id": f"{quarter_of(NOW) - QUARTER:%d %H:%M} 0"},
    "/v1/reconciliations": {"provider": "openai"},
    "/v1/estimates": {
        **{"provider": "anthropic", "model": "claude-sonnet-4-6"},
        **{"input_tokens": 3_000, "output_tokens": 400, "requests_per_day": 10_000},
    },
}
MORE: dict[str, Parameters] = {  # the dearest forms of what is asked above in its plainest
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
    """What one question took: the first time, and when it was asked again and again."""

    documents: int
    first_ms: float
    p95_ms: float
    p95_cpu_ms: float
    cpu_ms: float
    kilobytes: float


class Asking(NamedTuple):
    """An account with so many events, and whoever asks for its statistics."""

    client: FlaskClient
    headers: dict[str, str]
    counting: CountingStore


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.statistics", description=__doc__)
    parser.add_argument("--firestore", action="store_true", help="on the emulator")
    parser.add_argument(
        "--events",
        type=whole_number(1, EVENTS_MAX),
        nargs="+",
        help=f"how many; else {', '.join(map(str, SIZES))}",
    )
    parser.add_argument("--rollups", action="store_true", help="store what events come to, not events")
    parser.add_argument(
        "--teams", type=whole_number(1, TEAMS_MAX), default=TEAMS, help=f"how many; else {TEAMS}"
    )
    parser.add_argument(
        "--folder", type=_folder, help="where stores are kept, and asked that were made before"
    )
    options = parser.parse_args()
    sizes = options.events or _sizes(on_firestore=options.firestore, has_rollups_alone=options.rollups)
    written: Written = write_rollups if options.rollups else write
    with ExitStack() as until_done:
        temporary = Path(until_done.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folder = (options.folder or temporary).absolute()
        try:
            emulator = until_done.enter_context(running_emulator()) if options.firestore else ""
        except EmulatorMissing as missing:
            sys.exit(f"bench.statistics: {missing}")
        asking = {}
        for size in sizes:
            file = folder / str(size)
            store = _on_emulator(emulator, size) if emulator else open_store(f"sqlite:///{file}")
            until_done.callback(store.close)
            if emulator and options.rollups:
                _fill(open_store(f"sqlite:///{file}"), size, written, options.teams)
                _copy(file, store)
            _fill(store, size, written, options.teams)
            print(f"{size:,} events:", end=" ")
            asking[size] = _asking(store, until_done)
        gc.freeze()  # as the service does once it has started (`api_service.server`)
        asked = {
            name: query
            for name, query in questions(asking[sizes[0]].client).items()
            if not options.rollups or not name.startswith("/v1/sessions")
        }
        print(f"then a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        print(
            table({name: _asked(list(asking.values()), name, query) for name, query in asked.items()}, sizes)
        )


def _folder(text: str) -> Path:
    if not Path(text).is_dir() or not os.access(text, os.W_OK):
        raise argparse.ArgumentTypeError(f"there is no folder {text!r} that can be written to")
    return Path(text)


def _sizes(*, on_firestore: bool, has_rollups_alone: bool) -> tuple[int, ...]:
    if has_rollups_alone:
        return SIZES_OF_ROLLUPS_IN_FIRESTORE if on_firestore else SIZES_OF_ROLLUPS
    return SIZES_OF_FIRESTORE if on_firestore else SIZES


def _fill(store: DocumentStore, size: int, written: Written, teams: int) -> None:
    """Store so many events of an account, if there is none yet."""
    clock = ManualClock(START)
    if not store.query(Query(collection=ACCOUNTS, limit=1)):
        account_id, began = (
            Directory(store, clock, _SECRET).create_account("Bench").account_id,
            time.perf_counter(),
        )
        commits = written(store, clock, account_id, size, teams)
        print(f"{size:,} events in {commits:,} commits: {time.perf_counter() - began:.0f} s")


def _on_emulator(address: str, size: int) -> DocumentStore:
    return firestore.open_store(f"demo-bench-statistics-{size}", "(default)", emulator_address=address)


def _copy(file: Path, store: DocumentStore) -> None:
    """Store all documents of a SQLite file, but for shards that are compacted, which nobody reads."""
    with closing(sqlite3.connect(file)) as connection:
        for collection, document_id, blob in connection.execute(
            "SELECT collection, id, fields FROM documents"
        ):
            fields = msgspec.msgpack.decode(blob)
            if not collection.endswith("/quarters") or fields["starts_at"] is not None:
                store.commit([Put(f"{collection}/{document_id}", fields)])


def _asking(store: DocumentStore, until_done: ExitStack) -> Asking:
    """The application over the store."""
    clock = ManualClock(NOW)
    account_id = store.query(Query(collection=ACCOUNTS, limit=1))[0].document_id
    plain, _ = Directory(store, clock, _SECRET).create_key(account_id, KeyTerms(scopes=("read",)))
    print(f"a day has {_day(store, account_id)}", flush=True)
    counting = CountingStore(store)
    folder = until_done.enter_context(tempfile.TemporaryDirectory())
    app = create_app(ApiSettings(data_dir=Path(folder), log_level="error"), counting, clock, _SECRET)
    return Asking(app.test_client(), {"Authorization": f"Bearer {plain}"}, counting)


def _day(store: DocumentStore, account_id: str) -> str:
    """What a day in the middle of the range asked for is made of."""
    document = store.get(day_path(account_id, beginning_of_day(NOW - ASKED / 2), "main"))
    if document is None:
        return "no calls"
    sheet = stored_part(document.fields).sheets["main"]
    rows, cells = len(sheet.cell_of), len(sheet.cells)
    calls = sum(sheet.columns["requests"])
    return f"{calls:,} calls, {cells} combinations, {rows:,} of {cells * QUARTERS_A_DAY:,} by quarter hour"


def write(store: DocumentStore, clock: ManualClock, account_id: str, size: int, teams: int = TEAMS) -> int:
    """Store so many events, evenly over the quarter hours up to `NOW`; how many segments they came to."""
    chance = random.Random(7)
    packer, ledger, commits = SegmentPacker(new_instance_name()), Ledger(store, clock), 0
    quarters = int((NOW - START) / QUARTER)
    for number in range(quarters):
        begins, due = START + number * QUARTER, size * (number + 1) // quarters - size * number // quarters
        clock.advance((begins + QUARTER - clock.now()).total_seconds())
        for each in range(due):
            event = _event(account_id, begins, f"{begins:%d %H:%M} {each // 10}", chance, teams)
            packer.add(event, clock.monotonic())
        for segment in packer.drain():
            ledger.commit(segment)
            commits += 1
        if clock.now().hour == 0 and clock.now().minute == 0:
            compaction.run(store, clock)
    clock.advance((NOW - clock.now()).total_seconds())
    compaction.run(store, clock)
    return commits


def write_rollups(
    store: DocumentStore, clock: ManualClock, account_id: str, size: int, teams: int = TEAMS
) -> int:
    """Store what so many events come to, evenly over the quarter hours up to `NOW`; how many shards that is.

    Quarter hours of some chance come again and again: a day of them is made up for each size.
    """
    quarters = int((NOW - START) / QUARTER)
    due = [size * (number + 1) // quarters - size * number // quarters for number in range(quarters)]
    chance = random.Random(7)
    made_up = [
        rolled_up(_event(account_id, START, "", chance, teams) for _ in range(max(due)))
        for _ in range(QUARTERS_MADE_UP)
    ]
    few = [rolled_up(_event(account_id, START, "", chance, teams) for _ in range(min(due))) for _ in range(4)]
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


def _event(
    account_id: str, begins: datetime, session_id: str, chance: random.Random, teams: int
) -> CostEvent:
    """A call of one of the teams, each with its own app, two of the models and three features."""
    team = chance.randrange(teams)
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


def questions(client: FlaskClient) -> dict[str, Parameters]:
    """The addresses of the statistics, as the API describes itself, each with what to ask there."""
    described = client.get("/openapi.json").get_json()["paths"]
    reading = {path: methods["get"] for path, methods in described.items() if "get" in methods}
    plain = {
        path: _query(path, operation)
        for path, operation in reading.items()
        if path.removeprefix("/v1").split("/")[1] not in NO_STATISTICS
    }
    return plain | {name: plain[name.partition(",")[0]] | more for name, more in MORE.items()}


def _query(path: str, operation: dict[str, Any]) -> Parameters:
    """Thirty days, where an address takes a range, and whatever else it wants."""
    names = {each["name"] for each in operation.get("parameters", ())}
    query = dict(NEEDED.get(path, {}))
    begins = NOW - ASKED_OF.get(path, ASKED)
    if "start_time" in names:
        query |= {"start_time": begins.strftime(_MOMENT), "end_time": NOW.strftime(_MOMENT)}
    return query


def _asked(asking: Sequence[Asking], name: str, query: Parameters) -> list[Figures]:
    """What the question takes of each, asked in turns."""
    path = name.partition(",")[0].format(period=f"{NOW:%Y-%m}")
    first = [_once(each, path, query) for each in asking]
    again = [[_once(each, path, query) for each in asking] for _ in range(REPEATS)]
    return [
        Figures(
            documents=max(each.documents for each in (at_first, *of_one)),
            first_ms=at_first.cpu_ms,
            p95_ms=_p95([each.p95_ms for each in of_one]),
            p95_cpu_ms=_p95([each.cpu_ms for each in of_one]),
            cpu_ms=statistics.median(each.cpu_ms for each in of_one),
            kilobytes=at_first.kilobytes,
        )
        for at_first, of_one in zip(first, zip(*again, strict=True), strict=True)
    ]


def _once(asking: Asking, path: str, query: Parameters) -> Figures:
    before, began, cpu_began = asking.counting.documents_read, time.perf_counter(), time.process_time()
    response = asking.client.get(path, query_string=query, headers=asking.headers)
    cpu_ms, taken_ms = (time.process_time() - cpu_began) * 1000, (time.perf_counter() - began) * 1000
    if response.status_code != 200:
        raise RuntimeError(f"{path}: {response.text}")
    documents = asking.counting.documents_read - before
    return Figures(documents, cpu_ms, taken_ms, cpu_ms, cpu_ms, len(response.data) / 1024)


def _p95(taken: Sequence[float]) -> float:
    return statistics.quantiles(taken, n=20)[-1]


def table(measured: dict[str, list[Figures]], sizes: Sequence[int]) -> str:
    """One line a question, five columns a size; and how the last size compares with the first."""
    lines = [
        f"{'':<32}" + "".join(f"{size:>32,} events" for size in sizes) + f"{'last / first':>32}",
        f"{'':<32}"
        + "  documents  first    p95 CPU p95    CPU" * len(sizes)
        + "     p95 CPU p95   CPU answer",
    ]
    for name, figures in measured.items():
        shown = (
            f"{each.documents:>11}{each.first_ms:>7.0f}{each.p95_ms:>7.1f}{each.p95_cpu_ms:>8.1f}{each.cpu_ms:>7.1f}"
            for each in figures
        )
        first, last = figures[0], figures[-1]
        grown = [after / before for before, after in zip(first[2:], last[2:], strict=True)]
        lines.append(f"{name:<32}" + "".join(shown) + "{:>8.2f}{:>8.2f}{:>6.2f}{:>7.2f}".format(*grown))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
