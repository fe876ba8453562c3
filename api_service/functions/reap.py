"""The job `reap`: what dead instances' leases held and did not use goes back to their budgets."""

from datetime import datetime
from pathlib import Path

from api_service.functions.workplace import Workplace
from metering import reaping
from metering.journal_files import instances_in
from metering.queued_recovery import LEASE_GRACE, drained_until


def run(workplace: Workplace) -> reaping.ReapingReport:
    """Close expired leases of instances of which nothing is left to recover. Raises: StoreUnavailable."""
    return reaping.run(workplace.store, workplace.clock, _is_drained(workplace))


def _is_drained(workplace: Workplace) -> reaping.IsDrained:
    """Known before any lease is read: what comes to the journal later is of leases not yet expired."""
    journal = workplace.settings.journal_sink
    if journal.startswith("file:"):
        present = frozenset(instances_in(Path(journal.removeprefix("file:"))))
        return lambda instance, _expired_at: instance not in present
    # Nothing is ever recovered from a journal that nobody keeps.
    is_recovered = journal == "stdout" and workplace.settings.journal_subscription
    until = drained_until(workplace.store) if is_recovered else workplace.clock.now()

    def is_drained(_instance: str, expired_at: datetime) -> bool:
        return expired_at + LEASE_GRACE <= until

    return is_drained
