"""The results of an Anthropic message batch: one JSON line an item, each with what that item used.

Creating a batch costs nothing; its items are billed when they have run, and this is where a proxy first sees
what they used. An item that did not succeed is not billed. Fetched twice, an item has the same `item_id`.
Source: https://docs.anthropic.com/en/docs/build-with-claude/batch-processing (2026-11).
"""

import hashlib
import re

import msgspec

from metering.usage import Reading
from proxy_service.decoding import open_decoder
from proxy_service.meter import ANSWER_BYTES_MAX, BodyFraming, Meter
from proxy_service.providers.anthropic import MessagesReader
from proxy_service.providers.fields import ABSENT, Raw, opened, parsed

RESULTS_BYTES_MAX = 1024 * 1024 * 1024  # decoded; the provider's own limit of a batch is 256 MB of requests

_RESULTS_PATH = re.compile(rb"/v1/messages/batches/([A-Za-z0-9_-]{1,128})/results/?")


class BatchItem(msgspec.Struct, frozen=True):
    """One item that succeeded. `item_id` names it within its batch: a digest of the name its caller chose."""

    item_id: str
    reading: Reading


class _Result(msgspec.Struct):
    type: str = ""
    message: Raw = ABSENT


class _Line(msgspec.Struct):
    custom_id: str
    result: Raw = ABSENT


_LINE = msgspec.json.Decoder(_Line)
_RESULT = msgspec.json.Decoder(_Result)


def batch_of_results(target: bytes) -> str | None:
    """The batch whose results a GET of this upstream target fetches; None for any other target."""
    found = _RESULTS_PATH.fullmatch(target.partition(b"?")[0])
    return found[1].decode() if found else None


class BatchResults:
    """Reads a batch's results as their bytes come, holding no more than one line.

    `skipped_lines` counts what could not be read. `feed` raises Undecodable where the bytes are not in the
    content encoding they came with; no item is found after that.
    """

    def __init__(self, content_encoding: bytes | None, line_bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self.skipped_lines = 0
        self._line_bytes_max = line_bytes_max
        self._rest = bytearray()
        self._is_skipping = False
        self._found: list[BatchItem] = []
        self._decode = open_decoder(content_encoding, self._read, RESULTS_BYTES_MAX)

    def feed(self, data: bytes) -> list[BatchItem]:
        """The items whose lines are whole with these bytes."""
        self._decode(data)
        found, self._found = self._found, []
        return found

    def finish(self) -> list[BatchItem]:
        """No more bytes will come; a last line counts without its end."""
        self._take(bytes(self._rest))
        return self._found

    def _read(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._rest += line
            self._take(bytes(self._rest))
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > self._line_bytes_max:
            self._is_skipping = True
            self._rest.clear()

    def _take(self, line: bytes) -> None:
        is_skipped, self._is_skipping = self._is_skipping, False
        if is_skipped or len(line) > self._line_bytes_max:
            self.skipped_lines += 1
        elif line.strip():
            self._take_item(line)

    def _take_item(self, line: bytes) -> None:
        try:
            item = parsed(_LINE, line)
        except msgspec.DecodeError:
            self.skipped_lines += 1
            return
        result = opened(item.result, _RESULT)
        if result is None or result.type != "succeeded":
            return
        item_id = hashlib.sha256(item.custom_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._found.append(BatchItem(item_id, _reading(bytes(result.message))))


def _reading(message: bytes) -> Reading:
    reader = MessagesReader()
    meter = Meter(reader, BodyFraming(reader), status=200, content_encoding=None, request_body_bytes=0)
    meter.feed(message)
    reading = meter.finish()
    return msgspec.structs.replace(reading, service_tier="batch")  # it is billed so, whatever it says
