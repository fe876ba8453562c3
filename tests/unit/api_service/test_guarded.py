"""Changes that are made again where somebody was faster, a bounded number of times."""

from collections.abc import Sequence

import pytest

from api_service.guarded import ATTEMPTS_MAX, PAUSE_SECONDS_MAX, commit_guarded
from metering.errors import Conflict, RevisionChanged, StoreUnavailable
from metering.stores import Delete, Write, WriteResult
from tests.doubles.stores import StoreDown


class Contended(StoreDown):
    """Lets others be faster so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.heal()
        self.times = times

    def commit(self, writes: Sequence[Write], *, timeout_seconds: float = 10) -> list[WriteResult]:
        self.times -= 1
        if self.times >= 0:
            raise RevisionChanged
        return super().commit(writes, timeout_seconds=timeout_seconds)


@pytest.mark.parametrize("times", [0, 1, ATTEMPTS_MAX - 1])
def test_whoever_was_overtaken_decides_again(times: int) -> None:
    pauses: list[float] = []
    runs: list[int] = []

    def prepare() -> tuple[Sequence[Write], int]:
        runs.append(1)
        return [Delete("people/x")], len(runs)

    assert commit_guarded(Contended(times), prepare, pauses.append) == times + 1
    assert len(pauses) == times
    assert all(0 <= each <= PAUSE_SECONDS_MAX for each in pauses)


def test_whoever_is_overtaken_for_ever_gives_up() -> None:
    with pytest.raises(StoreUnavailable):
        commit_guarded(Contended(ATTEMPTS_MAX), lambda: ([Delete("people/x")], None), lambda _: None)


def test_nothing_to_change_is_no_commit() -> None:
    assert commit_guarded(StoreDown(), lambda: ([], "as it was")) == "as it was"


def test_a_second_look_may_refuse() -> None:
    looks = iter([[Delete("people/x")]])

    def prepare() -> tuple[Sequence[Write], None]:
        try:
            return next(looks), None
        except StopIteration:
            raise Conflict("too late") from None

    with pytest.raises(Conflict):
        commit_guarded(Contended(1), prepare, lambda _: None)


def test_an_unknown_outcome_is_not_tried_again() -> None:
    store = StoreDown()

    with pytest.raises(StoreUnavailable):
        commit_guarded(store, lambda: ([Delete("people/x")], None), lambda _: None)

    assert store.calls == 1
