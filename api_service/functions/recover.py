"""The job `recover`: what the proxies' journals hold and the store does not, stored."""

from functools import cache
from pathlib import Path

from api_service.functions.workplace import Workplace
from metering import queued_recovery, recovery
from metering.price_table import load_price_table
from metering.pricing import Pricer


def run(workplace: Workplace) -> recovery.RecoveryReport:
    """Recover what `JOURNAL` names; a journal that nobody keeps leaves nothing.

    Raises: StoreUnavailable, QueueUnavailable.
    """
    settings, store, clock = workplace.settings, workplace.store, workplace.clock
    journal = settings.journal_sink
    if journal.startswith("file:"):
        return recovery.run(store, clock, Path(journal.removeprefix("file:")), _pricer)
    if journal == "stdout" and settings.journal_subscription:
        # Here, since a machine of one's own has no use for what it loads.
        from api_service.functions.journal_subscription import open_subscription  # noqa: PLC0415

        return queued_recovery.drain(store, clock, open_subscription(settings), _pricer)
    return recovery.RecoveryReport()


@cache
def _pricer() -> Pricer:
    return Pricer(load_price_table())
