"""The job `reap`: what dead instances' leases held and did not use goes back to their budgets."""

from datetime import datetime
from pathlib import Path

from api_service.functions.workplace import Workplace
from metering import reaping
from metering.journal_files import instances_in


def run(workplace: Workplace) -> reaping.ReapingReport:
    """Close expired leases of instances of which nothing is left to recover. Raises: StoreUnavailable."""
    return reaping.run(workplace.store, workplace.clock, _is_drained(workplace.settings.journal_sink))


def _is_drained(journal: str) -> reaping.IsDrained:
    if not journal.startswith("file:"):
        return lambda _instance, _expired_at: True
    # Looked for once, before any lease is read: an instance that begins later has none that expired.
    present = frozenset(instances_in(Path(journal.removeprefix("file:"))))

    def is_drained(instance: str, _expired_at: datetime) -> bool:
        return instance not in present

    return is_drained
