"""The operator's commands, as programs and on two instances."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api_service.operator import operate
from api_service.people import NewPerson, People
from metering.collections import EMAILS, audit_events_collection
from metering.directory import Directory
from metering.erasure import close_account
from metering.erasure import run as run_erasure
from metering.errors import Conflict, InvalidInput, NotFound
from metering.opening import open_store
from metering.stores import DocumentStore, Query
from tests.builders import SECRET
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import MakeApp, Person

ROOT = Path(__file__).resolve().parents[3]
Bearer = Callable[..., dict[str, str]]


@pytest.fixture
def command(sqlite_store: DocumentStore, clock: ManualClock) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        out = io.StringIO()
        assert operate(sqlite_store, clock, arguments, out) == 0
        return out.getvalue()

    return run


def test_a_suspended_account_is_served_by_no_instance_until_it_is_resumed(
    ada: Person,
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    bearer: Bearer,
    command: Callable[..., str],
) -> None:
    headers = bearer(ada.account_id, "read")
    instances = [make_app(sqlite_store).test_client() for _ in range(2)]

    def statuses() -> list[int]:
        return [ada.get("/v1/account").status_code] + [
            each.get("/v1/account", headers=headers).status_code for each in instances
        ]

    assert statuses() == [200, 200, 200]
    assert "suspended" in command("suspend", ada.account_id)
    assert statuses() == [403, 403, 403]
    command("resume", ada.account_id)
    assert statuses() == [200, 200, 200]


def test_the_proxies_hear_of_a_suspension(
    ada: Person, directory: Directory, command: Callable[..., str]
) -> None:
    version = directory.changes().version

    command("suspend", ada.account_id)

    policy = directory.policy(ada.account_id)
    assert policy is not None
    assert policy.status == "suspended"
    assert ada.account_id in (directory.changes().since(version) or ())


def test_a_plan_is_changed_with_the_settings_it_bounds(ada: Person, command: Callable[..., str]) -> None:
    assert command("plan", ada.account_id, "free").strip().endswith("plan free, events kept 7 days")

    assert ada.get("/v1/plan").get_json()["name"] == "free"


def test_what_the_operator_did_stands_in_the_accounts_audit_log(
    ada: Person, command: Callable[..., str], clock: ManualClock
) -> None:
    clock.advance(1)
    command("plan", ada.account_id, "pro")

    newest = ada.get("/v1/audit-events").get_json()["data"][0]

    assert (newest["actor"], newest["operation"], newest["outcome"]) == ("operator", "change_plan", "done")
    assert newest["target_id"] == ada.account_id


def test_showing_is_not_noted(ada: Person, command: Callable[..., str], sqlite_store: DocumentStore) -> None:
    query = Query(collection=audit_events_collection(ada.account_id))
    before = len(sqlite_store.query(query))

    assert ada.account_id in command("show", ada.account_id)

    assert len(sqlite_store.query(query)) == before


@pytest.mark.parametrize("account_id", ["../x", "accounts", "", "acct_1/keys/2", "acct_1/../acct_2"])
def test_what_is_no_accounts_id_is_never_part_of_a_path(
    sqlite_store: DocumentStore, clock: ManualClock, account_id: str
) -> None:
    for words in (["show", account_id], ["suspend", account_id], ["erase", account_id, account_id]):
        with pytest.raises(NotFound):
            operate(sqlite_store, clock, words, io.StringIO())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], InvalidInput),
        (["suspend"], InvalidInput),
        (["plan", "acct_" + "0" * 32, "golden"], InvalidInput),
        (["show", "acct_x"], NotFound),
        (["suspend", "acct_x"], NotFound),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    command: Callable[..., str], arguments: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        command(*arguments)


def test_an_account_that_is_being_erased_is_not_resumed(
    ada: Person,
    command: Callable[..., str],
    directory: Directory,
    sqlite_store: DocumentStore,
    clock: ManualClock,
) -> None:
    close_account(sqlite_store, directory, clock, ada.account_id, "person_x")

    with pytest.raises(Conflict):
        command("resume", ada.account_id)


def test_an_operator_erases_an_account_whose_id_was_given_twice(
    ada: Person, bearer: Bearer, command: Callable[..., str], sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    headers = bearer(ada.account_id, "read")
    with pytest.raises(InvalidInput):
        command("erase", ada.account_id, ada.account_id[:-1])
    assert ada.get("/v1/account").status_code == 200

    assert "closed for good" in command("erase", ada.account_id, ada.account_id)

    assert ada.client.get("/v1/account", headers=headers).status_code == 401
    erased = run_erasure(sqlite_store, clock)
    assert (erased.accounts_erased, erased.people) == (1, 1)


def test_after_another_secret_people_are_found_by_their_addresses_again(
    ada: Person, sqlite_store: DocumentStore, directory: Directory, clock: ManualClock
) -> None:
    newer = b"another secret, as long as one has to be"
    people = People(sqlite_store, directory, clock, newer, is_hosted=True)
    assert people.by_email(ada.email) is None
    out = io.StringIO()

    assert operate(sqlite_store, clock, ["new-secret"], out, newer) == 0
    assert operate(sqlite_store, clock, ["new-secret"], out, newer) == 0

    assert (
        out.getvalue()
        == "1 people are found by their addresses again\n0 people are found by their addresses again\n"
    )
    found = people.by_email(ada.email)
    assert found is not None
    assert found.email == ada.email
    assert [each.fields for each in sqlite_store.query(Query(collection=EMAILS))] == [
        {"person_id": found.person_id}
    ]


def test_an_address_that_somebody_has_taken_since_stays_theirs(
    ada: Person, sqlite_store: DocumentStore, directory: Directory, clock: ManualClock
) -> None:
    newer = b"another secret, as long as one has to be"
    people = People(sqlite_store, directory, clock, newer, is_hosted=True)
    (claim,) = sqlite_store.query(Query(collection=EMAILS))
    later = people.sign_up(NewPerson(email=ada.email, password_hash="x"), "Later").person

    assert people.claim_addresses() == (0, [claim.fields["person_id"]])

    assert people.by_email(ada.email) == later


def test_no_secret_is_made_up_for_a_store_elsewhere(tmp_path: Path) -> None:
    environment = {"DATA_DIR": str(tmp_path), "STORE_URL": "firestore://demo-somewhere", "PATH": ""}

    done = subprocess.run(
        [sys.executable, "-m", "api_service.operator", "new-secret"],
        cwd=ROOT, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (2, "MODELTRACK_SECRET: give the one that the services have\n")
    assert not list(tmp_path.iterdir())


def test_it_runs_as_a_program(tmp_path: Path, clock: ManualClock) -> None:
    store = open_store(f"sqlite:///{tmp_path}/modeltrack.db")
    account_id = Directory(store, clock, SECRET).create_account("Ada").account_id
    store.close()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "api_service.operator", *arguments]
        environment = {"DATA_DIR": str(tmp_path), "PATH": ""}
        return subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)

    suspended, unknown = run("suspend", account_id), run("suspend", "acct_x")

    assert (suspended.returncode, suspended.stderr) == (0, "")
    assert suspended.stdout.startswith(f"{account_id}: suspended")
    assert unknown.returncode == 2
    assert unknown.stderr == f"there is no such account in sqlite:///{tmp_path}/modeltrack.db\n"
