"""Calls to addresses that tenants name, on real sockets: where they go, how long and large they may be."""

import socket
import ssl
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme

from api_service.addresses import Reach
from api_service.outbound import ANSWER_BYTES_MAX, CallFailed, Outbound
from tests.doubles.receiver import Receiver, running_receiver

FIRST_ALONE = Reach(is_hosted=False, networks=(ip_network("127.0.0.1/32"),))


class Names:
    """What names lead to, one answer a question, the last for good."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        self.asked += 1
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


def reason_of(outbound: Outbound, url: str) -> str:
    with pytest.raises(CallFailed) as failed:
        outbound.post(url, b"{}", {})
    assert "canary" not in str(failed.value)
    assert failed.value.__cause__ is None
    return failed.value.reason


def test_a_call_is_one_post_with_what_was_to_be_sent(receiver: Receiver) -> None:
    answer = Outbound(FIRST_ALONE).post(f"{receiver.url}/hook?x=1", b"{}", {"webhook-id": "msg_1"})

    assert (answer.status, answer.is_success, answer.body) == (200, True, b"canary of the answer")
    (got,) = receiver.got
    assert (got.path, got.body, got.headers["webhook-id"]) == ("/hook?x=1", b"{}", "msg_1")
    assert got.headers["user-agent"] == "ModelTrack/1"
    assert "cookie" not in got.headers


@pytest.mark.parametrize("is_hosted", [True, False])
def test_this_machine_is_not_called_unless_its_operator_lists_it(receiver: Receiver, is_hosted: bool) -> None:
    outbound = Outbound(Reach(is_hosted=is_hosted))

    assert reason_of(outbound, f"{receiver.url}/canary") == "address_not_allowed"
    assert not receiver.got


@pytest.mark.battery("A7")
@pytest.mark.parametrize(
    "name", ["2130706433", "0x7f000001", "0177.1", "127.1", "[::ffff:127.0.0.1]", "localhost"]
)
def test_no_other_spelling_of_this_machine_is_called(receiver: Receiver, name: str) -> None:
    outbound = Outbound(Reach(is_hosted=True))

    assert reason_of(outbound, f"http://{name}:{receiver.port}/canary") == "address_not_allowed"
    assert not receiver.got


@pytest.mark.battery("A7")
def test_the_connection_goes_to_the_address_that_was_looked_at() -> None:
    with running_receiver() as allowed, running_receiver("127.0.0.2") as inner:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        outbound = Outbound(FIRST_ALONE, resolve=names)

        assert outbound.post(f"http://rebound.example:{allowed.port}/", b"{}", {}).is_success
        assert names.asked == 1
        assert reason_of(outbound, f"http://rebound.example:{inner.port}/") == "address_not_allowed"
        assert not inner.got


@pytest.mark.battery("A7")
def test_a_name_that_also_leads_inside_is_not_called_at_all(receiver: Receiver) -> None:
    outbound = Outbound(FIRST_ALONE, resolve=Names(["127.0.0.1", "169.254.169.254"]))

    assert reason_of(outbound, f"http://both.example:{receiver.port}/") == "address_not_allowed"
    assert not receiver.got


@pytest.mark.battery("A7")
def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    with running_receiver() as elsewhere:
        receiver.status, receiver.headers = 307, {"Location": f"{elsewhere.url}/canary"}

        answer = Outbound(FIRST_ALONE).post(receiver.url, b"{}", {})

        assert (answer.status, answer.is_success) == (307, False)
        assert not elsewhere.got


def test_no_proxy_of_the_environment_comes_in_between(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_receiver("127.0.0.2") as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)

        assert Outbound(FIRST_ALONE).post(receiver.url, b"{}", {}).is_success
        assert not proxy.got


@pytest.mark.battery("F6")
def test_an_answer_is_read_so_far_and_no_farther(receiver: Receiver) -> None:
    receiver.body = b"x" * (10 * 1024 * 1024)

    answer = Outbound(FIRST_ALONE).post(receiver.url, b"{}", {})

    assert len(answer.body) == ANSWER_BYTES_MAX


@pytest.mark.battery("F6")
def test_an_answer_that_drips_is_cut_off_when_its_time_is_over(receiver: Receiver) -> None:
    receiver.is_dripping = True

    assert reason_of(Outbound(FIRST_ALONE, seconds=0.3), receiver.url) == "timeout"


def test_nobody_there_is_told_from_a_refusal() -> None:
    with running_receiver() as gone:
        url = gone.url

    assert reason_of(Outbound(FIRST_ALONE), f"{url}/canary") == "unreachable"


def test_a_name_that_leads_nowhere_is_not_reached() -> None:
    assert (
        reason_of(Outbound(FIRST_ALONE, resolve=Names([])), "http://nowhere.example/canary") == "unreachable"
    )


def test_what_is_no_http_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        outbound = Outbound(FIRST_ALONE, seconds=0.3)

        assert reason_of(outbound, f"http://127.0.0.1:{server.getsockname()[1]}/") == "timeout"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    return str(file)


@pytest.mark.parametrize(("name", "reason"), [("hooks.example.com", ""), ("other.example.com", "tls")])
def test_a_certificate_must_be_of_the_name_that_was_called(
    authority: trustme.CA, trusted: str, name: str, reason: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example.com").configure_cert(context)
    with running_receiver(tls=context) as receiver:
        outbound = Outbound(FIRST_ALONE, trusted=trusted, resolve=Names(["127.0.0.1"]))
        url = f"https://{name}:{receiver.port}/"

        if reason:
            assert reason_of(outbound, url) == reason
        else:
            assert outbound.post(url, b"{}", {}).is_success


def test_a_certificate_of_nobody_known_is_refused(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example.com").configure_cert(context)
    with running_receiver(tls=context) as receiver:
        outbound = Outbound(FIRST_ALONE, resolve=Names(["127.0.0.1"]))

        assert reason_of(outbound, f"https://hooks.example.com:{receiver.port}/") == "tls"
