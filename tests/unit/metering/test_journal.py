"""Journal lines: what is written is read back, one line stays one line, junk has a name."""

import json
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from metering.events import Charge, CostEvent
from metering.journal import (
    FIGURE_MAX,
    LINE_BYTES_MAX,
    Admitted,
    BadJournalLine,
    Hold,
    Settled,
    admitted_line,
    parse_line,
    settled_line,
)
from tests.builders import ACCOUNT_ID, AT, make_event, make_id

SEGMENT = "0" * 32 + "-12"
KEY_HASH = "f" * 64

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
lease_ids = st.from_regex(r"[0-9a-f]{32}\.[0-9a-f]{32}\.[0-9]{1,18}", fullmatch=True)
holds = st.lists(st.builds(Hold, texts, texts, lease_ids, st.integers(0, FIGURE_MAX)), max_size=3).map(tuple)


@given(model=texts, team=texts, key_id=texts, timestamp=moments, holds=holds)
def test_an_admitted_line_is_read_back(
    model: str, team: str, key_id: str, timestamp: datetime, holds: tuple[Hold, ...]
) -> None:
    admitted = Admitted(
        request_id=make_id("req"), timestamp=timestamp, account_id=ACCOUNT_ID, key_id=key_id,
        provider="openai", model=model, team=team, holds=holds,
    )  # fmt: skip

    assert parse_line(admitted_line(admitted)) == admitted


@given(team=texts, model=texts, timestamp=moments, cost=st.integers(0, FIGURE_MAX))
def test_a_settled_line_is_read_back(team: str, model: str, timestamp: datetime, cost: int) -> None:
    event = make_event(team=team, model=model, timestamp=timestamp, cost_nanodollars=cost)

    assert parse_line(settled_line(event, SEGMENT)) == Settled(segment=SEGMENT, event=event)


@given(texts)
def test_whatever_the_tags_a_line_is_one_line_of_ascii(text: str) -> None:
    line = settled_line(make_event(team=text + "\n\r\x85\u2028", feature="\x1c\x0b"), SEGMENT)

    assert line.isascii()
    assert line.decode().splitlines() == [line.decode()[:-1]]
    assert json.loads(line)["event"]["team"] == text + "\n\r\x85\u2028"


def test_a_call_by_a_key_not_looked_up_names_its_hash_instead_of_an_account() -> None:
    admitted = Admitted(request_id=make_id("req"), timestamp=AT, key_hash=KEY_HASH, provider="openai")
    event = make_event(account_id="", key_id="")

    assert parse_line(admitted_line(admitted)) == admitted
    assert parse_line(settled_line(event, SEGMENT, key_hash=KEY_HASH)) == Settled(
        segment=SEGMENT, key_hash=KEY_HASH, event=event
    )


def _settled(event: CostEvent, segment: str = SEGMENT, key_hash: str = "") -> bytes:
    return settled_line(event, segment, key_hash=key_hash)


def _admitted(**fields: Any) -> bytes:
    call: dict[str, Any] = {
        "request_id": make_id("req"), "timestamp": AT, "account_id": ACCOUNT_ID, "provider": "openai",
    }  # fmt: skip
    return admitted_line(Admitted(**call | fields))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"null",
        b"[]",
        b"{}",
        b'{"line":"other"}',
        b"not json",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"line":"settled","segment":"x"}',
        _settled(make_event(), segment="../keys"),
        _settled(make_event(), segment="0" * 32 + "-1.1"),
        _settled(make_event(account_id="acct_1/keys/2")),
        _settled(make_event(account_id="")),
        _settled(make_event(), key_hash=KEY_HASH),
        _settled(make_event(account_id=""), key_hash="F" * 64),
        _settled(make_event(request_id="../x")),
        _settled(make_event(timestamp=AT.replace(tzinfo=None))),
        _settled(make_event(ended_at=AT.replace(tzinfo=None))),
        _settled(make_event())[:-20],
        _settled(make_event()).replace(b'"settled"', b'"admitted"'),
        _settled(make_event(team="x" * LINE_BYTES_MAX)),
        _settled(make_event(charges=(Charge("budget_1", "2026-11", "../keys/x", 1),))),
        _admitted(holds=(Hold("budget_1", "2026-11", "../keys/x", 1),)),
        _admitted(instance="../keys"),
    ],
)
def test_junk_is_rejected_by_name(line: bytes) -> None:
    with pytest.raises(BadJournalLine):
        parse_line(line)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(line: bytes) -> None:
    with pytest.raises(BadJournalLine):
        parse_line(line)


@given(st.data())
def test_a_damaged_line_is_rejected_or_still_a_line(data: st.DataObject) -> None:
    line = bytearray(settled_line(make_event(), SEGMENT))
    line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))

    try:
        parsed = parse_line(bytes(line))
    except BadJournalLine:
        return
    assert msgspec.json.decode(msgspec.json.encode(parsed), type=type(parsed)) == parsed


@pytest.mark.parametrize("figure", [FIGURE_MAX + 1, 2**63, 10**40, -1])
def test_figures_that_no_call_has_are_no_lines(figure: int) -> None:
    hold = Hold("budget_1", "2026-11", f"{'a' * 32}.{'b' * 32}.1", figure)
    admitted: dict[str, Any] = {
        "request_id": make_id("req"),
        "timestamp": AT,
        "account_id": ACCOUNT_ID,
        "provider": "openai",
    }
    lines = [
        settled_line(make_event(cost_nanodollars=figure), SEGMENT),
        settled_line(make_event(input_tokens=figure), SEGMENT),
        settled_line(make_event(charges=(Charge(*astuple(hold)),)), SEGMENT),
        admitted_line(Admitted(**admitted, estimate_nanodollars=figure)),
        admitted_line(Admitted(**admitted, holds=(hold,))),
    ]

    for line in lines:
        with pytest.raises(BadJournalLine):
            parse_line(line)


def test_a_turned_call_may_have_cost_more_than_it_would_have() -> None:
    event = make_event(saved_nanodollars=-5)

    assert parse_line(settled_line(event, SEGMENT)) == Settled(segment=SEGMENT, event=event)


@pytest.mark.parametrize("year", [1, 1999, 9000, 9999])
def test_moments_outside_of_our_time_are_no_lines(year: int) -> None:
    with pytest.raises(BadJournalLine):
        parse_line(settled_line(make_event(timestamp=AT.replace(year=year)), SEGMENT))


def test_the_error_repeats_nothing_of_the_line() -> None:
    with pytest.raises(BadJournalLine) as caught:
        parse_line(b'{"line":"secret-canary"}')

    assert "canary" not in "".join(traceback.format_exception(caught.value)[-1:])
    assert caught.value.__cause__ is None
