"""Reaping: what dead instances' leases held and did not use goes back to their budgets.

A lease that its owner did not renew in time still counts as held, since calls of the owner may have spent it
without the store knowing. Only when recovery has stored all that the owner left is it known what was used;
then the lease is closed with just that. A charge that comes later yet opens it again, and it is reaped anew.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

import msgspec

from metering.clock import Clock
from metering.collections import LEASES
from metering.counters import OPEN, lease_named
from metering.errors import RevisionChanged
from metering.leases import fold
from metering.stores import Document, DocumentStore, Query

LEASES_A_READ: Final = 300
LEASES_A_RUN_MAX: Final = 30_000  # the others by the next run

IsDrained = Callable[[str, datetime], bool]
"""Whether recovery has stored all that the instance of that name left, whose lease expired at that moment."""


class ReapingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to, in leases."""

    leases_closed: int = 0
    leases_waiting: int = 0  # for recovery, or for their owner, which lives
    leases_unclosable: int = 0  # changed all the time, or no lease of ours


def run(store: DocumentStore, clock: Clock, is_drained: IsDrained) -> ReapingReport:
    """Close the expired leases of instances of which nothing is left to recover.

    Safe at any time, and at once with owners and other reapers. Raises: StoreUnavailable; what was closed
    stays closed, and the next run does the rest.
    """
    closed = waiting = unclosable = 0
    for lease in _expired(store, clock.now()):
        try:
            if is_drained(lease_named(lease.document_id).instance, lease.fields["expires_at"]):
                closed += fold(store, lease.document_id)
            else:
                waiting += 1
        except (RevisionChanged, ValueError):  # one that cannot be closed keeps no other from it
            unclosable += 1
    return ReapingReport(leases_closed=closed, leases_waiting=waiting, leases_unclosable=unclosable)


def _expired(store: DocumentStore, now: datetime) -> Iterator[Document]:
    after: tuple[datetime, str] | None = None
    for _ in range(0, LEASES_A_RUN_MAX, LEASES_A_READ):
        found = store.query(
            Query(
                collection=LEASES,
                equal={"state": OPEN},
                order_by="expires_at",
                below=now,
                after=after,
                limit=LEASES_A_READ,
            )
        )
        yield from found
        if len(found) < LEASES_A_READ:
            return
        after = (found[-1].fields["expires_at"], found[-1].document_id)
