"""Tags are user text: harmless after one pass, whatever comes in."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.tags import REDACTED, TAG_CHARACTERS_MAX, normalised_tag


@pytest.mark.battery_class("tags from all of Unicode")
@given(st.binary(max_size=2000))
def test_any_bytes_become_a_bounded_tag_without_control_characters(value: bytes) -> None:
    tag = normalised_tag(value)

    assert len(tag) <= TAG_CHARACTERS_MAX
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs"} for character in tag)


@given(st.text(max_size=300))
def test_normalising_twice_changes_nothing_more(value: str) -> None:
    once = normalised_tag(value)

    assert normalised_tag(once) == once


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (b"ml-research", "ml-research"),
        (b"product/search", "product/search"),
        (b"..", ".."),
        ("团队💸".encode(), "团队💸"),
        (b"caf\xe9", "café"),
        ("cafe\u0301".encode(), "café"),
        (b"a\r\nX: y", "aX: y"),
        (b"a\0b\x1b[2J", "ab[2J"),
        ("\u202eevil".encode(), "evil"),
        (b"   ", ""),
        (b"x" * 200, "x" * 200),
        (b"x" * 201, "x" * 200),
        (b"x" * 199 + b" y", "x" * 199),
        ("e\u200d\u0301".encode(), "é"),
    ],
)
def test_a_tag_is_recorded_as_documented(value: bytes, tag: str) -> None:
    assert normalised_tag(value) == tag


@pytest.mark.parametrize(
    "value",
    [
        "mt_" + "0" * 64,
        "sk-ant-api03-abcdefghijklmnop",
        "sk-proj-abcdefghijklmnop",
        "Bearer abc",
        "AKIAIOSFODNN7EXAMPLE",
        "team sk-ant-api03-abcdefghijklmnop",
    ],
)
def test_a_key_pasted_into_a_tag_is_not_kept(value: str) -> None:
    assert normalised_tag(value) == REDACTED
