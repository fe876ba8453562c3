"""Two proxies and two APIs behind nginx, as one service: callers, browsers and streams notice nothing of it.

`make behind-nginx` has the other system tests go through it, too.
"""

import json
import shutil
import subprocess
import threading
from collections import Counter
from http.cookiejar import Cookie

import pytest
import requests

from api_service.attempts import LOGINS_MAX
from metering.directory import KeyTerms
from tests.system.calls import MESSAGES, Reply, call, message, open_call
from tests.system.deployment import Deployment, Tenant
from tests.system.front_end import ACCESS_LOG
from tests.system.processes import eventually

ELSEWHERE = "203.0.113.9"
SESSION = "__Host-modeltrack_session"


@pytest.fixture
def deployment(nginx_deployment: Deployment) -> Deployment:
    return nginx_deployment


def _headers(tenant: Tenant, **options: object) -> dict[str, str]:
    return {
        "x-api-key": tenant.provider_key,
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "x-modeltrack-no-cache": "true",
        **tenant.headers,
        **{f"x-demo-{name.replace('_', '-')}": str(value) for name, value in options.items()},
    }


def _served(deployment: Deployment, word: str) -> list[int]:
    """In how many lines of its log each of the services behind nginx says that."""
    return [each.log.read_text().count(word) for each in deployment.behind]


def _sign_up(deployment: Deployment, email: str) -> tuple[requests.Session, str]:
    """A browser's session and its CSRF token."""
    browser = requests.Session()
    person = {"email": email, "password": "correct horse battery", "account_name": "Ada & Co"}
    answer = browser.post(f"{deployment.api.url}/v1/signup", json=person, timeout=20)
    assert answer.status_code == 201, answer.text
    return browser, answer.json()["csrf_token"]


def test_calls_go_to_both_proxies_and_add_up_in_both_apis(deployment: Deployment, tenant: Tenant) -> None:
    statuses: Counter[int] = Counter()

    def make(at: int) -> None:
        statuses[call(deployment.proxy.url, MESSAGES, message(str(at)), _headers(tenant)).status] += 1

    calls = [threading.Thread(target=make, args=(at,)) for at in range(20)]
    for each in calls:
        each.start()
    for each in calls:
        each.join()

    assert statuses == {200: 20}
    deployment.assert_billed(tenant, 20)
    assert deployment.usage(tenant, api=deployment.behind[2]) == deployment.usage(
        tenant, api=deployment.behind[3]
    )
    assert all(_served(deployment, tenant.account_id))


def test_the_first_event_of_a_stream_is_there_before_the_last(deployment: Deployment, tenant: Tenant) -> None:
    with open_call(
        deployment.proxy.url, MESSAGES, message(stream=True), _headers(tenant, pace_ms=100)
    ) as made:
        made.read_until(b"message_start")
        pieces = 1
        assert b"message_stop" not in made.read
        while made.read_some():
            pieces += 1

    assert b"message_stop" in made.read
    assert pieces > 5


def test_a_caller_that_hangs_up_is_missed_at_once(deployment: Deployment, tenant: Tenant) -> None:
    headers = _headers(tenant, pace_ms=50, output_tokens=150)
    with open_call(deployment.proxy.url, MESSAGES, message(stream=True), headers) as made:
        made.read_until(b"message_start")
        made.hang_up()

    assert deployment.event(tenant)["state"] == "client_closed"


def test_a_provider_learns_nothing_of_who_called_or_by_which_way(
    deployment: Deployment, tenant: Tenant
) -> None:
    headers = _headers(tenant) | {"X-Forwarded-For": ELSEWHERE, "x_under_score": "kept"}
    call(deployment.proxy.url, MESSAGES, message(), headers)

    (request,) = deployment.received(tenant)
    names = {name.lower() for name, _ in request["headers"]}
    assert not [name for name in names if "forwarded" in name or name in {"via", "x-real-ip"}]
    assert "x_under_score" in names


@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", 200), (ELSEWHERE, 403)])
def test_an_ingress_address_is_limited_by_where_the_call_came_from_whatever_it_says(
    deployment: Deployment, tenant: Tenant, address: str, status: int
) -> None:
    terms = KeyTerms(kind="ingress", name="from there", scopes=("proxy",), addresses=(address,))
    ingress_id, _ = deployment.directory().create_key(tenant.account_id, terms)
    headers = {name: value for name, value in _headers(tenant).items() if name != "X-ModelTrack-Key"}

    reply = call(
        deployment.proxy.url,
        f"/ws/{ingress_id}{MESSAGES}",
        message(),
        headers | {"X-Forwarded-For": ELSEWHERE, "Forwarded": f"for={ELSEWHERE}"},
    )

    assert reply.status == status
    log = deployment.folder / "nginx" / ACCESS_LOG
    eventually(lambda: f" POST {status} " in log.read_text(), what="the line of nginx's log")
    assert all(ingress_id not in file.read_text() for file in (deployment.folder / "nginx").glob("*.log"))


def test_a_body_at_the_limit_passes_and_one_beyond_is_refused_in_the_providers_words(
    deployment: Deployment, tenant: Tenant
) -> None:
    def sized(size: int) -> Reply:
        frame = json.dumps(message("")).encode()
        body = json.dumps(message("x" * (size - len(frame)))).encode()
        assert len(body) == size
        return call(deployment.proxy.url, MESSAGES, body, _headers(tenant))

    limit = 32 * 1024 * 1024

    assert sized(limit).status == 200
    refused = sized(limit + 1)
    assert (refused.status, refused.json()["error"]["type"]) == (413, "request_too_large")


@pytest.mark.battery("A2")
def test_a_browsers_session_holds_on_both_apis_and_its_cookie_is_for_https_alone(
    deployment: Deployment,
) -> None:
    browser, token = _sign_up(deployment, "ada@example.com")

    cookies = [cookie for cookie in browser.cookies if isinstance(cookie, Cookie)]
    assert SESSION in {cookie.name for cookie in cookies}
    assert all(cookie.secure and cookie.path == "/" for cookie in cookies)
    before = _served(deployment, "GET")[2:]
    assert [browser.get(f"{deployment.api.url}/v1/account", timeout=10).status_code for _ in range(4)] == [
        200
    ] * 4
    assert all(after > then for after, then in zip(_served(deployment, "GET")[2:], before, strict=True))

    write = {"name": "made in a browser", "scopes": ["proxy"]}
    address = f"{deployment.api.url}/v1/keys"
    ours = {"X-CSRF-Token": token, "Origin": deployment.api.url}
    statuses = [
        browser.post(address, json=write, headers=headers, timeout=10).status_code
        for headers in (
            ours,
            ours | {"Origin": "https://elsewhere.example.com"},
            ours | {"X-CSRF-Token": "guessed"},
        )
    ]
    assert statuses == [201, 403, 403]


@pytest.mark.battery("A5")
def test_who_guesses_passwords_is_one_caller_whatever_addresses_it_claims(deployment: Deployment) -> None:
    guess = {"email": "nobody@example.com", "password": "a wrong one, of course"}

    statuses = [
        requests.post(
            f"{deployment.api.url}/v1/login",
            json=guess,
            headers={"X-Forwarded-For": f"198.51.100.{at}"},
            timeout=20,
        ).status_code
        for at in range(LOGINS_MAX + 1)
    ]

    assert statuses == [401] * LOGINS_MAX + [429]


def test_figures_of_the_processes_are_not_for_whoever_comes_by_nginx(
    deployment: Deployment, tenant: Tenant
) -> None:
    for address in (deployment.proxy.url, deployment.api.url):
        assert requests.get(f"{address}/metrics", timeout=10).status_code == 401
        for path in ("/healthz", "/health", "/readyz"):
            assert requests.get(address + path, timeout=10).status_code == 200
    assert (
        requests.get(f"{deployment.proxy.url}/stats", headers=tenant.headers, timeout=10).status_code == 200
    )


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("proxy.example.com", "/v1/messages?beta=true"),
        ("proxy.example.com", "/ws/AAAA/v1/messages"),
        ("proxy.example.com", "/"),
        ("api.example.com", "/v1/account"),
        ("api.example.com", "/metrics"),
    ],
)
def test_a_program_that_calls_without_tls_is_refused_and_led_nowhere(
    deployment: Deployment, host: str, path: str
) -> None:
    for method in ("GET", "POST"):
        answer = requests.request(
            method, deployment.plain_url + path, headers={"Host": host}, allow_redirects=False, timeout=10
        )

        assert answer.status_code == 403
        assert "Location" not in answer.headers
        assert path == "/metrics" or "rotate the keys" in answer.json()["error"]["message"]


def test_a_page_that_is_opened_without_tls_leads_to_where_it_is(deployment: Deployment) -> None:
    answer = requests.get(
        f"{deployment.plain_url}/login?next=/keys",
        headers={"Host": "api.example.com"},
        allow_redirects=False,
        timeout=10,
    )

    assert (answer.status_code, answer.headers["Location"]) == (
        301,
        "https://api.example.com/login?next=/keys",
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="speaks HTTP/2 with curl: install it")
def test_callers_may_speak_http_2_to_nginx(deployment: Deployment, tenant: Tenant) -> None:
    headers = [word for name, value in _headers(tenant).items() for word in ("-H", f"{name}: {value}")]
    command = [
        "curl",
        "-sS",
        "--http2",
        "--cacert",
        deployment.ca_file,
        "-w",
        "\n%{http_version} %{http_code}",
    ]

    told = subprocess.run(
        [*command, *headers, "-d", json.dumps(message()), deployment.proxy.url + MESSAGES],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip

    assert told.stdout.splitlines()[-1] == "2 200"
    deployment.assert_billed(tenant, 1)


def test_while_one_of_each_is_gone_the_others_serve(deployment: Deployment, tenant: Tenant) -> None:
    proxy, api = deployment.behind[1], deployment.behind[3]
    for gone in (proxy, api):
        gone.stop()

    statuses = [
        call(deployment.proxy.url, MESSAGES, message(str(at)), _headers(tenant)).status for at in range(10)
    ]
    answers = [requests.get(f"{deployment.api.url}/readyz", timeout=10).status_code for _ in range(6)]

    assert (statuses, answers) == ([200] * 10, [200] * 6)
    deployment.assert_billed(tenant, 10)
    deployment.behind[1] = deployment.start_proxy(data="second of two", port=proxy.port)
    deployment.behind[3] = deployment.start_api(port=api.port)
