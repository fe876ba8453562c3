"""What is kept breaks nothing, and would show the faults that each target is there to find."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy_service import decoding, eventstream, http1, sse
from proxy_service.providers import fields
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
INPUTS_MAX = 300  # of a target: what is replayed with every test is to stay small


def inputs_of(target: str) -> list[Path]:
    return sorted((CORPUS / target).iterdir())


@pytest.mark.parametrize("target", TARGETS)
def test_every_input_that_is_kept_is_read_as_promised(target: str) -> None:
    for kept in inputs_of(target):
        try:
            TARGETS[target](kept.read_bytes())
        except Exception as broken:
            raise AssertionError(f"{kept.relative_to(CORPUS)}: {broken}") from broken


def test_the_corpus_is_of_these_targets_and_small() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert all(0 < len(inputs_of(target)) <= INPUTS_MAX for target in TARGETS)


# A fault for each target, of the kind that it is there to find; the first two were found by hand.


def take_line_ends_for_a_part_of_the_method(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(http1, "_LINE_ENDS", b"")


def take_any_bytes_for_a_reason(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(http1, "_REASON", re.compile(rb"(?s).*"))


def miss_the_end_of_a_frame_where_it_is_cut(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sse, "FRAME_END_BEGUN_BYTES_MAX", 0)


def let_an_error_out_of_the_headers_of_a_message(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(eventstream, "_string_headers", lambda data: {data: data[len(data) :][0]})


def take_a_figure_of_any_size(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fields, "TOKENS_MAX", 10**30)
    patch.setattr(fields, "_DIGITS_MAX", 30)


class _Forgetful:
    """Gzip, begun anew with each piece."""

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self._emit = emit

    def feed(self, data: bytes) -> None:
        self._emit(zlib.decompressobj(wbits=31).decompress(data))


def forget_what_came_before(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(decoding._CODINGS, b"gzip", _Forgetful)


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "http_requests": take_line_ends_for_a_part_of_the_method,
    "http_answers": take_any_bytes_for_a_reason,
    "server_sent_events": miss_the_end_of_a_frame_where_it_is_cut,
    "aws_event_stream": let_an_error_out_of_the_headers_of_a_message,
    "usage_json": take_a_figure_of_any_size,
    "content_encodings": forget_what_came_before,
}


def breaks(target: str, kept: Path) -> bool:
    try:
        TARGETS[target](kept.read_bytes())
    except Exception:  # noqa: BLE001 - of whatever kind
        return True
    return False


@pytest.mark.parametrize("target", TARGETS)
def test_a_fault_of_the_kind_would_be_found(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[target](monkeypatch)

    assert any(breaks(target, kept) for kept in inputs_of(target))
