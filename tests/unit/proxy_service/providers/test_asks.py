import gzip
import tracemalloc
from typing import Any

import msgspec
import pytest

from proxy_service.providers import Ask, RequestRefused, Route, match, read_ask
from proxy_service.providers.asks import CHOICES_MAX, DECODED_BODY_BYTES_MAX, LOOSE_BYTES_MAX
from proxy_service.wire import RequestHead


def _route(path: bytes) -> Route:
    route = match(RequestHead(b"POST", path, []))
    assert route is not None
    return route


MESSAGES = _route(b"/v1/messages")
CHAT = _route(b"/v1/chat/completions")
CONVERSE = _route(b"/bedrock/model/m/converse-stream")
GZIPPED = [(b"Content-Encoding", b"gzip")]


def _ask(body: dict[str, Any], route: Route = CHAT) -> Ask:
    return read_ask(route, [], msgspec.json.encode(body))


def test_an_anthropic_call_is_read() -> None:
    ask = _ask(
        {"max_tokens": 10, "messages": [{"content": '"model":"x"'}], "stream": True, "model": "claude"},
        MESSAGES,
    )

    assert ask == Ask(model="claude", streaming=True, output_tokens_max=10)


def test_a_chat_call_is_read() -> None:
    ask = _ask(
        {
            "model": "gpt-4o",
            "n": 3,
            "max_tokens": 5,
            "max_completion_tokens": 7,
            "temperature": 0.2,
            "service_tier": "flex",
            "stream": True,
            "stream_options": {"include_usage": False},
        }
    )

    assert ask == Ask(
        model="gpt-4o",
        streaming=True,
        include_usage=False,
        output_tokens_max=7,
        temperature=0.2,
        service_tier="flex",
        choices=3,
    )


def test_a_converse_call_is_read_with_the_paths_model() -> None:
    ask = _ask(
        {"inferenceConfig": {"maxTokens": 9, "temperature": 0}, "serviceTier": {"type": "priority"}}, CONVERSE
    )

    assert ask == Ask(
        model="m", streaming=True, output_tokens_max=9, temperature=0.0, service_tier="priority"
    )


def test_the_tier_of_an_invoked_model_is_read_from_its_header() -> None:
    ask = read_ask(_route(b"/bedrock/model/m/invoke"), [(b"X-Amzn-Bedrock-Service-Tier", b"flex")], b"{}")

    assert ask.service_tier == "flex"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b'{"model":"a"}{}',
        b"{'a':1}",
        b"\xff\xfe\x00",
        b'{"a":' + b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_ask(CHAT, [], body)

    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"gpt-4o","messages":[{"content":"\\ud83d alone"}]}',
        b'\xef\xbb\xbf{"model":"gpt-4o"}',
        '{"model":"gpt-4o"}'.encode("utf-16"),
        b'{"model":"gpt-4o","seed":NaN}',
    ],
    ids=["lone surrogate", "byte order mark", "UTF-16", "NaN"],
)
def test_what_a_laxer_provider_may_take_is_read_all_the_same(body: bytes) -> None:
    assert read_ask(CHAT, [], body).model == "gpt-4o"


def test_a_large_body_with_half_a_surrogate_pair_is_read_without_building_what_it_holds() -> None:
    body = b'{"model":"gpt-4o","x":"\\ud83d","y":[' + b"{}," * 1_000_000 + b"{}]}"
    tracemalloc.start()

    model = read_ask(CHAT, [], body).model

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert model == "gpt-4o"
    assert peak < 3 * len(body)


@pytest.mark.parametrize("behind", [b"[" * 100_000, b'"\xff'], ids=["nested too deeply", "not UTF-8"])
def test_nonsense_behind_half_a_surrogate_pair_is_refused(behind: bytes) -> None:
    with pytest.raises(RequestRefused):
        read_ask(CHAT, [], b'{"x":"\\ud83d","model":' + behind)


@pytest.mark.parametrize("size", [LOOSE_BYTES_MAX, LOOSE_BYTES_MAX + 1])
def test_what_only_a_lax_parser_takes_is_read_up_to_a_size(size: int) -> None:
    body = b'{"model":"gpt-4o","seed":NaN}'.ljust(size)

    if size > LOOSE_BYTES_MAX:
        with pytest.raises(RequestRefused):
            read_ask(CHAT, [], body)
    else:
        assert read_ask(CHAT, [], body).model == "gpt-4o"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", 5),
        ("stream", "yes"),
        ("n", -1),
        ("temperature", "hot"),
        ("stream_options", []),
        ("service_tier", {}),
    ],
)
def test_a_field_of_another_type_costs_only_itself(field: str, value: object) -> None:
    assert _ask({"model": "gpt-4o", "max_tokens": 5, field: value}).output_tokens_max == 5


@pytest.mark.parametrize(
    ("n", "choices"), [(CHOICES_MAX, CHOICES_MAX), (CHOICES_MAX + 1, CHOICES_MAX), (0, 1)]
)
def test_the_number_of_choices_is_bounded(n: int, choices: int) -> None:
    assert _ask({"n": n}).choices == choices


def test_a_compressed_body_is_read_from_a_decoded_copy() -> None:
    assert read_ask(CHAT, GZIPPED, gzip.compress(b'{"model":"gpt-4o"}')).model == "gpt-4o"


@pytest.mark.parametrize(
    ("coding", "body"), [(b"gzip", b"not gzip at all"), (b"made-up", b'{"model":"x"}'), (b"br", b"\xff" * 20)]
)
def test_what_we_cannot_decode_may_still_mean_something_to_the_provider(coding: bytes, body: bytes) -> None:
    assert read_ask(CHAT, [(b"content-encoding", coding)], body) == Ask(model="")


def test_a_bomb_is_refused_at_the_limit() -> None:
    inner = b'{"model":"gpt-4o"}'
    fits = gzip.compress(inner + b" " * (DECODED_BODY_BYTES_MAX - len(inner)), 1)
    bursts = gzip.compress(inner + b" " * (DECODED_BODY_BYTES_MAX - len(inner) + 1), 1)

    assert read_ask(CHAT, GZIPPED, fits).model == "gpt-4o"
    with pytest.raises(RequestRefused) as refused:
        read_ask(CHAT, GZIPPED, bursts)
    assert (refused.value.status, refused.value.code) == (413, "request_too_large")


def test_a_key_pasted_as_a_model_is_not_kept() -> None:
    assert _ask({"model": "sk-ant-api03-abcdefghijklmnop"}).model == "[redacted]"
