"""What makes a template: the same through every client, and never what a user says."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_service.providers import Route, match, read_template
from proxy_service.providers.templates import (
    BODY_BYTES_MAX,
    LEADING_MESSAGES_MAX,
    TEMPLATE_BYTES_MAX,
    VALUES_MAX,
)
from proxy_service.wire import Headers, RequestHead

USER = {"role": "user", "content": "what the user says"}
TOOL = {"name": "look", "description": "looks", "input_schema": {"type": "object"}}
OTHER_TOOL = {"name": "find", "description": "finds", "input_schema": {"type": "object"}}
ANTHROPIC, CHAT, RESPONSES, EMBEDDINGS = (
    "/v1/messages",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
)
CONVERSE = "/bedrock/model/anthropic.claude-sonnet-4-5/converse"
INVOKE = "/bedrock/model/anthropic.claude-sonnet-4-5/invoke"


def route_to(path: str) -> Route:
    headers = [(b"anthropic-version", b"2023-06-01")] if path == ANTHROPIC else []
    route = match(RequestHead(b"POST", path.encode(), headers))
    assert route is not None
    return route


def template(path: str, headers: Headers | None = None, **fields: Any) -> bytes | None:
    return read_template(route_to(path), headers or [], json.dumps(fields).encode())


def system(text: Any) -> dict[str, Any]:
    return {"role": "system", "content": text}


def test_instructions_are_one_template_whoever_is_asked_and_however() -> None:
    said = {
        template(ANTHROPIC, system="Be brief.", messages=[USER]),
        template(ANTHROPIC, system=[{"type": "text", "text": "Be brief."}], messages=[USER]),
        template(CHAT, messages=[system("Be brief."), USER]),
        template(CHAT, messages=[{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}]),
        template(RESPONSES, instructions="Be brief.", input="hello"),
        template(RESPONSES, input=[system([{"type": "input_text", "text": "Be brief."}]), USER]),
        template(CONVERSE, system=[{"text": "Be brief."}, {"cachePoint": {"type": "default"}}]),
        template(INVOKE, system="Be brief.", messages=[USER]),
    }

    assert len(said) == 1
    assert None not in said


def test_what_a_user_says_and_how_the_model_is_asked_play_no_part() -> None:
    one = template(ANTHROPIC, model="a", system="Be brief.", messages=[USER], temperature=0)
    other = template(
        ANTHROPIC, model="b", system="Be brief.", stream=True, messages=[{"role": "user", "content": "else"}]
    )

    assert one == other
    assert one is not None
    assert b"user says" not in one


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (ANTHROPIC, {"system": "Be long."}),
        (ANTHROPIC, {"system": ["Be", " brief."]}),
        (ANTHROPIC, {"system": "Be brief.", "tools": [TOOL]}),
        (CHAT, {"messages": [system("Be brief."), system("Be kind."), USER]}),
        (RESPONSES, {"prompt": {"id": "pmpt_1", "version": "2"}}),
        (RESPONSES, {"prompt": {"id": "pmpt_1", "version": "3"}}),
    ],
)
def test_another_text_or_tool_is_another_template(path: str, changes: dict[str, Any]) -> None:
    found = template(path, **changes)

    assert found is not None
    assert found != template(ANTHROPIC, system="Be brief.")


def test_variables_of_a_prompt_kept_at_the_provider_play_no_part() -> None:
    kept = {"id": "pmpt_1", "version": "2"}

    assert template(RESPONSES, prompt=kept) == template(RESPONSES, prompt=kept | {"variables": {"x": "y"}})


def test_tools_count_in_any_order_and_with_any_mark_of_a_cache() -> None:
    marked = TOOL | {"cache_control": {"type": "ephemeral"}}
    wrapped = [{"toolSpec": TOOL}, {"cachePoint": {"type": "default"}}]

    assert template(ANTHROPIC, tools=[TOOL, OTHER_TOOL]) == template(ANTHROPIC, tools=[OTHER_TOOL, marked])
    assert template(CONVERSE, toolConfig={"tools": wrapped}) == template(
        CONVERSE, toolConfig={"tools": wrapped[:1]}
    )


def test_the_same_json_written_otherwise_is_the_same_template() -> None:
    route = route_to(ANTHROPIC)
    one = b'{"system":"d\xc3\xa9j\xc3\xa0","tools":[{"name":"a","strict":true}]}'
    other = b'{ "tools" : [ {"strict": true, "name":"\\u0061"} ],\n "system": "d\\u00e9j\\u00e0" }'

    assert read_template(route, [], one) == read_template(route, [], other) is not None


def test_only_messages_before_the_first_turn_count() -> None:
    later = [system("a"), USER, system("later")]
    spaced = b'{"messages": [ {"role":"system","content":"a"} , {"role":"user","content":"b"} ] }'

    assert template(CHAT, messages=later) == template(CHAT, messages=[system("a")])
    assert read_template(route_to(CHAT), [], spaced) == template(CHAT, messages=[system("a")])


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (ANTHROPIC, {"messages": [USER]}),
        (ANTHROPIC, {"system": "", "tools": []}),
        (ANTHROPIC, {"system": None, "tools": None, "messages": "?"}),
        (CHAT, {"messages": []}),
        (CHAT, {"messages": [{"role": ["system"], "content": "a"}]}),
        (EMBEDDINGS, {"input": [system("a")]}),
        (RESPONSES, {"input": "a question", "prompt": "text"}),
    ],
)
def test_a_call_without_any_of_it_has_no_template(path: str, fields: dict[str, Any]) -> None:
    assert template(path, **fields) is None


def test_a_compressed_call_has_no_template() -> None:
    body = gzip.compress(b'{"system":"Be brief."}')

    assert read_template(route_to(ANTHROPIC), [(b"Content-Encoding", b"gzip")], body) is None


def test_no_more_is_read_than_is_worth_the_time() -> None:
    room = TEMPLATE_BYTES_MAX - 2  # but for the quotes
    assert template(ANTHROPIC, system="x" * room) is not None
    assert template(ANTHROPIC, system="x" * (room + 1)) is None
    question = "x" * (BODY_BYTES_MAX - 100)
    assert template(ANTHROPIC, system="a", messages=[question]) is not None
    assert template(ANTHROPIC, system="a", messages=[question, question[:101]]) is None
    assert template(ANTHROPIC, system="," * VALUES_MAX) is not None
    assert template(ANTHROPIC, system="," * VALUES_MAX, tools=[[1, 2]]) is None
    assert template(CHAT, messages=[system("," * (VALUES_MAX - 1))]) is not None
    assert template(CHAT, messages=[system("," * VALUES_MAX)]) is None
    many = [system(str(number)) for number in range(LEADING_MESSAGES_MAX + 1)]
    assert template(CHAT, messages=many) == template(CHAT, messages=many[:LEADING_MESSAGES_MAX])


def test_a_long_first_turn_of_a_user_ends_what_is_read() -> None:
    long = {"role": "user", "content": "é" * TEMPLATE_BYTES_MAX}

    assert template(CHAT, messages=[system("a"), long]) == template(CHAT, messages=[system("a")])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"system":"\\ud800"}',
        b'{"messages":[{"role":"system","content":"\\ud800"}]}',
        b'{"tools":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"messages":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"messages":[{"role":"system","content":1' + b"0" * 5000 + b"}]}",
        b'{"messages":[{"role":"system","content":[1e999]}]}',
    ],
)
def test_what_is_no_plain_call_never_fails(body: bytes) -> None:
    assert isinstance(read_template(route_to(CHAT), [], body), bytes | None)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text", "tools", "id", "system", "x"]), inner)
    ),
    max_leaves=12,
)
names = st.sampled_from(
    ["system", "instructions", "messages", "input", "tools", "functions", "toolConfig", "prompt"]
)


@given(st.dictionaries(names, anything), st.sampled_from([ANTHROPIC, CHAT, RESPONSES, CONVERSE]))
def test_whatever_is_sent_is_read_or_left(fields: dict[str, Any], path: str) -> None:
    found = template(path, **fields)

    assert found is None or found == template(path, **dict(reversed(fields.items())))
