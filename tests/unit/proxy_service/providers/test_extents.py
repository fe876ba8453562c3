"""How far a call may reach, as its body says it; what could be read in another way bounds nothing."""

import gzip
from typing import Any

import msgspec
import pytest

from metering.bounds import Extent
from proxy_service.providers import Operation, read_extent
from proxy_service.providers.extents import SERVED_ROUNDS
from tests.unit.proxy_service.errands import make_route

TEXT = [{"role": "user", "content": "hello"}]
IMAGE = {"type": "image", "source": {"type": "base64", "data": "aGk="}}
MANY_MEMBERS = {f"member_{number}": 0 for number in range(1_001)}


def extent(operation: Operation, body: bytes | None = None, **fields: Any) -> Extent:
    return read_extent(make_route(operation=operation), [], body or msgspec.json.encode(fields), "m")


def messages(**fields: Any) -> Extent:
    given: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": TEXT} | fields
    return extent("messages", **given)


def turn(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


def test_a_plain_message_reads_its_body_once_and_answers_once() -> None:
    body = msgspec.json.encode({"model": "m", "max_tokens": 9, "messages": TEXT})

    assert extent("messages", body) == Extent(
        prompt_bytes=len(body), answer_tokens_max=9, answer_param="max_tokens"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": turn({"type": "text", "text": "a"})},
        {"messages": turn({"type": "tool_result", "content": "a"})},
        {"messages": turn({"type": "tool_result", "content": [{"type": "text", "text": "a"}]})},
        {"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
        {"tools": [{"name": "t", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]},
        {"mcp_servers": []},
    ],
    ids=["text", "result", "result in parts", "system", "callers' tools", "no servers"],
)
def test_text_is_as_long_as_its_bytes(fields: dict[str, Any]) -> None:
    found = messages(**fields)

    assert (found.prompt_bytes is not None, found.unbounded_param, found.tool_calls) == (True, "", 0)
    assert found.has_tools is bool(fields.get("tools"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": turn(IMAGE)}, "messages"),
        ({"messages": turn({"type": "tool_result", "content": [IMAGE]})}, "messages"),
        ({"messages": turn({"type": "document", "source": {"type": "file", "file_id": "f"}})}, "messages"),
        ({"messages": [{"role": "user", "content": {"type": "text"}}]}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"system": [IMAGE]}, "messages"),
        ({"container": "container_1"}, "container"),
    ],
    ids=["image", "image in a result", "file", "no list", "no turns", "image in system", "container"],
)
def test_whatever_is_not_plainly_text_lies_elsewhere(fields: dict[str, Any], param: str) -> None:
    found = messages(**fields)

    assert (found.prompt_bytes, found.elsewhere_param, found.unbounded_param) == (None, param, "")


def test_the_providers_own_tools_make_the_model_read_again() -> None:
    found = messages(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}])

    rounds = 1 + 3 + SERVED_ROUNDS
    assert (found.prompt_bytes, found.prompt_reads, found.answers, found.tool_calls) == (
        None, rounds, rounds, 3,
    )  # fmt: skip


def test_a_context_that_is_compacted_is_read_and_summed_up_once_more() -> None:
    found = messages(context_management={"edits": [{"type": "compact_20260112"}]})

    assert (found.prompt_bytes, found.prompt_reads, found.answers, found.answer_tokens_max) == (
        None, 2, 2, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "fields", "param"),
    [
        ("messages", {"tools": [{"type": "web_search_20250305"}]}, "tools.max_uses"),
        ("messages", {"tools": {}}, "tools"),
        ("messages", {"mcp_servers": [{"url": "https://x.test"}]}, "mcp_servers"),
        ("messages", {"mystery": 1}, "mystery"),
        ("messages", {"my stery": 1}, "body"),
        ("messages", MANY_MEMBERS, "body"),
        ("chat_completions", {"n": 2.5}, "n"),
        ("chat_completions", {"tools": [{"type": "web_search"}]}, "tools"),
        ("chat_completions", {"data_sources": []}, "data_sources"),
        ("completions", {"best_of": "2"}, "n"),
        ("responses", {"prompt": {"id": "pmpt_1"}}, "prompt"),
        ("responses", {"background": True}, "background"),
        ("responses", {"background": "yes"}, "background"),
        ("responses", {"tools": [{"type": "web_search"}]}, "max_tool_calls"),
        ("converse", {"toolConfig": {"tools": [{"systemTool": {"name": "x"}}]}}, "toolConfig"),
        ("converse", {"performanceConfig": {"latency": "optimized"}}, "performanceConfig"),
        ("converse", {"guardrailConfig": {"guardrailIdentifier": "g"}}, "guardrailConfig"),
    ],
)
def test_what_nothing_bounds_is_named(operation: Operation, fields: dict[str, Any], param: str) -> None:
    assert extent(operation, **fields).unbounded_param == param


@pytest.mark.parametrize("kind", ["advisor_20260301", "code_execution_20250825", "of_tomorrow"])
def test_a_tool_that_is_billed_by_a_price_of_its_own_is_bounded_by_no_number_of_uses(kind: str) -> None:
    assert messages(tools=[{"type": kind, "max_uses": 1}]).unbounded_param == "tools"


@pytest.mark.parametrize("kind", ["image_generation", "code_interpreter", "mcp", "web_search_preview"])
def test_nor_is_one_of_a_response_by_a_number_of_calls(kind: str) -> None:
    found = extent("responses", input="hello", tools=[{"type": kind}], max_tool_calls=1)

    assert found.unbounded_param == "tools"


@pytest.mark.parametrize(
    ("operation", "fields", "param"),
    [
        ("chat_completions", {"messages": TEXT, "audio": {"voice": "alloy"}}, "audio"),
        ("chat_completions", {"messages": turn({"type": "input_audio", "input_audio": {}})}, "audio"),
        ("chat_completions", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, "audio"),
        ("responses", {"input": turn({"type": "input_audio", "input_audio": {}})}, "input"),
    ],
)
def test_sound_is_not_bounded_by_the_price_of_text(
    operation: Operation, fields: dict[str, Any], param: str
) -> None:
    assert extent(operation, **fields).unbounded_param == param


@pytest.mark.parametrize("model", ["gpt-4o-search-preview", "gpt-4o-mini-search-preview-2025-03-11"])
def test_a_model_made_for_searching_searches_unasked(model: str) -> None:
    found = extent("chat_completions", messages=TEXT, model=model)

    assert (found.tool_calls, found.prompt_bytes, found.elsewhere_param) == (1, None, "model")


@pytest.mark.parametrize("name", [b"performanceconfig-latency", b"guardrailidentifier"])
def test_a_header_that_makes_bedrock_dearer_leaves_the_call_unbounded(name: bytes) -> None:
    headers = [(b"x-amzn-bedrock-" + name, b"x")]
    body = msgspec.json.encode({"messages": CONVERSE_TEXT})

    assert read_extent(make_route(operation="converse"), headers, body, "m").unbounded_param == "headers"


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        ("messages", b'{"tools":[{"type":"web_search_20250305","max_uses":9,"type":"custom"}]}', "tools"),
        ("messages", b'{"tools":[{"type":"web_search_20250305","max_uses":9,"max_uses":1}]}', "tools"),
        ("converse", b'{"inferenceConfig":{"maxTokens":9,"maxTokens":1}}', "inferenceConfig"),
    ],
)
def test_a_limit_that_is_said_twice_is_not_believed(operation: Operation, body: bytes, param: str) -> None:
    assert extent(operation, body).unbounded_param == param


@pytest.mark.parametrize(
    "body", [b'{"max_tokens":1,"max_tokens":9}', b"[]", '{"model":"m"}'.encode("utf-16"), b"\xef\xbb\xbf{}"]
)
def test_a_body_that_can_be_read_in_two_ways_is_not_believed(body: bytes) -> None:
    assert extent("messages", body).unbounded_param == "body"


def test_a_compressed_body_counts_as_what_it_holds() -> None:
    body = msgspec.json.encode({"max_tokens": 9, "messages": TEXT})
    packed = read_extent(make_route(), [(b"content-encoding", b"gzip")], gzip.compress(body), "m")
    unknown = read_extent(make_route(), [(b"content-encoding", b"snappy")], body, "m")

    assert (packed.prompt_bytes, unknown.unbounded_param) == (len(body), "content-encoding")


@pytest.mark.parametrize(
    ("fields", "longest"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 9, "max_completion_tokens": 5}, 9),
        ({"max_completion_tokens": 5, "max_tokens": "9"}, None),
        ({"max_completion_tokens": None}, None),
        ({}, None),
    ],
)
def test_of_two_limits_the_longer_counts_and_an_unreadable_one_is_none(
    fields: dict[str, Any], longest: int | None
) -> None:
    assert extent("chat_completions", messages=TEXT, **fields).answer_tokens_max == longest


def test_a_limit_of_another_operation_limits_nothing() -> None:
    assert messages(max_tokens=None).answer_tokens_max is None
    assert extent("messages", messages=TEXT, max_output_tokens=1).unbounded_param == "max_output_tokens"


def test_each_choice_is_an_answer_and_a_prediction_is_billed_beside() -> None:
    body = msgspec.json.encode({"messages": TEXT, "n": 2_000, "prediction": {"type": "content"}})
    found = extent("chat_completions", body)

    assert (found.answers, found.answer_tokens_beside, found.answer_param) == (
        2_000,
        len(body),
        "max_completion_tokens",
    )


@pytest.mark.parametrize(
    ("operation", "fields", "param"),
    [
        ("messages", {"messages": TEXT}, "max_tokens"),
        ("messages", {"messages": TEXT, "context_management": {}}, "context_management"),
        ("chat_completions", {"messages": TEXT}, "max_completion_tokens"),
        ("chat_completions", {"messages": TEXT, "max_tokens": 9}, "max_tokens"),
        ("chat_completions", {"messages": TEXT, "max_completion_tokens": 9}, "max_completion_tokens"),
        ("converse", {"messages": []}, "inferenceConfig.maxTokens"),
        ("converse", {"messages": [], "additionalModelRequestFields": {}}, "additionalModelRequestFields"),
    ],
)
def test_the_field_is_named_that_limits_the_answer_or_keeps_it_from_being_limited(
    operation: Operation, fields: dict[str, Any], param: str
) -> None:
    assert extent(operation, **fields).answer_param == param


@pytest.mark.parametrize(
    ("prompt", "answers", "is_one"),
    [("a", 3, True), (["a", "b"], 6, False), ([1, 2, 3], 3, True), ([[1], [2], [3]], 9, False)],
)
def test_each_prompt_of_a_completion_has_its_answers(prompt: Any, answers: int, is_one: bool) -> None:
    found = extent("completions", prompt=prompt, n=3, best_of=2)

    assert (found.answers, found.is_one_prompt) == (answers, is_one)


@pytest.mark.parametrize(
    ("fields", "elsewhere"),
    [
        ({"input": "hello"}, ""),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]}, ""),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "a"}]}, ""),
        ({"input": [{"type": "item_reference", "id": "i"}]}, "input"),
        ({"input": [{"type": "reasoning", "id": "r", "summary": []}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]}, "input"),
        ({"input": "hello", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "hello", "conversation": "conv_1"}, "conversation"),
        ({"input": "hello", "tools": [{"type": "function"}]}, ""),
        ({"input": "hello", "tools": [{"type": "web_search"}], "max_tool_calls": 2}, "tools"),
    ],
)
def test_a_response_reads_what_its_input_refers_to(fields: dict[str, Any], elsewhere: str) -> None:
    found = extent("responses", max_output_tokens=7, background=False, **fields)

    assert (found.elsewhere_param, found.answer_tokens_max) == (elsewhere, 7)
    assert (found.prompt_bytes is None) is bool(elsewhere)
    assert (found.tool_calls, found.prompt_reads) == ((2, 3) if elsewhere == "tools" else (0, 1))


def test_embeddings_answer_without_tokens() -> None:
    found = extent("embeddings", input=["a", "b"], model="m")

    assert (found.answer_tokens_max, found.is_one_prompt) == (0, False)


CONVERSE_TEXT = [{"role": "user", "content": [{"text": "hello"}]}]


@pytest.mark.parametrize(
    ("fields", "elsewhere"),
    [
        ({"messages": CONVERSE_TEXT}, ""),
        ({"messages": turn({"toolResult": {"toolUseId": "t", "content": [{"json": {}}]}})}, ""),
        ({"messages": turn({"toolResult": {"content": [{"image": {}}]}})}, "messages"),
        ({"messages": turn({"image": {"source": {"bytes": ""}}})}, "messages"),
        ({"messages": CONVERSE_TEXT, "system": [{"guardContent": {}}]}, "messages"),
        (
            {"messages": CONVERSE_TEXT, "additionalModelRequestFields": {"max_tokens": 10**6}},
            "additionalModelRequestFields",
        ),
    ],
)
def test_converse_is_read_in_its_own_words(fields: dict[str, Any], elsewhere: str) -> None:
    found = extent("converse_stream", inferenceConfig={"maxTokens": 5}, **fields)

    assert found.elsewhere_param == elsewhere
    assert found.answer_tokens_max == (None if elsewhere.startswith("additional") else 5)


@pytest.mark.parametrize("operation", ["invoke", "invoke_stream", "messages"])
@pytest.mark.parametrize(
    ("model", "answer_tokens"),
    [("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 5), ("amazon.nova-micro-v1:0", None), ("", None)],
    ids=["Claude", "Nova", "unknown"],
)
def test_only_a_claude_on_bedrock_is_held_to_what_a_message_says(
    operation: Operation, model: str, answer_tokens: int | None
) -> None:
    body = msgspec.json.encode({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": TEXT})
    route = make_route(provider="bedrock", upstream="bedrock", operation=operation)

    found = read_extent(route, [], body, model)

    assert (found.prompt_bytes is not None, found.answer_tokens_max) == (answer_tokens == 5, answer_tokens)
    assert found.unbounded_param == ""


def test_another_model_that_is_invoked_has_only_its_limits() -> None:
    route = make_route(provider="bedrock", upstream="bedrock", operation="invoke_stream")
    body = msgspec.json.encode({"prompt": "hello", "max_gen_len": 5})

    found = read_extent(route, [], body, "us.anthropic.claude-sonnet-4-5-20250929-v1:0")

    assert (found.prompt_bytes, found.answer_tokens_max, found.unbounded_param) == (None, None, "")


@pytest.mark.parametrize("target", [b"/v1/responses/compact", b"/openai/v1/responses/compact/?api-version=1"])
def test_a_response_that_is_compacted_obeys_no_limit_of_its_answer(target: bytes) -> None:
    body = msgspec.json.encode({"model": "m", "max_output_tokens": 5, "input": "hello"})

    found = read_extent(make_route(operation="responses", target=target), [], body, "m")

    assert (found.answer_tokens_max, found.answer_param) == (None, "model")


def test_what_converse_hands_on_to_the_model_may_have_it_sum_up_the_context_first() -> None:
    found = extent("converse", messages=[], additionalModelRequestFields={"context_management": {}})

    assert (found.prompt_reads, found.answers) == (2, 2)


def test_tools_that_are_said_twice_are_not_believed() -> None:
    twice = b'{"messages":[],"toolConfig":{"tools":[{"systemTool":{"name":"t"}}],"tools":[]}}'

    assert extent("converse", twice).unbounded_param == "toolConfig"
