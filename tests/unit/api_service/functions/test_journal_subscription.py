"""Which line a message of the journal's subscription holds."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_service.functions.journal_subscription import line_in
from metering.events import Charge
from metering.journal import Admitted, BadJournalLine, admitted_line, parse_line, settled_line
from tests.builders import ACCOUNT_ID, AT, make_event, make_id

SEGMENT = "0" * 32 + "-1"
LEASE_ID = f"{'c' * 32}.{'a' * 32}.1"


def as_floats(value: Any) -> Any:
    """The value as it comes out of a format that knows one kind of number."""
    if isinstance(value, dict):
        return {name: as_floats(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_floats(each) for each in value]
    return float(value) if type(value) is int else value


def entry(line: bytes, **fields: Any) -> bytes:
    return json.dumps({"jsonPayload": as_floats(json.loads(line)), **fields}).encode()


@given(st.integers(0, 2**53))
def test_whole_numbers_come_through_floating_point_unharmed(cost: int) -> None:
    charge = Charge("budget_1", "2026-11", LEASE_ID, cost)
    line = settled_line(make_event(cost_nanodollars=cost, charges=(charge,)), SEGMENT)

    assert parse_line(line_in(entry(line))) == parse_line(line)


def test_numbers_may_be_written_with_an_exponent() -> None:
    line = settled_line(make_event(cost_nanodollars=10_000_000), SEGMENT)
    written = line.replace(b'"cost_nanodollars":10000000', b'"cost_nanodollars":1.0E7')
    assert written != line

    assert parse_line(line_in(b'{"jsonPayload":' + written + b"}")) == parse_line(line)


def test_a_line_may_come_as_text_or_bare() -> None:
    line = settled_line(make_event(team="équipe"), SEGMENT)

    assert line_in(json.dumps({"textPayload": line.decode()}).encode()) == line
    assert line_in(line) == line


def test_a_moment_that_the_platform_took_for_its_own_is_put_back() -> None:
    admitted = Admitted(request_id=make_id("req"), timestamp=AT, account_id=ACCOUNT_ID, provider="openai")
    payload = json.loads(admitted_line(admitted))
    moment = payload.pop("timestamp")

    message = json.dumps({"jsonPayload": payload, "timestamp": moment}).encode()

    assert parse_line(line_in(message)) == admitted


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"null",
        b"[1e999999999]",
        b'{"jsonPayload":{"line":"settled","segment":1e999999999}}',
        b'{"jsonPayload":7}',
        b'{"textPayload":"\\ud800"}',
        b'{"jsonPayload":' * 5_000,
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_holds_no_line_is_no_line(message: bytes) -> None:
    with pytest.raises(BadJournalLine):
        parse_line(line_in(message))


@given(st.binary(max_size=200))
def test_no_message_breaks_the_reader(message: bytes) -> None:
    assert isinstance(line_in(message), bytes)
