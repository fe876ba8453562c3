"""Counting in memory: so many a window and name, and no more names than there is room for."""

import pytest

from api_service import process_rates
from api_service.process_rates import ProcessRates
from api_service.rates import Window

THREE = Window(3, seconds=60)


def test_who_asked_often_enough_waits_for_the_windows_end() -> None:
    rates = ProcessRates()

    standings = [rates.take("a", THREE, 120.0 + step) for step in range(4)]

    assert [each.remaining for each in standings] == [2, 1, 0, 0]
    assert [each.wait_seconds for each in standings] == [0, 0, 0, 57]
    assert {each.reset_at for each in standings} == {180}
    assert rates.take("b", THREE, 123.0).wait_seconds == 0
    assert rates.take("a", THREE, 180.0).remaining == 2


def test_names_are_bounded_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_rates, "REMEMBERED_MAX", 2)
    rates = ProcessRates()

    for name in ("a", "b", "a", "c"):
        rates.take(name, THREE, 1.0)

    assert rates.take("a", THREE, 1.0).remaining == 0
    assert rates.take("b", THREE, 1.0).remaining == 2
