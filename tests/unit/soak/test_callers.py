import pytest

from tests.doubles.waiting import until
from tests.system.soak.callers import Stranger


@pytest.mark.parametrize(
    ("said", "is_fault"),
    [("400", False), ("nothing", False), ("503", False), ("200", True), ("500", True), ("too late", True)],
)
def test_nonsense_is_refused_or_not_answered_and_else_that_is_told(
    monkeypatch: pytest.MonkeyPatch, said: str, is_fault: bool
) -> None:
    monkeypatch.setattr(Stranger, "_send", lambda *_: said)
    stranger = Stranger(["http://127.0.0.1:1"], seed=1, pause_seconds=0.0)
    stranger.start()
    until(lambda: stranger.said[said] >= 2)
    stranger.end()

    assert bool(stranger.faults) is is_fault
