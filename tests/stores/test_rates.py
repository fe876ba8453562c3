"""Rates hold over several instances, to the place, on both stores."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_service.rates import KEPT_SECONDS, SLOTS, Rates, Standing, Window
from metering.collections import RATES
from metering.errors import StoreUnavailable
from metering.stores import DocumentStore, Query
from tests.builders import SECRET
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.doubles.unreliable_store import UnreliableStore

ADA = ("account", "acct_ada")
BOB = ("account", "acct_bob")
SIXTY = Window(60)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def taken(rates: Rates, times: int, window: Window = SIXTY, name: tuple[str, ...] = ADA) -> list[Standing]:
    return [rates.take([(name, window)]) for _ in range(times)]


def test_two_instances_let_in_as_many_as_one(store: DocumentStore, clock: ManualClock) -> None:
    instances = [Rates(store, clock, SECRET) for _ in range(2)]

    standings = [taken(instances[number % 2], 1)[0] for number in range(61)]

    assert [each.wait_seconds for each in standings[:60]] == [0] * 60
    assert [each.remaining for each in standings[:60]] == list(range(59, -1, -1))
    assert standings[60].wait_seconds > 0


def test_instances_that_count_at_the_same_moment_let_in_no_more(
    store: DocumentStore, clock: ManualClock
) -> None:
    instances = [Rates(store, clock, SECRET) for _ in range(4)]
    window = Window(12)

    with ThreadPoolExecutor(8) as threads:
        standings = list(threads.map(lambda number: instances[number % 4].take([(ADA, window)]), range(24)))

    assert sum(not each.wait_seconds for each in standings) == 12


def test_other_subjects_are_not_affected(sqlite_store: DocumentStore, clock: ManualClock) -> None:
    rates = Rates(sqlite_store, clock, SECRET)
    taken(rates, 2, Window(1))

    assert taken(rates, 1, Window(1), BOB)[0].wait_seconds == 0


def test_a_place_is_free_when_it_was_said_to_be_and_not_before(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    rates, window = Rates(sqlite_store, clock, SECRET), Window(2)
    taken(rates, 1, window)
    clock.advance(20)
    taken(rates, 1, window)
    wait = taken(rates, 1, window)[0].wait_seconds

    clock.advance(wait - 1)
    before = taken(Rates(sqlite_store, clock, SECRET), 1, window)[0]
    clock.advance(1)
    after = taken(rates, 2, window)

    assert 40 <= wait <= 42
    assert before.wait_seconds == 1
    assert [bool(each.wait_seconds) for each in after] == [False, True]


def test_all_of_it_is_there_again_when_it_was_said_to_be(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    rates = Rates(sqlite_store, clock, SECRET)
    reset_at = taken(rates, 5)[-1].reset_at

    clock.advance(reset_at - clock.now().timestamp())

    assert taken(rates, 1)[0].remaining == 59


def test_where_one_limit_is_reached_no_place_of_another_is_taken(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    rates = Rates(sqlite_store, clock, SECRET)
    rates.take([(ADA, Window(1)), (BOB, SIXTY)])

    refused = rates.take([(ADA, Window(1)), (BOB, SIXTY)])

    assert refused.wait_seconds > 0
    assert taken(rates, 1, SIXTY, BOB)[0].remaining == 58


def test_who_is_refused_and_goes_on_costs_the_store_nothing(
    sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    store = CountingStore(sqlite_store)
    rates = Rates(store, clock, SECRET)
    taken(rates, 2, Window(1))
    commits, reads = len(store.commits), store.documents_read

    assert all(each.wait_seconds for each in taken(rates, 100, Window(1)))

    assert (len(store.commits), store.documents_read) == (commits, reads)
    store.check_limits()


def test_a_lost_answer_counts_at_most_once(sqlite_store: DocumentStore, clock: ManualClock) -> None:
    unreliable = UnreliableStore(sqlite_store, ["reply_lost", "not_applied"])
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            Rates(unreliable, clock, SECRET).take([(ADA, SIXTY)])

    assert taken(Rates(sqlite_store, clock, SECRET), 1)[0].remaining == 58


def test_no_name_is_kept(sqlite_store: DocumentStore, clock: ManualClock) -> None:
    taken(Rates(sqlite_store, clock, SECRET), 1, SIXTY, ("login", "zoe@example.com"))

    (document,) = sqlite_store.query(Query(collection=RATES))

    assert "zoe" not in document.path + str(document.fields)
    assert (document.fields["ends_at"] - clock.now()).total_seconds() < KEPT_SECONDS


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pauses=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    limit=st.integers(1, 6),
    subject=st.uuids(),
)
def test_no_window_ever_holds_more_than_its_limit(
    sqlite_store: DocumentStore, pauses: list[int], limit: int, subject: object
) -> None:
    clock, window = ManualClock(), Window(limit)
    instances = [Rates(sqlite_store, clock, SECRET) for _ in range(2)]
    let_in: list[float] = []
    for number, pause in enumerate(pauses):
        clock.advance(pause)
        if not instances[number % 2].take([((str(subject),), window)]).wait_seconds:
            let_in.append(clock.monotonic())
        for at in let_in:
            assert sum(at <= each < at + window.seconds for each in let_in) <= limit
    assert SLOTS * window.slot_seconds == window.seconds
