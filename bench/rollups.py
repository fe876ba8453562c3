"""What compaction saves, as ratios from one run: `python -m bench.rollups`.

A heavy day (96 quarter hours x 16 shards x 400 cells) is compacted, once with the same combinations in all
shards and once with others in each; then thirty days of 400 cells a quarter hour are asked for by team,
before and after. On SQLite in a temporary folder; nothing passes or fails.
"""

import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from metering.compaction import DayCompacted, compact_day
from metering.day_documents import PARTS, day_path, stored_part
from metering.opening import open_store
from metering.rollups import CELLS, OTHER, QUARTER, VALUES, Amounts, Cell, cell_id
from metering.shards import CELLS_MAX, SHARDS_MAX, ShardKey
from metering.stats import Statistics, UsageQuery
from metering.stores import DocumentStore, Put
from tests.doubles.counting_store import CountingStore

ACCOUNT_ID = f"acct_{1:032x}"
DAY = datetime(2026, 11, 20, tzinfo=UTC)
DAYS = 30

_chance = random.Random(7)


def main() -> None:
    """Measure and print."""
    for title, is_shared in (
        ("same combinations in all shards", True),
        ("other combinations in each", False),
    ):
        with _store() as store:
            print(f"A day of 96 x {SHARDS_MAX} shards x {CELLS_MAX} cells, {title}")
            _heavy_day(store, is_shared=is_shared)
    with _store() as store:
        print(f"{DAYS} days of 96 x 1 shard x {CELLS_MAX} cells")
        _thirty_days(store)


def _heavy_day(store: DocumentStore, *, is_shared: bool) -> None:
    for number in range(96):
        for shard in range(SHARDS_MAX):
            _put_shard(store, DAY + number * QUARTER, shard, "" if is_shared else str(shard))
    counting = CountingStore(store)
    began = time.perf_counter()
    done: DayCompacted = compact_day(counting, ACCOUNT_ID, DAY, DAY + timedelta(days=2))
    seconds = time.perf_counter() - began
    heaviest = max(counting.commits, key=lambda weight: weight.bytes)
    print(f"  compacted {done.shards} shards in {seconds:.1f} s: {seconds / 96:.2f} s a quarter hour")
    print(f"  {counting.documents_read} documents read, {len(counting.commits)} commits,", end=" ")
    print(f"the heaviest {heaviest.writes} writes and {heaviest.bytes / 1e6:.2f} MB")
    for part in PARTS:
        document = store.get(day_path(ACCOUNT_ID, DAY, part))
        if document is not None:
            _print_part(part, document.fields)


def _print_part(part: str, fields: Mapping[str, Any]) -> None:
    size = len(fields["packed"])
    for kind, sheet in stored_part(fields).sheets.items():
        others = sum(OTHER in cell for cell in sheet.cells)
        print(f"  {part}: {len(sheet.cell_of):,} rows of kind {kind}, {others} of {len(sheet.cells)} cells")
        print(f"    hold an {OTHER!r}; the document has {size / 1024:.0f} KiB in all")


def _thirty_days(store: DocumentStore) -> None:
    for number in range(DAYS * 96):
        _put_shard(store, DAY + number * QUARTER, 0, "")
    before = _asked(store)
    for number in range(DAYS):
        compact_day(store, ACCOUNT_ID, DAY + timedelta(days=number), DAY + timedelta(days=DAYS + 2))
    after = _asked(store)
    for width in before:
        reads = before[width][0] / after[width][0]
        faster = before[width][1] / after[width][1]
        print(
            f"  by {width}: {before[width][0]:,} -> {after[width][0]:,} documents ({reads:.0f} x fewer),",
            end="",
        )
        print(f" {before[width][1]:.2f} -> {after[width][1]:.2f} s ({faster:.1f} x faster)")
    equal = all(before[width][2] == after[width][2] for width in before)
    print(f"  the same sums: {equal}")


def _asked(store: DocumentStore) -> dict[str, tuple[int, float, Amounts]]:
    found = {}
    for width in ("1d", "1h"):
        counting = CountingStore(store)
        query = UsageQuery(
            start=DAY,
            end=DAY + timedelta(days=DAYS),
            bucket_width=width,
            timezone="Asia/Kolkata",
            group_by=("team",),
        )
        began = time.perf_counter()
        report = Statistics(counting).usage(ACCOUNT_ID, query)
        found[width] = (counting.documents_read, time.perf_counter() - began, report.sums)
    return found


def _put_shard(store: DocumentStore, quarter: datetime, shard: int, mark: str) -> None:
    cells = {}
    for number in range(CELLS_MAX):
        cell = _cell(number, mark)
        cells[cell_id(cell)] = {VALUES: list(cell), **_sums()}
    fields = {"starts_at": quarter, "shard": shard, "commits": 900, "cell_count": len(cells), CELLS: cells}
    store.commit([Put(ShardKey(ACCOUNT_ID, quarter, shard).path, fields)])


def _cell(number: int, mark: str) -> Cell:
    provider, model = ("anthropic", "openai")[number % 2], f"model-{number % 7}"
    if number % 3 == 0:
        return ("main", provider, model, f"team {number % 20}", f"app {number}{mark}", "", "", "default")
    if number % 3 == 1:
        return ("key", provider, model, f"key_{number:032x}{mark}")
    return ("template", provider, model, f"template {number}{mark}")


def _sums() -> Amounts:
    requests = _chance.randrange(1, 200)
    return {
        "requests": requests,
        "input_tokens": requests * _chance.randrange(100, 4_000),
        "output_tokens": requests * _chance.randrange(50, 1_000),
        "cache_read_tokens": requests * _chance.randrange(0, 2_000),
        "cost_nanodollars": requests * _chance.randrange(10**5, 10**7),
    }


@contextmanager
def _store() -> Iterator[DocumentStore]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/modeltrack.db")
        yield store
        store.close()


if __name__ == "__main__":
    main()
