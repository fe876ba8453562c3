import pytest

from api_service.attempts import REMEMBERED_MAX, WINDOW_SECONDS, Attempts, network_of
from api_service.errors import Refused
from tests.doubles.clock import ManualClock

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
def attempts(clock: ManualClock) -> Attempts:
    return Attempts(clock)


def test_the_last_allowed_attempt_passes_and_the_next_does_not(attempts: Attempts) -> None:
    for _ in range(3):
        attempts.take(NAME, 3)

    with pytest.raises(Refused) as refused:
        attempts.take(NAME, 3)

    assert (refused.value.status, refused.value.retry_after_seconds) == (429, WINDOW_SECONDS + 1)


def test_refused_attempts_do_not_prolong_the_wait(attempts: Attempts, clock: ManualClock) -> None:
    attempts.take(NAME, 1)
    clock.advance(WINDOW_SECONDS - 1)
    with pytest.raises(Refused):
        attempts.take(NAME, 1)
    clock.advance(1)

    attempts.take(NAME, 1)


def test_each_name_counts_for_itself(attempts: Attempts) -> None:
    assert is_let_in(attempts, *NAME)

    assert is_let_in(attempts, "login", "203.0.113.8", "ada@example.com")
    assert not is_let_in(attempts, *NAME)


def test_the_right_person_counts_from_zero_again(attempts: Attempts) -> None:
    attempts.take(NAME, 1)
    assert not is_let_in(attempts, *NAME)

    attempts.forget(NAME)

    assert is_let_in(attempts, *NAME)


@pytest.mark.parametrize(("others", "is_forgotten"), [(REMEMBERED_MAX - 1, False), (REMEMBERED_MAX, True)])
def test_what_is_remembered_is_bounded(attempts: Attempts, others: int, is_forgotten: bool) -> None:
    attempts.take(NAME, 1)
    for number in range(others):
        attempts.take((str(number),), 1)

    assert is_let_in(attempts, *NAME) is is_forgotten


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
