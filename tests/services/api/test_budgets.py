"""Budgets over REST: made, shown to the nanodollar, changed; those of files read-only."""

import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from metering.accounts import LOCAL_ACCOUNT_ID
from metering.budgets import Budget
from metering.counters import LeaseName, counter_key
from metering.directory import Directory
from metering.ids import new_instance_name
from metering.ledger import Ledger
from metering.periods import period_of
from metering.segments import SegmentPacker
from metering.stores import Create, DocumentStore, Increment
from tests.builders import AT, make_event
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import MakeApp, Person

NEW = {"name": "search", "scope": {"team": "search"}, "limit_usd": "500"}
NO_SCOPE = {"team": "", "app": "", "key_id": "", "model": "", "unattributed": False}
FILE = '{"budgets": [{"team": "ml-research", "app": "", "monthly_limit": 500, "action": "block"}]}'


def made(person: Person, **changes: Any) -> dict[str, Any]:
    response = person.write("POST", "/v1/budgets", NEW | changes)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.get_json()
    return body


def budgets_of(directory: Directory, account_id: str) -> tuple[Budget, ...]:
    policy = directory.policy(account_id)
    assert policy is not None
    return policy.budgets


def test_a_new_budget_is_shown_with_how_it_stands(ada: Person) -> None:
    body = made(ada)

    assert body.pop("id").startswith("budget_")
    assert body == {
        "name": "search",
        "scope": NO_SCOPE | {"team": "search"},
        "each": None,
        "limit_nanodollars": 500_000_000_000,
        "limit_usd": 500,
        "period": "month",
        "timezone": "UTC",
        "action": "block",
        "mode": "normal",
        "thresholds_percent": [80, 100],
        "enabled": True,
        "source": "api",
        "created_at": "2026-11-21T09:30:00Z",
        "current_period": "2026-11",
        "counting_from": "2026-11-01T00:00:00Z",
        "resets_at": "2026-12-01T00:00:00Z",
        "value": None,
        "spent_nanodollars": 0,
        "spent_usd": 0,
        "held_nanodollars": 0,
        "held_usd": 0,
        "left_nanodollars": 500_000_000_000,
        "left_usd": 500,
        "percent": 0,
        "bound_nanodollars": 25_000_000_000,
        "bound_usd": 25,
        "values": [],
    }


def test_a_new_budget_governs_at_once_and_counts_what_was_spent(
    ada: Person, sqlite_store: DocumentStore, directory: Directory
) -> None:
    packer = SegmentPacker(new_instance_name())
    packer.add(make_event(account_id=ada.account_id, timestamp=AT - timedelta(days=3)), 0.0)
    for segment in packer.drain():
        Ledger(sqlite_store).commit(segment)

    body = made(ada)

    assert (body["spent_usd"], body["left_usd"]) == (0.01, 499.99)
    assert [each.budget_id for each in budgets_of(directory, ada.account_id)] == [body["id"]]


def test_what_is_held_comes_from_counters_and_open_leases(
    ada: Person, sqlite_store: DocumentStore, directory: Directory
) -> None:
    body = made(ada, limit_usd=1)
    (budget,) = budgets_of(directory, ada.account_id)
    key = counter_key(ada.account_id, budget, period_of("month", "UTC", AT))
    lease = LeaseName(key.counter_id, f"{1:032x}", 1)
    fields = {"account_id": ada.account_id, "state": "open", "amount": 600, "used": 250, "reported": 0}
    sqlite_store.commit(
        [
            Increment(key.path, {("reserved",): 600, ("instances",): 2}, key.identity),
            Create(lease.path, fields),
        ]
    )

    (shown,) = ada.get("/v1/budgets").get_json()["data"]

    assert (shown["spent_nanodollars"], shown["held_nanodollars"]) == (250, 350)
    assert shown["left_nanodollars"] == 1_000_000_000 - 600
    assert shown["bound_usd"] == 0.1
    assert ada.get(f"/v1/budgets/{body['id']}").get_json() == shown


@pytest.mark.parametrize(
    ("terms", "bound"), [({"mode": "strict"}, 0), ({"mode": "strict", "action": "warn"}, None)]
)
def test_the_bound_is_that_of_the_mode(ada: Person, terms: dict[str, str], bound: int | None) -> None:
    assert made(ada, **terms)["bound_usd"] == bound


def test_each_value_has_figures_of_its_own(
    ada: Person, sqlite_store: DocumentStore, directory: Directory
) -> None:
    made(ada, scope={}, each="team", limit_usd=1)
    (budget,) = budgets_of(directory, ada.account_id)
    for team, spent in (("ads", 200_000_000), ("search", 700_000_000)):
        key = counter_key(ada.account_id, budget, period_of("month", "UTC", AT), team)
        sqlite_store.commit([Increment(key.path, {("settled",): spent, ("reserved",): spent}, key.identity)])

    (shown,) = ada.get("/v1/budgets").get_json()["data"]

    assert (shown["value"], shown["spent_usd"], shown["percent"]) == ("search", 0.7, 70)
    values = [(each["value"], each["left_usd"]) for each in shown["values"]]
    assert values == [("search", 0.3), ("ads", 0.8)]


@pytest.mark.parametrize(
    ("period", "zone", "expected"),
    [
        ("day", "UTC", ("2026-11-21", "2026-11-22T00:00:00Z")),
        ("week", "UTC", ("2026-W47", "2026-11-23T00:00:00Z")),
        ("month", "Asia/Kolkata", ("2026-11@Asia/Kolkata", "2026-11-30T18:30:00Z")),
    ],
)
def test_a_budgets_period_is_that_of_its_calendar(
    ada: Person, period: str, zone: str, expected: tuple[str, str]
) -> None:
    body = made(ada, period=period, timezone=zone)

    assert (body["current_period"], body["resets_at"]) == expected


def test_what_is_left_out_of_a_change_stays(ada: Person) -> None:
    body = made(ada)

    response = ada.write("PATCH", f"/v1/budgets/{body['id']}", {"limit_usd": 0.000000001, "action": "warn"})

    changed = body | {
        "limit_usd": 1e-9,
        "limit_nanodollars": 1,
        "left_usd": 1e-9,
        "left_nanodollars": 1,
        "action": "warn",
        "bound_nanodollars": None,
        "bound_usd": None,
    }
    assert response.get_json() == changed


@pytest.mark.parametrize(
    ("field", "value"), [("scope", {"team": "ads"}), ("each", "team"), ("period", "day"), ("timezone", "UTC")]
)
def test_what_a_budget_counts_is_fixed(ada: Person, field: str, value: object) -> None:
    body = made(ada)

    response = ada.write("PATCH", f"/v1/budgets/{body['id']}", {field: value})

    error = response.get_json()["error"]
    assert (response.status_code, error["param"]) == (422, field)
    assert "fixed" in error["message"]


def test_a_ninth_budget_over_one_call_is_refused(ada: Person) -> None:
    for _ in range(8):
        made(ada)

    response = ada.write("POST", "/v1/budgets", NEW)

    assert (response.status_code, response.get_json()["error"]["param"]) == (422, "scope")
    made(ada, scope={"team": "ads"})


BAD = {
    "no limit": ({"limit_usd": None}, "limit_usd"),
    "negative": ({"limit_usd": -1}, "limit_usd"),
    "too fine": ({"limit_usd": "0.0000000001"}, "limit_usd"),
    "too large": ({"limit_usd": 1_000_000_001}, "limit_usd"),
    "not a number": ({"limit_usd": "NaN"}, "limit_usd"),
    "truth": ({"limit_usd": True}, "limit_usd"),
    "underscores": ({"limit_usd": "1_000"}, "limit_usd"),
    "another alphabet's digits": ({"limit_usd": "\uff11"}, "limit_usd"),
    "blanks": ({"limit_usd": " 5"}, "limit_usd"),
    "a foreign field": ({"spent_usd": 0}, "spent_usd"),
    "source": ({"source": "file"}, "source"),
    "no such action": ({"action": "explode"}, "action"),
    "no such dimension": ({"each": "feature"}, "each"),
    "zone": ({"timezone": "Mars/Olympus"}, "timezone"),
    "threshold": ({"thresholds_percent": [0]}, "thresholds_percent.0"),
    "true threshold": ({"thresholds_percent": [True]}, "thresholds_percent.0"),
    "threshold as text": ({"thresholds_percent": [" 5"]}, "thresholds_percent.0"),
    "scope": ({"scope": {"feature": "x"}}, "scope.feature"),
    "each of one": ({"each": "team"}, "each"),
}


@pytest.mark.parametrize(("changes", "param"), BAD.values(), ids=list(BAD))
def test_a_budget_that_makes_no_sense_is_refused_by_its_field(
    ada: Person, changes: dict[str, Any], param: str
) -> None:
    response = ada.write("POST", "/v1/budgets", NEW | changes)

    assert (response.status_code, response.get_json()["error"]["param"]) == (422, param)
    assert ada.get("/v1/budgets").get_json()["data"] == []


@pytest.mark.parametrize("field", ["name", "limit_usd", "action", "enabled"])
def test_null_is_no_change(ada: Person, field: str) -> None:
    body = made(ada)

    assert ada.write("PATCH", f"/v1/budgets/{body['id']}", {field: None}).status_code == 422


def test_a_deleted_budget_is_gone(ada: Person) -> None:
    path = f"/v1/budgets/{made(ada)['id']}"

    assert ada.write("DELETE", path).status_code == 204
    assert [ada.write("DELETE", path).status_code, ada.get(path).status_code] == [404, 404]


def test_another_accounts_budget_answers_like_an_unknown_one(
    ada: Person, sign_up: Callable[..., Person]
) -> None:
    path = f"/v1/budgets/{made(ada)['id']}"
    bob = sign_up("bob@example.com")

    answers = [
        bob.get(path),
        bob.write("PATCH", path, {"limit_usd": 1}),
        bob.write("DELETE", path),
        bob.get("/v1/budgets/budget_none"),
    ]

    assert {(each.status_code, each.get_json()["error"]["message"]) for each in answers} == {
        (404, "there is no such budget")
    }


@pytest.mark.parametrize("pins", [{"team": "search"}, {"app": "web"}])
def test_a_pinned_key_changes_no_budgets(
    ada: Person, client: FlaskClient, bearer: Callable[..., dict[str, str]], pins: dict[str, str]
) -> None:
    path = f"/v1/budgets/{made(ada)['id']}"
    key = bearer(ada.account_id, "read", "write", **pins)

    assert client.get(path, headers=key).status_code == 200
    assert client.post("/v1/budgets", json=NEW, headers=key).status_code == 403
    assert client.patch(path, json={"limit_usd": 1}, headers=key).status_code == 403
    assert client.delete(path, headers=key).status_code == 403


@pytest.fixture
def own_key(directory: Directory, bearer: Callable[..., dict[str, str]]) -> dict[str, str]:
    """A key of the machine's own account."""
    directory.ensure_local_account()
    return bearer(LOCAL_ACCOUNT_ID, "read", "write")


def test_budgets_of_a_file_are_shown_and_read_only(
    client: FlaskClient, own_key: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "budgets.json").write_text(FILE)

    (shown,) = client.get("/v1/budgets", headers=own_key).get_json()["data"]

    assert (shown["name"], shown["source"], shown["limit_usd"]) == ("ml-research", "file", 500)
    assert (shown["scope"]["team"], shown["created_at"]) == ("ml-research", None)
    path = f"/v1/budgets/{shown['id']}"
    assert client.get(path, headers=own_key).get_json() == shown
    for response in (
        client.patch(path, json={"limit_usd": 1}, headers=own_key),
        client.delete(path, headers=own_key),
    ):
        assert (response.status_code, response.get_json()["error"]["code"]) == (409, "conflict")


def test_a_change_of_the_file_shows_with_the_next_answer(
    client: FlaskClient, own_key: dict[str, str], tmp_path: Path
) -> None:
    for limit in (500, 501):
        (tmp_path / "budgets.json").write_text(FILE.replace("500", str(limit)))
        (shown,) = client.get("/v1/budgets", headers=own_key).get_json()["data"]
        assert shown["limit_usd"] == limit


def test_a_bad_file_is_told_with_why(client: FlaskClient, own_key: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "budgets.json").write_text(FILE)
    client.get("/v1/budgets", headers=own_key)
    (tmp_path / "budgets.json").write_text(FILE.replace("block", "explode"))

    files = client.get("/v1/configuration-files", headers=own_key).get_json()["data"]

    assert files[0] == {
        "file": "budgets.json",
        "state": "refused",
        "entries": 1,
        "changed_at": "2026-11-21T09:30:00Z",
        "complaints": ["budgets.0.action: give 'block' or 'warn'"],
    }
    assert len(client.get("/v1/budgets", headers=own_key).get_json()["data"]) == 1


def test_other_accounts_see_nothing_of_the_machines_files(
    ada: Person, sign_up: Callable[..., Person], tmp_path: Path
) -> None:
    (tmp_path / "budgets.json").write_text(FILE)
    bob = sign_up("bob@example.com")  # the first to sign up has the machine's own account

    assert len(ada.get("/v1/budgets").get_json()["data"]) == 1
    assert bob.get("/v1/budgets").get_json()["data"] == []
    assert bob.get("/v1/configuration-files").get_json()["data"] == []


def test_a_hosted_service_reads_no_files(
    make_app: MakeApp, firestore_store: DocumentStore, clock: ManualClock, tmp_path: Path
) -> None:
    app = make_app(
        firestore_store,
        modeltrack_hosted=True,
        store_url="firestore://demo-x",
        modeltrack_secret=secrets.token_hex(32),
        public_url="https://api.example.com",
        proxy_public_url="https://proxy.example.com",
        smtp_host="mail.example.com",
        mail_from="modeltrack@example.com",
        journal="stdout",
    )
    (tmp_path / "budgets.json").write_text(FILE)

    assert app.extensions["modeltrack"].files().states == ()


def test_the_same_on_the_hosted_store(
    make_app: MakeApp, firestore_store: DocumentStore, sign_up: Callable[..., Person]
) -> None:
    ada = sign_up(on=make_app(firestore_store))

    body = made(ada, scope={}, each="team")
    ada.write("PATCH", f"/v1/budgets/{body['id']}", {"limit_usd": 7})

    (shown,) = ada.get("/v1/budgets").get_json()["data"]
    assert (shown["limit_usd"], shown["id"]) == (7, body["id"])
    assert ada.write("DELETE", f"/v1/budgets/{body['id']}").status_code == 204
