"""`modeltrack privacy-check`: clean on running services, red for what is planted, bounded whoever answers."""

import base64
import gzip
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from modeltrack_cli.__main__ import main
from modeltrack_cli.privacy import run, sending
from tests.doubles.front_end import FrontEnd, Passing, running_front_end
from tests.system.battery.rig import IS_FULL
from tests.system.calls import MESSAGES, call, message
from tests.system.deployment import Deployment
from tests.system.processes import ROOT

PASSWORD = "correct horse battery"
# What moves by itself, or is told of every request: not part of what the account has set up.
OF_REQUESTS = {"export", "end", "usage", "event", "audit_event", "session"}
OF_TIMES = {"last_used_at", "seen_at"}

Report = dict[str, Any]


@dataclass(frozen=True)
class Ran:
    """How the command ended, and what it said."""

    status: int
    report: Report
    said: str

    @property
    def found(self) -> set[tuple[str, str]]:
        return {(each["place"], each["source"]) for each in self.report["found"]}


Run = Callable[..., Ran]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with those settings, by their environment names."""
    for name in ("MODELTRACK_EMAIL", "MODELTRACK_PASSWORD", "MODELTRACK_CODE"):
        monkeypatch.delenv(name, raising=False)

    def run_it(*arguments: str, **settings: str) -> Ran:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        status = main(["privacy-check", "--json", *arguments])
        said = capsys.readouterr()
        nothing: Report = {"found": [], "not_looked_at": []}
        return Ran(status, json.loads(said.out) if said.out else nothing, said.out + said.err)

    return run_it


@dataclass
class Owner:
    """Somebody who has signed up, with a key of their account."""

    deployment: Deployment
    email: str = field(default_factory=lambda: f"{secrets.token_hex(6)}@example.com")
    key: str = ""

    def __post_init__(self) -> None:
        self.browser = requests.Session()
        body = {"email": self.email, "password": PASSWORD, "account_name": "Privacy"}
        made = self.browser.post(f"{self.deployment.api.url}/v1/signup", json=body, timeout=20)
        assert made.status_code == 201, made.text
        self.writes = {"X-CSRF-Token": made.json()["csrf_token"], "Origin": self.deployment.api.url}
        scopes = {"name": "privacy", "scopes": ["proxy", "read", "write", "stats"]}
        self.key = self.browser.post(
            f"{self.deployment.api.url}/v1/keys", json=scopes, headers=self.writes, timeout=20
        ).json()["key"]

    @property
    def settings(self) -> dict[str, str]:
        return {
            "MODELTRACK_URL": self.deployment.api.url,
            "MODELTRACK_PROXY_URL": self.deployment.proxy.url,
            "MODELTRACK_KEY": self.key,
            "MODELTRACK_EMAIL": self.email,
            "MODELTRACK_PASSWORD": PASSWORD,
        }

    @property
    def calls(self) -> dict[str, str]:
        """What a call through the proxy carries."""
        return {"X-ModelTrack-Key": self.key, "x-api-key": "sk-test", "Content-Type": "application/json"}

    def set_up(self) -> list[str]:
        """All that the account has set up, as its export tells it."""
        answer = self.browser.get(f"{self.deployment.api.url}/v1/account/export", timeout=60)
        lines = [json.loads(line) for line in answer.text.splitlines()]
        return sorted(
            json.dumps(
                [line["kind"], {name: held for name, held in line["data"].items() if name not in OF_TIMES}]
            )
            for line in lines
            if line["kind"] not in OF_REQUESTS
        )


def logs_of(deployment: Deployment) -> list[str]:
    """What an operator would give: all that proxy and API have written, and the store's file, if any."""
    folder = deployment.folder
    logs = [*folder.glob("proxy-*.log"), *folder.glob("api-*.log")]
    named = [*logs, folder / "proxy", *folder.glob("*.db*")]
    return [argument for path in named for argument in ("--logs", str(path))]


# Beside a whole suite one store has to do: the printed run below is on the other one.
@pytest.mark.battery("V1", "V3")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("deployment", ["firestore", *["sqlite"] * IS_FULL], indirect=True)
def test_running_services_are_clean_and_the_account_is_as_it_was(deployment: Deployment, check: Run) -> None:
    owner = Owner(deployment)
    before = owner.set_up()
    first = call(deployment.proxy.url, MESSAGES, message("so that there is a journal"), owner.calls)
    assert first.status == 200

    ran = check(*logs_of(deployment), "--wait", "60", **owner.settings)

    assert (ran.status, ran.report["found"], ran.report["not_looked_at"]) == (0, [], []), ran.said[-2000:]
    assert owner.set_up() == before
    described = requests.get(f"{deployment.api.url}/openapi.json", timeout=20).json()["paths"]
    routes = {f"API {method.upper()} {path}" for path, methods in described.items() for method in methods}
    assert routes <= {each["route"] for each in ran.report["sent"]}
    read = {each["source"].partition(" (")[0] for each in ran.report["looked_at"]}
    assert {route for route in routes if route.startswith("API GET") and "{" not in route} - read == {
        "API GET /v1/account/export"  # told as what it is
    }
    assert {
        "the account's export",
        "proxy GET /metrics",
        "page /audit-log for you",
        "page /status for anybody",
    } <= read
    assert ran.report["canaries"] > 3000
    assert ran.report["events"] >= 40
    for secret in (owner.key, PASSWORD):
        assert secret not in ran.said


@pytest.mark.timeout(300)
def test_printed_it_is_a_line_a_route_and_a_line_a_source_below_what_that_is(
    sqlite_deployment: Deployment,
) -> None:
    owner = Owner(sqlite_deployment)
    log = sqlite_deployment.proxy.log.read_bytes()  # of before the run

    nowhere = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    ran = subprocess.run(
        [sys.executable, "-m", "modeltrack_cli", "privacy-check", "--logs", "-"],
        cwd=ROOT,
        env={**owner.settings, **nowhere, "REQUESTS_CA_BUNDLE": sqlite_deployment.ca_file},
        input=log, capture_output=True, timeout=280, check=False,
    )  # fmt: skip

    lines = ran.stdout.decode().splitlines()
    assert ran.returncode == 2, ran.stdout[-2000:] + ran.stderr
    assert lines[0].startswith("sent: canaries by route")
    assert any(re.match(r"  proxy POST /v1/messages +\d+  200×", line) for line in lines)
    sources = [re.split(r" ×| {2,}", line)[0] for line in lines if line.startswith("✓")]
    assert {"✓ the account's export", "✓ page /events for you"} <= set(sources)
    assert len(sources) == len(set(sources))
    assert [line.partition(" (")[0] for line in lines if line.startswith("looked at")] == [
        "looked at: the account's export, and what was answered",
        "looked at: questions of the API",
        "looked at: pages",
        "looked at: the proxy's figures",
        "looked at: what was given besides",
    ]
    assert [line[:58] for line in lines if line.startswith("–")] == [
        "– the logs that were given do not cover the proxy in this ",
        "– the logs that were given do not cover the API in this ru",
    ]
    assert "nothing was found, but not everything could be looked at" in lines[-1]
    assert owner.key not in ran.stdout.decode() + ran.stderr.decode()


DOCUMENT = {
    "paths": {
        "/v1/events": {"get": {"security": [{"key": []}]}},
        "/metrics": {"get": {"security": [{"key": []}, {"session": []}]}},
        "/v1/notes": {
            "post": {
                "security": [{"key": []}],
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "properties": {"note": {"type": "string"}},
                                "additionalProperties": False,
                            }
                        }
                    }
                },
            }
        },
    }
}
HEALTH = b'{"status":"ok"}'
FIGURES = b"# HELP modeltrack_calls_total Calls.\nmodeltrack_calls_total 1\n"


@dataclass
class Stage:
    """A small deployment that keeps what it should; `leak` adds to its export, of what it heard."""

    api: FrontEnd
    proxy: FrontEnd
    log: Path
    leak: Callable[["Stage"], bytes] = lambda _: b""
    is_cut: bool = False
    keeps_tags: bool = True
    served: int = 0

    def begin(self) -> None:
        self.api.alter, self.proxy.alter = self.answer_as_api, self.answer_as_proxy

    def heard(self, front: FrontEnd, name: str) -> list[str]:
        """What requests had in that header."""
        return [
            value for _, headers in front.asked for each, value in headers.items() if each.lower() == name
        ]

    def answer_as_proxy(self, passing: Passing) -> None:
        request_id = self._request_id()
        passing.headers = [("X-ModelTrack-Request-ID", request_id), ("X-ModelTrack-Overhead-Ms", "0.1")]
        self._write({"request_id": request_id})
        if passing.path == "/metrics":
            passing.body = FIGURES
        if passing.path == "/health":
            passing.body = HEALTH

    def answer_as_api(self, passing: Passing) -> None:
        request_id = self._request_id()
        passing.headers = [("X-Request-ID", request_id)]
        self._write({"request_id": request_id})
        path = passing.path.partition("?")[0]
        passing.body = {
            "/health": HEALTH,
            "/openapi.json": json.dumps(DOCUMENT).encode(),
            "/v1/account": b'{"id":"acct_1"}',
            "/v1/login": b'{"csrf_token":"told"}',
            "/metrics": FIGURES,
            "/v1/account/export": self._export(),
        }.get(path, b"{}")
        if path == "/v1/login" and PASSWORD.encode() in self.api.bodies[-1]:
            passing.headers.append(("Set-Cookie", "modeltrack_session=of-this-session; Path=/; HttpOnly"))

    def _export(self) -> bytes:
        tags = self.heard(self.proxy, "x-modeltrack-feature") if self.keeps_tags else []
        kept = [tag for tag in tags if tag.startswith("privacy-check-")]
        lines = [json.dumps({"kind": "event", "data": {"feature": tag}}).encode() for tag in kept]
        end = [] if self.is_cut else [b'{"kind":"end","data":{"lines":1}}']
        return b"\n".join([*lines, *filter(None, [self.leak(self)]), *end]) + b"\n"

    def _request_id(self) -> str:
        self.served += 1
        return f"req_{self.served:032x}"

    def _write(self, line: object) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    @property
    def settings(self) -> dict[str, str]:
        return {
            "MODELTRACK_URL": self.api.url,
            "MODELTRACK_PROXY_URL": self.proxy.url,
            "MODELTRACK_KEY": "mt_of_this_stage_alone",
            "MODELTRACK_EMAIL": "ada@example.com",
            "MODELTRACK_PASSWORD": PASSWORD,
        }


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A deployment of doubles, all of it well, and a command that waits for hardly anything."""
    monkeypatch.setattr(run, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(run, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(run, "LOGS_SECONDS", 0.0)
    with running_front_end() as api, running_front_end() as proxy:
        made = Stage(api, proxy, tmp_path / "services.log")
        made.log.touch()
        made.begin()
        yield made


def test_doubles_that_keep_nothing_are_clean(stage: Stage, check: Run) -> None:
    ran = check("--logs", str(stage.log), **stage.settings)

    assert (ran.status, ran.report["found"], ran.report["not_looked_at"]) == (0, [], [])


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "base64": base64.b64encode,
    "hexadecimal": lambda body: body.hex().encode(),
    "packed": gzip.compress,
    "backwards": lambda body: body[::-1],
    "in capitals": bytes.upper,
}


@pytest.mark.parametrize("written", WAYS.values(), ids=WAYS.keys())
def test_a_proxy_that_logs_bodies_is_found_however_it_writes_them(
    stage: Stage, check: Run, written: Callable[[bytes], bytes]
) -> None:
    answer = stage.proxy.alter

    def log_body(passing: Passing) -> None:
        answer(passing)
        if passing.path.startswith("/v1/messages?api-version"):
            with stage.log.open("ab") as file:
                file.write(written(stage.proxy.bodies[-1]) + b"\n")

    stage.proxy.alter = log_body

    ran = check("--logs", str(stage.log), **stage.settings)

    assert ran.status == 1
    assert {("prompt", f"log {stage.log}"), ("system prompt", f"log {stage.log}")} <= ran.found
    assert {each["route"] for each in ran.report["found"] if each["place"] == "prompt"} == {
        "proxy POST /v1/messages",
        "proxy POST /v1/messages (streamed)",
    }


def test_an_export_that_repeats_what_was_sent_is_found_by_line_and_path_without_it(
    stage: Stage, check: Run
) -> None:
    def repeat(of: Stage) -> bytes:
        keys = of.heard(of.api, "idempotency-key")
        return json.dumps({"kind": "note", "data": {"of": [{"key": keys[0]}]}}).encode() if keys else b""

    stage.leak = repeat

    ran = check(**stage.settings)

    (found,) = ran.report["found"]
    assert found == {
        "route": "API GET /v1/events",
        "place": "idempotency key",
        "source": "the account's export",
        "line": 2,
        "path": "$.data.of[0].key",
        "count": 1,
    }
    assert ran.status == 1
    assert stage.heard(stage.api, "idempotency-key")[0][:12] not in ran.said


def test_a_refusal_that_repeats_a_value_is_found_and_one_that_repeats_a_name_is_not(
    stage: Stage, check: Run
) -> None:
    answer = stage.api.alter

    def refuse(passing: Passing) -> None:
        answer(passing)
        if passing.method == "POST" and passing.path == "/v1/notes":
            try:
                body = json.loads(stage.api.bodies[-1])
            except ValueError:
                return
            if isinstance(body, dict):
                names = [name for name in body if name != "note"]
                passing.status, passing.body = 422, json.dumps([body["note"], names]).encode()

    stage.api.alter = refuse

    ran = check(**stage.settings)

    assert ran.found == {("note", "the API's answers to these requests")}


def test_figures_that_name_what_was_sent_are_found(stage: Stage, check: Run) -> None:
    with running_front_end() as figures:

        def tell(passing: Passing) -> None:
            agents = [each for each in stage.heard(stage.proxy, "user-agent") if "python" not in each]
            passing.body = FIGURES + f'modeltrack_calls_total{{agent="{agents[0]}"}} 1\n'.encode()

        figures.alter = tell
        ran = check("--metrics-url", f"{figures.url}/metrics", **stage.settings)

    assert ran.found == {("user agent", f"figures at {figures.url.removeprefix('http://')}")}


def test_the_password_in_a_log_is_found(stage: Stage, check: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.log.gz"
    other.write_bytes(gzip.compress(f"somebody came with {PASSWORD}".encode()))

    ran = check("--logs", str(stage.log), "--logs", str(other), **stage.settings)

    assert ran.found == {("your password", f"log {other}")}


def _cut(stage: Stage) -> None:
    stage.is_cut = True


def _forget(stage: Stage) -> None:
    stage.keeps_tags = False


def _hide_events(stage: Stage) -> None:
    answer = stage.api.alter

    def alter(passing: Passing) -> None:
        answer(passing)
        if passing.path.startswith("/v1/events/"):
            passing.status = 404

    stage.api.alter = alter


def _break_figures(stage: Stage) -> None:
    answer = stage.proxy.alter

    def alter(passing: Passing) -> None:
        answer(passing)
        if passing.path == "/metrics":
            passing.status, passing.body = 403, b"{}"

    stage.proxy.alter = alter


def _redirect(stage: Stage) -> None:
    answer = stage.api.alter

    def alter(passing: Passing) -> None:
        answer(passing)
        if passing.path == "/v1/account/export":
            passing.status = 307
            passing.header("Location", stage.proxy.url + "/elsewhere")

    stage.api.alter = alter


def _lead_from(path: str) -> Callable[[Stage], None]:
    """As a front end that wants another log-in, or a session that has ended."""

    def lead(stage: Stage) -> None:
        answer = stage.api.alter

        def alter(passing: Passing) -> None:
            answer(passing)
            if passing.path.partition("?")[0] == path:
                passing.status = 303
                passing.header("Location", "/login")

        stage.api.alter = alter

    return lead


BLINDINGS: dict[str, tuple[Callable[[Stage], None], str]] = {
    "an export that is cut": (_cut, "the account's export: it is cut"),
    "an export of another account": (_forget, "the account's export: this run's own tag is not in it"),
    "an export that leads elsewhere": (_redirect, "the account's export: it answers 307"),
    "pages that lead to a log-in": (_lead_from("/overview"), "page /overview for you: it answers 303"),
    "a question that leads elsewhere": (_lead_from("/v1/events"), "API GET /v1/events: it answers 303"),
    "events that do not come": (_hide_events, "the event of this run's last call has not come within 1 s"),
    "figures that are shut": (_break_figures, "proxy GET /metrics: it answers 403: the key needs the scope"),
}


@pytest.mark.parametrize(("blind", "trouble"), BLINDINGS.values(), ids=BLINDINGS.keys())
def test_what_cannot_be_looked_at_is_told_and_is_not_clean(
    stage: Stage, check: Run, blind: Callable[[Stage], None], trouble: str
) -> None:
    blind(stage)

    ran = check("--wait", "1", **stage.settings)

    assert [each[: len(trouble)] for each in ran.report["not_looked_at"]] == [trouble]
    assert ran.report["found"] == []
    assert ran.status == 2
    assert not [path for path, _ in stage.proxy.asked if path == "/elsewhere"]


def test_without_a_log_in_the_export_is_not_looked_at(stage: Stage, check: Run) -> None:
    ran = check(**stage.settings | {"MODELTRACK_EMAIL": ""})

    assert [each.partition(":")[0] for each in ran.report["not_looked_at"]] == ["the account's export"]
    assert ran.status == 2
    assert not [path for path, _ in stage.api.asked if path == "/v1/account/export"]


def test_logs_of_another_run_are_told_not_to_cover_this_one(stage: Stage, check: Run, tmp_path: Path) -> None:
    old = tmp_path / "old.log"
    old.write_text(json.dumps({"request_id": f"req_{'a' * 32}"}))

    ran = check("--logs", str(old), **stage.settings)

    assert [" ".join(each.split()[:9]) for each in ran.report["not_looked_at"]] == [
        "the logs that were given do not cover the",
    ] * 2
    assert ran.status == 2


def test_logs_that_come_later_are_looked_through_for_an_earlier_run(
    stage: Stage, check: Run, tmp_path: Path
) -> None:
    kept, late = tmp_path / "run.json", tmp_path / "late.log"
    kept.touch(0o644)
    check("--keep", str(kept), **stage.settings)
    asked = len(stage.proxy.asked) + len(stage.api.asked)
    late.write_bytes(stage.log.read_bytes() + base64.b64encode(stage.proxy.bodies[2]))

    clean = check("--of", str(kept), "--logs", str(stage.log), **stage.settings)
    red = check("--of", str(kept), "--logs", str(late), **stage.settings)

    assert (clean.status, clean.report["not_looked_at"]) == (0, [])
    assert ("prompt", f"log {late}") in red.found
    assert red.status == 1
    assert len(stage.proxy.asked) + len(stage.api.asked) == asked
    assert kept.stat().st_mode & 0o777 == 0o600


def test_what_was_kept_of_a_run_has_to_be_that(stage: Stage, check: Run, tmp_path: Path) -> None:
    kept = tmp_path / "run.json"
    for content in ("", "{}", '{"format":1,"marks":["",""],"places":[],"request_ids":{}}'):
        kept.write_text(content)
        ran = check("--of", str(kept), "--logs", str(stage.log), **stage.settings)
        assert ran.said.startswith(f"modeltrack: {kept}: ")
        assert ran.status == 2
    assert check("--of", str(kept), **stage.settings).said.startswith(
        "modeltrack: --of looks through logs: give --logs\n"
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        ([], {"MODELTRACK_KEY": ""}, "set MODELTRACK_KEY"),
        ([], {"MODELTRACK_URL": "nowhere"}, "give MODELTRACK_URL as scheme and host"),
        ([], {"MODELTRACK_URL": "http://api.invalid"}, "a key is sent by https only"),
        ([], {"MODELTRACK_PASSWORD": ""}, "set MODELTRACK_PASSWORD"),
        (["--logs", "/nowhere/at.all"], {}, "/nowhere/at.all: there is no such file"),
        (["--keep", "/nowhere/run.json"], {}, "/nowhere/run.json: it cannot be written"),
        (["--keep", "/"], {}, "/: it cannot be written"),
    ],
)
def test_what_cannot_be_begun_is_refused_with_what_to_do(
    stage: Stage, check: Run, arguments: list[str], settings: dict[str, str], said: str
) -> None:
    ran = check(*arguments, **stage.settings | settings)

    assert said in ran.said
    assert ran.status == 2
    assert not [path for path, _ in stage.proxy.asked if path.startswith("/v1")]


def test_no_password_in_an_address_of_figures_is_repeated(stage: Stage, check: Run) -> None:
    address = stage.proxy.url.replace("//", "//ada:of-the-figures@") + "/metrics"

    ran = check("--metrics-url", address, **stage.settings)

    assert "of-the-figures" not in ran.said
    assert f"figures at {stage.proxy.url.partition('//')[2]}" in {
        each["source"] for each in ran.report["looked_at"]
    }


def test_what_no_address_can_hold_is_asked_for_nowhere(
    stage: Stage, check: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = stage.proxy.url.partition("//")[2]
    paths = DOCUMENT["paths"] | {
        f"@{beside}/beside": {"get": {"security": [{"session": []}]}},
        "/v1/events/{id}": {"get": {"parameters": [{"name": "id", "in": "path"}], "security": [{"key": []}]}},
    }
    monkeypatch.setitem(DOCUMENT, "paths", paths)
    answer, tell = stage.api.alter, stage.proxy.alter

    def answer_oddly(passing: Passing) -> None:
        answer(passing)
        if passing.path.partition("?")[0] == "/v1/events":
            passing.body = b'{"data":[{"id":"\\ud800"}],"next_page":"\\ud800"}'

    def tell_oddly(passing: Passing) -> None:
        tell(passing)
        if passing.path == "/modeltrack-privacy-check":
            passing.body = b'{"paths":["@nowhere.invalid/beside",".invalid/beside",1,{}]}'

    stage.api.alter, stage.proxy.alter = answer_oddly, tell_oddly

    ran = check("--wait", "1", **stage.settings)

    assert (ran.status, ran.report["not_looked_at"]) == (0, [])
    assert not [path for path, _ in stage.proxy.asked + stage.api.asked if "beside" in path]


def test_a_wrong_password_is_told_and_nothing_is_sent(stage: Stage, check: Run) -> None:
    answer = stage.api.alter

    def refuse(passing: Passing) -> None:
        answer(passing)
        passing.status = 401 if passing.path == "/v1/login" else 200

    stage.api.alter = refuse

    ran = check(**stage.settings)

    assert "the address or the password is wrong" in ran.said
    assert ran.status == 2
    assert [path for path, _ in stage.proxy.asked] == ["/health"]


def test_an_export_without_end_is_read_up_to_its_bound(
    stage: Stage, check: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeltrack_cli.privacy.reading.EXPORT_BYTES_MAX", 1 << 20)
    stage.leak = lambda _: b"x" * (2 << 20)

    ran = check(**stage.settings)

    assert ran.report["not_looked_at"] == ["the account's export: the API: the answer is too long"]
    (export,) = [each for each in ran.report["looked_at"] if each["source"] == "the account's export"]
    assert export["bytes"] <= 1 << 20
    assert ran.status == 2


def test_pages_and_lists_without_end_are_read_up_to_their_bounds(stage: Stage, check: Run) -> None:
    answer = stage.api.alter

    def go_on(passing: Passing) -> None:
        answer(passing)
        if passing.path.startswith(("/overview", "/page")):
            links = "".join(f'<a href="/page/{secrets.token_hex(8)}">' for _ in range(1000))
            passing.body = links.encode()

    stage.api.alter = go_on

    ran = check(**stage.settings)

    assert ran.status == 0
    assert len([path for path, _ in stage.api.asked if path.startswith("/page")]) <= 150


@pytest.mark.parametrize("answered", [2, 31])
def test_a_proxy_that_goes_silent_is_given_up(stage: Stage, check: Run, answered: int) -> None:
    answer = stage.proxy.alter

    def hang_up(passing: Passing) -> None:
        if len(stage.proxy.asked) > answered:
            raise ConnectionError
        answer(passing)

    stage.proxy.alter = hang_up

    ran = check("--wait", "1", **stage.settings)

    silent = (
        "20 requests got no answer of the proxy in time (--timeout), or none at all and the rest was not sent"
    )
    assert silent in ran.report["not_looked_at"]
    assert len(stage.proxy.asked) <= answered + 50  # the rest: what it tells afterwards, tried by the library
    assert ran.status == 2


def test_an_api_that_goes_silent_while_it_is_read_is_given_up(
    stage: Stage, check: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Report = {f"/v1/events/{number}": {"get": {"security": [{"key": []}]}} for number in range(100)}
    monkeypatch.setitem(DOCUMENT, "paths", DOCUMENT["paths"] | asked)
    answer, read = stage.api.alter, list[str]()

    def hang_up(passing: Passing) -> None:
        if read or passing.path == "/v1/account/export":
            read.append(passing.path)
            raise ConnectionError
        answer(passing)

    stage.api.alter = hang_up

    ran = check("--timeout", "1", "--wait", "1", **stage.settings)

    assert ran.status == 2
    assert len(ran.report["not_looked_at"]) > 100
    assert len(set(read)) <= 22


def test_a_proxy_that_is_not_there_is_told_at_once(stage: Stage, check: Run) -> None:
    ran = check(**stage.settings | {"MODELTRACK_PROXY_URL": "http://127.0.0.1:9"})

    assert ran.said.endswith("modeltrack: the proxy: no whole answer (ConnectionError)\n")
    assert ran.status == 2


NOT_THE_API = "MODELTRACK_URL: that is the proxy of ModelTrack: give the address of the API"
NOT_THE_PROXY = "MODELTRACK_PROXY_URL: that is the API of ModelTrack: give the address of the proxy"
ANOTHER = "MODELTRACK_PROXY_URL: what answers there (/health: 200) is not the proxy of ModelTrack: "


@pytest.mark.parametrize(
    ("api", "proxy", "said"),
    [
        ("api", "api", [NOT_THE_PROXY]),
        ("proxy", "proxy", [NOT_THE_API]),
        ("proxy", "api", [NOT_THE_API, NOT_THE_PROXY]),
        ("api", "another", [ANOTHER + "give the address of the proxy"]),
    ],
)
def test_an_address_of_something_else_is_told_before_a_key_goes_there_or_anything_is_sent(
    stage: Stage, check: Run, api: str, proxy: str, said: list[str]
) -> None:
    with running_front_end() as another:
        urls = {"api": stage.api.url, "proxy": stage.proxy.url, "another": another.url}
        ran = check(**stage.settings | {"MODELTRACK_URL": urls[api], "MODELTRACK_PROXY_URL": urls[proxy]})

        asked = [*stage.api.asked, *stage.proxy.asked, *another.asked]
    told = [line for line in ran.said.splitlines() if line.startswith("modeltrack: ")]
    assert sorted(told) == sorted(f"modeltrack: {line}" for line in said)
    assert ran.status == 2
    assert [path for path, _ in asked] == ["/health"] * 2
    assert not any("of_this_stage" in value for _, headers in asked for value in headers.values())


def test_a_limit_of_requests_is_waited_for(stage: Stage, check: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(sending, "_wait", waited.append)
    answer = stage.api.alter

    def limit(passing: Passing) -> None:
        answer(passing)
        if stage.served % 7 == 0:
            passing.status = 429
            passing.headers += [("Retry-After", "9" * 30), ("X-RateLimit-Limit", "1")]

    stage.api.alter = limit

    ran = check(**stage.settings)

    assert sending.PAUSE_SECONDS_MAX in waited
    assert max(waited) == sending.PAUSE_SECONDS_MAX
    assert sum(each for each in waited if each > 1) <= sending.PAUSED_SECONDS_MAX
    assert ran.report["found"] == []


def test_a_person_in_another_account_is_led_to_the_keys(stage: Stage, check: Run) -> None:
    answer = stage.api.alter

    def two_accounts(passing: Passing) -> None:
        answer(passing)
        has_session = "Cookie" in stage.api.asked[-1][1]
        has_moved = any(path == "/v1/session/switch" for path, _ in stage.api.asked)
        if passing.path == "/v1/account" and has_session and not has_moved:
            passing.body = b'{"id":"acct_2"}'
        if passing.path == "/v1/session/switch":
            passing.body = b'{"csrf_token":"told again"}'
            passing.headers.append(("Set-Cookie", "modeltrack_session=of-the-other; Path=/"))

    stage.api.alter = two_accounts

    ran = check(**stage.settings)

    cookies = [headers.get("Cookie") for path, headers in stage.api.asked if path == "/v1/account/export"]
    assert cookies[-1] == "modeltrack_session=of-the-other"
    assert ran.status == 0


def test_a_second_factor_is_asked_for(stage: Stage, check: Run) -> None:
    answer = stage.api.alter

    def want_code(passing: Passing) -> None:
        answer(passing)
        if passing.path == "/v1/login" and json.loads(stage.api.bodies[-1])["password"] == PASSWORD:
            passing.status, passing.body = 202, b'{"status":"code_awaited"}'
            passing.header("Set-Cookie", "modeltrack_ticket=half; Path=/")
        if passing.path == "/v1/login/second-factor":
            passing.body = b'{"csrf_token":"told"}'
            passing.headers.append(("Set-Cookie", "modeltrack_session=whole; Path=/"))

    stage.api.alter = want_code

    ran = check(**stage.settings, MODELTRACK_CODE="123456")

    assert json.loads(next(body for body in stage.api.bodies if b"123456" in body)) == {"code": "123456"}
    assert ran.status == 0


def test_its_session_is_ended(stage: Stage, check: Run) -> None:
    check(**stage.settings)

    last_path, headers = stage.api.asked[-1]
    assert last_path == "/v1/logout"
    assert headers["Cookie"] == "modeltrack_session=of-this-session"
