"""The plan with what was used of it, and how long what is kept."""

from collections.abc import Callable

import pytest

from metering.directory import Directory
from metering.ledger import Ledger
from metering.retention_rules import RULES
from metering.segments import Segment
from metering.stores import DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.counting_store import CountingStore
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.test_sign_in import HOSTED


def keep_events(store: DocumentStore, clock: ManualClock, account_id: str, *teams: str) -> None:
    for number, team in enumerate(teams):
        event = make_event(
            account_id=account_id, timestamp=clock.now(), team=team, request_id=f"req_{number:032x}"
        )
        name = f"{'a' * 32}-{number}"
        Ledger(store, clock).commit(Segment(name=name, account_id=account_id, events=(event,)))


def test_the_plan_says_what_was_used_and_what_happens_at_each_limit(
    ada: Person, directory: Directory, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    directory.set_plan(ada.account_id, "free")
    keep_events(sqlite_store, clock, ada.account_id, "search", "search", "support", "")
    clock.advance(3600)

    plan = ada.get("/v1/plan").get_json()

    limits = {each["name"]: each for each in plan["limits"]}
    assert (plan["name"], plan["paid"], plan["exceeded"]) == ("free", False, True)
    assert (limits["teams"]["limit"], limits["teams"]["used"], limits["teams"]["exceeded"]) == (1, 2, True)
    assert (limits["events_a_month"]["used"], limits["events_a_month"]["exceeded"]) == (4, False)
    assert limits["requests_a_minute"]["used"] is None
    assert all(each["at_limit"] for each in limits.values())


def test_a_machine_of_ones_own_exceeds_nothing(ada: Person) -> None:
    plan = ada.get("/v1/plan").get_json()

    assert (plan["name"], plan["exceeded"]) == ("self_hosted", False)


def test_where_many_share_a_deployment_an_account_begins_with_the_least_plan(
    make_app: MakeApp, sqlite_store: DocumentStore, sign_up: Callable[..., Person]
) -> None:
    app = make_app(sqlite_store, **HOSTED)
    client = app.test_client()
    client.environ_base["HTTP_HOST"] = "api.example.com"

    response = client.post(
        "/v1/signup",
        json={"email": "ada@example.com", "password": "correct horse battery", "account_name": "Ada"},
    )

    assert response.status_code == 201
    assert client.get("/v1/account").get_json()["events_kept_days"] == 7


@pytest.mark.parametrize(("days", "status"), [(90, 200), (91, 422)])
def test_events_are_kept_no_longer_than_the_plan_says(
    ada: Person, directory: Directory, days: int, status: int
) -> None:
    directory.set_plan(ada.account_id, "pro")

    changed = ada.write("PATCH", "/v1/account", {"events_kept_days": days})

    assert changed.status_code == status
    if status == 422:
        assert changed.get_json()["error"]["param"] == "events_kept_days"


def test_a_month_is_summed_up_from_few_documents(
    ada: Person,
    make_app: MakeApp,
    sqlite_store: DocumentStore,
    clock: ManualClock,
    bearer: Callable[..., dict[str, str]],
) -> None:
    store = CountingStore(sqlite_store)
    client, headers = make_app(store).test_client(), bearer(ada.account_id, "read")
    clock.advance(9 * 24 * 3600)

    assert client.get("/v1/plan", headers=headers).status_code == 200
    assert store.documents_read <= 100


def test_the_table_of_retention_is_shown_with_the_accounts_own_days(ada: Person) -> None:
    ada.write("PATCH", "/v1/account", {"events_kept_days": 30})

    rules = {each["name"]: each for each in ada.get("/v1/retention").get_json()["data"]}

    assert {name: each["until"] for name, each in rules.items()} == {n: r.until for n, r in RULES.items()}
    assert rules["events"]["days"] == 30
    assert rules["audit_events"]["days"] == 90
    assert rules["usage"]["days"] is None
