"""A stand-in for the LLM providers, so that everything can be tried without a key or internet.

    python -m demo.provider [--port 8090] [--tls CERTIFICATE KEY]

It speaks Anthropic Messages and batches of them, OpenAI (Chat Completions, Responses, Embeddings), Azure
OpenAI and Bedrock's runtime, misbehaves on demand (`demo.behaviour`), and keeps a bill of its own
(`demo.bill`):

    GET    /demo/bill?customer=…      what was charged, to all or to the caller with that credential's digest
    GET    /demo/bill/total           the sums alone
    DELETE /demo/bill                 start a new bill
    GET    /demo/received?customer=…  the latest requests as they arrived, credentials as digests
    POST   /demo/script               how to answer the next calls of one key

It listens on loopback only, accepts any credential but one that begins with `invalid`, and stores nothing.
"""

import argparse
import asyncio
import hashlib
import itertools
import secrets
import signal
import ssl
import sys
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
import uvloop

from demo import anthropic, bedrock
from demo.arguments import whole_number
from demo.batches import Batches
from demo.behaviour import NORMAL, Behaviour, Scripts, from_headers
from demo.bill import Bill
from demo.encodings import chosen, encoded
from demo.invention import as_json
from demo.listener import Answer, Connection, Request, status_line
from demo.openai import chat, embeddings, responses, seat
from demo.reply import JSON_TYPE, Refused, Reply

HOST = "127.0.0.1"
PORT = 8090
PORT_MAX = 65_535
RECEIVED_MAX = 512
REPLIES_MAX = 256  # remembered, since an answer follows from its request alone
REMEMBERED_BYTES_MAX = 64 * 1024

_CREDENTIAL_HEADERS = (b"authorization", b"x-api-key", b"api-key", b"x-modeltrack-key", b"cookie")
_OPENAI_CALLS: dict[str, Callable[..., Reply]] = {
    "chat/completions": chat.chat,
    "responses": responses.responses,
    "embeddings": embeddings.embeddings,
}


class Received(msgspec.Struct, frozen=True):
    """A request as it arrived, without its body."""

    customer: str
    request: Request
    body_sha256: str

    def as_row(self) -> dict[str, object]:
        """The request as `GET /demo/received` shows it."""
        return {
            "customer": self.customer,
            "method": self.request.method.decode(),
            "target": self.request.target.decode("latin-1"),
            "headers": [
                [name.decode("latin-1"), _shown(name, value)] for name, value in self.request.headers
            ],
            "body_sha256": self.body_sha256,
        }


def _shown(name: bytes, value: bytes) -> str:
    if name.lower() in _CREDENTIAL_HEADERS:
        return "sha256:" + hashlib.sha256(value).hexdigest()
    return value.decode("latin-1")


class _Door(msgspec.Struct, frozen=True):
    """How one provider's API is spoken: its answer, its errors, the name of its request id.

    `is_repeatable`: the answer follows from the request alone.
    """

    call: Callable[[bytes, bytes, Behaviour], Reply]
    error: Callable[..., Reply]
    id_header: bytes
    compresses: bool = True
    is_repeatable: bool = True


class Provider:
    """All providers in one: answers requests, remembers what it received, keeps the bill."""

    def __init__(self) -> None:
        self._bill = Bill()
        self._batches = Batches(self._bill)
        self._scripts = Scripts()
        self._received: deque[Received] = deque(maxlen=RECEIVED_MAX)
        self._replies: dict[tuple[object, ...], Reply] = {}
        self._ids = (f"{secrets.token_hex(6)}{number:010x}" for number in itertools.count())

    def answer(self, request: Request) -> Answer:
        """The answer to a request, as it goes out."""
        path = request.path
        if path.startswith("/demo/") or path == "/healthz":
            return self._own(request, path)
        credential = _credential(request)
        customer = customer_of(credential)
        digest = hashlib.sha256(request.body).digest()
        bare = msgspec.structs.replace(request, body=b"")
        self._received.append(Received(customer, bare, digest.hex()))
        door = _door(request, path)
        call = self._batches.call(request, customer)
        if call is not None:
            door = msgspec.structs.replace(door, call=call, is_repeatable=False)
        request_id = "req_demo" + next(self._ids)
        behaviour = NORMAL
        try:
            behaviour = self._behaviour(request, credential)
            reply = self._reply(request, door, digest, behaviour, credential)
        except (Refused, msgspec.ValidationError) as refusal:
            reply = _refusal(door, refusal, request_id)
        return self._sent(request, door, reply, behaviour, request_id=request_id, customer=customer)

    def _behaviour(self, request: Request, credential: str) -> Behaviour:
        if self._scripts:
            scripted = self._scripts.next_for(credential)
            if scripted is not None:
                return scripted
        return from_headers(request.headers)

    def _reply(
        self, request: Request, door: _Door, digest: bytes, behaviour: Behaviour, credential: str
    ) -> Reply:
        if not credential or credential.startswith("invalid"):
            raise Refused(401, "Incorrect API key provided.")
        if behaviour.status:
            raise Refused(behaviour.status, behaviour.text or "The demo provider was asked to fail.")
        encoding: str = behaviour.encoding
        if not encoding and door.compresses:
            encoding = chosen(request.header(b"accept-encoding").decode("latin-1"))
        key = (
            request.target,
            request.header(b"anthropic-version") != b"",
            encoding,
            behaviour,
            request.method,
            request.body,
        )
        known = self._replies.get(key)
        if known is not None and door.is_repeatable:
            return known
        reply = _called(door, request.body, digest, behaviour)
        frames = reply.frames
        if behaviour.error_at_frame is not None and reply.is_stream:
            frames = (*frames[: behaviour.error_at_frame], reply.error_frame)
            reply = msgspec.structs.replace(reply, sale=None)
        reply = msgspec.structs.replace(
            reply,
            frames=encoded(frames, encoding),
            headers=reply.headers + (((b"content-encoding", encoding.encode()),) if encoding else ()),
        )
        if door.is_repeatable:
            self._remember(key, request, reply)
        return reply

    def _remember(self, key: tuple[object, ...], request: Request, reply: Reply) -> None:
        if len(request.body) + sum(map(len, reply.frames)) > REMEMBERED_BYTES_MAX:
            return
        if len(self._replies) >= REPLIES_MAX:
            self._replies.pop(next(iter(self._replies)))
        self._replies[key] = reply

    def _sent(
        self,
        request: Request,
        door: _Door,
        reply: Reply,
        behaviour: Behaviour,
        *,
        request_id: str,
        customer: str,
    ) -> Answer:
        call = None
        if reply.sale is not None:
            call = self._bill.charge(reply.sale, request_id=request_id, customer=customer)
        head = _static_head(reply.status, reply.headers)
        if not behaviour.stable:
            head += _date_line() + b"%b: %b\r\n" % (door.id_header, request_id.encode())
        if reply.status == 429 and behaviour.retry_after is not None:
            head += b"retry-after: %d\r\n" % behaviour.retry_after
        is_chunked = behaviour.framing == "chunked" or (reply.is_stream and not behaviour.framing)
        if request.is_kept_alive is False:
            head += b"connection: close\r\n"
        return Answer(reply.status, head, reply.frames, is_chunked, behaviour, call)

    def _own(self, request: Request, path: str) -> Answer:
        """The demo's own pages, for the person or the test that runs it."""
        customer = parse_qs(request.target.partition(b"?")[2].decode("latin-1")).get("customer", [None])[0]
        status: int = 200
        page: dict[str, Any] = {"status": "ok"}
        match request.method, path:
            case b"GET", "/demo/bill":
                page = self._bill.statement(customer)
            case b"GET", "/demo/bill/total":
                page = self._bill.total()
            case b"DELETE", "/demo/bill":
                self._bill.clear()
            case b"GET", "/demo/received":
                rows = [each.as_row() for each in self._received if customer in {None, each.customer}]
                page = {"data": rows}
            case b"POST", "/demo/script":
                try:
                    self._scripts.register(request.body)
                except msgspec.MsgspecError as error:
                    status, page = 400, {"error": str(error)}
            case _, "/healthz":
                pass
            case _:
                status, page = 404, {"error": "the demo has no such page"}
        reply = Reply(status=status, frames=(as_json(page),))
        return Answer(
            status, _static_head(status, (JSON_TYPE,)), reply.frames, is_chunked=False, behaviour=NORMAL
        )


@lru_cache(maxsize=4096)
def customer_of(credential: str) -> str:
    """The digest under which the bill knows a credential."""
    return hashlib.sha256(credential.encode("latin-1")).hexdigest()[:16]


def _credential(request: Request) -> str:
    for name in (b"x-api-key", b"api-key"):
        value = request.header(name)
        if value:
            return value.decode("latin-1")
    scheme, _, value = request.header(b"authorization").partition(b" ")
    return value.decode("latin-1") if scheme.lower() == b"bearer" else ""


def _called(door: _Door, body: bytes, digest: bytes, behaviour: Behaviour) -> Reply:
    """The dialect's answer, which takes fields to be of their documented types. Raises: Refused."""
    try:
        return door.call(body, digest, behaviour)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused(400, "A field of your request is of the wrong type.") from error


def _refusal(door: _Door, refusal: Refused | msgspec.ValidationError, request_id: str) -> Reply:
    if isinstance(refusal, Refused):
        extra = {"param": refusal.param} if refusal.param and door.id_header != b"x-amzn-requestid" else {}
        return door.error(refusal.status, refusal.message, request_id, **extra)
    return door.error(400, f"x-demo: {refusal}", request_id)


@lru_cache(maxsize=1024)
def _static_head(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return status_line(status) + b"".join(b"%b: %b\r\n" % header for header in headers)


def _date_line() -> bytes:
    return b"date: %b\r\n" % formatdate(usegmt=True).encode()


# Which API a path belongs to.


def _door(request: Request, path: str) -> _Door:
    parts = path.strip("/").split("/")
    if parts[0] == "model" and len(parts) == 3:
        return _bedrock_door(unquote(parts[1]), parts[2])
    if parts[0] == "openai":
        return _azure_door(request, parts[1:])
    rest = "/".join(parts[1:])
    is_shared_path = rest not in _OPENAI_CALLS
    if parts[1:2] == ["messages"] or (is_shared_path and request.header(b"anthropic-version")):
        return _anthropic_door(request, path)
    return _openai_door(request, rest, seat.OPENAI_SEAT)


def _anthropic_door(request: Request, path: str) -> _Door:
    def error(status: int, message: str, request_id: str, *, param: str | None = None) -> Reply:
        return anthropic.error(status, message, request_id)

    calls: dict[tuple[bytes, str], Callable[[bytes, bytes, Behaviour], Reply]] = {
        (b"POST", "/v1/messages"): anthropic.messages,
        (b"POST", "/v1/messages/count_tokens"): anthropic.count_tokens,
        (b"GET", "/v1/models"): anthropic.models,
    }
    return _Door(calls.get((request.method, path), _nowhere), error, b"request-id")


def _openai_door(request: Request, rest: str, place: seat.Seat) -> _Door:
    def error(status: int, message: str, request_id: str, *, param: str | None = None) -> Reply:
        return seat.error(status, message, place, param=param)

    if rest == "models":
        return _Door(partial(seat.models, place), error, b"x-request-id")
    call = _OPENAI_CALLS.get(rest) if request.method == b"POST" else None
    if call is None:
        return _Door(partial(seat.other, place), error, b"x-request-id")
    return _Door(partial(call, seat=place), error, b"x-request-id")


def _azure_door(request: Request, parts: list[str]) -> _Door:
    if parts[0] == "deployments" and len(parts) > 2:
        place = seat.Seat("azure", unquote(parts[1]))
        return _openai_door(request, "/".join(parts[2:]), place)
    return _openai_door(request, "/".join(parts).removeprefix("v1/"), seat.Seat("azure"))


def _bedrock_door(model_id: str, operation: str) -> _Door:
    def error(status: int, message: str, request_id: str) -> Reply:
        return bedrock.error(status, message)

    calls: dict[str, Callable[[bytes, bytes, Behaviour], Reply]] = {
        "invoke": partial(bedrock.invoke, model_id, is_stream=False),
        "invoke-with-response-stream": partial(bedrock.invoke, model_id, is_stream=True),
        "converse": partial(bedrock.converse, model_id, is_stream=False),
        "converse-stream": partial(bedrock.converse, model_id, is_stream=True),
        "count-tokens": partial(bedrock.count_tokens, model_id),
    }
    return _Door(calls.get(operation, _nowhere), error, b"x-amzn-requestid", compresses=False)


def _nowhere(body: bytes, digest: bytes, behaviour: Behaviour) -> Reply:
    raise Refused(404, "Not found")


async def serve(port: int, tls: ssl.SSLContext | None) -> None:
    """Listen until SIGTERM or SIGINT; the first line printed says where. Raises: OSError for a taken port."""
    loop = asyncio.get_running_loop()
    provider = Provider()
    server = await loop.create_server(lambda: Connection(provider.answer), HOST, port, ssl=tls, backlog=4096)
    bound = server.sockets[0].getsockname()[1]
    print(f"demo provider on {'https' if tls else 'http'}://{HOST}:{bound}", flush=True)
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    await asked_to_stop.wait()
    server.close()


def main() -> None:
    """Run the provider as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m demo.provider", description="A stand-in LLM provider.")
    parser.add_argument("--port", type=whole_number(0, PORT_MAX), default=PORT, help="0 takes a free one")
    parser.add_argument("--tls", nargs=2, type=Path, metavar=("CERTIFICATE", "KEY"))
    options = parser.parse_args()
    tls = None
    if options.tls:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            tls.load_cert_chain(*options.tls)
        except OSError as error:  # ssl.SSLError is one
            parser.error(f"argument --tls: they are no certificate and its key: {error.strerror or error}")
    try:
        uvloop.run(serve(options.port, tls))
    except OSError as error:
        sys.exit(f"demo provider: cannot listen on port {options.port}: {error.strerror or error}")


if __name__ == "__main__":
    main()
