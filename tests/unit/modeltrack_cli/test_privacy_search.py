"""A canary is found in data of any length, however it is written, and told by its place alone."""

import gzip
import json
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.keys import is_well_formed_key
from modeltrack_cli.privacy import canaries as canaries_module
from modeltrack_cli.privacy import search as search_module
from modeltrack_cli.privacy.canaries import UNKNOWN_PLACE, Canaries, Place, as_key
from modeltrack_cli.privacy.looking import Gaze
from modeltrack_cli.privacy.search import Search, Spot, Wanted
from modeltrack_cli.privacy.sending import Post

KEPT = 12

WAYS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "in capitals": lambda canary: canary.upper().encode(),
    "hexadecimal": lambda canary: canary.encode().hex().encode(),
    "base64": lambda canary: b64encode(f"x{canary}yz".encode()),
    "byte by byte in a URL": lambda canary: "".join(f"%{ord(each):02x}" for each in canary).encode(),
    "in a URL": lambda canary: quote(f"a b/{canary}", safe="").encode(),
    "in JSON within JSON": lambda canary: json.dumps(json.dumps({"a": canary})).encode(),
    "UTF-16": lambda canary: canary.encode("utf-16"),
    "backwards": lambda canary: canary[::-1].encode(),
    "gzip": lambda canary: gzip.compress(f"some {canary} more".encode()),
}


def found(data: bytes, canaries: Canaries, **options: bool) -> list[Spot]:
    search = Search("here", Wanted(canaries, {}), **options)
    search.feed(data)
    search.close()
    return list(search.spots.values())


@pytest.mark.parametrize("written", WAYS.values(), ids=WAYS.keys())
def test_a_canary_is_found_however_it_is_written_and_known_by_its_place(
    written: Callable[[str], bytes],
) -> None:
    canaries = Canaries()
    canaries.new("a route", "another place")
    canary = canaries.new("a route", "its prompt")

    spots = found(b"one\ntwo " + written(canary) + b"\nthree", canaries)

    assert spots == [Spot(Place("a route", "its prompt"), "here", 2)]


@pytest.mark.parametrize("part", [slice(KEPT), slice(-KEPT, None)], ids=["its beginning", "its end"])
def test_a_part_of_a_canary_is_found_too(part: slice) -> None:
    canaries = Canaries()
    canary = canaries.new("a route", "its key")

    (spot,) = found(f"key {canary[part]}…".encode(), canaries)

    assert spot.place == UNKNOWN_PLACE


def test_of_canaries_side_by_side_each_is_told_in_its_own_line() -> None:
    canaries = Canaries()
    first, second = canaries.new("a route", "first"), canaries.new("a route", "second")

    spots = found(f"{first}\n{second}{first}\n".encode(), canaries)

    assert {(spot.place.where, spot.line) for spot in spots} == {("first", 1), ("second", 2), ("first", 2)}


@given(st.data())
def test_nothing_is_missed_between_blocks_and_pieces(data: st.DataObject) -> None:
    canaries = Canaries()
    canary = canaries.new("a route", "its prompt")
    lines = data.draw(st.integers(0, 200))
    before = b"\n" * lines + b"x" * data.draw(st.integers(0, 1500))
    text = before + canary.encode() + b"y" * data.draw(st.integers(0, 3000))
    size = data.draw(st.integers(1, 2000))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module, "BLOCK_BYTES", 100)
        patch.setattr(search_module, "OVERLAP_BYTES", 1200)
        search = Search("here", Wanted(canaries, {}))
        for at in range(0, len(text), size):
            search.feed(text[at : at + size])
        search.close()

    assert list(search.spots.values()) == [Spot(Place("a route", "its prompt"), "here", lines + 1)]
    assert (search.bytes, search.lines) == (len(text), lines)


def test_in_json_the_path_is_told_and_no_name_that_holds_a_canary() -> None:
    canaries = Canaries()
    value, name = canaries.new("a route", "value"), canaries.new("a route", "name")
    rows = [{"data": {"rows": [{"a": 1}, {"note": value}]}}, {"data": {name: {"a": 1}}}, {"a b\x1b": value}]

    spots = found("\n".join(map(json.dumps, rows)).encode(), canaries)

    assert {spot.place.where: spot.path for spot in spots if spot.line < 3} == {
        "value": "$.data.rows[1].note",
        "name": "$.data.*",
    }
    assert [spot.path for spot in spots if spot.line == 3] == ["$.*"]


def test_names_may_be_told_back_to_whoever_sent_them_and_nowhere_else() -> None:
    canaries = Canaries()
    name = canaries.new("a route", "a name", is_told_back=True)

    assert found(name.encode(), canaries, is_told_back=True) == []
    assert len(found(name.encode(), canaries)) == 1


def test_the_keys_of_whoever_runs_it_are_looked_for_as_well() -> None:
    wanted = Wanted(Canaries(), {"your password": "correct horse battery", "a short one": "abc"})
    search = Search("here", wanted)

    search.feed(b"abc " + b64encode(b"correct horse battery"))
    search.close()

    assert [spot.place.where for spot in search.spots.values()] == ["your password"]


def test_what_is_found_is_bounded_and_what_comes_too_late_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "SPOTS_MAX", 3)
    canaries = Canaries()
    canary = canaries.new("a route", "its prompt")
    search = Search("here", Wanted(canaries, {}))

    search.feed(f"{canary}\n".encode() * 10)
    search.close()
    search.feed(canary.encode())

    assert len(search.spots) == 3
    assert search.lines == 10


def test_what_unpacks_to_far_more_than_it_is_is_looked_at_up_to_a_bound_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    canaries = Canaries()
    gaze = Gaze(Post({}, seconds=1), Wanted(canaries, {}))
    packed = gzip.compress(canaries.new("a route", "its prompt").encode() + b"a" * 100_000)
    monkeypatch.setattr(search_module, "UNPACKED_BYTES_FREE", 2 * 100_100)
    monkeypatch.setattr(search_module, "UNPACKED_TIMES_MAX", 1)

    for count in (2, 50):
        search = gaze.search(f"{count} of them")
        search.feed((packed + b"\n") * count)
        gaze.keep(search)

    assert [each.trouble for each in gaze.looked] == ["", "more is packed in it than is unpacked"]
    assert [spot.line for spot in gaze.spots] == [1, 2, 1, 2]


def test_controls_and_ids_are_seen() -> None:
    wanted = Wanted(Canaries(), {})
    wanted.controls.add("privacy-check-1")
    wanted.request_ids.add(b"req_" + b"0" * 32)
    search = Search("here", wanted)

    search.feed(b'{"feature":"privacy-check-1","id":"req_' + b"0" * 32 + b'","other":"req_' + b"1" * 32)
    search.close()

    assert (search.controls, search.request_ids) == ({"privacy-check-1"}, wanted.request_ids)


def test_a_canary_as_a_key_is_well_formed_and_unlike_any_other() -> None:
    canary = Canaries().new("a route", "a key")

    assert is_well_formed_key(as_key(canary))
    assert canary in as_key(canary)
    assert as_key(canary) != as_key(canary)


def test_there_are_no_more_canaries_than_can_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries_module, "CANARIES_MAX", 1)
    canaries = Canaries()
    canaries.new("a route", "a place")

    with pytest.raises(OverflowError, match="more places"):
        canaries.new("a route", "another")
