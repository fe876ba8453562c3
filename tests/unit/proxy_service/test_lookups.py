import pytest

from proxy_service.lookups import (
    ADDRESSES_MAX,
    IN_VAIN_BURST,
    IN_VAIN_PER_SECOND,
    LOOK_UPS_MAX,
    LookUpRoom,
    RateCap,
    TooManyLookUps,
)

FLOOD, OTHER = "203.0.113.7", "198.51.100.1"
HALF = LOOK_UPS_MAX // 2


def is_let_in(room: LookUpRoom, address: str, running: int = 0, now: float = 100.0) -> bool:
    """Whether a look-up may begin; if so, it is one in vain."""
    try:
        room.take(address, running, now)
    except TooManyLookUps:
        return False
    return True


def look_ups_in_vain(room: LookUpRoom, address: str, count: float, now: float = 100.0) -> None:
    for _ in range(int(count)):
        assert is_let_in(room, address, now=now)


def test_an_address_has_so_many_look_ups_in_vain_and_others_have_theirs() -> None:
    room = LookUpRoom()
    look_ups_in_vain(room, FLOOD, IN_VAIN_BURST)

    assert not is_let_in(room, FLOOD)
    assert is_let_in(room, OTHER)


def test_with_time_an_address_gets_more_of_them() -> None:
    room = LookUpRoom()
    look_ups_in_vain(room, FLOOD, IN_VAIN_BURST)

    look_ups_in_vain(room, FLOOD, IN_VAIN_PER_SECOND, now=101.0)
    assert not is_let_in(room, FLOOD, now=101.0)


def test_look_ups_that_find_their_key_cost_an_address_nothing() -> None:
    room = LookUpRoom()

    for _ in range(int(10 * IN_VAIN_BURST)):
        room.take(OTHER, 0, 100.0).give_back()

    assert is_let_in(room, OTHER)


@pytest.mark.parametrize(
    ("in_vain", "running", "is_in"),
    [
        (IN_VAIN_BURST / 2, LOOK_UPS_MAX - 1, True),
        (IN_VAIN_BURST / 2, LOOK_UPS_MAX, False),
        (IN_VAIN_BURST / 2 + 1, HALF - 1, True),
        (IN_VAIN_BURST / 2 + 1, HALF, False),
    ],
)
def test_half_of_the_room_is_for_addresses_that_asked_little_in_vain(
    in_vain: float, running: int, is_in: bool
) -> None:
    room = LookUpRoom()
    look_ups_in_vain(room, FLOOD, in_vain)

    assert is_let_in(room, FLOOD, running) == is_in


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("", "no address", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, is_one: bool) -> None:
    room = LookUpRoom()
    look_ups_in_vain(room, one, IN_VAIN_BURST)

    assert is_let_in(room, other) != is_one


def test_so_many_addresses_are_remembered_and_no_more() -> None:
    room = LookUpRoom()
    look_ups_in_vain(room, FLOOD, IN_VAIN_BURST)

    for number in range(ADDRESSES_MAX - 1):
        room.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0, 100.0)
    assert not is_let_in(room, FLOOD)
    for number in range(ADDRESSES_MAX):
        room.take(f"11.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0, 100.0)

    assert is_let_in(room, FLOOD)


def test_a_rate_cap_fills_up_again() -> None:
    cap = RateCap(per_second=2, burst=2)

    taken = [cap.take(at) for at in (100.0, 100.0, 100.0, 100.5, 100.5, 200.0, 200.0, 200.0)]

    assert taken == [True, True, False, True, False, True, True, False]
