"""The same bytes to us, to nginx as reverse proxy and to uvicorn: all see the same requests, or none.

Compared is what reaches the upstream (method, target, end-to-end headers, body), or that nothing does. Where
an oracle reads otherwise, `DIFFERENCES` says why we do not.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.doubles.raw_upstream import RawUpstream, ReceivedRequest, dialled, take_answer
from tests.services.proxy.oracles import nginx_before, uvicorn_recording
from tests.services.proxy.pass_through import CONNECTION_NAMES, Gateway
from tests.unit.proxy_service.test_http1 import MALFORMED_CHUNKS, MALFORMED_HEADS, REFUSED_HEADS

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
WAITS_FOR_MORE = {"an endless extension", "an endless trailer"}  # the oracles' bounds lie elsewhere

WELL_FORMED = {
    "a target with escapes and a query": b"GET /a%2Fb?c=d&e HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n",
    "dots and slashes in the target": b"GET /a/../b//c/./d HTTP/1.1\r\nHost: a\r\n\r\n",
    "odd signs in the target": b'GET /a{b}|c\\d^e"f<g> HTTP/1.1\r\nHost: a\r\n\r\n',
    "a broken escape": b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    "an escaped way out": b"GET /%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET with a body": GET + b"Content-Length: 2\r\n\r\nhi",
    "POST": POST + b"Content-Length: 5\r\n\r\nhello",
    "an empty POST": POST + b"Content-Length: 0\r\n\r\n",
    "POST without a length": POST + b"\r\n",
    "a length with blanks": POST + b"Content-Length:  2 \r\n\r\nhi",
    "a length with zeros": POST + b"Content-Length: 002\r\n\r\nhi",
    "chunks": CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    "chunks with extensions": CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n',
    "chunks with a trailer": CHUNKED + b"5\r\nhello\r\n0\r\nX-T: v\r\n\r\n",
    "chunks with capitals and zeros": CHUNKED + b"0A\r\n0123456789\r\n00\r\n\r\n",
    "chunks spelt in capitals": POST + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
    "a value in Latin-1": GET + b"X-A: caf\xe9\r\n\r\n",
    "a value in UTF-8": GET + b"X-A: \xe5\x9b\xa2\r\n\r\n",
    "an empty value": GET + b"X-A:\r\n\r\n",
    "a tab in a value": GET + b"X-A: a\tb\r\n\r\n",
    "a name of odd signs": GET + b"!#$%&'*+-.^_`|~9: b\r\n\r\n",
    "an underscore in a name": GET + b"a_b: c\r\n\r\n",
    "a header twice": GET + b"X-A: b\r\nX-A: c\r\n\r\n",
    "an empty line before": b"\r\n" + GET + b"\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "HTTP/1.0 with a body": b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi",
    "a Host with a port": b"GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
    "an IPv6 Host": b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
    "an underscore in the Host": b"GET / HTTP/1.1\r\nHost: my_host\r\n\r\n",
    "an upgrade to ignore": GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "headers of the connection": GET + b"TE: trailers\r\nKeep-Alive: 5\r\nProxy-Authorization: z\r\n\r\n",
    "DELETE": b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
    "PATCH": b"PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    "OPTIONS": b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method of WebDAV": b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method nobody knows": b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
}
CASES = (
    WELL_FORMED
    | MALFORMED_HEADS
    | {name: raw for name, (raw, _) in REFUSED_HEADS.items()}
    | {
        f"chunks: {name}": CHUNKED + raw
        for name, raw in MALFORMED_CHUNKS.items()
        if name not in WAITS_FOR_MORE
    }
)

LINES = "it takes a bare line feed for an end of line; a reader that does not would see other requests"
STEPPED_OVER = (
    "it steps over any ends of lines before a method; RFC 9112 §2.2 lets it step over an empty line"
)
HOSTS = "it does not check Host; RFC 9112 §3.2 demands 400"
FORMS = "it takes another form of target; a proxy that dials what a caller names is an open door"
BLANKS = "it takes other blanks than one between the parts of the request line"
DIFFERENCES: dict[str, dict[str, str]] = {
    "a broken escape": {"nginx": "it decodes the target and fails; we never look into it"},
    "an escaped way out": {
        "nginx": "it decodes the target and refuses a way out; the route table sees it raw"
    },
    "a name of odd signs": {
        "nginx": "it drops headers whose names it finds odd; RFC 9110 §5.6.2 allows them"
    },
    "chunks with a trailer": {
        "uvicorn": "it takes trailers for headers; RFC 9112 §7.1.2 forbids to merge them"
    },
    "a method nobody knows": {"nginx": "it relays any method; llhttp knows a closed list"},
    "a bare line feed before": {"nginx": LINES, "uvicorn": STEPPED_OVER},
    "a bare line feed behind an empty line": {"nginx": LINES, "uvicorn": STEPPED_OVER},
    "a bare carriage return before": {"nginx": STEPPED_OVER, "uvicorn": STEPPED_OVER},
    "a bare line feed": {"nginx": LINES},
    "only bare line feeds": {"nginx": LINES},
    "chunks: a bare line feed behind the data": {"nginx": LINES},
    "chunks: less data than said": {"nginx": LINES},
    "chunks: a trailer without colon": {"nginx": "it does not look at trailers"},
    "a header without colon": {"nginx": "it takes the line for a name with an empty value"},
    "no Host": {"uvicorn": HOSTS},
    "two Hosts": {"uvicorn": HOSTS},
    "two Hosts in HTTP/1.0": {"uvicorn": HOSTS},
    "an empty Host": {"uvicorn": HOSTS},
    "a Host with a path": {"uvicorn": HOSTS},
    "a Host with a user": {"nginx": "it does not check all of Host", "uvicorn": HOSTS},
    "a Host list": {"uvicorn": HOSTS},
    "a Host with a wordy port": {"nginx": "it does not check all of Host", "uvicorn": HOSTS},
    "an absolute target": {"nginx": FORMS, "uvicorn": FORMS},
    "an asterisk": {"uvicorn": FORMS},
    "a fragment": {"nginx": "it relays a fragment", "uvicorn": "it cuts a fragment off"},
    "a byte above ASCII in the target": {"nginx": "it relays bytes that RFC 3986 does not know"},
    "two blanks before the target": {"nginx": BLANKS, "uvicorn": BLANKS},
    "two blanks behind the target": {"nginx": BLANKS, "uvicorn": BLANKS},
    "a blank behind the version": {"nginx": BLANKS},
    "no version": {"nginx": "it speaks HTTP/0.9", "uvicorn": "it speaks HTTP/0.9"},
    "HTTP/2.0 in HTTP/1 form": {"uvicorn": "it does not check the version"},
    "TRACE": {"uvicorn": "it has no opinion on methods"},
    "a WebSocket": {"nginx": "it relays the request without the upgrade; we say that we cannot"},
    "another expectation": {
        "nginx": "it ignores expectations it does not know; RFC 9110 §10.1.1 allows 417",
        "uvicorn": "it ignores expectations it does not know; RFC 9110 §10.1.1 allows 417",
    },
}


# Who answers nothing, since it waits for more; everybody else is waited for as long as it takes.
WAITING = {
    "an endless length": "uvicorn",
    "gzip as transfer coding": "uvicorn",
    "chunks in HTTP/1.0": "uvicorn",
    "chunks: a blank behind": "nginx",
    "chunks: a bare line feed behind the size": "nginx",
}
WAITING_SECONDS = 0.5


@dataclass
class Readers:
    """Where the three listen, and what each let through."""

    ports: dict[str, int]
    received: dict[str, list[ReceivedRequest]]

    def reading(self, reader: str, case: str) -> list[object]:
        """What reached the upstream of that raw request, once there is an answer."""
        self.received[reader].clear()
        with dialled(self.ports[reader], CASES[case]) as wire:
            if WAITING.get(case) == reader:
                wire.connection.settimeout(WAITING_SECONDS)
            with contextlib.suppress(EOFError, OSError, ValueError):  # an answer of HTTP/0.9, or none
                take_answer(wire)
        return [comparable(request) for request in self.received[reader]]


def comparable(request: ReceivedRequest) -> object:
    method, target = request.line.split(b" ")[:2]
    kept = [(name.lower(), value) for name, value in request.headers]
    return method, target, sorted(each for each in kept if each[0] not in CONNECTION_NAMES), request.body


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    folder: Path = tmp_path_factory.mktemp("nginx")
    by_uvicorn: list[ReceivedRequest] = []
    with (
        RawUpstream() as ours,
        RawUpstream() as theirs,
        Gateway(ours.port, reads_whole=True) as gateway,
        nginx_before(theirs, folder) as nginx_port,
        uvicorn_recording(by_uvicorn) as uvicorn_port,
    ):
        yield Readers(
            {"ours": gateway.port, "nginx": nginx_port, "uvicorn": uvicorn_port},
            {"ours": ours.requests, "nginx": theirs.requests, "uvicorn": by_uvicorn},
        )


@pytest.mark.battery("P4")
@pytest.mark.parametrize("name", CASES)
def test_all_three_read_the_same_request_or_the_difference_is_explained(name: str, readers: Readers) -> None:
    ours = readers.reading("ours", name)

    differing = {oracle for oracle in ("nginx", "uvicorn") if readers.reading(oracle, name) != ours}

    assert differing == set(DIFFERENCES.get(name, {}))
    assert bool(ours) == (name in WELL_FORMED and name != "a method nobody knows")


def test_every_explained_difference_belongs_to_a_case() -> None:
    assert set(DIFFERENCES) <= set(CASES)
