import threading
from statistics import median
from time import perf_counter

import pytest

from api_service.errors import Refused
from api_service.passwords import CONCURRENT_MAX, MEMORY_KIB, WAITING_MAX, Passwords


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(memory_kib=64, passes=1)


def test_a_password_matches_its_own_hash_only(passwords: Passwords) -> None:
    stored = passwords.hashed("correct horse")

    assert passwords.matches(stored, "correct horse")
    assert not passwords.matches(stored, "correct horse ")
    assert not passwords.matches("no hash at all", "correct horse")


def test_nobody_has_no_password(passwords: Passwords) -> None:
    assert not passwords.matches(None, "")
    assert not passwords.matches(None, "correct horse")


@pytest.mark.battery("V6")
def test_each_hash_has_a_salt_of_its_own(passwords: Passwords) -> None:
    assert passwords.hashed("correct horse") != passwords.hashed("correct horse")


@pytest.mark.battery("V6")
def test_the_hash_is_argon2id_with_at_least_46_mebibytes() -> None:
    stored = Passwords().hashed("correct horse")

    assert stored.startswith(f"$argon2id$v=19$m={MEMORY_KIB},t=2,p=1$")
    assert MEMORY_KIB >= 46 * 1024


def test_nobody_takes_as_long_as_somebody() -> None:
    passwords = Passwords(memory_kib=8 * 1024, passes=1)
    stored = passwords.hashed("correct horse")

    def seconds(hashed: str | None) -> float:
        began = perf_counter()
        passwords.matches(hashed, "not the password")
        return perf_counter() - began

    pairs = [(seconds(stored), seconds(None)) for _ in range(15)]

    somebody, nobody = median(first for first, _ in pairs), median(second for _, second in pairs)
    assert 0.5 < somebody / nobody < 2


def test_a_hash_of_other_parameters_is_outdated(passwords: Passwords) -> None:
    assert passwords.is_outdated(Passwords(memory_kib=32, passes=1).hashed("correct horse"))
    assert not passwords.is_outdated(passwords.hashed("correct horse"))


def test_only_a_few_hash_at_once_and_the_next_is_asked_to_come_back() -> None:
    passwords = Passwords(memory_kib=64, passes=1, wait_seconds=0)
    inside, leave = threading.Barrier(CONCURRENT_MAX + 1, timeout=10), threading.Event()

    def stay() -> None:
        with passwords._place():  # what `hashed` holds while it works
            inside.wait()
            leave.wait(10)

    threads = [threading.Thread(target=stay) for _ in range(CONCURRENT_MAX)]
    for thread in threads:
        thread.start()
    inside.wait()

    with pytest.raises(Refused) as refused:
        passwords.hashed("correct horse")
    leave.set()
    for thread in threads:
        thread.join(10)

    assert (refused.value.status, refused.value.code) == (503, "busy")
    assert passwords.matches(passwords.hashed("correct horse"), "correct horse")


def test_beyond_a_few_that_wait_nobody_holds_a_thread() -> None:
    passwords = Passwords(memory_kib=64, passes=1, wait_seconds=60)
    for _ in range(CONCURRENT_MAX):
        passwords._places.acquire()
    for _ in range(CONCURRENT_MAX + WAITING_MAX):  # what each holds that runs or waits
        passwords._room.acquire()

    began = perf_counter()
    with pytest.raises(Refused) as refused:
        passwords.matches(None, "correct horse")

    assert (refused.value.status, refused.value.code) == (503, "busy")
    assert perf_counter() - began < 30
