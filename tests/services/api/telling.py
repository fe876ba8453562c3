"""An API and its jobs on one machine that may call itself, as tests of channels and alerts need them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api_service.functions import alert, deliver
from api_service.functions.deliver import DeliveryReport
from api_service.functions.settings import FunctionSettings
from api_service.functions.workplace import Workplace
from api_service.logs import ApiLog
from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.services.api.conftest import SECRET, MakeApp, Person
from tests.services.api.logbook import Logbook

NETWORKS = {"outbound_networks": "127.0.0.0/8"}


@dataclass
class Machine:
    """The application, what its jobs work with, and somebody with a key to it."""

    app: Flask
    place: Workplace
    clock: ManualClock
    mailbox: Mailbox
    ada: Person
    key: dict[str, str]  # the header that sends it

    def deliver(self) -> DeliveryReport:
        """Run the job that delivers, a moment later: what was written now is due then."""
        self.clock.advance(0.001)
        return deliver.run(self.place)

    def alert(self) -> alert.AlertReport:
        """Run the job that looks for what to alert to."""
        return alert.run(self.place)

    def get(self, path: str) -> TestResponse:
        """What Ada gets there."""
        return self.app.test_client().get(path, headers=self.key)

    def write(self, method: str, path: str, body: object | None = None) -> TestResponse:
        """What comes of Ada's writing there."""
        return self.app.test_client().open(path, method=method, json=body, headers=self.key)

    def made(self, path: str, **body: Any) -> dict[str, Any]:
        """What Ada made there."""
        response = self.write("POST", path, body)
        assert response.status_code in {200, 201, 202}, response.text
        found: dict[str, Any] = response.get_json()
        return found

    def listed(self, path: str) -> list[dict[str, Any]]:
        """What Ada sees there."""
        response = self.get(path)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.get_json()["data"]
        return found


def workplace(
    store: DocumentStore, clock: ManualClock, mailbox: Mailbox, data: Path, **settings: Any
) -> Workplace:
    """Where jobs work, on that store, with the secret of the application's."""
    given = {"data_dir": data, "modeltrack_secret": SECRET.decode(), **NETWORKS, **settings}
    log = settings.pop("log", None) or ApiLog(clock, "info", Logbook())
    return Workplace(FunctionSettings(**given), store, clock, log, mailbox)


@pytest.fixture
def machine(
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    clock: ManualClock,
    mailbox: Mailbox,
    sign_up: Callable[..., Person],
    bearer: Callable[..., dict[str, str]],
    tmp_path: Path,
) -> Machine:
    """An API on the embedded store, where Ada has signed up."""
    app = make_app(sqlite_store, **NETWORKS)
    ada = sign_up(on=app)
    place = workplace(sqlite_store, clock, mailbox, tmp_path)
    return Machine(app, place, clock, mailbox, ada, bearer(ada.account_id, "read", "write"))
