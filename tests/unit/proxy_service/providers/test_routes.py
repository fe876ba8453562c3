import pytest

from proxy_service.providers import RequestRefused, Route, dialect_of, match
from proxy_service.wire import Headers, RequestHead

VERSIONED: Headers = [(b"Anthropic-Version", b"2023-06-01")]
KEYED: Headers = [(b"X-Api-Key", b"k")]
BEARER: Headers = [(b"Authorization", b"Bearer k")]


def _route(target: bytes, method: bytes = b"POST", headers: Headers | None = None) -> Route | None:
    return match(RequestHead(method, target, headers or []))


def _found(target: bytes, method: bytes = b"POST", headers: Headers | None = None) -> Route:
    route = _route(target, method, headers)
    assert route is not None
    return route


@pytest.mark.parametrize(
    ("target", "provider", "operation", "upstream_target"),
    [
        (b"/v1/messages", "anthropic", "messages", b"/v1/messages"),
        (b"/v1/messages?beta=true", "anthropic", "messages", b"/v1/messages?beta=true"),
        (b"/anthropic/v1/messages", "anthropic", "messages", b"/v1/messages"),
        (b"/v1/chat/completions", "openai", "chat_completions", b"/v1/chat/completions"),
        (b"/openai/v1/chat/completions?x=%2F", "openai", "chat_completions", b"/v1/chat/completions?x=%2F"),
        (b"/v1/completions", "openai", "completions", b"/v1/completions"),
        (b"/v1/responses", "openai", "responses", b"/v1/responses"),
        (b"/v1/responses/compact", "openai", "responses", b"/v1/responses/compact"),
        (b"/v1/embeddings", "openai", "embeddings", b"/v1/embeddings"),
        (b"/azure/openai/v1/responses?a=b", "azure", "responses", b"/openai/v1/responses?a=b"),
        (b"/azure/openai/responses", "azure", "responses", b"/openai/responses"),
        (b"/azure/openai/v1/chat/completions", "azure", "chat_completions", b"/openai/v1/chat/completions"),
        (b"/azure/v1/chat/completions", "azure", "chat_completions", b"/v1/chat/completions"),
        (b"/bedrock/v1/messages", "bedrock", "messages", b"/v1/messages"),
    ],
)  # fmt: skip
def test_metered_paths_lead_to_their_upstream(
    target: bytes, provider: str, operation: str, upstream_target: bytes
) -> None:
    route = _found(target)

    assert (route.provider, route.operation, route.target) == (provider, operation, upstream_target)
    assert route.kind == "metered"
    assert route.upstream == provider
    assert route.translated == (target == b"/bedrock/v1/messages")


@pytest.mark.parametrize(
    ("tail", "operation"),
    [
        (b"invoke", "invoke"),
        (b"invoke-with-response-stream", "invoke_stream"),
        (b"converse", "converse"),
        (b"converse-stream", "converse_stream"),
    ],
)
@pytest.mark.parametrize(
    ("raw", "model"),
    [
        (b"us.anthropic.claude-sonnet-4-5-20250929-v1%3A0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (b"anthropic.claude-v2:1", "anthropic.claude-v2:1"),
        (
            b"arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0",
        ),
    ],
)
def test_a_bedrock_model_is_read_from_the_path_that_stays_as_sent(
    raw: bytes, model: str, tail: bytes, operation: str
) -> None:
    route = _found(b"/bedrock/model/" + raw + b"/" + tail)

    assert (route.model, route.operation, route.kind) == (model, operation, "metered")
    assert route.target == b"/model/" + raw + b"/" + tail
    assert route.dialect == "bedrock"


@pytest.mark.parametrize("tail", [b"chat/completions", b"completions", b"embeddings", b"responses"])
def test_an_azure_deployment_is_read_from_the_path(tail: bytes) -> None:
    route = _found(b"/azure/openai/deployments/prod-4o/" + tail + b"?api-version=2024-10-21")

    assert (route.kind, route.model, route.dialect) == ("metered", "prod-4o", "azure")
    assert route.target == b"/openai/deployments/prod-4o/" + tail + b"?api-version=2024-10-21"


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/messages/count_tokens",
        b"/v1/messages/count_tokens?beta=true",
        b"/v1/messages/batches",
        b"/v1/messages/batches/msgbatch_1/cancel",
        b"/anthropic/v1/files",
        b"/v1/files",
        b"/v1/uploads",
        b"/v1/uploads/upload_1/parts",
        b"/v1/batches",
        b"/v1/batches/b_1/cancel",
        b"/v1/moderations",
        b"/v1/responses/input_tokens",
        b"/v1/responses/resp_1/cancel",
        b"/v1/chat/completions/chatcmpl_1",
        b"/v1/conversations/conv_1/items",
        b"/openai/v1/files",
        b"/azure/openai/files?api-version=1",
        b"/azure/openai/v1/batches",
        b"/bedrock/model/m/count-tokens",
    ],
)
def test_listed_posts_are_free(target: bytes) -> None:
    assert _found(target).kind == "free"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize("target", [b"/v1/models", b"/v1/messages", b"/bedrock/x", b"/azure/x", b"/openai/x"])
def test_reading_and_deleting_is_free_everywhere(method: bytes, target: bytes) -> None:
    assert _found(target, method).kind == "free"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"POST", b"/v1/images/generations"),
        (b"POST", b"/v1/audio/speech"),
        (b"POST", b"/v1/anything/new"),
        (b"POST", b"/v1/complete"),
        (b"POST", b"/anthropic/v1/skills"),
        (b"POST", b"/bedrock/guardrail/g/version/1/apply"),
        (b"POST", b"/bedrock/async-invoke"),
        (b"POST", b"/azure/openai/deployments/d/images/generations"),
        (b"PUT", b"/v1/files"),
        (b"post", b"/v1/messages"),
        (b"PATCH", b"/v1/messages"),
    ],
)
def test_any_other_call_under_a_providers_prefix_may_cost(method: bytes, target: bytes) -> None:
    assert _found(target, method).kind == "unmetered"


@pytest.mark.parametrize(
    "target",
    [b"/", b"/v1", b"/v1/", b"/healthz", b"/V1/messages", b"/v1%2Fmessages", b"/ws/x/v1/messages", b"v1/x",
     b"/bedrock", b"/bedrockx/model/m/invoke", b"//v1/messages", b"*", b""],
)  # fmt: skip
def test_other_paths_belong_to_no_provider(target: bytes) -> None:
    assert _route(target) is None


@pytest.mark.parametrize(
    "target",
    [
        b"/v1//messages",
        b"/v1/files/../messages",
        b"/v1/./messages",
        b"/v1/files/..",
        b"/v1/%2e%2e/messages",
        b"/v1/files/%2E%2E/messages",
        b"/v1/files/.%2e/messages",
        b"/v1/%6dessages",
        b"/v1/files%2F..%2Fmessages",
        b"/v1/chat%2Fcompletions",
        b"/v1/chat%2fcompletions",
        b"/v1/files\\..\\messages",
        b"/v1/files%5C..%5Cmessages",
        b"/v1/files/%252e%252e/messages",
        b"/v1/messages%00",
        b"/v1/messages%0d%0a",
        b"/v1/messages#x",
        b"/v1/messages %20",
        b"/v1/messages%",
        b"/v1/messages%zz",
        b"/v1/m\xc3\xa9ssages",
        b"/v1/messages//",
        b"/bedrock/model/a%2F..%2Fb/invoke",
        b"/bedrock/model/a%2F%2Fb/invoke",
        b"/bedrock/model/../model/m/invoke",
        b"/azure/openai/deployments/a%2Fb/chat/completions",
        b"/azure/openai/deployments/../x/chat/completions",
    ],
)
def test_a_path_with_more_than_one_reading_is_refused(target: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        _route(target)

    assert (refused.value.status, refused.value.code) == (400, "ambiguous_path")


@pytest.mark.parametrize(
    "target", [b"/v1/models/ft%3Agpt%2Fx", b"/v1/files/a.b..c", b"/v1/models/.hidden", b"/v1/a%20b"]
)
def test_odd_but_plain_paths_are_read(target: bytes) -> None:
    assert _found(target, b"GET").target == target


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (b"/v1/messages/", "metered"),
        (b"/v1/chat/completions/", "metered"),
        (b"/azure/openai/deployments/d/chat/completions/", "metered"),
        (b"/bedrock/model/m/invoke/", "metered"),
        (b"/bedrock/v1/messages/", "metered"),
        (b"/v1/messages/count_tokens/", "unmetered"),
        (b"/v1/files/", "unmetered"),
        (b"/bedrock/model/m/count-tokens/", "unmetered"),
    ],
)
def test_a_slash_at_the_end_makes_nothing_cheaper(target: bytes, kind: str) -> None:
    assert _found(target).kind == kind


@pytest.mark.parametrize(
    ("headers", "provider"),
    [
        (VERSIONED, "anthropic"),
        (VERSIONED + BEARER, "anthropic"),
        (KEYED, "anthropic"),
        (KEYED + BEARER, "openai"),
        (BEARER, "openai"),
        ([], "openai"),
    ],
)
def test_paths_that_both_know_go_to_whom_the_headers_speak_to(headers: Headers, provider: str) -> None:
    assert _found(b"/v1/models", b"GET", headers).provider == provider
    assert _found(b"/v1/files", b"POST", headers).provider == provider


def test_paths_that_one_knows_go_there_whatever_the_headers() -> None:
    assert _found(b"/v1/messages", headers=BEARER).provider == "anthropic"
    assert _found(b"/v1/chat/completions", headers=VERSIONED).provider == "openai"


@pytest.mark.parametrize(
    ("target", "dialect"),
    [
        (b"/v1/messages", "anthropic"),
        (b"/v1//messages", "openai"),
        (b"/anthropic/x", "anthropic"),
        (b"/bedrock/v1/messages", "anthropic"),
        (b"/bedrock/model/m/invoke", "bedrock"),
        (b"/azure/openai/responses", "azure"),
        (b"/nowhere", "openai"),
        (b"", "openai"),
    ],
)
def test_errors_are_spoken_in_the_callers_dialect_also_without_a_route(target: bytes, dialect: str) -> None:
    assert dialect_of(RequestHead(b"POST", target, [])) == dialect


def test_a_key_in_the_place_of_a_model_is_never_named() -> None:
    route = _found(b"/bedrock/model/ABSKabcdefghijklmnopqrst/invoke")

    assert route.model == "[redacted]"
