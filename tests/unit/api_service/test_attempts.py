import pytest

from api_service.attempts import WINDOW_SECONDS, Attempts, network_of
from api_service.errors import Refused
from api_service.rates import SLOTS, Rates
from metering.errors import StoreUnavailable
from metering.stores import DocumentStore
from tests.builders import SECRET
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown

NAME = ("login", "203.0.113.7", "ada@example.com")


def is_let_in(attempts: Attempts, *name: str) -> bool:
    try:
        attempts.take(name, 1)
    except Refused:
        return False
    return True


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def attempts(sqlite_store: DocumentStore, clock: ManualClock) -> Attempts:
    return Attempts(Rates(sqlite_store, clock, SECRET))


def test_the_last_allowed_attempt_passes_and_the_next_does_not(attempts: Attempts) -> None:
    for _ in range(3):
        attempts.take(NAME, 3)

    with pytest.raises(Refused) as refused:
        attempts.take(NAME, 3)

    slot_seconds = WINDOW_SECONDS / SLOTS
    assert refused.value.status == 429
    assert WINDOW_SECONDS <= (refused.value.retry_after_seconds or 0) <= WINDOW_SECONDS + slot_seconds


def test_refused_attempts_do_not_prolong_the_wait(attempts: Attempts, clock: ManualClock) -> None:
    attempts.take(NAME, 1)
    clock.advance(WINDOW_SECONDS - 1)
    with pytest.raises(Refused) as refused:
        attempts.take(NAME, 1)
    clock.advance(refused.value.retry_after_seconds or 0)

    attempts.take(NAME, 1)


@pytest.mark.parametrize("hours", [1, 24, 24 * 365])
def test_a_clock_that_is_set_back_makes_nobody_wait_longer_than_the_window(
    attempts: Attempts, clock: ManualClock, hours: int
) -> None:
    attempts.take(NAME, 1)
    assert not is_let_in(attempts, *NAME)

    clock.jump(-hours * 3600)

    assert is_let_in(attempts, *NAME)
    with pytest.raises(Refused) as refused:
        attempts.take(NAME, 1)
    assert (refused.value.retry_after_seconds or 0) <= WINDOW_SECONDS * (1 + 1 / SLOTS)


def test_each_name_counts_for_itself(attempts: Attempts) -> None:
    assert is_let_in(attempts, *NAME)

    assert is_let_in(attempts, "login", "203.0.113.8", "ada@example.com")
    assert not is_let_in(attempts, *NAME)


def test_the_right_person_counts_from_zero_again(attempts: Attempts) -> None:
    attempts.take(NAME, 1)
    assert not is_let_in(attempts, *NAME)

    attempts.forget(NAME)

    assert is_let_in(attempts, *NAME)


def test_nobody_gets_to_try_while_nobody_can_count(clock: ManualClock) -> None:
    attempts = Attempts(Rates(StoreDown(), clock, SECRET))

    with pytest.raises(StoreUnavailable):
        attempts.take(NAME, 1)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", "unknown"),
        ("not an address", "unknown"),
        ("203.0.113.7:443", "unknown"),
    ],
)
def test_a_household_is_one_network(address: str, network: str) -> None:
    assert network_of(address) == network
