"""Anthropic's message batches as the demo runs them: at once, and billed at batch prices when created.

An item whose parameters the Messages API would refuse comes out `errored` and is not billed. Results are in
no promised order: each fetch gets them the other way round.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from demo import anthropic
from demo.behaviour import NORMAL, Behaviour
from demo.bill import Bill, Sale
from demo.invention import as_json
from demo.listener import Request
from demo.reply import JSON_TYPE, Refused, Reply, asked, required

BATCHES_MAX = 256  # the oldest is forgotten first
ITEMS_MAX = 100_000
PATH = "/v1/messages/batches"
RESULTS_TYPE = (b"content-type", b"application/x-jsonl")

_KEPT = timedelta(hours=24)

Call = Callable[[bytes, bytes, Behaviour], Reply]


class _Batch(msgspec.Struct):
    """A batch that has ended. `customer` is a digest of its creator's credential."""

    batch_id: str
    customer: str
    created_at: datetime
    lines: tuple[bytes, ...]
    succeeded: int
    fetches: int = 0

    def as_row(self, origin: str) -> dict[str, Any]:
        """The batch as the API shows it; the address of its results is the provider's own, and absolute."""
        created_at = self.created_at.isoformat()
        errored = len(self.lines) - self.succeeded
        counts = {"processing": 0, "succeeded": self.succeeded, "errored": errored}
        return {
            "id": self.batch_id,
            "type": "message_batch",
            "processing_status": "ended",
            "request_counts": counts | {"canceled": 0, "expired": 0},
            "created_at": created_at,
            "ended_at": created_at,
            "expires_at": (self.created_at + _KEPT).isoformat(),
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{origin}{PATH}/{self.batch_id}/results",
        }


class Batches:
    """The batches that were created, billed on the bill it is given."""

    def __init__(self, bill: Bill) -> None:
        self._bill = bill
        self._batches: dict[str, _Batch] = {}

    def call(self, request: Request, customer: str) -> Call | None:
        """What answers a request of the batch API; None for any other."""
        path = request.path
        batch_id, _, rest = path.removeprefix(PATH + "/").partition("/")
        origin = "http://" + request.header(b"host").decode("latin-1")
        match request.method:
            case b"POST" if path == PATH:
                return lambda body, _digest, _behaviour: self._create(body, customer, origin)
            case b"GET" if path.startswith(PATH + "/") and rest == "":
                return lambda *_: _page(self._found(batch_id, customer).as_row(origin))
            case b"GET" if path.startswith(PATH + "/") and rest == "results":
                return lambda *_: _results(self._found(batch_id, customer))
        return None

    def _create(self, body: bytes, customer: str, origin: str) -> Reply:
        items = required(asked(body), "requests", list)
        names = [required(item, "custom_id", str) for item in items]
        if not 1 <= len(items) <= ITEMS_MAX:
            raise Refused(400, f"requests: send 1 to {ITEMS_MAX}", param="requests")
        if len(set(names)) < len(names):
            raise Refused(400, "requests: custom_ids must be unique", param="requests")
        batch_id = f"msgbatch_{secrets.token_hex(12)}"
        results = [_result(required(item, "params", dict)) for item in items]
        sales = [sale for _, sale in results if sale is not None]
        for number, sale in enumerate(sales):
            self._bill.charge(sale, request_id=f"{batch_id}/{number}", customer=customer)
        lines = tuple(_lines(names, results))
        batch = _Batch(batch_id, customer, datetime.now(UTC), lines, succeeded=len(sales))
        if len(self._batches) >= BATCHES_MAX:
            self._batches.pop(next(iter(self._batches)))
        self._batches[batch_id] = batch
        return _page(batch.as_row(origin))

    def _found(self, batch_id: str, customer: str) -> _Batch:
        batch = self._batches.get(batch_id)
        if batch is None or batch.customer != customer:
            raise Refused(404, "Not found")
        return batch


def _result(params: dict[str, Any]) -> tuple[dict[str, Any], Sale | None]:
    """What an item comes to, and what it sells."""
    try:
        reply = _answer(params)
    except Refused as refusal:
        error = anthropic.error(refusal.status, refusal.message, "")
        return {"type": "errored", "error": msgspec.json.decode(error.frames[0])}, None
    message = msgspec.json.decode(reply.frames[0])
    message["usage"]["service_tier"] = "batch"
    sale = None if reply.sale is None else msgspec.structs.replace(reply.sale, is_batch=True)
    return {"type": "succeeded", "message": message}, sale


def _answer(params: dict[str, Any]) -> Reply:
    if params.get("stream"):
        raise Refused(400, "stream: not in a batch")
    body = as_json(params)
    return anthropic.messages(body, hashlib.sha256(body).digest(), NORMAL)


def _lines(names: list[str], results: list[tuple[dict[str, Any], Sale | None]]) -> Iterator[bytes]:
    for name, (result, _) in zip(names, results, strict=True):
        yield as_json({"custom_id": name, "result": result}) + b"\n"


def _results(batch: _Batch) -> Reply:
    batch.fetches += 1
    frames = batch.lines if batch.fetches % 2 else batch.lines[::-1]
    return Reply(headers=(RESULTS_TYPE,), frames=frames, is_stream=True)


def _page(row: dict[str, Any]) -> Reply:
    return Reply(headers=(JSON_TYPE,), frames=(as_json(row),))
