"""Every operation of the API's own description: what it needs, and a request that it serves.

Tests walk over `OPERATIONS`, so no route hides from them. A new one is put into `NEEDS` by what
`api_service.roles` calls it. `TARGETS` say what its parameters are filled with, `BODIES` what is sent where
the description's example would not be served in every account. What cannot be filled fails the walk.
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import pyotp
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api_service.access import Need
from api_service.app import create_app
from api_service.identities import Identity
from api_service.logs import ApiLog
from api_service.notices import Notice
from api_service.passwords import Passwords
from api_service.people import Membership, NewPerson, Person, creation_of_place
from api_service.roles import ROLES, Role
from api_service.services import EXTENSION, Services
from api_service.settings import ApiSettings
from metering.alerting import Finding
from metering.collections import delivery_path
from metering.directory import KeyTerms
from metering.keys import SCOPES, Scope
from metering.opening import open_store
from metering.setting_kinds import Secret
from metering.stores import DocumentStore, Update
from tests.builders import make_event
from tests.doubles.at_once import AtOnce
from tests.doubles.clock import ManualClock
from tests.doubles.mailbox import Mailbox
from tests.doubles.stores import StoreDown
from tests.services.api.conftest import ORIGIN, PASSWORD, SECRET
from tests.services.api.logbook import Logbook
from tests.services.api.test_events_and_usage import record

DATABASE: Final = "modeltrack.db"
NEEDS: Final[dict[Need, str]] = {
    "anyone": """
        POST /v1/signup, POST /v1/login, POST /v1/password-reset, POST /v1/password-reset/confirm,
        POST /v1/email/confirm, POST /v1/email/change, POST /v1/invites/look-up, POST /v1/invites/sign-up,
        POST /v1/login/second-factor, GET /v1/sign-in-providers, POST /v1/sign-in/{provider},
        GET /v1/sign-in/{provider}/return, GET /healthz, GET /health, GET /readyz,
        GET /v1/status""",
    "person": """
        GET /v1/session, POST /v1/logout, GET /v1/accounts, POST /v1/session/switch, POST /v1/account/leave,
        GET /v1/person, PATCH /v1/person, POST /v1/person/password, POST /v1/person/email,
        POST /v1/person/confirmation, GET /v1/person/sessions, DELETE /v1/person/sessions,
        DELETE /v1/person/sessions/{session_id}, POST /v1/invites/accept, GET /v1/person/identities,
        POST /v1/person/identities/{provider}, DELETE /v1/person/identities/{provider},
        GET /v1/person/second-factor, POST /v1/person/second-factor, POST /v1/person/second-factor/confirm,
        POST /v1/person/second-factor/recovery-codes, POST /v1/person/second-factor/switch-off,
        POST /v1/person/erase""",
    "read": """
        GET /v1/account, GET /v1/members, GET /v1/keys, GET /v1/budgets, GET /v1/budgets/{budget_id},
        GET /v1/routing-rules, GET /v1/routing-rules/{rule_id}, POST /v1/routing-rules/dry-run,
        GET /v1/stats/routing-rules, GET /v1/configuration-files,
        GET /v1/alerts, GET /v1/alerts/{alert_id}, GET /v1/anomalies, GET /v1/channels,
        GET /v1/channels/{channel_id}, GET /v1/webhooks, GET /v1/webhooks/{webhook_id}, GET /v1/notices,
        GET /v1/deliveries, GET /v1/deliveries/{delivery_id}, GET /v1/events, GET /v1/events/{request_id},
        GET /v1/usage, GET /v1/costs, GET /v1/stats/overview, GET /v1/stats/models,
        GET /v1/stats/providers, GET /v1/stats/teams, GET /v1/stats/apps, GET /v1/stats/features,
        GET /v1/stats/customer-tiers, GET /v1/stats/deployments, GET /v1/stats/keys, GET /v1/stats/latency,
        GET /v1/stats/savings, GET /v1/stats/comparison, GET /v1/sessions, GET /v1/sessions/timeline,
        GET /v1/exports/events, GET /v1/exports/focus, GET /v1/prompts, GET /v1/forecast,
        GET /v1/forecast/scenarios, GET /v1/estimator/models, GET /v1/estimates,
        POST /v1/estimates, GET /v1/suggestions,
        GET /v1/infrastructure, GET /v1/infrastructure/namespace-map, GET /v1/reconciliations,
        GET /v1/reports, GET /v1/reports/{period}, GET /v1/report-schedules,
        GET /v1/report-schedules/{schedule_id}, GET /v1/conservation, GET /v1/plan, GET /v1/retention,
        GET /v1/infrastructure, GET /v1/infrastructure/namespace-map""",
    "stats": "GET /metrics",
    "write": """
        POST /v1/budgets, PATCH /v1/budgets/{budget_id}, DELETE /v1/budgets/{budget_id},
        POST /v1/routing-rules, PATCH /v1/routing-rules/{rule_id}, DELETE /v1/routing-rules/{rule_id},
        POST /v1/alerts/{alert_id}/acknowledge, POST /v1/alerts/{alert_id}/snooze,
        POST /v1/alerts/{alert_id}/resolve, PUT /v1/infrastructure/namespace-map, POST /v1/report-schedules,
        PATCH /v1/report-schedules/{schedule_id}, DELETE /v1/report-schedules/{schedule_id},
        PUT /v1/infrastructure/namespace-map""",
    "ingest": "POST /v1/reconciliations, POST /v1/infrastructure/costs",
    "keys": "POST /v1/keys, POST /v1/keys/{key_id}/rotate, DELETE /v1/keys/{key_id}",
    "settings": """
        PATCH /v1/account, POST /v1/channels, PATCH /v1/channels/{channel_id},
        DELETE /v1/channels/{channel_id}, POST /v1/channels/{channel_id}/test, POST /v1/webhooks,
        PATCH /v1/webhooks/{webhook_id}, DELETE /v1/webhooks/{webhook_id},
        POST /v1/webhooks/{webhook_id}/test, POST /v1/webhooks/{webhook_id}/rotate-secret,
        POST /v1/deliveries/{delivery_id}/replay""",
    "people": """
        PATCH /v1/members/{member_id}, DELETE /v1/members/{member_id}, GET /v1/invites, POST /v1/invites,
        DELETE /v1/invites/{invite_id}, POST /v1/members/{member_id}/end-sessions,
        GET /v1/account/second-factor, POST /v1/account/second-factor/require,
        POST /v1/account/second-factor/waive""",
    "audit": "GET /v1/audit-events",
    "export": "GET /v1/account/export",
    "erase": "DELETE /v1/account",
}
NEED_OF: Final[dict[str, Need]] = {
    name.strip(): need for need, names in NEEDS.items() for name in names.split(",")
}
# What comes of a request that was let in, where the other side of it is not in this world.
ANSWERED: Final[dict[str, tuple[int, str]]] = {"GET /v1/sign-in/{provider}/return": (400, "sign_in_over")}
VISITORS: Final = (
    *ROLES,
    *(f"key {scope}" for scope in SCOPES),
    "nobody",
    "suspended owner",
    "suspended key",
    "owing owner",  # without the second factor that their account requires
    "owing key",  # of that account
)


@cache
def document() -> dict[str, Any]:
    """The API's description, as it is served."""
    app = create_app(
        ApiSettings(data_dir=Path(tempfile.gettempdir())),
        StoreDown(),
        ManualClock(),
        SECRET,
        log=ApiLog(ManualClock(), "error", Logbook()),
        mail=Mailbox(),
        sender=AtOnce(),
    )
    found: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
    return found


@dataclass(frozen=True)
class Operation:
    """One operation, as it is described."""

    method: str
    path: str
    described: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_open(self) -> bool:
        """Whether it asks for nobody in particular."""
        return not self.described.get("security")

    @property
    def done(self) -> int:
        """The status of what is served; of several, the first."""
        return min(int(each) for each in self.described["responses"] if each < "300")

    @property
    def example(self) -> dict[str, Any] | None:
        """The body that the description shows; None: it takes none."""
        if "requestBody" not in self.described:
            return None
        found: dict[str, Any] = self._body["example"]
        return found

    @property
    def fields(self) -> dict[str, Any]:
        """The schemas of the body's fields, by their names."""
        found: dict[str, Any] = self._body.get("properties", {})
        return found

    @property
    def _body(self) -> dict[str, Any]:
        schema = self.described["requestBody"]["content"]["application/json"]["schema"]
        found: dict[str, Any] = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found

    def parameters(self, place: str) -> list[dict[str, Any]]:
        """Its parameters there: `path`, `query` or `header`."""
        return [each for each in self.described.get("parameters", ()) if each["in"] == place]


OPERATIONS: Final = [
    Operation(method.upper(), path, described)
    for path, methods in document()["paths"].items()
    for method, described in methods.items()
]
OPERATION_OF: Final = {each.name: each for each in OPERATIONS}
DESCRIPTION: Final = Operation("GET", "/openapi.json", {})  # describes everything but itself


@dataclass(frozen=True)
class Sent:
    """A request."""

    method: str
    path: str
    query: Mapping[str, str]
    json: object | None


@dataclass
class Visitor:
    """Who asks: a person by their session, a key by its header, or nobody; from an address of their own."""

    kind: str
    client: FlaskClient
    address: str
    headers: Mapping[str, str]
    person: Person | None = None
    scopes: tuple[Scope, ...] = ()

    def ask(self, sent: Sent) -> TestResponse:
        return self.client.open(
            sent.path,
            method=sent.method,
            query_string=sent.query,
            json=sent.json,
            headers=dict(self.headers),
            environ_base={"REMOTE_ADDR": self.address},
            buffered=True,  # what is streamed is read to its end
        )


class World:
    """An API of many accounts, on one store, with a mailbox for everybody."""

    def __init__(self, store: DocumentStore, data: Path) -> None:
        self.store = store
        self.clock = ManualClock()
        self.mailbox = Mailbox()
        passwords = Passwords(memory_kib=64, passes=1)
        self.password_hash = passwords.hashed(PASSWORD)
        self.app: Flask = create_app(
            ApiSettings(
                data_dir=data,
                outbound_networks="127.0.0.0/8",
                github_client_id="modeltrack",
                github_client_secret=Secret("not asked for"),
            ),
            store,
            self.clock,
            SECRET,
            log=ApiLog(self.clock, "error", Logbook()),
            passwords=passwords,
            mail=self.mailbox,
            sender=AtOnce(),
        )
        self._numbers = count(1)
        self.place()  # the first to sign up has the machine's own account, which is unlike others

    @property
    def services(self) -> Services:
        found: Services = self.app.extensions[EXTENSION]
        return found

    def email(self) -> str:
        """An address that nobody has."""
        return f"person{next(self._numbers)}@example.com"

    def place(self) -> "Place":
        """An account of its own."""
        return Place(self)

    def client(self) -> tuple[FlaskClient, str]:
        """Somebody with an address on the internet that nobody else has."""
        number = next(self._numbers)
        return self.app.test_client(), f"100.{number // 250}.{number % 250}.1"


@contextmanager
def running_world(folder: Path) -> Iterator[World]:
    """A world on an embedded store of its own in that folder."""
    store = open_store(f"sqlite:///{folder}/{DATABASE}")
    yield World(store, folder)
    store.close()


class Place:
    """An account with an owner of its own, who makes what is needed there; it all bears the account's id."""

    def __init__(self, world: World) -> None:
        self.world = world
        newcomer = NewPerson(email=world.email(), password_hash=world.password_hash)
        seat = world.services.people.sign_up(newcomer, "An account")
        self.account_id = seat.account.account_id
        self.host, self.host_place = seat.person, seat.place

    @cached_property
    def owner(self) -> Visitor:
        return self.by_session("host", self.host)

    def person(self, role: Role) -> Person:
        """Somebody new, in that role."""
        people = self.world.services.people
        newcomer = NewPerson(email=self.world.email(), password_hash=self.world.password_hash)
        person, writes = people.creation_of(newcomer)
        now = self.world.clock.now()
        place = Membership(person_id=person.person_id, account_id=self.account_id, role=role, created_at=now)
        self.world.store.commit([*writes, creation_of_place(place)])
        return person

    def place_of(self, person: Person) -> Membership:
        place = self.world.services.people.place(person.person_id, self.account_id)
        assert place is not None
        return place

    def by_session(self, kind: str, person: Person) -> Visitor:
        client, address = self.world.client()
        sessions = self.world.services.sessions
        session_id = sessions.open(self.place_of(person), person.epoch, address)
        client.set_cookie("modeltrack_session", sessions.cookie_value(session_id))
        headers = {"X-CSRF-Token": sessions.csrf_token(session_id), "Origin": ORIGIN}
        return Visitor(kind, client, address, headers, person)

    def by_key(self, kind: str, *scopes: Scope) -> Visitor:
        client, address = self.world.client()
        plain, _ = self.world.services.directory.create_key(self.account_id, KeyTerms(scopes=scopes))
        return Visitor(kind, client, address, {"Authorization": f"Bearer {plain}"}, None, scopes)

    def visitor(self, kind: str) -> Visitor:
        """One of `VISITORS`. The account is suspended by `suspend`, and requires by `require`, only."""
        what, _, which = kind.rpartition(" ")
        if which in ROLES:
            return self.by_session(kind, self.person(which))
        if which == "nobody":
            return Visitor(kind, *self.world.client(), {})
        scopes = SCOPES if what in {"suspended", "owing"} else [each for each in SCOPES if each == which]
        return self.by_key(kind, *scopes)

    def suspend(self) -> None:
        self.world.services.directory.set_status(self.account_id, "suspended")

    def require_second_factor(self) -> None:
        now = self.world.clock.now()
        self.world.services.directory.change_account(
            self.account_id, lambda each: msgspec.structs.replace(each, second_factor_required_at=now)
        )

    def made(self, path: str, **body: Any) -> str:
        """The id of what the owner makes there; without a body, of the description's example."""
        response = self.owner.ask(Sent("POST", path, {}, body or OPERATION_OF[f"POST {path}"].example))
        assert response.status_code == 201, response.text
        found: str = response.get_json()["id"]
        return found

    # What can be asked for by its id

    def alert(self) -> str:
        finding = Finding(
            kind="budget",
            subject_id=f"budget of {self.account_id}",
            period="2026-11",
            step="80",
            level="warning",
            title=f"alert of {self.account_id}",
            text="80%",
            data={},
        )
        self.world.services.alerts.fire(self.account_id, [finding])
        return finding.alert_id(self.account_id)

    def delivery(self) -> str:
        """One that is done, so that it may be sent again."""
        notice = Notice(account_id=self.account_id, kind="alert.budget", title=self.account_id, text="80%")
        self.world.services.notices.tell(notice)
        listed = self.owner.ask(Sent("GET", "/v1/deliveries", {}, None)).get_json()["data"]
        found: str = listed[0]["id"]
        self.world.store.commit([Update(delivery_path(found), {"state": "delivered", "next_at": None})])
        return found

    def event(self) -> str:
        event = make_event(
            account_id=self.account_id,
            team=f"team of {self.account_id}",
            session_id=f"session of {self.account_id}",
            prompt_template_id=f"template of {self.account_id}",
            prompt_fingerprint=f"fingerprint of {self.account_id}",
            trace_id=f"trace of {self.account_id}",
        )
        record(self.world.store, self.world.clock, event)
        return event.request_id

    def session(self, asking: Visitor) -> str:
        """Another session of whoever asks, or of the owner."""
        sessions = self.world.services.sessions
        person = asking.person or self.host
        opened = sessions.open(self.place_of(person), person.epoch, asking.address)
        return sessions.public_id(opened)

    def query_of_event(self, what: str) -> str:
        self.event()
        return f"{what} of {self.account_id}"

    def identity(self, asking: Visitor) -> str:
        """Whoever asks, or the owner, may come in by a provider of this name."""
        person = asking.person or self.host
        identity = Identity(
            provider="github", issuer="https://github.com", subject=person.person_id, email=person.email
        )
        self.world.services.identities.link(person.person_id, person.epoch, identity)
        return identity.provider

    def app_code(self, asking: Visitor) -> str:
        """What the app shows of whoever asks, or of the owner, who is setting up a second factor."""
        person = asking.person or self.host
        made = self.world.services.second_factors.enrol(person.person_id, person.email)
        return pyotp.TOTP(made.secret).at(self.world.clock.now())

    def recovery_code(self, person: Person) -> str:
        """A code of the person, who now has a second factor."""
        made = self.world.services.second_factors.enrol(person.person_id, person.email)
        code = pyotp.TOTP(made.secret).at(self.world.clock.now())
        return self.world.services.second_factors.confirm(person.person_id, code)[0]

    def own_code(self, asking: Visitor) -> str:
        """A code of whoever asks, or of the owner, where they may not have one."""
        owes = asking.kind.startswith("owing")
        return self.recovery_code(self.host if owes or asking.person is None else asking.person)

    def code_owed(self, asking: Visitor) -> str:
        """The code that the owner still owes, who has begun to log in where the visitor sits."""
        code = self.recovery_code(self.host)
        sent = Sent("POST", "/v1/login", {}, {"email": self.host.email, "password": PASSWORD})
        assert Visitor("", asking.client, asking.address, {}).ask(sent).status_code == 202
        return code

    def invite_token(self, email: str = "") -> str:
        plain, _ = self.world.services.invites.make(email or self.world.email(), "viewer", self.host_place)
        return plain


Maker = Callable[[Place, Visitor], str]
BodyMaker = Callable[[Place, Visitor], dict[str, Any]]


def _scopes(asking: Visitor) -> list[Scope]:
    """What a key may have, of which whoever asks may make one."""
    return list(asking.scopes) or ["read"]


# What a parameter that names something is filled with, by where it stands.
TARGETS: Final[dict[tuple[str, str], Maker]] = {
    ("path", "alert_id"): lambda place, _: place.alert(),
    ("path", "budget_id"): lambda place, _: place.made(
        "/v1/budgets", name=f"budget of {place.account_id}", limit_usd=5
    ),
    ("path", "channel_id"): lambda place, _: place.made("/v1/channels", kind="email", email=place.host.email),
    ("path", "delivery_id"): lambda place, _: place.delivery(),
    ("path", "invite_id"): lambda place, _: place.made("/v1/invites", email=place.world.email()),
    ("path", "key_id"): lambda place, asking: place.made("/v1/keys", scopes=_scopes(asking)),
    ("path", "member_id"): lambda place, _: place.person("viewer").person_id,
    ("path", "period"): lambda *_: "2026-W46",
    ("path", "provider"): lambda place, asking: place.identity(asking),
    ("path", "request_id"): lambda place, _: place.event(),
    ("path", "rule_id"): lambda place, _: place.made(
        "/v1/routing-rules",
        name=f"rule of {place.account_id[:40]}",
        from_models=["claude-sonnet-4-6"],
        to_model="claude-haiku-4-5",
        threshold=70,
    ),
    ("path", "schedule_id"): lambda place, _: place.made("/v1/report-schedules"),
    ("path", "session_id"): lambda place, asking: place.session(asking),
    ("path", "webhook_id"): lambda place, _: place.made("/v1/webhooks", url="http://127.0.0.1:1/hook"),
    ("query", "channel_id"): lambda place, _: place.made(
        "/v1/channels", kind="email", email=place.host.email
    ),
    ("query", "confirm"): lambda place, _: place.account_id,
    ("query", "key_id"): lambda place, _: place.made("/v1/keys"),
    ("query", "model"): lambda *_: "claude-sonnet-4-6",
    ("query", "provider"): lambda *_: "anthropic",
    ("query", "api_key_ids"): lambda place, _: place.made("/v1/keys"),
    ("query", "prompt_template_id"): lambda place, _: place.query_of_event("template"),
    ("query", "prompt_fingerprint"): lambda place, _: place.query_of_event("fingerprint"),
    ("query", "trace_id"): lambda place, _: place.query_of_event("trace"),
    ("query", "session_id"): lambda place, _: place.query_of_event("session"),
}
# Bodies, where the example of the description is not served in every account.
BODIES: Final[dict[str, BodyMaker]] = {
    "POST /v1/signup": lambda place, _: {"email": place.world.email(), "password": PASSWORD},
    "POST /v1/login": lambda place, _: {"email": place.host.email, "password": PASSWORD},
    "POST /v1/login/second-factor": lambda place, asking: {"code": place.code_owed(asking)},
    "POST /v1/person/second-factor/confirm": lambda place, asking: {"code": place.app_code(asking)},
    "POST /v1/person/second-factor/recovery-codes": lambda place, asking: {
        "password": PASSWORD,
        "code": place.recovery_code(asking.person or place.host),
    },
    "POST /v1/person/second-factor/switch-off": lambda place, asking: {
        "password": PASSWORD,
        "code": place.recovery_code(asking.person or place.host),
    },
    "POST /v1/account/second-factor/require": lambda place, asking: {"code": place.own_code(asking)},
    "POST /v1/account/second-factor/waive": lambda place, asking: {"code": place.own_code(asking)},
    "POST /v1/person/erase": lambda *_: {"password": PASSWORD},
    "POST /v1/session/switch": lambda place, _: {"account_id": place.account_id},
    "POST /v1/person/email": lambda place, _: {"email": place.world.email(), "password": PASSWORD},
    "POST /v1/password-reset": lambda place, _: {"email": place.host.email},
    "POST /v1/password-reset/confirm": lambda place, _: {
        "token": place.world.services.people.token("reset_password", place.host),
        "password": "staple hoof seven",
    },
    "POST /v1/email/confirm": lambda place, _: {
        "token": place.world.services.people.token("confirm", place.host)
    },
    "POST /v1/email/change": lambda place, _: {
        "token": place.world.services.people.token("change_address", place.host, place.world.email())
    },
    "POST /v1/invites/look-up": lambda place, _: {"token": place.invite_token()},
    "POST /v1/invites/accept": lambda place, asking: {
        "token": place.world.place().invite_token(asking.person.email if asking.person else "")
    },
    "POST /v1/invites/sign-up": lambda place, _: {"token": place.invite_token(), "password": PASSWORD},
    "POST /v1/keys": lambda _, asking: {"scopes": _scopes(asking)},
}


def request_of(operation: Operation, place: Place, asking: Visitor) -> Sent:
    """A request that the operation serves, if whoever asks may: of what the account holds.

    Raises: KeyError, when it names something that nobody has said here how to make.
    """
    path = re.sub("{([a-z_]+)}", lambda found: TARGETS["path", found[1]](place, asking), operation.path)
    query = {
        each["name"]: made(place, asking)
        if (made := TARGETS.get(("query", each["name"])))
        else each["example"]
        for each in operation.parameters("query")
        if each["required"]
    }
    body = BODIES.get(operation.name)
    return Sent(operation.method, path, query, body(place, asking) if body else operation.example)
