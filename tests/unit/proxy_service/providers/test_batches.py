import gzip
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.usage import Reading, Usage
from proxy_service.decoding import Undecodable
from proxy_service.providers.batches import BatchItem, BatchResults, batch_of_results
from tests.unit.proxy_service.answers import cut_at


def _line(custom_id: str, kind: str = "succeeded", output_tokens: int = 7, **usage: Any) -> bytes:
    message = {
        "type": "message",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "a\nb"}],
        "usage": {"input_tokens": 5, "output_tokens": output_tokens, **usage},
    }
    result = {"type": kind, "message": message} if kind == "succeeded" else {"type": kind}
    return msgspec.json.encode({"custom_id": custom_id, "result": result}) + b"\n"


LINES = (
    _line("one", service_tier="standard")
    + _line("two", "errored")
    + _line("three")
    + _line("four", "expired")
)


def _items(pieces: list[bytes], content_encoding: bytes | None = None) -> list[BatchItem]:
    results = BatchResults(content_encoding)
    return [item for piece in pieces for item in results.feed(piece)] + results.finish()


@given(st.lists(st.integers(min_value=0), max_size=8))
def test_each_item_that_succeeded_is_read_once_whatever_the_split(places: list[int]) -> None:
    items = _items(cut_at(LINES, places))

    assert [item.reading for item in items] == 2 * [
        Reading(
            usage=Usage(input_tokens=5, output_tokens=7),
            model="claude-sonnet-4-5-20250929",
            service_tier="batch",
            is_complete=True,
        )
    ]
    assert items[0].item_id != items[1].item_id


def test_an_item_fetched_again_has_the_same_id_and_not_the_callers_word() -> None:
    first, again = _items([_line("my customer's name")]), _items([_line("x") + _line("my customer's name")])

    assert first[0].item_id == again[1].item_id
    assert len(first[0].item_id) == 32


def test_a_last_line_counts_without_its_end() -> None:
    assert len(_items([_line("one").rstrip()])) == 1


def test_compressed_results_are_read_and_broken_ones_are_not() -> None:
    assert _items([gzip.compress(LINES)], b"gzip") == _items([LINES])
    with pytest.raises(Undecodable):
        _items([LINES], b"gzip")


def test_what_is_no_line_of_results_is_counted() -> None:
    results = BatchResults(None)

    assert len(results.feed(b"junk\n\n[]\n" + _line("one"))) == 1
    assert results.skipped_lines == 2


@pytest.mark.parametrize(("room", "skipped"), [(0, 0), (-1, 1)])
def test_a_line_is_read_up_to_the_limit(room: int, skipped: int) -> None:
    long = _line("one", output_tokens=1_000_000)
    for pieces in ([long + _line("two")], cut_at(long + _line("two"), range(400))):
        results = BatchResults(None, line_bytes_max=len(long) - 1 + room)

        items = [item for piece in pieces for item in results.feed(piece)]

        assert (len(items), results.skipped_lines) == (2 - skipped, skipped)


@pytest.mark.parametrize(
    ("target", "batch"),
    [
        (b"/v1/messages/batches/msgbatch_01/results", "msgbatch_01"),
        (b"/v1/messages/batches/msgbatch_01/results?beta=true", "msgbatch_01"),
        (b"/v1/messages/batches/msgbatch_01/results/", "msgbatch_01"),
        (b"/v1/messages/batches/msgbatch_01", None),
        (b"/v1/messages/batches/a/b/results", None),
    ],
)
def test_fetching_results_is_told_from_other_calls(target: bytes, batch: str | None) -> None:
    assert batch_of_results(target) == batch
