"""What is sent through the proxy reaches every route that it names, and costs nothing where keys cost."""

import json

import pytest

from modeltrack_cli.privacy.canaries import Canaries
from modeltrack_cli.privacy.proxy_letters import KEY_SHAPES, TAGS, control, letters
from proxy_service.headers import OUR_PREFIX
from proxy_service.providers.routes import match
from proxy_service.service_routes import PROVIDER_PATHS
from proxy_service.wire import RequestHead


def test_no_route_that_the_proxy_names_is_left_out() -> None:
    sent = list(letters(Canaries(), PROVIDER_PATHS))
    shown = {each.route.removeprefix("proxy ").removesuffix(" (streamed)") for each in sent}

    exact = {each for each in PROVIDER_PATHS if "…" not in each}
    assert exact <= shown
    for prefix in ("/azure/openai/", "/anthropic/v1/", "/openai/v1/"):
        assert any(each.path.startswith(prefix) for each in sent)


def test_a_new_route_that_the_proxy_names_is_called_with_prompts_of_every_kind() -> None:
    sent = [
        each
        for each in letters(Canaries(), ["POST /gemini/{model}/generate", "GET /nothing", "no route"])
        if "gemini" in each.path
    ]

    (letter,) = sent
    assert letter.route == "proxy POST /gemini/{model}/generate"
    assert {"messages", "system", "input", "instructions"} <= json.loads(letter.body or b"").keys()


def test_every_metered_operation_of_every_provider_is_called_streamed_or_not() -> None:
    called = set()
    for each in letters(Canaries(), PROVIDER_PATHS):
        if each.method != "POST" or "malformed" in each.route or "other address" in each.route:
            continue
        head = RequestHead(method=b"POST", target=each.path.encode(), headers=[])
        route = match(head)
        if route is not None and route.kind == "metered":
            called.add((route.provider, route.operation))

    assert called >= {
        ("anthropic", "messages"),
        ("openai", "chat_completions"),
        ("openai", "completions"),
        ("openai", "responses"),
        ("openai", "embeddings"),
        ("bedrock", "messages"),
        ("bedrock", "invoke"),
        ("bedrock", "invoke_stream"),
        ("bedrock", "converse"),
        ("bedrock", "converse_stream"),
        ("azure", "chat_completions"),
        ("azure", "responses"),
    }


def test_every_tag_holds_something_shaped_like_a_key_and_every_shape_is_tried() -> None:
    sent = [each for each in letters(Canaries(), []) if each.route == "proxy, tags that look like keys"]
    tags = {name.lower() for each in sent for name in each.headers if name.lower().startswith("x-modeltrack")}

    assert tags >= {f"x-modeltrack-{each.lower()}" for each in TAGS}
    assert len(sent) >= len(KEY_SHAPES)
    assert OUR_PREFIX == b"x-modeltrack-"


def test_each_canary_is_sent_in_one_place_and_no_call_carries_a_real_key() -> None:
    canaries = Canaries()

    sent = list(letters(canaries, PROVIDER_PATHS))

    assert len(canaries) > 400
    assert all(canaries.marks[0] in repr(each.headers).lower() for each in sent)
    assert canaries.marks[0] not in repr(control("privacy-check-1"))


@pytest.mark.parametrize("field", ["max_tokens", "max_output_tokens", "inferenceConfig"])
def test_where_an_upstream_needs_no_key_answers_are_short(field: str) -> None:
    bodies = [
        json.loads(each.body)
        for each in letters(Canaries(), PROVIDER_PATHS)
        if each.body and "malformed" not in each.route and each.body.startswith(b"{")
    ]

    found = [body[field] for body in bodies if field in body]
    assert found
    assert all(limit in (1, 16, {"maxTokens": 16}) for limit in found)
