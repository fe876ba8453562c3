"""The job `recover`: what the proxies' journals hold and the store does not, stored."""

from functools import cache
from pathlib import Path

from api_service.functions.workplace import Workplace
from metering import recovery
from metering.price_table import load_price_table
from metering.pricing import Pricer


def run(workplace: Workplace) -> recovery.RecoveryReport:
    """Recover what `JOURNAL` names; a journal that is off leaves nothing. Raises: StoreUnavailable."""
    journal = workplace.settings.journal_sink
    if journal.startswith("file:"):
        directory = Path(journal.removeprefix("file:"))
        return recovery.run(workplace.store, workplace.clock, directory, _pricer)
    return recovery.RecoveryReport()


@cache
def _pricer() -> Pricer:
    return Pricer(load_price_table())
