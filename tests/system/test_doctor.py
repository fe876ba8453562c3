"""`modeltrack doctor` on running services: each test plants one fault, and exactly that is found."""

import json
import os
import secrets
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import pytest
import requests
import trustme

from metering.collections import status_day_path
from metering.opening import open_store
from modeltrack_cli.__main__ import main
from modeltrack_cli.doctor.checks import CHECKS
from tests.doubles.front_end import FrontEnd, Passing, leave, running_front_end
from tests.system.deployment import Deployment, Faults, Tenant
from tests.system.processes import ROOT, eventually, free_port

API_ADDRESS, PROXY_ADDRESS = "127.0.0.2", "127.0.0.1"  # so that each has a port for plain http of its own
OF_A_CALL = {"one_store", "call", "told", "arrival", "cost", "budgets", "books", "revocation"}
OPEN_RULES = "rules_version = '2'; service cloud.firestore { match /databases/{d}/documents { %s } }"

Report = dict[str, Any]
Run = Callable[..., "Examined"]


@dataclass(frozen=True)
class Examined:
    """What the doctor said, and how it ended."""

    status: int
    report: Report

    @property
    def states(self) -> dict[str, str]:
        return {each["check"]: each["state"] for each in self.report["checks"]}

    def of(self, check: str) -> Report:
        return next(each for each in self.report["checks"] if each["check"] == check)


@dataclass
class Site:
    """A deployment with a front end before each service, by https, and both fronts' plain http."""

    deployment: Deployment
    api: FrontEnd
    proxy: FrontEnd
    api_http: FrontEnd
    proxy_http: FrontEnd
    http_port: int
    callers: Iterator[int] = field(default_factory=lambda: iter(range(1, 255)))

    @property
    def authority(self) -> trustme.CA:
        return self.deployment.authority

    def make_well(self) -> None:
        """Undo whatever was planted."""
        self.api.target, self.proxy.target = self.deployment.api.url, self.deployment.proxy.url
        # Services of a machine's own let in who has no key; hosted ones refuse it in the same words.
        self.proxy.guarded = ("/anthropic", "/openai")
        self.proxy.added = {"X-ModelTrack-Key": "nobody's"}
        for front in (self.api, self.proxy):
            front.alter = leave
        self.api_http.alter = _without_tls(self.api)
        self.proxy_http.alter = _without_tls(self.proxy)


def _without_tls(to: FrontEnd) -> Callable[[Passing], None]:
    """Refuses programs, and leads pages there."""
    lead_on = _redirect(to)

    def alter(passing: Passing) -> None:
        if passing.path.startswith("/v1/"):
            passing.status = 403
        else:
            lead_on(passing)

    return alter


def _redirect(to: FrontEnd) -> Callable[[Passing], None]:
    def alter(passing: Passing) -> None:
        passing.status = 301
        passing.header("Location", to.url + passing.path)

    return alter


def served_by(authority: trustme.CA, *identities: str, not_after: datetime | None = None) -> ssl.SSLContext:
    """What ends TLS with a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*identities, not_after=not_after).configure_cert(context)
    return context


def wait_for_jobs(deployment: Deployment) -> None:
    """Return when the job `measure` has written something. Asks the store: the API would keep its answer."""
    store = open_store(deployment.store_url)
    eventually(
        lambda: store.get(status_day_path(f"{datetime.now(UTC):%Y-%m-%d}"), timeout_seconds=5.0),
        seconds=30,
        what="the first run of the job measure",
    )
    store.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Running services on the embedded store behind front ends, all of it well."""
    folder, authority = tmp_path_factory.mktemp("doctor"), trustme.CA()
    with ExitStack() as stack:

        def front(address: str, tls: ssl.SSLContext | None = None, port: int = 0) -> FrontEnd:
            return stack.enter_context(running_front_end(address, tls, port))

        api = front(API_ADDRESS, served_by(authority, API_ADDRESS))
        proxy = front(PROXY_ADDRESS, served_by(authority, PROXY_ADDRESS))
        proxy_port, http_port = free_port(), free_port()
        settings = {"PUBLIC_URL": api.url, "PROXY_PUBLIC_URL": f"http://127.0.0.1:{proxy_port}"}
        deployment = Deployment(folder, f"sqlite:///{folder}/modeltrack.db", settings)
        stack.callback(deployment.stop)
        deployment.start(proxy_port)
        deployment.authority = authority
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        wait_for_jobs(deployment)
        plain = front(API_ADDRESS, port=http_port), front(PROXY_ADDRESS, port=http_port)
        yield Site(deployment, api, proxy, *plain, http_port)


@pytest.fixture
def well(site: Site) -> Iterator[Site]:
    """The site, with nothing planted yet."""
    site.make_well()
    yield site
    site.make_well()


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """How soon a revoked key ends is held elsewhere; here a busy machine may take longer."""
    monkeypatch.setattr("modeltrack_cli.doctor.door.ACTS_WITHIN_SECONDS", 5.0)


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the doctor on the site for an account of its own; `settings` and `arguments` win."""
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "MODELTRACK_PROJECT", "FIRESTORE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)

    def examine(*arguments: str, tenant: Tenant | None = None, **settings: str) -> Examined:
        tenant = tenant or site.deployment.tenant()
        told = {
            "MODELTRACK_URL": site.api.url,
            "MODELTRACK_PROXY_URL": site.proxy.url,
            "MODELTRACK_KEY": tenant.key,
            "ANTHROPIC_API_KEY": tenant.provider_key,
            "REQUESTS_CA_BUNDLE": site.deployment.ca_file,
            **settings,
        }
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        site.api.source = f"127.1.{next(site.callers)}.1"  # somebody new, who has not asked often
        status = main(
            ["doctor", "--json", "--kind", "hosted", "--http-port", str(site.http_port), *arguments]
        )
        said = capsys.readouterr().out
        assert tenant.key not in said
        assert tenant.provider_key not in said
        return Examined(status, json.loads(said))

    return examine


@pytest.fixture(scope="module")
def usual() -> dict[str, str]:
    """What is found of each check where nothing is wrong, no project is named and no key is to be made."""
    found = dict.fromkeys((check.name for check in CHECKS), "passed")
    return found | {"revocation": "not_applicable", "rules": "not_checked"}


Expect = Callable[..., None]


@pytest.fixture
def found_alone(usual: dict[str, str]) -> Expect:
    """Holds that check to be wrong with that advice, `unseen` what rests on it, and all others as usual."""

    def hold(examined: Examined, check: str, advice: str, unseen: Collection[str] = ()) -> None:
        assert examined.states == usual | dict.fromkeys(unseen, "not_checked") | {check: "failed"}, (
            examined.report
        )
        assert advice in examined.of(check)["advice"]
        assert examined.status == 1

    return hold


@pytest.fixture
def shut_firestore() -> Iterator[str]:
    """An address that refuses everything, as Firestore does whose rules are closed."""

    def refuse(passing: Passing) -> None:
        passing.status = 403

    with running_front_end() as front:
        front.alter = refuse
        yield front.url.removeprefix("http://")


@pytest.mark.usefixtures("well")
def test_where_all_is_well_every_check_is_green(run: Run, shut_firestore: str) -> None:
    examined = run("--revocation", "--project", "demo-any", FIRESTORE_EMULATOR_HOST=shut_firestore)

    assert set(examined.states.values()) == {"passed"}, examined.report
    assert examined.status == 0
    assert "answered" in examined.of("call")["found"]


@pytest.mark.usefixtures("well")
def test_what_could_not_be_looked_at_is_no_success(run: Run, usual: dict[str, str]) -> None:
    examined = run()

    assert examined.states == usual
    assert examined.status == 2


@pytest.mark.usefixtures("well")
def test_openai_is_called_in_its_own_words(run: Run, usual: dict[str, str]) -> None:
    examined = run("--provider", "openai", OPENAI_API_KEY="sk-doctor", ANTHROPIC_API_KEY="sk-of-another-kind")

    assert examined.states == usual
    assert "gpt-4o-mini" in examined.of("call")["found"]


@contextmanager
def in_front(site: Site, which: str, tls: ssl.SSLContext) -> Iterator[str]:
    """Another front end for one of the two services; its address."""
    usual: FrontEnd = getattr(site, which)
    address = API_ADDRESS if which == "api" else PROXY_ADDRESS
    with running_front_end(address, tls) as other:
        other.target, other.guarded, other.added = usual.target, usual.guarded, usual.added
        yield other.url


def test_an_expired_certificate_is_found_and_no_key_goes_there(
    well: Site, run: Run, found_alone: Expect
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with in_front(well, "proxy", served_by(well.authority, PROXY_ADDRESS, not_after=yesterday)) as url:
        examined = run(MODELTRACK_PROXY_URL=url)

    found_alone(examined, "proxy_certificate", "renew it", {"unknown_key", *OF_A_CALL})
    assert "expired" in examined.of("proxy_certificate")["found"]


def test_a_certificate_of_another_host_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    with in_front(well, "api", served_by(well.authority, "other.example")) as url:
        examined = run(MODELTRACK_URL=url)

    found_alone(examined, "api_certificate", "have the certificate name this host", OF_A_CALL)


def test_a_certificate_of_nobody_known_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    with in_front(well, "api", served_by(trustme.CA(), API_ADDRESS)) as url:
        examined = run(MODELTRACK_URL=url)

    found_alone(examined, "api_certificate", "a certificate of a known authority", OF_A_CALL)


@pytest.mark.parametrize("days", [14, 13])
def test_a_certificate_that_ends_soon_is_found(
    well: Site, run: Run, found_alone: Expect, usual: dict[str, str], days: int
) -> None:
    ends_at = datetime.now(UTC) + timedelta(days=days, minutes=5)
    with in_front(well, "api", served_by(well.authority, API_ADDRESS, not_after=ends_at)) as url:
        examined = run(MODELTRACK_URL=url)

    if days >= 14:
        assert examined.states == usual
    else:
        found_alone(examined, "api_certificate", "renew it now")


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_tls_is_found(well: Site, run: Run, found_alone: Expect, version: str) -> None:
    tls = served_by(well.authority, PROXY_ADDRESS)
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = ssl.TLSVersion[version]
    with in_front(well, "proxy", tls) as url:
        examined = run(MODELTRACK_PROXY_URL=url)

    found_alone(examined, "proxy_tls", "set the least version to TLS 1.2")


def test_plain_http_that_does_not_lead_to_https_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    well.api_http.alter = leave

    examined = run()

    found_alone(examined, "api_http", "redirect")


def test_plain_http_that_leads_to_another_host_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    well.proxy_http.alter = _without_tls(FrontEnd(url="https://elsewhere.example\x1b[2J"))

    examined = run()

    found_alone(examined, "proxy_http", "redirect")
    assert "\x1b" not in examined.of("proxy_http")["found"]


def test_plain_http_that_leads_programs_on_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    well.api_http.alter = _redirect(well.api)

    examined = run()

    found_alone(examined, "api_http", "nobody notices")


def test_an_address_without_tls_is_found(well: Site, run: Run) -> None:
    examined = run(MODELTRACK_PROXY_URL=well.deployment.proxy.url)

    assert examined.states["proxy_certificate"] == "failed"
    assert examined.states["proxy_tls"] == "not_checked"
    assert examined.states["call"] == "not_checked"


def test_plain_http_where_tls_is_looked_for_is_found(well: Site, run: Run) -> None:
    examined = run(MODELTRACK_PROXY_URL=well.deployment.proxy.url.replace("http:", "https:"))

    assert [name for name, state in examined.states.items() if state == "failed"] == ["proxy_tls"]
    assert examined.of("proxy_tls")["found"] == "it speaks plain http there, and no TLS"
    assert examined.states["proxy_health"] == "not_checked"


def test_what_answers_at_a_wrong_address_is_found_to_be_something_else(
    well: Site, run: Run, found_alone: Expect
) -> None:
    def page(passing: Passing) -> None:
        passing.status, passing.body, passing.headers = (
            404,
            b"<h1>Not Found</h1>",
            [("Content-Type", "text/html")],
        )

    well.api.alter = page

    examined = run()

    rest_on_it = {
        "api_ready",
        "api_headers",
        "api_cookies",
        "versions",
        "other_sites",
        "parts",
        "jobs",
        "unknown_key",
    }
    found_alone(examined, "api_health", "give MODELTRACK_URL as its address", rest_on_it | OF_A_CALL)


def test_swapped_addresses_are_found(well: Site, run: Run) -> None:
    examined = run(MODELTRACK_URL=well.proxy.url, MODELTRACK_PROXY_URL=well.api.url)

    assert examined.of("api_health")["found"] == "that is the proxy"
    assert examined.of("proxy_health")["found"] == "that is the API"
    assert [name for name, state in examined.states.items() if state == "failed"] == [
        "api_health",
        "proxy_health",
    ]


def test_a_platform_that_lets_nobody_in_is_found(well: Site, run: Run) -> None:
    def refuse(passing: Passing) -> None:
        passing.status, passing.headers = 403, []

    well.proxy.alter = refuse

    examined = run()

    assert "roles/run.invoker" in examined.of("proxy_health")["advice"]
    assert [name for name, state in examined.states.items() if state == "failed"] == ["proxy_health"]


def test_nobody_at_the_address_is_found(well: Site, run: Run) -> None:
    examined = run(MODELTRACK_PROXY_URL=f"https://{PROXY_ADDRESS}:{free_port()}")

    assert "cannot be reached" in examined.of("proxy_health")["found"]
    assert [name for name, state in examined.states.items() if state == "failed"] == ["proxy_health"]


def _altering(path: str, change: Callable[[Passing], None]) -> Callable[[Passing], None]:
    def alter(passing: Passing) -> None:
        if passing.path.startswith(path):
            change(passing)

    return alter


def _json(change: Callable[[Any], None]) -> Callable[[Passing], None]:
    def alter(passing: Passing) -> None:
        content = json.loads(passing.body)
        change(content)
        passing.body = json.dumps(content).encode()

    return alter


def test_an_older_version_of_one_service_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    well.proxy.alter = _altering("/health", lambda passing: passing.header("X-ModelTrack-Version", "0.0.9"))

    examined = run()

    found_alone(examined, "versions", "deploy both services from one build")


def test_another_version_than_the_wanted_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    examined = run("--expect-version", "0.1.0+0190f3c")

    found_alone(examined, "versions", "shift traffic")


@pytest.mark.parametrize(
    ("name", "value"), [("Strict-Transport-Security", "max-age=600"), ("Content-Security-Policy", None)]
)
def test_headers_that_browsers_lack_are_found(
    well: Site, run: Run, found_alone: Expect, name: str, value: str | None
) -> None:
    well.api.alter = _altering("/login", lambda passing: passing.header(name, value))

    examined = run()

    found_alone(examined, "api_headers", "PUBLIC_URL")
    assert name in examined.of("api_headers")["found"]


def test_a_cookie_that_goes_readable_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    def weaken(passing: Passing) -> None:
        passing.headers = [
            (name, value.replace("Secure; ", "") if name == "Set-Cookie" else value)
            for name, value in passing.headers
        ]

    well.api.alter = weaken

    examined = run()

    found_alone(examined, "api_cookies", "PUBLIC_URL")
    assert examined.of("api_cookies")["found"] == "__Host-modeltrack_arrived lacks Secure"


@pytest.mark.parametrize("which", ["api", "proxy"])
def test_other_sites_that_are_let_in_are_found(well: Site, run: Run, found_alone: Expect, which: str) -> None:
    front: FrontEnd = getattr(well, which)
    front.alter = lambda passing: passing.header("Access-Control-Allow-Origin", "*")

    examined = run()

    found_alone(examined, "other_sites", "Access-Control-Allow-Origin")


def test_an_open_relay_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    well.proxy.added = {}  # a proxy of a machine's own, before which somebody put a public address

    examined = run()

    found_alone(examined, "no_key", "MODELTRACK_HOSTED=true")


def test_services_that_hash_keys_under_different_secrets_are_found(
    well: Site, run: Run, found_alone: Expect
) -> None:
    stranger = well.deployment.start_proxy({"MODELTRACK_SECRET": secrets.token_hex(32)}, data="stranger")
    well.proxy.target = stranger.url

    examined = run()
    stranger.stop()

    found_alone(examined, "one_store", "the same MODELTRACK_SECRET", OF_A_CALL - {"one_store"})
    assert examined.of("one_store")["found"] == "the API knows the key, and the proxy does not"


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Another deployment, on a store of its own that can be silenced, whose background jobs do not run."""
    folder = tmp_path_factory.mktemp("idle")
    proxy_port = free_port()
    settings = {"API_JOBS": "false", "PUBLIC_URL": f"https://{API_ADDRESS}"}
    settings["PROXY_PUBLIC_URL"] = f"http://127.0.0.1:{proxy_port}"
    deployment = Deployment(folder, f"sqlite:///{folder}/m.db", settings, Faults(0, folder / "silenced"))
    deployment.start(proxy_port)
    yield deployment
    deployment.stop()


def test_services_on_different_stores_are_found(
    well: Site, idle: Deployment, run: Run, found_alone: Expect
) -> None:
    well.proxy.target = idle.proxy.url

    examined = run()

    found_alone(examined, "one_store", "the same STORE_URL", OF_A_CALL - {"one_store"})


def test_background_jobs_that_do_not_run_are_found(
    well: Site, idle: Deployment, run: Run, found_alone: Expect
) -> None:
    well.api.target, well.proxy.target = idle.api.url, idle.proxy.url

    examined = run(tenant=idle.tenant())

    found_alone(examined, "jobs", "API_JOBS")


def test_a_store_that_is_down_is_found(well: Site, idle: Deployment, run: Run, found_alone: Expect) -> None:
    well.api.target, well.proxy.target = idle.api.url, idle.proxy.url
    tenant = idle.tenant()
    silenced = idle.folder / "silenced"
    silenced.touch()

    examined = run(tenant=tenant)
    silenced.unlink()

    found_alone(examined, "api_ready", "STORE_URL", {"parts", "jobs", "unknown_key", *OF_A_CALL})


@pytest.mark.parametrize("minutes", [15, 16])
def test_jobs_that_have_stopped_are_found(
    well: Site, run: Run, found_alone: Expect, usual: dict[str, str], minutes: int
) -> None:
    measured_at = datetime.now(UTC) - timedelta(minutes=minutes, seconds=10)
    well.api.alter = _altering(
        "/v1/status", _json(lambda told: told["recording"].update(measured_at=measured_at.isoformat()))
    )

    examined = run()

    if minutes <= 15:
        assert examined.states == usual
    else:
        found_alone(examined, "jobs", "modeltrack-measure")


def test_a_proxy_that_the_api_does_not_find_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    well.api.alter = _altering("/v1/status", _json(lambda told: told["proxy"].update(state="down")))

    examined = run()

    found_alone(examined, "parts", "PROXY_PUBLIC_URL")


def test_a_call_whose_event_never_arrives_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    def miss(passing: Passing) -> None:
        passing.status, passing.body = 404, b"{}"

    well.api.alter = _altering("/v1/events/", miss)

    examined = run("--wait", "1")

    found_alone(examined, "arrival", "the journal keeps the call", {"cost"})


def test_an_unknown_key_that_is_let_in_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    def let_in(passing: Passing) -> None:
        sent = well.proxy.asked[-1][1].get("X-ModelTrack-Key", "")
        if passing.status == 401 and sent.startswith("mt_"):
            passing.status, passing.body = 200, b"{}"

    well.proxy.alter = let_in

    examined = run()

    found_alone(examined, "unknown_key", "cannot ask its store")


def test_a_provider_that_refuses_the_key_is_told_from_one_that_lacks_it(well: Site, run: Run) -> None:
    tenant = well.deployment.tenant()
    well.proxy.alter = _altering(
        "/anthropic", lambda passing: setattr(passing, "status", 401) if passing.status == 200 else None
    )

    given, lacking = run(tenant=tenant), run(ANTHROPIC_API_KEY="")

    assert given.of("call")["state"] == "failed"
    assert given.of("call")["advice"] == "set ANTHROPIC_API_KEY to a live key of the provider's"
    assert lacking.of("call")["state"] == "not_checked"
    assert lacking.of("arrival")["state"] == "passed"


def test_a_provider_that_cannot_be_reached_is_found(well: Site, run: Run) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    astray = well.deployment.start_proxy({"ANTHROPIC_BASE_URL": nowhere}, data="astray")
    well.proxy.target = astray.url

    examined = run()
    astray.stop()

    assert "ANTHROPIC_BASE_URL" in examined.of("call")["advice"]
    assert {name for name, state in examined.states.items() if state == "failed"} == {"call"}


def test_headers_of_the_proxy_that_get_lost_are_found(well: Site, run: Run, found_alone: Expect) -> None:
    well.proxy.alter = _altering("/anthropic", lambda passing: passing.header("X-ModelTrack-Cost-USD", None))

    examined = run()

    found_alone(examined, "told", "may have no price", {"cost"})


def test_another_cost_in_the_answer_than_in_the_event_is_found(
    well: Site, run: Run, found_alone: Expect
) -> None:
    well.proxy.alter = _altering("/anthropic", lambda passing: passing.header("X-ModelTrack-Cost-USD", "0.1"))

    examined = run()

    found_alone(examined, "cost", "tell whoever maintains")


def test_another_count_of_tokens_than_the_providers_is_found(
    well: Site, run: Run, found_alone: Expect
) -> None:
    well.api.alter = _altering(
        "/v1/events/", _json(lambda told: told.update(output_tokens=told.get("output_tokens", 0) + 1))
    )

    examined = run()

    found_alone(examined, "cost", "tell whoever maintains")


def _spent_budget(site: Site, tenant: Tenant) -> None:
    answer = requests.post(
        f"{site.deployment.api.url}/v1/budgets",
        json={"name": "all", "limit_usd": "0.000001", "action": "warn", "thresholds_percent": [1]},
        headers={"Authorization": f"Bearer {tenant.key}"},
        timeout=10,
    )
    assert answer.status_code == 201, answer.text


def test_a_warning_that_does_not_reach_the_caller_is_found(
    well: Site, run: Run, found_alone: Expect, usual: dict[str, str]
) -> None:
    tenant = well.deployment.tenant()
    _spent_budget(well, tenant)
    run(tenant=tenant)  # it spends the budget

    shown = run(tenant=tenant)
    well.proxy.alter = lambda passing: passing.header("X-ModelTrack-Budget-Warning", None)
    dropped = run(tenant=tenant)

    assert shown.states == usual
    assert "all at" in shown.of("budgets")["found"]
    found_alone(dropped, "budgets", "X-ModelTrack-Budget-Warning")


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda told: told["data"][0].update(in_flight=2), "`recover`"),
        (lambda told: told["data"][0].update(admitted=3, settled=3), "`check`"),
        (lambda told: told.update(last_check={"date": "2026-11-01", "is_sound": False}), "/v1/conservation"),
    ],
    ids=["open calls", "unchecked", "unsound"],
)
def test_books_that_do_not_agree_are_found(
    well: Site, run: Run, found_alone: Expect, change: Callable[[Any], None], advice: str
) -> None:
    well.api.alter = _altering("/v1/conservation", _json(change))

    examined = run()

    found_alone(examined, "books", advice)


def test_a_revoked_key_that_works_on_is_found(well: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeltrack_cli.doctor.door.ACTS_WITHIN_SECONDS", 1.0)
    monkeypatch.setattr("modeltrack_cli.doctor.door.LOOKED_AT_SECONDS", 1.5)
    well.proxy.alter = _altering("/anthropic/v1/models", lambda passing: setattr(passing, "status", 200))

    examined = run("--revocation")

    assert examined.of("revocation")["state"] == "failed"
    assert "still worked" in examined.of("revocation")["found"]


@pytest.mark.parametrize("seconds", [-300, 300])
def test_a_clock_that_is_wrong_is_found(well: Site, run: Run, found_alone: Expect, seconds: int) -> None:
    def shift(passing: Passing) -> None:
        date = dict(passing.headers)["Date"]
        passing.header(
            "Date", format_datetime(parsedate_to_datetime(date) + timedelta(seconds=seconds), usegmt=True)
        )

    well.api.alter = _altering("/health", shift)

    examined = run()

    found_alone(examined, "clocks", "set the clock of the machine that runs the API")


def test_the_moment_of_the_event_tells_the_proxys_own_clock(
    well: Site, run: Run, found_alone: Expect
) -> None:
    def shift(told: dict[str, Any]) -> None:
        if "timestamp" in told:
            told["timestamp"] = (
                datetime.fromisoformat(told["timestamp"]) + timedelta(seconds=60)
            ).isoformat()

    well.api.alter = _altering("/v1/events/", _json(shift))

    examined = run()

    found_alone(examined, "clocks", "set the clock of the machine that runs the proxy")


def test_without_a_key_what_needs_none_is_looked_at(well: Site, run: Run, usual: dict[str, str]) -> None:
    examined = run(MODELTRACK_KEY="")

    assert examined.states == usual | dict.fromkeys(OF_A_CALL, "not_checked")
    assert "MODELTRACK_KEY" in examined.of("call")["advice"]


def test_a_key_that_nobody_knows_is_found(well: Site, run: Run, found_alone: Expect) -> None:
    examined = run(MODELTRACK_KEY="mt_unheard-of")

    found_alone(examined, "one_store", "give MODELTRACK_KEY a live key", OF_A_CALL - {"one_store"})


HOLES = """
    match /accounts/{a}/segments/{s} { allow get: if true; }
    match /leases/{l} { allow delete, update: if true; }
"""


def test_open_rules_are_found(
    well: Site, run: Run, found_alone: Expect, emulator: str, firestore_project: str
) -> None:
    _release(emulator, firestore_project, OPEN_RULES % HOLES)

    examined = run("--project", firestore_project, FIRESTORE_EMULATOR_HOST=emulator)

    found_alone(examined, "rules", "release firestore.rules")
    assert (
        examined.of("rules")["found"] == "anybody may read accounts/…/segments, change leases, delete leases"
    )


def test_the_rules_that_we_release_are_green(
    well: Site, run: Run, usual: dict[str, str], emulator: str, firestore_project: str
) -> None:
    _release(emulator, firestore_project, (ROOT / "firestore.rules").read_text())
    examined = run("--project", firestore_project, FIRESTORE_EMULATOR_HOST=emulator)

    assert examined.states == usual | {"rules": "passed"}
    for collection in ("accounts", "leases"):
        kept = requests.get(
            f"{_documents(emulator, firestore_project)}/{collection}", headers=OWNER, timeout=10
        )
        assert kept.json() == {}


OWNER = {"Authorization": "Bearer owner"}


def _documents(emulator: str, project: str) -> str:
    return f"http://{emulator}/v1/projects/{project}/databases/(default)/documents"


def _release(emulator: str, project: str, content: str) -> None:
    answer = requests.put(
        f"http://{emulator}/emulator/v1/projects/{project}:securityRules",
        json={"rules": {"files": [{"name": "firestore.rules", "content": content}]}},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text


def test_the_command_prints_a_line_a_check_without_colours_and_keys(well: Site) -> None:
    tenant = well.deployment.tenant()
    well.proxy.alter = _altering("/health", lambda passing: passing.header("X-ModelTrack-Version", "0.0.9"))
    ran = subprocess.run(
        [sys.executable, "-m", "modeltrack_cli", "doctor", "--kind=hosted", f"--http-port={well.http_port}"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "MODELTRACK_URL": well.api.url,
            "MODELTRACK_PROXY_URL": well.proxy.url,
            "MODELTRACK_KEY": tenant.key,
            "ANTHROPIC_API_KEY": tenant.provider_key,
            "REQUESTS_CA_BUNDLE": well.deployment.ca_file,
        },
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    lines = ran.stdout.splitlines()
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert len([line for line in lines if line[:1] in "✓✗–"]) == len(CHECKS)
    assert [line.split("  ")[0] for line in lines if line.startswith("✗")] == ["✗ Both: version"]
    assert "→ deploy both services from one build" in ran.stdout
    assert lines[-1].endswith("something is wrong")
    assert "\x1b" not in ran.stdout
    assert not ran.stderr
    assert tenant.key not in ran.stdout
    assert tenant.provider_key not in ran.stdout


@pytest.mark.not_behind_nginx("what is not served over TLS is what it expects to find")
def test_a_machine_of_ones_own_on_firestore_is_all_well(
    firestore_deployment: Deployment,
    emulator: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tenant = firestore_deployment.tenant()
    wait_for_jobs(firestore_deployment)
    for name, value in {
        "MODELTRACK_URL": firestore_deployment.api.url,
        "MODELTRACK_PROXY_URL": firestore_deployment.proxy.url,
        "MODELTRACK_KEY": tenant.key,
        "MODELTRACK_PROJECT": firestore_deployment.store_url.removeprefix("firestore://"),
        "FIRESTORE_EMULATOR_HOST": emulator,
    }.items():
        monkeypatch.setenv(name, value)

    status = main(["doctor", "--json", "--revocation"])
    said = capsys.readouterr().out

    states = {each["check"]: each["state"] for each in json.loads(said)["checks"]}
    of_tls = {f"{place}_{part}" for place in ("api", "proxy") for part in ("certificate", "tls", "http")}
    left_out = {name for name, state in states.items() if state == "not_applicable"}
    assert left_out == {"no_key", *of_tls}
    assert set(states.values()) == {"passed", "not_applicable"}, said
    assert status == 0
