"""Rows of infrastructure that come at the same moment, on both stores: none is lost, none counts twice."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from metering.errors import Conflict
from metering.infrastructure import TRIES_MAX, Infrastructure, InfrastructureCost
from metering.stores import STORE_TIMEOUT_SECONDS, Document, DocumentStore
from tests.builders import ACCOUNT_ID, AT
from tests.doubles.clock import ManualClock


class Overtaken:
    """A store in which `meanwhile` happens between a read and the commit that follows from it."""

    def __init__(self, store: DocumentStore, meanwhile: Callable[[], object]) -> None:
        self._store = store
        self._meanwhile = meanwhile

    def get_many(
        self,
        paths: Sequence[str],
        *,
        known: Mapping[str, str] | None = None,
        timeout_seconds: float = STORE_TIMEOUT_SECONDS,
    ) -> dict[str, Document]:
        found = self._store.get_many(paths, known=known, timeout_seconds=timeout_seconds)
        self._meanwhile()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def row(row_id: str) -> InfrastructureCost:
    return InfrastructureCost(
        row_id=row_id,
        event_type="gpu_compute",
        service="kubernetes",
        starts_at=AT,
        ends_at=AT + timedelta(hours=1),
        cost_nanodollars=1,
    )


def test_rows_that_came_between_a_read_and_its_commit_are_kept(store: DocumentStore) -> None:
    others = Infrastructure(store, ManualClock())
    came = iter(["first of the day", "second", *[""] * 9])

    def meanwhile() -> None:
        if row_id := next(came):
            others.add(ACCOUNT_ID, [row(row_id)])

    taken = Infrastructure(Overtaken(store, meanwhile), ManualClock()).add(
        ACCOUNT_ID, [row("mine"), row("second")]
    )

    assert (taken.added, taken.replaced) == (1, 1)
    assert others.report(ACCOUNT_ID, [AT.date()], {}).total_nanodollars == 3


def test_who_is_overtaken_again_and_again_is_told(store: DocumentStore) -> None:
    others = Infrastructure(store, ManualClock())
    numbers = iter(range(100))
    overtaken = Overtaken(store, lambda: others.add(ACCOUNT_ID, [row(f"{next(numbers)}")]))

    with pytest.raises(Conflict):
        Infrastructure(overtaken, ManualClock()).add(ACCOUNT_ID, [row("mine")])

    assert others.report(ACCOUNT_ID, [AT.date()], {}).total_nanodollars == TRIES_MAX
