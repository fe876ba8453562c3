"""Where a commit's rollup cells go: which shard of the quarter hour, and under which combination.

**Shards.** A document bears about one write a second, so an account's cells of a quarter hour are spread
over `width` documents: 1 to 16, a power of two. The rule: every commit adds one to its shard's `commits`; the
value that comes back tells a writer how often all writers together wrote there since it last looked, and at
its first look since the quarter hour began. Above `COMMITS_PER_SECOND_MAX` it widens at once by as much as
that is too often, below `COMMITS_PER_SECOND_MIN` it halves its width for that account. A
segment goes to the shard `hash of its name` modulo width: shard 0 while quiet, and else evenly, between
instances as well as between one instance's segments. Readers add all shards up, so a width that differs
between instances, or is forgotten, costs nothing but speed.

**Stretch.** Where sixteen documents are too few, since very many instances write, time spreads what they
cannot: the account's segments are left open so many times longer (docs/decisions/0031).

**Open.** Every commit sets the shard's `starts_at`, by which it is found; compaction takes it away where the
day's documents hold all of the shard (`metering.quarters`).

**Cells.** A shard holds about `CELLS_MAX` cells. A writer knows from the values that come back which cells it
made (the value is its own amount) and adds their number to the shard's `cell_count` with its next commit,
whose result tells it of the cells of all writers. A cell it has seen is always used. Where the shard is full,
a combination it has not seen gives up its next dimension (`rollups.COLLAPSES`) for every `CELLS_A_STEP`
cells more, until all are `other`. Fingerprints, of which a prompt with a date in it makes many, have the
first half of the room only. The count may be behind by one commit of each writer; a document that
grows too large in spite of it is refused by the store, and the commit's cells then collapse altogether.

What is known here is lost with the process and learnt again. For several threads.
"""

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from metering.clock import Clock
from metering.collections import quarters_collection
from metering.rollups import CELLS, COLLAPSE_ALL, VALUES, Amounts, Cell, cell_id, collapsed, merged
from metering.stores import FieldPath, Increment

SHARDS_MAX = 16
STRETCH_MAX = 16
COMMITS_PER_SECOND_MAX = 1.0
COMMITS_PER_SECOND_MIN = 0.25
MEASURED_SECONDS = 2.0  # how long a writer looks before it judges a shard's load
QUIET_QUARTER_SECONDS = 120.0  # so long into a quarter hour, a first look tells that little is written
WIDTH_MAX = SHARDS_MAX * STRETCH_MAX  # of which `SHARDS_MAX` are documents, and the rest is time
CELLS_MAX = 400
CELLS_A_STEP = 50
CELLS_WITH_FINGERPRINTS_MAX = CELLS_MAX // 2
SHARDS_KNOWN_MAX = 512
WIDTHS_KNOWN_MAX = 4_096

_COMMITS: FieldPath = ("commits",)
_CELL_COUNT: FieldPath = ("cell_count",)


class ShardKey(msgspec.Struct, frozen=True):
    """Names one shard."""

    account_id: str
    quarter: datetime
    shard: int

    @property
    def path(self) -> str:
        """Where the shard is stored: under a hash, since ids never rise with time."""
        text = f"{self.quarter.isoformat()}/{self.shard}"
        document_id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return f"{quarters_collection(self.account_id)}/{document_id}"


class ShardWrite(msgspec.Struct, frozen=True):
    """One commit's increment of one shard, and what to compare the result with."""

    key: ShardKey
    increment: Increment
    requests: Mapping[str, int]  # cell id → own amount
    cells_reported: int


class Shards:
    """What this process knows of the shards it writes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[ShardKey, _Shard] = OrderedDict()
        self._widths: OrderedDict[str, int] = OrderedDict()

    def stretch(self, account_id: str) -> int:
        """How many times longer than usual the account's segments should gather events: 1, or more."""
        return max(1, self._widths.get(account_id, 1) // SHARDS_MAX)  # one look, which needs no lock

    def writes(
        self,
        account_id: str,
        quarter: datetime,
        segment_name: str,
        cells: Mapping[Cell, Amounts],
        *,
        has_sessions: bool = False,
    ) -> Iterator[ShardWrite]:
        """The increment to commit; when the store says DocumentTooLarge, ask for the next one.

        The second has all its cells collapsed; those after it go to the other shards, one by one.
        """
        first = self._shard_of(account_id, segment_name)
        with self._lock:
            key = ShardKey(account_id, quarter, first)
            write = self._planned(key, cells, has_sessions)
        yield write
        with self._lock:
            self._shard(key).is_full = True
        everything_else = merged((collapsed(cell, COLLAPSE_ALL), amounts) for cell, amounts in cells.items())
        for step in range(SHARDS_MAX):
            with self._lock:
                key = ShardKey(account_id, quarter, (first + step) % SHARDS_MAX)
                write = self._planned(key, everything_else, has_sessions)
            yield write

    def applied(self, write: ShardWrite, values: Mapping[FieldPath, int]) -> None:
        """Learn from what the increment led to."""
        with self._lock:
            shard = self._shard(write.key)
            made = sum(
                values[CELLS, name, "requests"] == amount
                for name, amount in write.requests.items()
                if name not in shard.cells_seen
            )
            shard.cells_seen.update(write.requests)
            shard.cells_unreported += made
            shard.cell_count = values[_CELL_COUNT]
            self._measure(write.key, shard, values[_COMMITS])

    def not_applied(self, write: ShardWrite) -> None:
        """The commit did nothing: what it would have reported is still to be reported."""
        with self._lock:
            self._shard(write.key).cells_unreported += write.cells_reported

    def _planned(self, key: ShardKey, cells: Mapping[Cell, Amounts], has_sessions: bool) -> ShardWrite:
        shard = self._shard(key)
        placed = merged(shard.placed(cells))
        amounts: dict[FieldPath, int] = {}
        merge: dict[FieldPath, object] = {("starts_at",): key.quarter, ("shard",): key.shard}
        if has_sessions:  # else compaction need not look for any in the segments
            merge[("has_sessions",)] = True
        requests: dict[str, int] = {}
        for cell, sums in placed.items():
            name = cell_id(cell)
            merge[CELLS, name, VALUES] = list(cell)
            requests[name] = sums["requests"]
            amounts.update({(CELLS, name, each): amount for each, amount in sums.items()})
        amounts[_COMMITS] = 1
        amounts[_CELL_COUNT] = reported = shard.cells_unreported  # 0 still brings back the count
        shard.cells_unreported = 0
        return ShardWrite(key, Increment(key.path, amounts, merge), requests, reported)

    def _shard(self, key: ShardKey) -> "_Shard":
        shard = self._known.get(key)
        if shard is None:
            shard = self._known[key] = _Shard(self._clock.monotonic())
            if len(self._known) > SHARDS_KNOWN_MAX:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return shard

    def _shard_of(self, account_id: str, segment_name: str) -> int:
        digest = hashlib.blake2b(segment_name.encode(), digest_size=2).digest()
        with self._lock:
            width = min(SHARDS_MAX, self._widths.get(account_id, 1))
        return int.from_bytes(digest, "big") % width

    def _measure(self, key: ShardKey, shard: "_Shard", commits: int) -> None:
        now = self._clock.monotonic()
        elapsed = now - shard.measured_at
        if shard.commits and elapsed < MEASURED_SECONDS:
            return
        if shard.commits:
            self._adapt(key.account_id, (commits - shard.commits) / elapsed)
        else:
            self._adapt_at_first(key, commits)
        shard.measured_at, shard.commits = now, commits

    def _adapt_at_first(self, key: ShardKey, commits: int) -> None:
        """A first look tells of all since the quarter hour began: enough to see what is far from right.

        Who writes rarely sees hardly a shard twice in a quarter hour, and would stay as wide as in its rush.
        """
        elapsed = (self._clock.now() - key.quarter).total_seconds()
        is_busy = elapsed >= MEASURED_SECONDS and commits > COMMITS_PER_SECOND_MAX * elapsed
        is_quiet = elapsed >= QUIET_QUARTER_SECONDS and commits < COMMITS_PER_SECOND_MIN * elapsed
        if is_busy or is_quiet:
            self._adapt(key.account_id, commits / elapsed)

    def _adapt(self, account_id: str, commits_per_second: float) -> None:
        width = self._widths.get(account_id, 1)
        if commits_per_second > COMMITS_PER_SECOND_MAX:
            doublings = math.ceil(math.log2(commits_per_second / COMMITS_PER_SECOND_MAX))
            width = min(WIDTH_MAX, width << min(doublings, WIDTH_MAX))
        elif commits_per_second < COMMITS_PER_SECOND_MIN:
            width = max(1, width // 2)
        self._widths[account_id] = width
        self._widths.move_to_end(account_id)
        if width == 1:
            del self._widths[account_id]
        elif len(self._widths) > WIDTHS_KNOWN_MAX:
            self._widths.popitem(last=False)


class _Shard:
    __slots__ = (
        "cell_count", "cells_seen", "cells_unreported", "commits", "is_full", "measured_at",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.cells_seen: set[str] = set()
        self.cell_count = 0  # as of the last commit, of all writers
        self.cells_unreported = 0  # made here since
        self.is_full = False  # the store said so
        self.measured_at = now
        self.commits = 0

    def placed(self, cells: Mapping[Cell, Amounts]) -> Iterator[tuple[Cell, Amounts]]:
        """The cells under the combinations that they have a place under."""
        count = self.cell_count + self.cells_unreported
        new: set[str] = set()
        for cell, amounts in cells.items():
            place = cell
            if cell_id(cell) not in self.cells_seen:
                place = collapsed(cell, self._steps(cell[0], count))
                name = cell_id(place)
                count += name not in self.cells_seen and name not in new
                new.add(name)
            yield place, amounts

    def _steps(self, kind: str, count: int) -> int:
        if self.is_full:
            return COLLAPSE_ALL
        if count < CELLS_MAX:
            return int(kind == "fingerprint" and count >= CELLS_WITH_FINGERPRINTS_MAX)
        return min(COLLAPSE_ALL, 1 + (count - CELLS_MAX) // CELLS_A_STEP)
