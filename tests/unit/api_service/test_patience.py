import pytest

from api_service.patience import CALL_SECONDS_MAX, FAILURES_IN_A_ROW, REST_SECONDS, PatienceLimited
from metering.errors import StoreUnavailable
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def down() -> StoreDown:
    return StoreDown()


@pytest.fixture
def store(down: StoreDown, clock: ManualClock) -> PatienceLimited:
    return PatienceLimited(down, clock)


def ask(store: PatienceLimited, times: int) -> None:
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            store.get("changes/current")


def test_nobody_waits_longer_than_the_limit(store: PatienceLimited, down: StoreDown) -> None:
    down.heal()

    store.get("changes/current")
    store.get("changes/current", timeout_seconds=60)
    store.get("changes/current", timeout_seconds=1)

    assert down.timeouts == [CALL_SECONDS_MAX, CALL_SECONDS_MAX, 1]


def test_after_several_failures_the_store_is_left_alone_for_a_moment(
    store: PatienceLimited, down: StoreDown, clock: ManualClock
) -> None:
    ask(store, FAILURES_IN_A_ROW + 5)
    assert down.calls == FAILURES_IN_A_ROW

    clock.advance(REST_SECONDS)
    ask(store, 1)

    assert down.calls == FAILURES_IN_A_ROW + 1


def test_an_answer_between_failures_keeps_the_way_open(store: PatienceLimited, down: StoreDown) -> None:
    ask(store, FAILURES_IN_A_ROW - 1)
    down.is_down = False
    store.get("changes/current")
    down.is_down = True

    ask(store, FAILURES_IN_A_ROW)

    assert down.calls == 2 * FAILURES_IN_A_ROW


def test_a_store_that_answers_again_is_used_again(
    store: PatienceLimited, down: StoreDown, clock: ManualClock
) -> None:
    ask(store, FAILURES_IN_A_ROW)
    down.heal()
    clock.advance(REST_SECONDS)

    assert store.get("changes/current") is None
    assert store.commit([]) == []
