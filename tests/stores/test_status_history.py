"""The history of measurements on both stores: one document a day, gaps as gaps."""

from datetime import timedelta

import pytest

from metering.status_history import (
    SAMPLES_A_DAY_MAX,
    Answered,
    HistoryUnreadable,
    Sample,
    add_sample,
    history_paths,
    samples_in,
    slots_of,
)
from metering.stores import Document, DocumentStore, Update
from tests.builders import AT

UP = Answered(state="up", latency_ms=3)


def sample(minutes_ago: int = 0) -> Sample:
    return Sample(at=AT - timedelta(minutes=minutes_ago), store_ms=7, proxy=UP)


def documents(store: DocumentStore) -> list[Document]:
    return list(store.get_many(history_paths(AT)).values())


def add(store: DocumentStore, each: Sample) -> bool:
    return add_sample(store, store.get(history_paths(each.at)[1]), each)


def test_samples_of_two_days_come_back_in_their_order(store: DocumentStore) -> None:
    made = [sample(minutes) for minutes in (900, 600, 5, 0)]
    for each in made:
        assert add(store, each)

    assert samples_in(documents(store)) == tuple(made)
    assert len(documents(store)) == 2


def test_of_two_at_once_one_is_dropped(store: DocumentStore) -> None:
    for _ in range(2):
        before = store.get(history_paths(AT)[1])
        assert add_sample(store, before, sample())
        assert not add_sample(store, before, sample())

    assert len(samples_in(documents(store))) == 2


def test_a_day_holds_so_many_and_no_more(sqlite_store: DocumentStore) -> None:
    assert all(add(sqlite_store, sample()) for _ in range(SAMPLES_A_DAY_MAX))

    assert not add(sqlite_store, sample())


def test_a_damaged_day_is_told_as_such_and_begun_anew(sqlite_store: DocumentStore) -> None:
    add(sqlite_store, sample())
    sqlite_store.commit([Update(history_paths(AT)[1], {"packed": b"canary"})])

    with pytest.raises(HistoryUnreadable):
        samples_in(documents(sqlite_store))
    assert add(sqlite_store, sample())
    assert samples_in(documents(sqlite_store)) == (sample(),)


def test_every_quarter_hour_of_a_day_is_there_and_what_was_not_measured_is_empty() -> None:
    slots = slots_of([sample(60 * 24 - 10), sample(60 * 24 - 16), sample(20), sample(16), sample(0)], AT)

    assert len(slots) == 96
    assert slots[-1].start == AT.replace(second=0, microsecond=0)
    assert {number: len(slot.samples) for number, slot in enumerate(slots) if slot.samples} == {
        0: 1, 93: 2, 95: 1,
    }  # fmt: skip
