"""The cost event on the wire: published names, exact money, nothing that could hold a prompt."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from metering.events import PUBLISHED_NAMES, CostEvent, wire_fields

AT = datetime(2026, 11, 21, 9, 30, 0, 125000, tzinfo=UTC)


def _event(**changes: Any) -> CostEvent:
    fields: dict[str, Any] = {
        "request_id": "req_0", "timestamp": AT, "ended_at": AT, "account_id": "acct_0", "provider": "openai",
    }  # fmt: skip
    return CostEvent(**fields | changes)


def test_the_published_names_are_all_there_with_their_json_types() -> None:
    wire = json.loads(msgspec.json.encode(wire_fields(_event(cost_nanodollars=26_100_000))))

    assert set(PUBLISHED_NAMES) <= set(wire)
    assert wire["timestamp"] == "2026-11-21T09:30:00.125000Z"
    assert wire["cost_usd"] == 0.0261
    assert isinstance(wire["input_tokens"], int)
    assert isinstance(wire["cache_hit"], bool)


@given(st.integers(0, 10**15))
def test_the_cost_is_printed_exactly(cost_nanodollars: int) -> None:
    wire = json.loads(
        msgspec.json.encode(wire_fields(_event(cost_nanodollars=cost_nanodollars))), parse_float=Decimal
    )

    assert Decimal(wire["cost_usd"]) == Decimal(cost_nanodollars).scaleb(-9)


def test_an_event_survives_being_stored() -> None:
    event = _event(team="团队💸", cost_nanodollars=5, state="client_closed", estimated=True)

    stored = msgspec.json.encode(event)

    assert msgspec.json.decode(stored, type=CostEvent) == event


def test_the_schema_has_no_field_that_could_hold_free_text() -> None:
    bounded_text = {
        "request_id", "account_id", "key_id", "deployment", "model", "requested_model", "service_tier",
        "region", "price_version", "team", "app", "feature", "customer_tier", "session_id", "trace_id",
        "prompt_template_id", "prompt_fingerprint", "routing_rule",
    }  # fmt: skip
    text = {field.name for field in msgspec.structs.fields(CostEvent) if field.type is str}

    assert text == bounded_text
