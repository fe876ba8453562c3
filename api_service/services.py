"""What routes work with, put together once in `app.create_app` and found through the application."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from flask import current_app

from api_service.afterwards import Afterwards
from api_service.alerts import Alerts
from api_service.attempts import Attempts
from api_service.audit_log import AuditLog
from api_service.channels import Channels
from api_service.devices import Devices
from api_service.export_places import ExportPlaces
from api_service.identities import Identities
from api_service.invites import Invites
from api_service.job_figures import JobFigures
from api_service.logs import ApiLog
from api_service.mail import Mail, Postbox
from api_service.members import Members
from api_service.notices import Notices
from api_service.passwords import Passwords
from api_service.people import People
from api_service.rates import Rates
from api_service.request_figures import RequestFigures
from api_service.second_factors import SecondFactors
from api_service.sending import Sender
from api_service.sessions import Sessions
from api_service.settings import ApiSettings
from api_service.sign_in_providers import ProviderName, SignInProvider
from api_service.sign_ins import SignIns
from api_service.status_board import StatusBoard
from metering.clock import Clock
from metering.day_memory import DayMemory
from metering.directory import Directory
from metering.file_configuration import FileConfiguration
from metering.ledger import Ledger
from metering.rulebook import Rulebook
from metering.seeding import Seeder
from metering.stats import Statistics
from metering.stores import DocumentStore

EXTENSION = "modeltrack"

TicketOf = Literal["sign_in", "second_factor"]


@dataclass(frozen=True)
class Services:
    """Everything a route may need."""

    settings: ApiSettings
    store: DocumentStore
    clock: Clock
    log: ApiLog
    directory: Directory
    people: People
    members: Members
    invites: Invites
    sessions: Sessions
    identities: Identities
    providers: Mapping[ProviderName, SignInProvider]  # those that are set up
    sign_ins: SignIns
    second_factors: SecondFactors
    passwords: Passwords
    rates: Rates
    audit: AuditLog
    attempts: Attempts
    devices: Devices
    afterwards: Afterwards
    export_places: ExportPlaces
    mail: Mail
    postbox: Postbox
    channels: Channels
    notices: Notices
    alerts: Alerts
    notice_sender: Sender
    ledger: Ledger
    statistics: Statistics
    day_memory: DayMemory  # of what days' rollups came to
    rulebook: Rulebook
    seeder: Seeder
    jobs: JobFigures
    requests: RequestFigures
    status: StatusBoard
    files: Callable[[], FileConfiguration]  # what the machine's own files say now

    @property
    def cookie_name(self) -> str:
        """The session cookie's name. `__Host-` makes browsers insist on https and on this host alone."""
        return "__Host-modeltrack_session" if self.settings.is_https else "modeltrack_session"

    @property
    def device_cookie_name(self) -> str:
        """The name of the cookie by which a browser is known that somebody has logged in with."""
        return "__Host-modeltrack_device" if self.settings.is_https else "modeltrack_device"

    def ticket_name(self, of: TicketOf) -> str:
        """The name of the cookie that holds the ticket of a sign-in under way."""
        return f"__Host-modeltrack_{of}" if self.settings.is_https else f"modeltrack_{of}"


def services() -> Services:
    """What the present request's application was made with."""
    found: Services = current_app.extensions[EXTENSION]
    return found
