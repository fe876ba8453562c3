"""A call turned to another model: one value or one segment changes, and nothing where that is not safe."""

import pytest

from proxy_service.providers import Ask, Redirected, Route, redirected
from proxy_service.wire import Headers
from tests.unit.proxy_service.errands import make_route

ASK = Ask(model="claude-sonnet-4-6")


def turned(
    body: bytes, word: str = "claude-haiku-4-5", *, headers: Headers | None = None, route: Route | None = None
) -> Redirected | None:
    return redirected(route or make_route(), ASK, headers or [], body, word)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"claude-sonnet-4-6"}', b'{"model":"claude-haiku-4-5"}'),
        (
            b'{ "a" : {"model":"x"},\r\n\t"model" :  "claude-sonnet-4-6" , "z":1.0e0 }',
            b'{ "a" : {"model":"x"},\r\n\t"model" :  "claude-haiku-4-5" , "z":1.0e0 }',
        ),
        (b'{"mod\\u0065l":"claude-sonnet-4-6"}', b'{"mod\\u0065l":"claude-haiku-4-5"}'),
        ('{"x":"é","model":"claude-sonnet-4-6"}'.encode(), '{"x":"é","model":"claude-haiku-4-5"}'.encode()),
    ],
    ids=["alone", "among blanks", "escaped", "behind text"],
)
def test_the_models_value_is_replaced_and_no_other_byte(body: bytes, expected: bytes) -> None:
    found = turned(body)

    assert found is not None
    assert (found.body, found.ask.model, found.route) == (expected, "claude-haiku-4-5", make_route())


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"claude-sonnet-4-6","model":"claude-sonnet-4-6"}',
        b'{"x":1,"model":"claude-sonnet-4-6","x":2}',
        '{"model":"claude-sonnet-4-6"}'.encode("utf-16"),
    ],
    ids=["model twice", "another key twice", "UTF-16"],
)
def test_what_can_be_read_in_two_ways_is_not_edited(body: bytes) -> None:
    assert turned(body) is None


def test_a_compressed_body_is_not_edited() -> None:
    assert turned(b'{"model":"claude-sonnet-4-6"}', headers=[(b"Content-Encoding", b"gzip")]) is None


@pytest.mark.parametrize("word", ["", "a b", 'a"b', "x\r\ny", "-a", "a" * 257])
def test_a_word_that_names_no_model_is_not_written_anywhere(word: str) -> None:
    assert turned(b'{"model":"claude-sonnet-4-6"}', word) is None


@pytest.mark.parametrize(
    ("target", "word", "expected"),
    [
        (
            b"/model/us.anthropic.claude-sonnet-4-6-v1%3A0/invoke",
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            b"/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke",
        ),
        (
            b"/model/arn%3Aaws%3Abedrock%3A%3A1%3Aapplication-inference-profile%2Fa/converse-stream?x=1",
            "arn:aws:bedrock::1:application-inference-profile/b",
            b"/model/arn%3Aaws%3Abedrock%3A%3A1%3Aapplication-inference-profile%2Fb/converse-stream?x=1",
        ),
        (
            b"/openai/deployments/big/chat/completions?api-version=2024-10-21",
            "small",
            b"/openai/deployments/small/chat/completions?api-version=2024-10-21",
        ),
    ],
    ids=["id", "arn", "deployment"],
)
def test_where_the_path_names_the_model_its_segment_is_replaced(
    target: bytes, word: str, expected: bytes
) -> None:
    body = b'{"model":"kept as it is","model":""}'
    found = turned(body, word, route=make_route(target=target, model="as the path says"))

    assert found is not None
    assert (found.route.target, found.route.model, found.ask.model, found.body) == (
        expected, word, word, body,
    )  # fmt: skip


def test_a_path_of_another_form_is_not_edited() -> None:
    assert turned(b"{}", route=make_route(target=b"/model/x/unknown", model="x")) is None
