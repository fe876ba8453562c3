"""The numbers of operations that the project promises, counted at the store's interface on a manual clock."""

import pytest

from bench.firestore_operations import BUSY, SLOW, asked_for, table
from bench.fleet import Load, measured


@pytest.mark.parametrize("load", SLOW, ids=lambda load: load.name)
def test_at_a_call_a_second_an_event_is_few_writes_and_none_waits_for_the_store(load: Load) -> None:
    found = measured(load)

    assert asked_for(load) == 3_000
    assert 1_000 * found.writes_an_event <= asked_for(load)
    assert found.waited == 0
    assert "<= 3,000" in table([found])


@pytest.mark.parametrize("load", BUSY, ids=lambda load: load.name)
def test_at_a_thousand_calls_a_second_a_thousand_events_are_few_writes(load: Load) -> None:
    found = measured(_shorter(load))

    assert asked_for(load) == 150
    assert 1_000 * found.writes_an_event <= asked_for(load)
    assert found.waited == 0


def _shorter(load: Load) -> Load:
    return Load(load.name, load.instances, 1, 1, load.calls_a_second, 3, 6, is_even=load.is_even)
