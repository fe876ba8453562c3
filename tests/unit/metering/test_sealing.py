"""Sealed secrets: read by their own purpose and place, and by nothing else."""

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from metering.sealing import NONCE_BYTES, TAG_BYTES, Sealer, Unsealable

SECRET = b"a secret of at least thirty-two bytes"
SEALER = Sealer(SECRET, "webhook secret")


@given(st.binary(max_size=200), st.text(max_size=50))
def test_what_is_sealed_is_opened_where_it_belongs(plain: bytes, place: str) -> None:
    assert SEALER.opened(SEALER.sealed(plain, place), place) == plain


@given(st.binary(max_size=200), st.text(max_size=50))
def test_what_is_sealed_is_aes_256_gcm_under_a_key_of_256_bits_by_hkdf(plain: bytes, place: str) -> None:
    extracted = hmac.digest(b"modeltrack sealing", SECRET, "sha256")
    key = hmac.digest(extracted, b"webhook secret\x01", "sha256")
    sealed = SEALER.sealed(plain, place)

    assert len(key) * 8 == 256
    assert AESGCM(key).decrypt(sealed[1:13], sealed[13:], place.encode()) == plain


def test_the_same_secret_is_sealed_differently_each_time_and_shows_nothing_of_itself() -> None:
    first, second = (SEALER.sealed(b"whsec canary", "here") for _ in range(2))

    assert first != second
    assert b"canary" not in first
    assert len(first) == 1 + NONCE_BYTES + len(b"whsec canary") + TAG_BYTES


@pytest.mark.parametrize(
    ("sealer", "place"),
    [
        (SEALER, "there"),
        (Sealer(SECRET, "second factor"), "here"),
        (Sealer(SECRET + b"!", "webhook secret"), "here"),
    ],
)
def test_it_opens_at_no_other_place_for_no_other_purpose_and_under_no_other_secret(
    sealer: Sealer, place: str
) -> None:
    with pytest.raises(Unsealable):
        sealer.opened(SEALER.sealed(b"plain", "here"), place)


@given(st.integers(min_value=0, max_value=1 + NONCE_BYTES + TAG_BYTES + 4), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_noticed(place: int, change: int) -> None:
    sealed = bytearray(SEALER.sealed(b"plain", "here"))
    sealed[place] ^= change

    with pytest.raises(Unsealable):
        SEALER.opened(bytes(sealed), "here")


@given(st.binary(max_size=60))
def test_what_was_never_sealed_is_refused(noise: bytes) -> None:
    with pytest.raises(Unsealable):
        SEALER.opened(noise, "here")


@pytest.mark.parametrize(("secret", "purpose"), [(b"", "webhook secret"), (SECRET, "")])
def test_nothing_is_sealed_without_a_secret_or_a_purpose(secret: bytes, purpose: str) -> None:
    with pytest.raises(ValueError, match="sealing needs"):
        Sealer(secret, purpose)
