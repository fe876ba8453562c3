"""The pages of routing rules: what each saved, a dry run before anything is kept, the file's read-only."""

from pathlib import Path
from typing import Any

from metering.stores import DocumentStore
from tests.doubles.clock import ManualClock
from tests.services.api.conftest import Person
from tests.services.api.operations import running_world
from tests.services.api.test_dashboard import BROWSER, HOSTILE, Reader, read
from tests.services.api.test_events_and_usage import record
from tests.services.api.test_routing_dry_runs import DOLLAR, PROPOSED, call
from tests.services.api.test_routing_rules import FILE, made


def words(person: Person, path: str, **query: Any) -> str:
    response = person.get(path, headers=BROWSER, query_string=query)
    assert response.status_code == 200, response.text
    return " ".join(" ".join(read(response).words).split())


def test_the_list_shows_what_each_rule_saved_as_the_api_tells_it(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    made(ada, "cheap")
    turned = {"routed": True, "saved_nanodollars": 2 * DOLLAR, "cost_nanodollars": DOLLAR}
    named = [call(ada, clock, 1, routing_rule=name, **turned) for name in ("cheap", "cheap", "gone")]
    record(sqlite_store, clock, *named)

    shown = words(ada, "/routing-rules")

    assert "Saved by rules $6.00" in shown
    assert "cheap claude-sonnet-4-6 → to claude-haiku-4-5 70% of a budget 2 $2.00 $4.00" in shown
    assert "gone 1 $1.00 $2.00" in shown


def test_a_dry_run_is_shown_before_anything_is_kept(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    ada.write("POST", "/v1/budgets", {"name": "all", "limit_usd": "10", "period": "month"})
    record(sqlite_store, clock, *(call(ada, clock, hours) for hours in (5, 4, 3)))
    form = {**PROPOSED, "from_models": "claude-sonnet-4-6\r\n\r\n", "name": "x", "enabled": "on"}

    shown = words(ada, "/routing-rules/dry-run", **form)

    assert "1 of 3 calls of these models would have been served by claude-haiku-4-5" in shown
    assert "$1.00 instead of $3.00 , so $2.00 saved" in shown
    assert "Not known" in shown
    assert ada.get("/v1/routing-rules").get_json()["data"] == []


def test_what_cannot_be_run_is_said_on_the_page(ada: Person) -> None:
    assert "From percent of a budget: give this, or the rule_id" in words(ada, "/routing-rules/dry-run")
    odd = {**PROPOSED, "from_models": "claude-sonnet-4-6", "threshold": "x"}
    assert "From percent of a budget: " in words(ada, "/routing-rules/dry-run", **odd)
    assert "there is no such routing rule" in words(ada, "/routing-rules/dry-run", rule_id="rule_1").lower()


def test_text_of_people_is_only_ever_text(ada: Person) -> None:
    rule = made(ada, 'a"><b>', description=HOSTILE)

    for path in ("/routing-rules", f"/routing-rules/{rule['id']}"):
        page = read(ada.get(path, headers=BROWSER))
        assert not [each for each in page.of("img") if each.get("onerror")]
        fields = [each.get("value", "") for each in page.of("input")]
        assert HOSTILE in "".join([*page.words, *fields])


def operations(page: Reader) -> list[str]:
    return [each["data-operation"] for each in page.of("form") if "/v1/routing" in str(each)]


def test_a_rule_of_the_file_is_marked_and_has_no_form(ada: Person, tmp_path: Path) -> None:
    (tmp_path / "routing.json").write_text(FILE)
    (rule,) = ada.get("/v1/routing-rules").get_json()["data"]

    page = read(ada.get("/routing-rules", headers=BROWSER))
    alone = read(ada.get(f"/routing-rules/{rule['id']}", headers=BROWSER))

    assert "from routing.json" in page.words
    assert operations(page) == operations(alone) == []
    assert "routing.json, read-only here" in alone.words


def test_rules_are_moved_switched_and_deleted_by_the_apis_own_operations(ada: Person) -> None:
    made(ada, "first")
    rule = made(ada, "second")

    page = read(ada.get("/routing-rules", headers=BROWSER))

    of_one = [each for each in operations(page) if rule["id"] in each]
    assert of_one == [f"PATCH /v1/routing-rules/{rule['id']}"] * 3 + [
        f"DELETE /v1/routing-rules/{rule['id']}"
    ]
    sent = [(each["name"], each["value"]) for each in page.of("input") if "data-as" in each]
    assert sent[-3:] == [("position", "0"), ("position", "2"), ("enabled", "false")]


def test_who_may_not_change_rules_sees_them_without_forms(tmp_path: Path) -> None:
    with running_world(tmp_path) as world:
        place = world.place()
        rule_id = place.made("/v1/routing-rules", name="cheap", **PROPOSED)
        viewer = place.visitor("viewer")

        pages = [
            read(viewer.client.get(path, headers=BROWSER))
            for path in ("/routing-rules", f"/routing-rules/{rule_id}")
        ]

    assert all("cheap" in each.words and operations(each) == [] for each in pages)
