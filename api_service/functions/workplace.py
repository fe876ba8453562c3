"""Where jobs work: the process's settings, store, clock and log."""

from dataclasses import dataclass

from api_service.functions.settings import FunctionSettings
from api_service.logs import ApiLog
from api_service.mail import Mail
from api_service.notices import Notices, notices_of
from metering.clock import Clock
from metering.stores import DocumentStore


@dataclass(frozen=True)
class Workplace:
    """What jobs work with."""

    settings: FunctionSettings
    store: DocumentStore
    clock: Clock
    log: ApiLog
    mail: Mail

    @property
    def notices(self) -> Notices:
        """What tells accounts of things."""
        return notices_of(self.settings, self.store, self.clock)
