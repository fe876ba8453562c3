"""The dashboard as a browser meets it: who is shown which page, with which headers, and the API's figures."""

import gzip
import io
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import product

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api_service.dashboard.csp_reports import LINES_A_MINUTE, Lines
from api_service.dashboard.navigation import PAGES, Page
from api_service.dashboard.rendering import POLICY
from api_service.roles import ROLES, Role, role_may
from api_service.services import EXTENSION
from metering.stores import DocumentStore
from tests.builders import make_event
from tests.doubles.clock import ManualClock
from tests.doubles.stores import StoreDown
from tests.services.api.conftest import MakeApp, Person
from tests.services.api.logbook import Logbook
from tests.services.api.operations import Visitor, World, running_world
from tests.services.api.test_events_and_usage import record

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
NAVIGATING = BROWSER | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


class Reader(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(response: TestResponse) -> Reader:
    assert response.mimetype == "text/html", response.text
    return Reader(response.text)


def made_pages(app: Flask) -> list[Page]:
    """The pages that there are, but for those of one thing by its id."""
    made = app.view_functions
    return [each for each in PAGES if f"dashboard.{each.name}_page" in made and "<" not in each.path]


def test_who_is_not_logged_in_is_led_to_the_log_in_and_back(client: FlaskClient) -> None:
    first = client.get("/overview", headers=BROWSER)
    deeper = client.get("/keys?range=7d&team=a%20b", headers=BROWSER)

    assert (first.status_code, first.headers["Location"]) == (303, "/login")
    assert deeper.headers["Location"] == "/login?next=%2Fkeys%3Frange%3D7d%26team%3Da%2520b"
    forms = read(client.get(deeper.headers["Location"], headers=BROWSER)).of("form")
    assert "/keys?range=7d&team=a%20b" in [each.get("data-then") for each in forms]


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example/overview", "//evil.example", "/\\evil.example", "/nowhere", "/v1/account",
     "javascript:alert(1)", "/login", "overview", "/overview\t/", "", "/" + "a" * 5_000,
     "//[", "//[::1", "http://[", "/overview//[", "/.//evil.example", "/events/..//evil.example"],
)  # fmt: skip
def test_nobody_is_led_anywhere_but_to_pages_of_ours(client: FlaskClient, wanted: str) -> None:
    page = read(client.get("/login", query_string={"next": wanted}, headers=BROWSER))

    assert {each["data-then"] for each in page.of("form") if "data-then" in each} == {"/overview"}


def test_where_to_go_on_takes_nothing_of_the_log_ins_answer_along(client: FlaskClient) -> None:
    page = read(client.get("/login", query_string={"next": "/keys?team={csrf_token}"}, headers=BROWSER))

    assert "/keys?team=%7Bcsrf_token%7D" in [each.get("data-then") for each in page.of("form")]


@pytest.mark.parametrize("query", ["team=%ff", "team=%ed%a0%80", "&".join(["a=1"] * 201)])
@pytest.mark.parametrize("path", ["/login", "/status", "/overview", "/nowhere"])
def test_an_address_that_cannot_be_read_is_told_so(
    ada: Person, logbook: Logbook, path: str, query: str
) -> None:
    response = ada.get(f"{path}?{query}", headers=BROWSER)

    assert response.status_code == (404 if path == "/nowhere" else 400)
    assert [each for each in logbook.lines() if each["level"] == "error"] == []
    assert read(response).of("main")


def test_who_is_logged_in_needs_no_log_in(ada: Person) -> None:
    response = ada.get("/login?next=/keys", headers=BROWSER)

    assert (response.status_code, response.headers["Location"]) == (303, "/keys")


def test_what_htmx_asks_for_without_a_session_leads_the_whole_page_away(client: FlaskClient) -> None:
    response = client.get("/overview", headers=BROWSER | {"HX-Request": "true"})

    assert (response.status_code, response.headers["HX-Redirect"]) == (401, "/login")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("pages")) as running:
        yield running


@pytest.mark.parametrize("role", ROLES)
def test_each_role_opens_the_pages_that_the_table_gives_it(world: World, role: Role) -> None:
    place = world.place()
    asking = place.visitor(role)

    found = {
        each.path: asking.client.get(each.path, headers=BROWSER).status_code != 403
        for each in made_pages(asking.client.application)
        if each.need != "anyone"
    }

    assert found == {
        each.path: role_may(role, each.need)
        for each in made_pages(asking.client.application)
        if each.need != "anyone"
    }


def test_a_page_that_a_role_may_not_open_says_who_may(world: World) -> None:
    asking = world.place().visitor("viewer")

    response = asking.client.get("/keys/new", headers=BROWSER)

    assert response.status_code == 403
    assert "This page is for: owner, admin, member." in response.text


def test_the_menu_shows_what_the_role_may_open_and_nothing_else(world: World) -> None:
    place = world.place()
    shown = {
        role: {each.get("href") for each in read(menu_of(place.visitor(role))).of("a")}
        for role in ("owner", "viewer")
    }

    assert "/keys/new" in shown["owner"]
    assert "/keys/new" not in shown["viewer"]


def menu_of(asking: Visitor) -> TestResponse:
    return asking.client.get("/overview", headers=BROWSER)


def test_an_address_that_there_is_not_is_a_page_with_the_menu(ada: Person) -> None:
    page = read(ada.get("/nothing/here", headers=BROWSER))

    assert "There is nothing here" in page.words
    assert "/overview" in [each.get("href") for each in page.of("a")]


def test_every_page_has_the_policy_and_is_kept_by_nobody(
    ada: Person, client: FlaskClient, app: Flask
) -> None:
    for visitor, each in product((ada.client, client), made_pages(app)):
        response = visitor.get(each.path, headers=BROWSER)
        if response.status_code == 303:
            continue
        assert response.headers["Content-Security-Policy"] == POLICY, each.path
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Vary"] == "Cookie"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "unsafe" not in response.headers["Content-Security-Policy"]


def test_no_page_holds_script_or_style_of_its_own(ada: Person, client: FlaskClient, app: Flask) -> None:
    for visitor, each in product((ada.client, client), made_pages(app)):
        response = visitor.get(each.path, headers=BROWSER)
        if response.status_code == 303:
            continue
        page = read(response)
        assert not page.of("style"), each.path
        assert all(script["src"].startswith("/static/") for script in page.of("script")), each.path
        names = {name for _, attributes in page.elements for name in attributes}
        assert not {name for name in names if name.startswith("on") or name == "style"}, each.path
        assert len(page.of("h1")) == 1, each.path


def test_the_api_goes_on_answering_json_with_its_own_policy(ada: Person) -> None:
    refused = ada.get("/v1/nothing", headers=BROWSER)
    account = ada.get("/v1/account", headers=BROWSER)

    assert (refused.status_code, refused.mimetype) == (404, "application/json")
    assert account.mimetype == "application/json"
    assert account.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_a_program_that_asks_for_what_is_not_there_gets_json(client: FlaskClient) -> None:
    assert client.get("/nothing").get_json()["error"]["code"] == "not_found"


def test_a_key_opens_no_page(ada: Person, client: FlaskClient, bearer: Callable[..., dict[str, str]]) -> None:
    response = client.get("/overview", headers=BROWSER | bearer(ada.account_id, "read"))

    assert response.status_code == 403


def test_whoever_arrives_from_elsewhere_is_led_on_once(client: FlaskClient) -> None:
    first = client.get("/overview?range=7d", headers=NAVIGATING)
    second = client.get("/overview?range=7d", headers=NAVIGATING)

    assert "url=/overview?range=7d" in first.text
    assert second.status_code == 303


def test_a_host_of_another_name_gets_no_page(client: FlaskClient) -> None:
    assert client.get("/login", headers=BROWSER | {"Host": "evil.example"}).status_code == 400


def test_a_suspended_account_is_told_so_and_goes_on_to_another(world: World) -> None:
    place = world.place()
    asking = place.visitor("owner")
    place.suspend()

    overview = asking.client.get("/overview", headers=BROWSER)
    switch = asking.client.get("/account/switch", headers=BROWSER)

    assert overview.status_code == 403
    assert "This account is suspended; write to support." in overview.text
    assert switch.status_code == 200


def test_a_store_that_is_silent_makes_a_page_that_says_so(make_app: MakeApp) -> None:
    app = make_app(StoreDown())
    client = app.test_client()
    client.set_cookie("modeltrack_session", app.extensions[EXTENSION].sessions.cookie_value("somebody"))

    page = client.get("/overview", headers=BROWSER)

    assert (page.status_code, page.headers["Retry-After"]) == (503, "2")
    assert "No answer just now" in read(page).words
    assert client.get("/login", headers=BROWSER).status_code == 200


def test_what_callers_named_is_only_ever_text(
    ada: Person, sqlite_store: DocumentStore, clock: ManualClock
) -> None:
    named = {"team": HOSTILE, "model": HOSTILE}
    record(sqlite_store, clock, make_event(account_id=ada.account_id, timestamp=clock.now(), **named))
    ada.write("POST", "/v1/keys", {"name": HOSTILE})

    overview = read(ada.get("/overview", query_string={"team": HOSTILE, "range": "7d"}, headers=BROWSER))
    keys = read(ada.get("/keys", headers=BROWSER))

    for page in (overview, keys):
        assert HOSTILE in page.words
        assert not [each for each in page.of("img") if "onerror" in each]


def test_a_part_that_cannot_be_read_says_so_and_the_rest_stands(ada: Person) -> None:
    page = ada.get("/overview", query_string={"key_id": "x", "team": "y"}, headers=BROWSER)

    assert page.status_code == 200
    assert "goes with provider and model only" in page.text
    assert "Accounted for" in page.text


def test_a_page_that_breaks_says_nothing_of_why(ada: Person, app: Flask, logbook: Logbook) -> None:
    def burst(name: str) -> str:
        if name == "charts.js":
            raise RuntimeError("canary")
        return name

    app.jinja_env.globals["asset"] = burst

    page = ada.get("/overview", headers=BROWSER)

    assert page.status_code == 500
    assert "RuntimeError" not in page.text
    assert "canary" not in page.text + logbook.getvalue()
    assert [each["kind"] for each in logbook.lines() if each["event"] == "broken"] == ["RuntimeError"]


def test_files_are_served_compressed_and_kept_for_good(client: FlaskClient) -> None:
    address = read(client.get("/login", headers=BROWSER)).of("link")[1]["href"]

    packed = client.get(address, headers={"Accept-Encoding": "gzip, br"})
    plain = client.get(address)

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert packed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert "X-RateLimit-Limit" not in packed.headers


def test_no_password_shows_as_it_is_typed(ada: Person, client: FlaskClient, app: Flask) -> None:
    shown = product((ada.client, client), made_pages(app))
    pages = [visitor.get(each.path, headers=BROWSER) for visitor, each in shown]
    typed = [field for page in pages if page.status_code == 200 for field in read(page).of("input")]
    passwords = [field for field in typed if "password" in field.get("name", "")]

    assert {field["name"] for field in passwords} == {"password", "current_password"}
    assert {field["autocomplete"] for field in passwords} == {"current-password", "new-password"}
    assert {field["type"] for field in passwords} == {"password"}


@pytest.mark.parametrize(
    "name", ["", ".", "./", "style.css", "../app.py", "..%2fapp.py", "vendor", "vendor/", "style.0.css"]
)
def test_no_file_is_served_but_those_of_the_table(client: FlaskClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_pages_stand_in_no_description_of_the_api(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]

    assert not {each.path for each in PAGES} & set(paths)


REPORT = {
    "csp-report": {
        "document-uri": "http://127.0.0.1:3001/keys?team=secret",
        "effective-directive": "script-src-elem",
        "blocked-uri": "https://evil.example/x.js",
    }
}


def test_what_a_browser_kept_a_page_from_is_told_by_directive_and_page_alone(
    client: FlaskClient, logbook: Logbook
) -> None:
    response = client.post("/csp-reports", json=REPORT, headers={"Content-Type": "application/csp-report"})

    told = [each for each in logbook.lines() if "policy" in each["event"]]
    assert response.status_code == 204
    assert [(each["directive"], each["route"]) for each in told] == [("script-src-elem", "/keys")]
    assert "secret" not in logbook.getvalue()
    assert "evil" not in logbook.getvalue()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"[" * 50_000, b'{"csp-report": 1}', b'{"csp-report": {"document-uri": []}}',
     b'{"csp-report": {"document-uri": "http://[/"}}', b'{"csp-report": {"document-uri": "\xed\xa0\x80"}}'],
)  # fmt: skip
def test_a_report_that_is_none_harms_nobody(client: FlaskClient, body: bytes) -> None:
    assert client.post("/csp-reports", data=body[:16_000]).status_code == 204


def test_a_report_that_is_too_long_is_refused(client: FlaskClient) -> None:
    at_most = client.post("/csp-reports", data=b" " * 16 * 1024)
    beyond = client.post("/csp-reports", data=b" " * (16 * 1024 + 1))

    assert (at_most.status_code, beyond.status_code) == (204, 413)


def test_a_report_of_no_told_length_is_measured(client: FlaskClient) -> None:
    body = io.BytesIO(b" " * (16 * 1024 + 1))
    told = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}

    response = client.post("/csp-reports", input_stream=body, environ_overrides=told)

    assert response.status_code == 413


def test_pages_of_others_report_nothing(client: FlaskClient) -> None:
    assert (
        client.post("/csp-reports", json=REPORT, headers={"Origin": "https://evil.example"}).status_code
        == 403
    )


def test_only_so_many_reports_a_minute_are_written_down() -> None:
    lines = Lines()

    assert sum(lines.take(10.0) for _ in range(LINES_A_MINUTE + 5)) == LINES_A_MINUTE
    assert lines.take(70.0)


def test_providers_to_sign_in_with_are_offered_where_they_are_set_up(
    make_app: MakeApp, sqlite_store: DocumentStore, client: FlaskClient
) -> None:
    app = make_app(sqlite_store, google_client_id="us", google_client_secret="between us")

    assert "Go on with Google" in read(app.test_client().get("/login", headers=BROWSER)).words
    assert "Go on with Google" not in read(client.get("/login", headers=BROWSER)).words


def test_snippets_name_the_proxy_as_it_is_set_up(
    make_app: MakeApp, sqlite_store: DocumentStore, sign_up: Callable[..., Person]
) -> None:
    ada = sign_up(on=make_app(sqlite_store, proxy_public_url="https://proxy.example.com/"))

    words = " ".join(read(ada.get("/keys", headers=BROWSER)).words)

    assert 'base_url="https://proxy.example.com"' in words
    assert 'base_url="https://proxy.example.com/v1"' in words
    assert "mt_YOUR_KEY" in words


def test_accounts_to_go_on_in_are_listed(ada: Person, sign_up: Callable[..., Person]) -> None:
    grace = sign_up("grace@example.com")
    ada.write("POST", "/v1/invites", {"email": "grace@example.com", "role": "viewer"})

    alone = read(grace.get("/account/switch", headers=BROWSER))

    assert "Go on in" not in alone.words
