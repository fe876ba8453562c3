"""Builders of the domain's nouns: valid by default, a test names only what matters to it."""

import copy
import secrets
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from metering.accounts import Account, Caller, Policy
from metering.events import Charge, CostEvent
from metering.keys import KeyRecord, key_hash, new_key
from metering.settings import Settings

S = TypeVar("S", bound=Settings)

AT = datetime(2026, 11, 21, 9, 30, 0, 125000, tzinfo=UTC)
ACCOUNT_ID = f"acct_{1:032x}"
SECRET = secrets.token_hex(32).encode()  # services refuse those that stand in examples and tests

_numbers = count(2)  # 1 is that of `ACCOUNT_ID`


def make_id(prefix: str) -> str:
    """A fresh id of the real form."""
    return f"{prefix}_{next(_numbers):032x}"


def make_event(**changes: Any) -> CostEvent:
    """A completed call of one dollar-cent, with a request id of its own, admitted at `AT`."""
    fields: dict[str, Any] = {
        "request_id": make_id("req"),
        "timestamp": AT,
        "account_id": ACCOUNT_ID,
        "key_id": f"key_{1:032x}",
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "requested_model": "claude-sonnet-4-5",
        "input_tokens": 1_000,
        "output_tokens": 200,
        "cost_nanodollars": 10_000_000,
        "price_version": "test",
        "latency_ms": 850,
        "status_code": 200,
        "team": "search",
        "app": "web",
    } | changes
    fields.setdefault("ended_at", fields["timestamp"] + timedelta(milliseconds=fields["latency_ms"]))
    return CostEvent(**fields)


def make_overcharged_event() -> CostEvent:
    """A call that is charged to more leases than any commit can hold: no store takes it."""
    leases = (f"{number:032x}.{'a' * 32}.1" for number in range(500))
    return make_event(charges=tuple(Charge("budget_1", "2026-11", lease, 1) for lease in leases))


def make_account(**changes: Any) -> Account:
    """An active account with default settings and an id of its own."""
    fields: dict[str, Any] = {"account_id": make_id("acct"), "name": "Example", "created_at": AT}
    return Account(**fields | changes)


def make_policy(**changes: Any) -> Policy:
    """The policy of an active account with default settings."""
    return Policy(**{"account_id": ACCOUNT_ID} | changes)


def make_caller(**changes: Any) -> Caller:
    """A caller of the account `ACCOUNT_ID` with scope `proxy` and no pins."""
    return Caller(**{"account_id": ACCOUNT_ID, "key_id": f"key_{1:032x}"} | changes)


def make_key_record(plain: str | None = None, **changes: Any) -> KeyRecord:
    """The record of a live key, of `plain` where given, hashed under `SECRET`."""
    text = plain or new_key()
    fields: dict[str, Any] = {
        "key_id": make_id("key"),
        "key_hash": key_hash(text, SECRET),
        "account_id": ACCOUNT_ID,
        "name": "a key",
        "hint": text[-4:],
        "created_at": AT,
    }
    return KeyRecord(**fields | changes)


def changed_settings(settings: S, **changes: Any) -> S:
    """The same settings but for these, which nothing checks."""
    changed = copy.copy(settings)
    vars(changed).update(changes)
    return changed
