"""The demo provider on a real connection: what its bill says of delivery, and how it breaks off."""

import http.client
import json
import socket
from pathlib import Path

import pytest

from tests.system.calls import MESSAGES, call, message, open_call
from tests.system.deployment import Deployment, Tenant
from tests.system.processes import eventually


@pytest.fixture
def tenant(sqlite_deployment: Deployment) -> Tenant:
    return sqlite_deployment.tenant()


def _headers(tenant: Tenant, **options: object) -> dict[str, str]:
    asked = {f"x-demo-{name.replace('_', '-')}": str(value) for name, value in options.items()}
    return {"x-api-key": tenant.provider_key, **asked}


@pytest.mark.parametrize("size", [500, 8_000_000], ids=["at once", "in pieces"])
@pytest.mark.parametrize("is_streaming", [False, True])
def test_what_the_caller_has_read_is_delivered_whole(
    sqlite_deployment: Deployment, tenant: Tenant, size: int, *, is_streaming: bool
) -> None:
    headers = _headers(tenant, size=size)

    reply = call(sqlite_deployment.provider.url, MESSAGES, message(stream=is_streaming), headers)

    assert len(reply.body) == size
    eventually(lambda: sqlite_deployment.bill(tenant)[0]["delivered_whole"])


@pytest.mark.parametrize("how", [{"cut_at_frame": 3}, {"cut_at_byte": 700}])
def test_a_cut_answer_is_billed_but_not_delivered_whole(
    sqlite_deployment: Deployment, tenant: Tenant, how: dict[str, int]
) -> None:
    with pytest.raises(http.client.IncompleteRead):
        call(sqlite_deployment.provider.url, MESSAGES, message(stream=True), _headers(tenant, **how))

    (row,) = sqlite_deployment.bill(tenant)
    assert row["delivered_whole"] is False
    assert row["nanodollars"] > 0


def test_a_caller_that_leaves_has_not_had_the_answer_whole(
    sqlite_deployment: Deployment, tenant: Tenant
) -> None:
    headers = _headers(tenant, pace_ms=20)
    with open_call(sqlite_deployment.provider.url, MESSAGES, message(stream=True), headers) as made:
        made.read_until(b"message_start")
        made.hang_up()

    assert sqlite_deployment.bill(tenant)[0]["delivered_whole"] is False


def test_a_reset_is_no_answer_at_all(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    with pytest.raises(ConnectionResetError):
        call(sqlite_deployment.provider.url, MESSAGES, message(), _headers(tenant, reset="true"))


def test_pipelined_requests_are_answered_in_order(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    sent = b""
    for delay in (200, 0, 50):
        body = json.dumps(message(str(delay))).encode()
        head = f"POST {MESSAGES} HTTP/1.1\r\nhost: x\r\nx-api-key: {tenant.provider_key}\r\n"
        sent += f"{head}x-demo-delay-ms: {delay}\r\nx-demo-text: after-{delay}\r\n".encode()
        sent += f"content-length: {len(body)}\r\n\r\n".encode() + body

    with socket.create_connection(("127.0.0.1", sqlite_deployment.provider.port), 10) as connection:
        connection.sendall(sent)
        read = b""
        while read.count(b"after-") < 3:
            piece = connection.recv(65536)
            assert piece
            read += piece

    places = [read.index(f"after-{delay}".encode()) for delay in (200, 0, 50)]
    assert places == sorted(places)


def test_nonsense_ends_the_connection_and_nothing_else(sqlite_deployment: Deployment, tenant: Tenant) -> None:
    with socket.create_connection(("127.0.0.1", sqlite_deployment.provider.port), 10) as connection:
        connection.sendall(b"this is no HTTP\r\n\r\n")
        answer = connection.recv(100)

    assert answer.startswith(b"HTTP/1.1 400")
    assert call(sqlite_deployment.provider.url, MESSAGES, message(), _headers(tenant)).status == 200
    assert "Traceback" not in Path(sqlite_deployment.provider.log).read_text()
