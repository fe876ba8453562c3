"""A short run of `make soak`: everything at once on either store, faults of each part, books that agree."""

from pathlib import Path

import pytest

from tests.system.battery.rig import IS_FULL
from tests.system.soak.course import Soak, Terms
from tests.system.soak.readings import SETTLING_SECONDS
from tests.system.soak.stores import STORES

SECONDS = 20.0
SEED = 11  # the same faults each time: chance is for `make soak`
CALLS_PER_SECOND = 15.0


@pytest.mark.timeout(SECONDS + 4 * SETTLING_SECONDS)
@pytest.mark.parametrize(
    "store", sorted(STORES) if IS_FULL else ["sqlite"]
)  # a whole suite has no time for both
def test_callers_of_all_kinds_under_mixed_faults_leave_books_that_agree(store: str, tmp_path: Path) -> None:
    said: list[str] = []
    terms = Terms(SECONDS, SEED, store, CALLS_PER_SECOND, tmp_path, awaits_leases=False)

    outcome = Soak(terms, said.append).run()

    assert outcome.violations == [], (said, outcome.lines, outcome.happened)
    assert {fault.lane for fault in outcome.happened} == {"store", "provider", "proxies", "APIs"}
    assert all(life.samples for life in outcome.lives[:1])
    for made in ("memory.svg", "memory.csv", "faults.csv"):
        assert (tmp_path / made).read_text()
