import time

from tests.doubles.waiting import until
from tests.system.soak.faults import Fault, Lane
from tests.system.soak.seats import unexplained

NOW = 0.0


def nothing() -> None:
    pass


def lane(*faults: Fault, seed: int = 1, pause_seconds: float = NOW) -> Lane:
    return Lane("store", lambda: faults, pause_seconds, seed, time.monotonic())


def names_of(seed: int, count: int) -> list[str]:
    broken = lane(*(Fault(f"fault {each}", nothing, nothing) for each in range(10)), seed=seed)
    broken.start()
    until(lambda: len(broken.happened) >= count)
    broken.end()
    broken.join()
    return [each.name for each in broken.happened[:count]]


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    assert names_of(1, 20) == names_of(1, 20) != names_of(2, 20)


def test_a_fault_under_way_is_ended_when_the_run_is() -> None:
    said: list[str] = []
    broken = lane(Fault("long", lambda: said.append("began"), lambda: said.append("ended"), (600.0, 600.0)))
    broken.start()
    until(lambda: said == ["began"])

    broken.end()
    broken.join()

    assert said == ["began", "ended"]
    assert [each.name for each in broken.happened] == ["long"]


def test_a_fault_that_fails_itself_is_told_and_ended_and_others_follow() -> None:
    ended: list[str] = []
    broken = lane(Fault("bad", lambda: next(iter(())), lambda: ended.append("ended")))
    broken.start()
    until(lambda: len(ended) >= 2)
    broken.end()
    broken.join()

    assert broken.broken[0].startswith("bad: StopIteration")


def test_a_run_that_ends_before_its_first_fault_has_none() -> None:
    quiet = lane(Fault("never", nothing, nothing), pause_seconds=600.0)
    quiet.start()
    quiet.end()
    quiet.join()

    assert quiet.happened == []


def test_exceptions_that_nobody_expected_are_found_in_a_log() -> None:
    failed = '{"what": "Exception in callback <Journal at 0x7f1a>", "kind": "AttributeError", "event":"loop"}'
    log = (
        f'{{"event":"call","status":200}}\n{failed}\n{failed.replace("7f1a", "7f2b")}\nTraceback (most recent'
    )

    assert unexplained(log) == [
        "2 times AttributeError in the loop: Exception in callback <Journal>",
        "1 times a traceback",
    ]
    assert unexplained('{"event":"call","status":503,"level":"error"}') == []
