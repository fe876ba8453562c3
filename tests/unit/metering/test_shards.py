"""Where a commit's cells go: shards by load, combinations by how full a shard is."""

from collections.abc import Mapping
from datetime import datetime
from itertools import islice

import pytest

from metering.rollups import OTHER, Amounts, Cell, cell_id, quarter_of, rolled_up
from metering.shards import (
    CELLS_A_STEP,
    CELLS_MAX,
    CELLS_WITH_FINGERPRINTS_MAX,
    MEASURED_SECONDS,
    SHARDS_KNOWN_MAX,
    SHARDS_MAX,
    STRETCH_MAX,
    Shards,
    ShardWrite,
)
from metering.stores import FieldPath
from tests.builders import ACCOUNT_ID, AT, make_event
from tests.doubles.clock import ManualClock

QUARTER = quarter_of(AT)


class Documents:
    """Rollup shards as a store would keep them."""

    def __init__(self) -> None:
        self.fields: dict[str, dict[FieldPath, int]] = {}

    def apply(self, write: ShardWrite) -> dict[FieldPath, int]:
        fields = self.fields.setdefault(write.increment.path, {})
        for path, amount in write.increment.amounts.items():
            fields[path] = fields.get(path, 0) + amount
        return {path: fields[path] for path in write.increment.amounts}

    def cells(self) -> set[tuple[str, str]]:
        return {
            (where, path[1]) for where, fields in self.fields.items() for path in fields if len(path) == 3
        }


def _commit(
    shards: Shards,
    documents: Documents,
    cells: Mapping[Cell, Amounts],
    name: str = "i-1",
    quarter: datetime = QUARTER,
) -> ShardWrite:
    write = next(shards.writes(ACCOUNT_ID, quarter, name, cells))
    shards.applied(write, documents.apply(write))
    return write


def _cells(team: str, **more: str) -> dict[Cell, Amounts]:
    return rolled_up([make_event(team=team, **more)])


def _values(write: ShardWrite) -> set[tuple[str, ...]]:
    return {tuple(value) for path, value in write.increment.merge.items() if path[-1] == "of"}


def test_a_quiet_account_writes_to_shard_zero() -> None:
    clock, documents = ManualClock(), Documents()
    shards = Shards(clock)

    for number in range(20):
        write = _commit(shards, documents, _cells("a"), f"i-{number}")
        assert write.key.shard == 0
        clock.advance(2)


def test_a_busy_account_spreads_over_shards_and_gathers_again() -> None:
    clock, documents = ManualClock(), Documents()
    shards = Shards(clock)
    used = []
    for number in range(200):
        used.append(_commit(shards, documents, _cells("a"), f"i-{number}").key.shard)
        clock.advance(0.1)
    quiet = []
    for number in range(400):
        quiet.append(_commit(shards, documents, _cells("a"), f"j-{number}").key.shard)
        clock.advance(20)

    assert len(set(used[100:])) > 12
    assert max(used) < SHARDS_MAX
    assert set(quiet[300:]) == {0}


def test_one_look_is_enough_to_spread_as_far_as_it_takes() -> None:
    clock, documents = ManualClock(QUARTER), Documents()
    shards = Shards(clock)
    for number in range(70):
        documents.apply(next(shards.writes(ACCOUNT_ID, QUARTER, f"o-{number}", _cells("a"))))
    clock.advance(10)

    _commit(shards, documents, _cells("a"))  # finds 71 commits of ten seconds

    used = {_commit(shards, documents, _cells("a"), f"i-{number}").key.shard for number in range(100)}
    assert used == set(range(8))


def test_a_first_look_at_a_quiet_quarter_hour_tells_nothing() -> None:
    clock, documents = ManualClock(QUARTER), Documents()
    shards = Shards(clock)
    for number in range(3):  # within the first seconds
        _commit(Shards(clock), documents, _cells("a"), f"o-{number}")
    clock.advance(1)

    _commit(shards, documents, _cells("a"))

    assert {_commit(shards, documents, _cells("a"), f"i-{number}").key.shard for number in range(20)} == {0}


def test_what_no_more_shards_can_spread_time_does() -> None:
    clock, documents = ManualClock(QUARTER), Documents()
    shards = Shards(clock)
    assert shards.stretch(ACCOUNT_ID) == 1
    for _ in range(400):
        documents.apply(next(shards.writes(ACCOUNT_ID, QUARTER, "o-1", _cells("a"))))
    clock.advance(4)

    _commit(shards, documents, _cells("a"))  # a hundred commits a second: 128 shards would do

    assert shards.stretch(ACCOUNT_ID) == 128 // SHARDS_MAX
    used = {_commit(shards, documents, _cells("a"), f"i-{number}").key.shard for number in range(300)}
    assert used == set(range(SHARDS_MAX))


def test_no_account_is_stretched_beyond_the_bound_and_all_come_back() -> None:
    clock, documents = ManualClock(QUARTER), Documents()
    shards = Shards(clock)
    write = next(shards.writes(ACCOUNT_ID, QUARTER, "o-1", _cells("a")))
    shards.applied(write, documents.apply(write) | {("commits",): 10**9})
    assert shards.stretch(ACCOUNT_ID) == 1  # in the first moment of a quarter hour
    clock.advance(MEASURED_SECONDS)
    shards.applied(write, documents.apply(write) | {("commits",): 2 * 10**9})
    assert shards.stretch(ACCOUNT_ID) == STRETCH_MAX

    for number in range(2_000):
        _commit(shards, documents, _cells("a"), f"j-{number}")
        clock.advance(20)

    assert shards.stretch(ACCOUNT_ID) == 1


@pytest.mark.parametrize("seconds", [60, 300, 1_000])
def test_an_account_that_calls_rarely_after_a_rush_shows_at_once_again(seconds: int) -> None:
    clock, documents = ManualClock(QUARTER), Documents()
    shards = Shards(clock)
    for number in range(4_000):
        _commit(shards, documents, _cells("a"), f"i-{number}")
        clock.advance(0.01)
    assert shards.stretch(ACCOUNT_ID) > 1

    for number in range(12):
        clock.advance(max(seconds, 900 if number == 0 else 0))
        _commit(shards, documents, _cells("a"), f"j-{number}", quarter_of(clock.now()))

    assert shards.stretch(ACCOUNT_ID) == 1


def test_a_writer_sees_the_load_of_all_writers() -> None:
    clock, documents = ManualClock(), Documents()
    instances = [Shards(clock) for _ in range(10)]

    shards_used = set()
    for number in range(20):
        for place, shards in enumerate(instances):
            shards_used.add(_commit(shards, documents, _cells("a"), f"{place}-{number}").key.shard)
        clock.advance(2)

    assert len(shards_used) >= 4


def test_a_writer_reports_the_cells_it_made_and_nobody_elses() -> None:
    documents = Documents()
    one, other = Shards(ManualClock()), Shards(ManualClock())

    _commit(one, documents, _cells("a"))
    _commit(other, documents, _cells("a"))
    _commit(other, documents, _cells("b"))
    _commit(other, documents, _cells("a"))
    write = _commit(one, documents, _cells("a"))

    assert documents.fields[write.increment.path]["cell_count",] == 5 == len(documents.cells())


def test_a_full_shard_keeps_the_combinations_it_has_and_collapses_new_ones() -> None:
    documents, shards = Documents(), Shards(ManualClock())
    for number in range(CELLS_MAX):
        _commit(shards, documents, _cells("a", feature=f"feature {number}"))
    assert CELLS_MAX <= len(documents.cells()) < CELLS_MAX + 4

    new = _commit(shards, documents, _cells("a", feature="new"))
    known = _commit(shards, documents, _cells("a", feature="feature 7"))

    assert ("main", "anthropic", "claude-sonnet-4-5", "a", "web", OTHER, "", "default") in _values(new)
    assert ("main", "anthropic", "claude-sonnet-4-5", "a", "web", "feature 7", "", "default") in _values(
        known
    )


def test_fingerprints_leave_half_of_a_shard_to_what_callers_name() -> None:
    documents, shards = Documents(), Shards(ManualClock())

    for number in range(2 * CELLS_MAX):
        last = _commit(shards, documents, _cells("a", prompt_fingerprint=f"{number:032x}"))
    named = _commit(shards, documents, _cells("a", feature="new", prompt_template_id="new"))

    assert len(documents.cells()) == CELLS_WITH_FINGERPRINTS_MAX + 3
    assert OTHER not in {value for values in _values(named) for value in values}
    assert ("fingerprint", "anthropic", "claude-sonnet-4-5", OTHER) in _values(last)


def test_however_many_combinations_come_a_shard_stays_bounded() -> None:
    documents, shards = Documents(), Shards(ManualClock())

    for number in range(3_000):
        names = {name: f"{name} {number}" for name in ("app", "feature", "customer_tier", "model", "key_id")}
        _commit(shards, documents, _cells(f"team {number}", **names))

    assert len(documents.cells()) <= CELLS_MAX + 6 * CELLS_A_STEP + 8


def test_one_commit_alone_does_not_overrun_the_bound() -> None:
    documents, shards = Documents(), Shards(ManualClock())
    events = [make_event(team=f"team {n}", model=f"model {n}", key_id=f"key {n}") for n in range(1_000)]

    _commit(shards, documents, rolled_up(events))

    assert len(documents.cells()) <= CELLS_MAX + 6 * CELLS_A_STEP + 8


def test_after_a_refusal_come_collapsed_cells_then_the_other_shards() -> None:
    shards = Shards(ManualClock())
    events = [make_event(team=f"team {number}") for number in range(5)]

    writes = list(shards.writes(ACCOUNT_ID, QUARTER, "i-1", rolled_up(events)))

    assert [write.key.shard for write in writes] == [0, 0, *range(1, SHARDS_MAX)]
    assert [len(write.requests) for write in writes] == [8] + [4] * SHARDS_MAX
    assert len({write.increment.path for write in writes}) == SHARDS_MAX


def test_a_shard_that_was_refused_collapses_what_is_new_from_then_on() -> None:
    documents, shards = Documents(), Shards(ManualClock())
    _commit(shards, documents, _cells("known"))
    list(islice(shards.writes(ACCOUNT_ID, QUARTER, "i-2", _cells("new")), 2))

    again = _commit(shards, documents, _cells("new") | _cells("known"))

    teams = {values[3] for values in _values(again) if values[0] == "main"}
    assert teams == {OTHER, "known"}


def test_what_a_refused_commit_would_have_reported_is_reported_later() -> None:
    documents, shards = Documents(), Shards(ManualClock())
    _commit(shards, documents, _cells("a"))
    refused = next(shards.writes(ACCOUNT_ID, QUARTER, "i-2", _cells("a")))
    shards.not_applied(refused)

    write = _commit(shards, documents, _cells("a"))

    assert refused.cells_reported == write.cells_reported == 4


def test_what_is_known_of_shards_is_bounded_and_may_vanish() -> None:
    documents, shards = Documents(), Shards(ManualClock())
    for number in range(SHARDS_KNOWN_MAX + 10):
        write = next(shards.writes(f"acct_{number}", QUARTER, "i-1", _cells("a")))
        shards.applied(write, documents.apply(write))

    assert len(shards._known) == SHARDS_KNOWN_MAX
    name = cell_id(("main", "anthropic", "claude-sonnet-4-5", "a", "web", "", "", "default"))
    again = next(shards.writes("acct_0", QUARTER, "i-2", _cells("a")))
    assert documents.apply(again)["cells", name, "requests"] == 2
