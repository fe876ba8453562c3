"""Browsers that are known: for one address, for so long, and by nobody's guess."""

from datetime import timedelta

import pytest

from api_service.devices import LIFETIME, Devices
from tests.builders import SECRET
from tests.doubles.clock import ManualClock

ADA = "ada@example.com"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def devices(clock: ManualClock) -> Devices:
    return Devices(clock, SECRET)


def test_a_browser_is_known_for_its_own_address_and_for_half_a_year(
    devices: Devices, clock: ManualClock
) -> None:
    cookie = devices.mark(ADA)

    assert devices.is_known(ADA, cookie)
    assert not devices.is_known("bob@example.com", cookie)
    clock.advance((LIFETIME - timedelta(seconds=1)).total_seconds())
    assert devices.is_known(ADA, cookie)
    clock.advance(1)
    assert not devices.is_known(ADA, cookie)


def test_nothing_else_is_known(devices: Devices, clock: ManualClock) -> None:
    made_at, nonce, seal = devices.mark(ADA).split(".")
    later = str(int(made_at) + 1)

    for cookie in (
        None,
        "",
        "x",
        f"{later}.{nonce}.{seal}",
        f"{made_at}.{nonce[::-1]}.{seal}",
        f"{made_at}.{nonce}.{'0' * 64}",
        Devices(clock, b"another secret of thirty-two bytes").mark(ADA),
    ):
        assert not devices.is_known(ADA, cookie), cookie


def test_two_browsers_carry_different_cookies_and_none_names_its_owner(devices: Devices) -> None:
    owner = "zoe@example.com"  # "ada" would be three hexadecimal digits, which any digest may hold
    first, second = devices.mark(owner), devices.mark(owner)

    assert first != second
    assert "zoe" not in first
