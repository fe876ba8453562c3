"""Bad input: a clear error in the provider's own dialect, or service as documented; never a 500."""

import json
from collections.abc import Iterator

import pytest

from metering.keys import new_key
from tests.system.calls import CHAT, MESSAGES, SONNET, Reply, call, chat, message
from tests.system.deployment import Deployment, Tenant
from tests.system.processes import Process

LIMIT_BYTES = 100_000


@pytest.fixture
def tenant(sqlite_deployment: Deployment) -> Tenant:
    return sqlite_deployment.tenant()


@pytest.fixture(scope="module")
def strict_proxy(sqlite_deployment: Deployment) -> Iterator[Process]:
    """A proxy that takes small bodies only."""
    proxy = sqlite_deployment.start_proxy({"BODY_LIMIT_BYTES": str(LIMIT_BYTES)}, data="strict")
    yield proxy
    proxy.stop()


def _headers(tenant: Tenant) -> dict[str, str]:
    return {
        "authorization": f"Bearer {tenant.provider_key}",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        **tenant.headers,
    }


def _said(reply: Reply, path: str) -> str:
    """The message of an error, which must stand where that provider's clients look for it."""
    page = reply.json()
    if path.startswith("/bedrock/model"):
        return str(page["message"])
    if path == MESSAGES:
        assert page["type"] == "error"
    return str(page["error"]["message"])


PATHS = [MESSAGES, CHAT, "/v1/responses", "/v1/embeddings", f"/bedrock/model/{SONNET}/converse"]


@pytest.mark.battery("I4")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"{", b'{"model":', b"\xff\xfe", b'{"model": "\xc3("}', b""])
def test_malformed_json_is_refused_in_the_providers_dialect(
    sqlite_deployment: Deployment, tenant: Tenant, path: str, body: bytes
) -> None:
    reply = call(sqlite_deployment.proxy.url, path, body, _headers(tenant))

    assert reply.status == 400
    assert _said(reply, path)


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_key_is_refused_in_the_providers_dialect_and_nothing_goes_upstream(
    sqlite_deployment: Deployment, tenant: Tenant, path: str
) -> None:
    for key in (new_key(), "mt_short", "", f"mt_{'0' * 64}00000000", tenant.key.upper()):
        reply = call(sqlite_deployment.proxy.url, path, chat(), _headers(tenant) | {"X-ModelTrack-Key": key})

        assert reply.status == 401
        assert _said(reply, path)
    assert sqlite_deployment.received(tenant) == []


@pytest.mark.battery("V3")
@pytest.mark.parametrize("path", PATHS)
def test_an_account_key_in_the_place_of_the_providers_goes_to_no_provider(
    sqlite_deployment: Deployment, tenant: Tenant, path: str
) -> None:
    for header in ({"authorization": f"Bearer {tenant.key}"}, {"x-api-key": tenant.key}):
        reply = call(sqlite_deployment.proxy.url, path, chat(), _headers(tenant) | header)

        assert reply.status == 401
        assert "X-ModelTrack-Key" in _said(reply, path)
    assert sqlite_deployment.received(tenant) == []


@pytest.mark.battery("T3")
@pytest.mark.parametrize("path", ["/", "/nowhere", "/v2/messages", "/ws", "/ws/", "/ws/unknown/v1/messages"])
def test_a_wrong_path_is_an_error_that_says_so(
    sqlite_deployment: Deployment, tenant: Tenant, path: str
) -> None:
    reply = call(sqlite_deployment.proxy.url, path, message(), _headers(tenant))

    assert reply.status in {401, 404}
    assert b"error" in reply.body
    assert sqlite_deployment.received(tenant) == []


@pytest.mark.battery("P7")
@pytest.mark.parametrize(("size", "status"), [(LIMIT_BYTES, 200), (LIMIT_BYTES + 1, 413)])
def test_a_body_at_the_limit_is_served_and_one_beyond_it_is_refused(
    strict_proxy: Process, tenant: Tenant, size: int, status: int
) -> None:
    empty = json.dumps(message("")).encode()
    body = json.dumps(message("x" * (size - len(empty)))).encode()

    reply = call(strict_proxy.url, MESSAGES, body, _headers(tenant))

    assert len(body) == size
    assert reply.status == status
    assert status == 200 or _said(reply, MESSAGES)


TAGS = {
    "slashes and dots": ("../../etc/passwd", "../../etc/passwd"),
    "field path": ("a.b.c[0].`d`", "a.b.c[0].`d`"),
    "200 characters": ("t" * 200, "t" * 200),
    "300 characters": ("t" * 300, "t" * 200),
    "emoji": ("équipe 🙂".encode().decode("latin-1"), "équipe 🙂"),
    "blanks": ("   spaced   out  ", "spaced   out"),
    "a key": ("sk-ant-abcdefghijklmnop", "[redacted]"),
    "quotes": ("\"'; DROP TABLE teams;--", "\"'; DROP TABLE teams;--"),
    "empty": ("", ""),
}


@pytest.mark.battery("P9", "V3", "I3")
@pytest.mark.parametrize(("sent", "recorded"), TAGS.values(), ids=TAGS.keys())
def test_any_tag_is_served_and_recorded_as_documented(
    sqlite_deployment: Deployment, tenant: Tenant, sent: str, recorded: str
) -> None:
    headers = _headers(tenant) | {"X-ModelTrack-Team": sent, "X-ModelTrack-Session-ID": sent}

    reply = call(sqlite_deployment.proxy.url, MESSAGES, message(), headers)

    (event,) = sqlite_deployment.assert_billed(tenant, 1)
    assert reply.status == 200
    assert (event["team"], event["session_id"]) == (recorded, recorded)
    assert "x-modeltrack-team" not in str(sqlite_deployment.received(tenant)).lower()


@pytest.mark.battery("I3")
def test_usage_is_grouped_by_tags_as_they_were_recorded(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    for team in ("a/b", "a.b", "équipe 🙂".encode().decode("latin-1")):
        headers = _headers(tenant) | {"X-ModelTrack-Team": team, "X-ModelTrack-No-Cache": "true"}
        call(sqlite_deployment.proxy.url, MESSAGES, message(), headers)
    sqlite_deployment.events(tenant, 3)

    report = sqlite_deployment.ask_api(tenant, "/v1/usage?bucket_width=1d&group_by=team")

    teams = {row["team"]: row["requests"] for bucket in report["data"] for row in bucket["results"]}
    assert teams == {"a/b": 1, "a.b": 1, "équipe 🙂": 1}
