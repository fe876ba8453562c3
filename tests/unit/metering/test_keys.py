"""A key can be told from a typing error without the store, and is never kept in plain text."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.keys import (
    KeyRecord,
    is_well_formed_ingress_id,
    is_well_formed_key,
    key_hash,
    new_ingress_id,
    new_key,
)

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def test_a_new_key_is_well_formed_and_never_the_same_twice() -> None:
    first, second = new_key(), new_key()

    assert is_well_formed_key(first)
    assert first.startswith("mt_")
    assert first != second


def test_a_new_ingress_id_is_well_formed_and_safe_in_a_url() -> None:
    ingress_id = new_ingress_id()

    assert is_well_formed_ingress_id(ingress_id)
    assert ingress_id.isalnum()
    assert ingress_id.isascii()


@pytest.mark.battery_class("credentials of any shape")
@given(st.integers(3, 74), st.sampled_from("0123456789abcdef"))
def test_one_wrong_digit_anywhere_is_noticed(position: int, digit: str) -> None:
    key = new_key()
    changed = key[:position] + digit + key[position + 1 :]

    assert is_well_formed_key(changed) == (changed == key)


@pytest.mark.battery_class("credentials of any shape")
@given(st.text(max_size=100))
def test_no_text_that_we_did_not_make_passes_for_a_key(text: str) -> None:
    assert not is_well_formed_key(text)
    assert not is_well_formed_ingress_id(text)


@pytest.mark.parametrize("ending", ["\n", " ", "\0"])
def test_a_key_with_anything_behind_it_is_not_well_formed(ending: str) -> None:
    assert not is_well_formed_key(new_key() + ending)


def test_the_hash_depends_on_the_key_and_on_the_secret() -> None:
    key = new_key()

    assert key_hash(key, b"one") == key_hash(key, b"one")
    assert key_hash(key, b"one") != key_hash(key, b"two")
    assert key_hash(key, b"one") != key_hash(new_key(), b"one")
    assert key[3:] not in key_hash(key, b"one")


def _record(expires_at: datetime | None = None, revoked_at: datetime | None = None) -> KeyRecord:
    return KeyRecord(
        key_id="key_1",
        key_hash="0",
        account_id="acct_1",
        created_at=NOW,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


@pytest.mark.parametrize(
    ("record", "is_live"),
    [
        (_record(), True),
        (_record(expires_at=NOW + timedelta(microseconds=1)), True),
        (_record(expires_at=NOW), False),
        (_record(revoked_at=NOW), False),
    ],
    ids=["fresh", "about to expire", "expired", "revoked"],
)
def test_a_key_lives_until_it_expires_or_is_revoked(record: KeyRecord, is_live: bool) -> None:
    assert record.is_live(NOW) is is_live
