"""The API as its callers meet it: the real application on a real store, driven through Flask's client."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api_service.app import create_app
from api_service.logs import ApiLog
from api_service.passwords import Passwords
from api_service.settings import ApiSettings
from metering.directory import Directory, KeyTerms
from metering.keys import Scope
from metering.stores import DocumentStore
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.services.api.logbook import Logbook

SECRET = secrets.token_hex(32).encode()
ORIGIN = "http://127.0.0.1:3001"
PASSWORD = "correct horse battery"

MakeApp = Callable[..., Flask]


@dataclass
class Person:
    """Somebody with a browser: their client holds the cookie, `write` adds what a page of ours sends."""

    client: FlaskClient
    csrf_token: str
    account_id: str
    email: str

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def write(self, method: str, path: str, json: object | None = None, **headers: str) -> TestResponse:
        sent = {"X-CSRF-Token": self.csrf_token, "Origin": ORIGIN} | headers
        return self.client.open(path, method=method, json=json, headers=sent)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def logbook() -> Logbook:
    return Logbook()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def make_app(tmp_path: Path, clock: ManualClock, logbook: Logbook, mailbox: Mailbox) -> MakeApp:
    """Makes an application on a store; settings by their environment names in lower case."""

    def make(store: DocumentStore, **settings: Any) -> Flask:
        return create_app(
            ApiSettings(**{"data_dir": tmp_path} | settings),
            store,
            clock,
            SECRET,
            log=ApiLog(clock, "debug", logbook),
            passwords=Passwords(memory_kib=64, passes=1),
            mail=mailbox,
            sender=AtOnce(),
        )

    return make


@pytest.fixture
def app(make_app: MakeApp, sqlite_store: DocumentStore) -> Flask:
    """The application, self-hosted, on the embedded store."""
    return make_app(sqlite_store)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Somebody whom nobody knows yet."""
    return app.test_client()


@pytest.fixture
def directory(sqlite_store: DocumentStore, clock: ManualClock) -> Directory:
    """The accounts and keys behind `app`."""
    return Directory(sqlite_store, clock, SECRET)


@pytest.fixture
def sign_up(app: Flask) -> Callable[..., Person]:
    """Signs somebody up; `on` another application than `app`, where given."""

    def sign_up_person(email: str = "ada@example.com", on: Flask | None = None) -> Person:
        client = (on or app).test_client()
        response = client.post(
            "/v1/signup", json={"email": email, "password": PASSWORD, "account_name": "Ada & Co"}
        )
        assert response.status_code == 201, response.text
        body = response.get_json()
        return Person(client, body["csrf_token"], body["account"]["id"], email)

    return sign_up_person


@pytest.fixture
def ada(sign_up: Callable[..., Person]) -> Person:
    """Somebody who has signed up and is logged in."""
    return sign_up()


@pytest.fixture
def bearer(directory: Directory) -> Callable[..., dict[str, str]]:
    """Makes a key of an account and gives the header that sends it."""

    def make_header(account_id: str, *scopes: Scope, **terms: Any) -> dict[str, str]:
        plain, _ = directory.create_key(account_id, KeyTerms(scopes=scopes, **terms))
        return {"Authorization": f"Bearer {plain}"}

    return make_header
