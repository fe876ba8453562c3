"""TLS on both sides: certificates are verified upstream, and a listener with a certificate speaks it."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from proxy_service.app import Listener
from proxy_service.authorities import Authorities
from tests.doubles.raw_upstream import OK, RawUpstream, Wire, answering, call, closing, take_answer
from tests.services.proxy.pass_through import Gateway

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BODY = b"0123456789abcdef" * 65536
BIG_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.file)

    def server_context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(name).configure_cert(context)
        return context

    def listener(self, name: str) -> Listener:
        certificate = self.ca.issue_cert(name)
        certificate_file, key_file = self.folder / "cert.pem", self.folder / "key.pem"
        certificate.cert_chain_pems[0].write_to_path(certificate_file)
        certificate.private_key_pem.write_to_path(key_file)
        return Listener(certificate_file=str(certificate_file), key_file=str(key_file))

    @contextlib.contextmanager
    def dialled(self, port: int, *sent: bytes) -> Iterator[Wire]:
        context = ssl.create_default_context(cafile=self.file)
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as connection,
        ):
            for data in sent:
                connection.sendall(data)
            yield Wire(connection, 0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_verified_upstream_is_relayed_and_its_connection_kept(authority: Authority) -> None:
    with (
        RawUpstream(answering(BIG_ANSWER), tls=authority.server_context("localhost")) as upstream,
        Gateway(
            upstream.port, scheme="https", host="localhost", authorities=Authorities(authority.file)
        ) as gateway,
    ):
        bodies = [call(gateway.port, GET).body for _ in range(3)]

    assert (bodies, upstream.connections) == ([BODY] * 3, 1)


@pytest.mark.battery("F1")
def test_an_upstream_that_nobody_vouches_for_never_sees_the_request(authority: Authority) -> None:
    with (
        RawUpstream(tls=authority.server_context("localhost")) as upstream,
        Gateway(upstream.port, scheme="https", host="localhost") as gateway,
    ):
        told = call(gateway.port, GET)

    assert (told.body, upstream.requests) == (b"UpstreamUnreachable", [])
    assert told.header(b"x-why") == b"its certificate is not trusted (localhost)"


def test_an_upstream_with_another_name_never_sees_the_request(authority: Authority) -> None:
    with (
        RawUpstream(tls=authority.server_context("other.example")) as upstream,
        Gateway(
            upstream.port, scheme="https", host="localhost", authorities=Authorities(authority.file)
        ) as gateway,
    ):
        told = call(gateway.port, GET)

    assert (told.body, upstream.requests) == (b"UpstreamUnreachable", [])


@pytest.mark.battery("F1")
def test_an_upstream_that_speaks_no_tls_never_sees_the_request(authority: Authority) -> None:
    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, scheme="https", host="localhost", connect_seconds=1.0) as gateway,
    ):
        told = call(gateway.port, GET)

    assert (told.body, upstream.requests) == (b"UpstreamUnreachable", [])


def test_a_listener_with_a_certificate_serves_callers_over_tls(authority: Authority) -> None:
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY

    with (
        RawUpstream(answering(BIG_ANSWER)) as upstream,
        Gateway(upstream.port, listener=authority.listener("localhost")) as gateway,
        authority.dialled(gateway.port) as wire,
    ):
        for _ in range(2):
            wire.send(request)
            assert take_answer(wire).body == BODY

    assert [each.body for each in upstream.requests] == [BODY, BODY]


def test_a_malformed_request_over_tls_is_refused(authority: Authority) -> None:
    with (
        RawUpstream() as upstream,
        Gateway(upstream.port, listener=authority.listener("localhost")) as gateway,
        authority.dialled(gateway.port, b"GET / HTTP/1.1\r\n\r\n") as wire,
    ):
        assert take_answer(wire).status == 400

    assert upstream.requests == []


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_cut_is_visible_over_tls(authority: Authority, version: bytes) -> None:
    cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n"

    with (
        RawUpstream(closing(cut)) as upstream,
        Gateway(upstream.port, listener=authority.listener("localhost")) as gateway,
        authority.dialled(gateway.port, b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version) as wire,
        pytest.raises((EOFError, ConnectionError, ssl.SSLError)),
    ):
        take_answer(wire)


def test_a_plain_request_on_the_tls_listener_reaches_nobody(authority: Authority) -> None:
    with (
        RawUpstream(answering(OK)) as upstream,
        Gateway(upstream.port, listener=authority.listener("localhost")) as gateway,
        pytest.raises((EOFError, ConnectionError)),
    ):
        call(gateway.port, GET)

    assert upstream.requests == []
