import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_service.members import (
    COMPARED_BYTES_MAX,
    MEMBERS_MAX,
    NotEditable,
    members,
    values_once,
    with_member,
)

_KEYS = st.text(st.characters(codec="utf-8"), max_size=6)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
_OBJECTS = st.dictionaries(_KEYS, _VALUES, max_size=5)
_STYLES = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"indent": 3},
        {"separators": (" ,\r\n", "\t: ")},
        {"ensure_ascii": False},
    ]
)


@given(_OBJECTS, _STYLES, st.sampled_from(["", " ", "\n\t"]))
def test_members_are_found_where_they_stand(
    value: dict[str, Any], style: dict[str, Any], around: str
) -> None:
    body = (around + json.dumps(value, **style) + around).encode()

    found = members(body)

    assert [member.name for member in found] == list(value)
    for member in found:
        assert json.loads(body[member.value_start : member.end]) == value[member.name]
        assert json.loads(b"{" + body[member.start : member.end] + b"}") == {member.name: value[member.name]}


@given(_OBJECTS, _STYLES, _KEYS)
def test_an_edit_changes_that_member_and_no_other_byte(
    value: dict[str, Any], style: dict[str, Any], name: str
) -> None:
    body = json.dumps(value, **style).encode()

    edited = with_member(body, name, lambda _: b'{"new":1}')

    assert json.loads(edited) == {**value, name: {"new": 1}}
    pairs = json.loads(edited, object_pairs_hook=list)
    assert len(pairs) == len({**value, name: 0})


@pytest.mark.parametrize(
    "body", [b"{}", b" { } ", b'{"a":1}', b'{ "a" : [1, 2 ] }\n', b'{"a":1, "b":{"c":2}}']
)
def test_what_is_added_is_all_that_is_added(body: bytes) -> None:
    edited = with_member(body, "new", lambda _: b"true")

    assert edited.replace(b',"new":true', b"").replace(b'"new":true', b"") == body


def test_the_present_value_is_what_the_new_one_is_made_from() -> None:
    edited = with_member(b'{"a": [1, 2] ,"b":0}', "a", lambda present: (present or b"") + b"!")

    assert edited == b'{"a": [1, 2]! ,"b":0}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":10}',
        b'{"a":10,"a":1}',
        b'{"a":1,"b":2,"a":1}',
        b'{"a":1,"b":2,"a":3}',
        b'{"a":1,"\\u0061":1}',
        b'{"a":{"b":1},"a":{"b":1}}',
        b'{"a":"x","b":"y","b":"y"}',
    ],
)
def test_a_key_that_stands_twice_is_not_editable(body: bytes) -> None:
    with pytest.raises(NotEditable):
        members(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b"null",
        b'{"a":1',
        b'{"a":1}x',
        b"{a:1}",
        b'{"a":01}',
        b"\xef\xbb\xbf{}",
        b'{"a":' * 5000,
    ],
)
def test_what_is_no_object_is_not_editable(body: bytes) -> None:
    with pytest.raises(NotEditable):
        members(body)


@given(
    st.lists(
        st.tuples(st.sampled_from("aab"), st.sampled_from(["1", "10", '"1"', "[1]", '{"a":1,"b": 1}'])),
        max_size=4,
    ),
    st.sampled_from([("", ""), (" ", " "), (" ", ""), ("", " ")]),
    st.sampled_from([0, COMPARED_BYTES_MAX]),
)
def test_exactly_the_objects_with_distinct_keys_are_editable(
    pairs: list[tuple[str, str]], blanks: tuple[str, str], padding: int
) -> None:
    behind_colon, behind_comma = blanks
    written = f",{behind_comma}".join(f'"{key}":{behind_colon}{value}' for key, value in pairs)
    body = ("{" + written + "}").encode() + b" " * padding
    is_distinct = len({key for key, _ in pairs}) == len(pairs)

    for read in (members, values_once):
        try:
            read(body)
        except NotEditable:
            assert not is_distinct
        else:
            assert is_distinct
    if is_distinct:
        assert {name: bytes(value).decode() for name, value in values_once(body).items()} == dict(pairs)


def test_so_many_members_are_looked_at_and_no_more() -> None:
    most = {str(number): 1 for number in range(MEMBERS_MAX)}

    assert len(members(json.dumps(most).encode())) == MEMBERS_MAX
    with pytest.raises(NotEditable):
        members(json.dumps({**most, "more": 1}).encode())


def test_a_key_that_is_not_utf_8_makes_an_object_uneditable() -> None:
    with pytest.raises(NotEditable):
        members(b'{"stream":true,"\xff":1}')
