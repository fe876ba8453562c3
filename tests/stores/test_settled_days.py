"""Days that nothing has changed are told from memory, one by one and together: never behind, never twice."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering import day_memory
from metering.compaction import run
from metering.day_memory import DayMemory
from metering.events import CostEvent
from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.opening import open_store
from metering.quarters import rollups_between
from metering.questions import AnyQuestion, Question
from metering.rollups import Amounts
from metering.segments import SegmentPacker
from metering.stores import STORE_TIMEOUT_SECONDS, Document, DocumentStore
from metering.usage_groups import Grouping
from tests.builders import ACCOUNT_ID, make_event, make_id
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore

START = datetime(2026, 11, 10, tzinfo=UTC)
DAYS = 6
END = START + timedelta(days=DAYS)
AFTERWARDS = ManualClock(END + timedelta(days=3))

Found = dict[tuple[object, tuple[str, ...]], Amounts]
Asked = AnyQuestion

by_team = Question(lambda _: "all", Grouping("main", ("team",), {}))
by_day = Question(datetime.date, Grouping("main", ("team", "model"), {}), {"cost_nanodollars"})
in_halves = Question(lambda quarter: quarter.day % 2, Grouping("main", (), {}))  # slots that come again
late_ones = Question(
    lambda _: "all", Grouping("main", ("team",), {"team": ["a"]}), since=START + timedelta(hours=60)
)
by_function = Question(lambda _: "all", lambda cell: cell[3:4])
QUESTIONS: tuple[Asked, ...] = (by_team, by_day, in_halves, late_ones, by_function)
REMEMBERED = QUESTIONS[:-1]


class WithoutFields:
    """Passes on what is read, noting which documents came without their fields."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self.bare = 0

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        found = self._store.get_many(paths, known=known, timeout_seconds=timeout_seconds)
        self.bare += sum(not document.fields for document in found.values())
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def keep(store: DocumentStore, events: Sequence[CostEvent]) -> None:
    packer, ledger = SegmentPacker(new_instance_name()), Ledger(store)
    for event in events:
        packer.add(event, 0.0)
    for segment in packer.drain():
        ledger.commit(segment)


def call(day: int, hour: int = 12, team: str = "a", cost: int = 1, account_id: str = ACCOUNT_ID) -> CostEvent:
    at = START + timedelta(days=day, hours=hour)
    return make_event(account_id=account_id, timestamp=at, team=team, cost_nanodollars=cost)


def answers(
    store: DocumentStore,
    memory: DayMemory | None = None,
    questions: Sequence[Asked] = REMEMBERED,
    account_id: str = ACCOUNT_ID,
    start: datetime = START,
    end: datetime = END,
) -> list[Found]:
    """What the questions come to, all parts of the range added up."""
    found: list[Found] = [{} for _ in questions]
    given = {} if memory is None else {"memory": memory}
    for part in rollups_between(store, account_id, start, end, "main", questions=questions, **given):
        for sums, question in zip(found, questions, strict=True):
            for key, amounts in part.summed(question).items():
                totals = sums.setdefault(key, {})
                for name, amount in amounts.items():
                    totals[name] = totals.get(name, 0) + amount
    return found


def a_call_a_day(store: DocumentStore) -> None:
    keep(store, [call(day, cost=10**day) for day in range(DAYS)])
    run(store, AFTERWARDS)


def spent(found: list[Found]) -> int:
    return sum(amounts["cost_nanodollars"] for amounts in found[0].values())


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> DocumentStore:
    return open_store(f"sqlite:///{tmp_path_factory.mktemp('settled')}/modeltrack.db")


calls = st.lists(
    st.tuples(st.integers(0, DAYS - 1), st.integers(0, 23), st.sampled_from("abc"), st.integers(0, 2**50)),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(calls, st.booleans()), min_size=1, max_size=4),
    st.integers(0, 30),
    st.sets(st.sampled_from(QUESTIONS), min_size=1),
)
def test_while_calls_come_late_and_are_compacted_answers_are_those_without_a_memory(
    one_store: DocumentStore,
    steps: list[tuple[list[tuple[int, int, str, int]], bool]],
    hours: int,
    asked: set[Asked],
) -> None:
    account_id, memory, questions = make_id("acct"), DayMemory(), [*asked]
    start = START + timedelta(hours=hours)

    for made, is_compacted in steps:
        keep(one_store, [call(*each, account_id=account_id) for each in made])
        if is_compacted:
            run(one_store, AFTERWARDS)
        expected = answers(one_store, None, questions, account_id, start)
        for _ in range(2):
            assert answers(one_store, memory, questions, account_id, start) == expected


def test_what_has_not_changed_is_not_even_read_with_its_fields(store: DocumentStore) -> None:
    a_call_a_day(store)
    memory, bare = DayMemory(), WithoutFields(store)
    first = answers(bare, memory)  # type: ignore[arg-type]  # it passes the rest on
    assert bare.bare == 0

    assert answers(bare, memory) == first  # type: ignore[arg-type]  # as above
    assert bare.bare == DAYS


def test_a_day_that_has_changed_is_read_whole_and_the_others_are_not(store: DocumentStore) -> None:
    a_call_a_day(store)
    memory, bare = DayMemory(), WithoutFields(store)
    assert spent(answers(bare, memory)) == 111_111  # type: ignore[arg-type]  # it passes the rest on
    keep(store, [call(2, cost=5_000_000)])
    run(store, AFTERWARDS)

    assert spent(answers(bare, memory)) == 5_111_111  # type: ignore[arg-type]  # as above
    assert bare.bare == DAYS - 1


def test_a_day_with_something_open_is_counted_from_both_places_once(store: DocumentStore) -> None:
    a_call_a_day(store)
    memory = DayMemory()
    answers(store, memory)
    keep(store, [call(3, hour=12, cost=7_000_000), call(3, hour=2, cost=80_000_000)])

    assert spent(answers(store, memory)) == 87_111_111


def test_the_second_time_costs_no_document_more(store: DocumentStore) -> None:
    a_call_a_day(store)
    counting, memory = CountingStore(store), DayMemory()

    read = []
    for _ in range(3):
        before = counting.documents_read
        answers(counting, memory)
        read.append(counting.documents_read - before)

    assert read == [DAYS + 1] * 3


def test_another_question_is_no_read_more_either(store: DocumentStore) -> None:
    a_call_a_day(store)
    counting, memory = CountingStore(store), DayMemory()
    answers(counting, memory, [by_team])
    before = counting.documents_read

    assert answers(counting, memory, [by_day]) == answers(store, None, [by_day])
    assert counting.documents_read - before == DAYS + 1


def test_more_groups_than_are_remembered_together_are_told_day_by_day(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_memory, "ROWS_TOGETHER_MAX", 2)
    keep(store, [call(day, team=team, cost=1) for day in range(DAYS) for team in "abc"])
    run(store, AFTERWARDS)
    memory = DayMemory()

    found = [answers(store, memory, [by_team]) for _ in range(3)]

    assert found[0] == found[1] == found[2]
    assert {key[1] for key in found[0][0]} == {("a",), ("b",), ("c",)}


def test_days_without_any_call_are_settled_too(store: DocumentStore) -> None:
    memory = DayMemory()
    keep(store, [call(4, cost=3)])
    run(store, AFTERWARDS)
    assert [spent(answers(store, memory)) for _ in range(2)] == [3, 3]

    keep(store, [call(1, cost=20)])
    run(store, AFTERWARDS)

    assert [spent(answers(store, memory)) for _ in range(2)] == [23, 23]


def test_a_memory_too_small_for_anything_changes_no_answer(store: DocumentStore) -> None:
    a_call_a_day(store)
    memory = DayMemory(2_000)

    assert [answers(store, memory) for _ in range(3)] == [answers(store)] * 3


def test_a_day_that_has_grown_beyond_what_is_remembered_of_one_costs_one_document(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store, [call(0)])
    run(store, AFTERWARDS)
    counting, memory, first_day = CountingStore(store), DayMemory(), START + timedelta(days=1)
    answers(counting, memory, [by_team], end=first_day)
    monkeypatch.setattr(day_memory, "ENTRY_BYTES_MAX", memory.bytes_held)
    keep(store, [call(0, team=team) for team in "bcdefgh"])
    run(store, AFTERWARDS)

    read = []
    for _ in range(3):
        before = counting.documents_read
        assert len(answers(counting, memory, [by_team], end=first_day)[0]) == len("abcdefgh")
        read.append(counting.documents_read - before)

    assert read == [3, 2, 2]  # the query for what is open; the day, and once more where it was known


@pytest.mark.parametrize("turns", [1, 2])
def test_what_was_not_announced_is_refused_whether_it_is_known_or_not(
    store: DocumentStore, turns: int
) -> None:
    a_call_a_day(store)
    memory = DayMemory()
    for _ in range(turns - 1):
        answers(store, memory, [by_team])

    parts = rollups_between(store, ACCOUNT_ID, START, END, "main", memory=memory, questions=[by_team])

    with pytest.raises(ValueError, match="announced"):
        next(parts).summed(by_day)


def test_slots_of_the_whole_range_and_of_each_day_are_told_apart(store: DocumentStore) -> None:
    a_call_a_day(store)
    memory = DayMemory()

    for _ in range(2):
        teams, days, halves, late = answers(store, memory)
        assert teams["all", ("a",)]["cost_nanodollars"] == 111_111
        assert [days[date(2026, 11, 10 + day), ("a", make_event().model)] for day in range(DAYS)] == [
            {"cost_nanodollars": 10**day} for day in range(DAYS)
        ]
        assert [halves[half, ()]["cost_nanodollars"] for half in (0, 1)] == [10_101, 101_010]
        assert late["all", ("a",)]["cost_nanodollars"] == 111_100
