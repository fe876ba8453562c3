from typing import Any

import anthropic
import httpx2
import msgspec
import openai
import pytest
from botocore.model import StringShape
from botocore.parsers import create_parser

from proxy_service.refusals import Dialect, Retry, render_error
from proxy_service.wire import header

SECRETLESS = "say what to do next"


def _transport(dialect: Dialect, status: int) -> httpx2.MockTransport:
    headers, body = render_error(dialect, status, "our_code", SECRETLESS, "req_42", param="model")
    return httpx2.MockTransport(lambda _: httpx2.Response(status, headers=headers, content=body))


@pytest.mark.parametrize(
    ("status", "error", "error_type"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (402, anthropic.APIStatusError, "billing_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.RequestTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (502, anthropic.InternalServerError, "api_error"),
        (503, anthropic.ServiceUnavailableError, "overloaded_error"),
        (504, anthropic.DeadlineExceededError, "timeout_error"),
    ],
)
def test_the_anthropic_client_raises_what_its_provider_would_make_it_raise(
    status: int, error: type[anthropic.APIStatusError], error_type: str
) -> None:
    http = httpx2.Client(transport=_transport("anthropic", status))
    client = anthropic.Anthropic(api_key="k", http_client=http, max_retries=0)

    with pytest.raises(error) as raised:
        client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])

    assert (raised.value.type, raised.value.api_message) == (error_type, SECRETLESS)
    assert (raised.value.error_code, raised.value.request_id) == ("our_code", "req_42")


@pytest.mark.parametrize(
    ("status", "error", "error_type"),
    [
        (400, openai.BadRequestError, "invalid_request_error"),
        (401, openai.AuthenticationError, "authentication_error"),
        (403, openai.PermissionDeniedError, "permission_error"),
        (404, openai.NotFoundError, "not_found_error"),
        (413, openai.APIStatusError, "invalid_request_error"),
        (429, openai.RateLimitError, "rate_limit_error"),
        (503, openai.InternalServerError, "server_error"),
    ],
)
@pytest.mark.parametrize("dialect", ["openai", "azure"])
def test_the_openai_client_raises_what_its_provider_would_make_it_raise(
    dialect: Dialect, status: int, error: type[openai.APIStatusError], error_type: str
) -> None:
    http = httpx2.Client(transport=_transport(dialect, status))
    client = openai.OpenAI(api_key="k", http_client=http, max_retries=0)

    with pytest.raises(error) as raised:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])

    assert (raised.value.type, raised.value.code, raised.value.param) == (error_type, "our_code", "model")
    assert raised.value.request_id == "req_42"
    assert SECRETLESS in raised.value.message


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ValidationException"),
        (401, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (413, "ValidationException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (502, "InternalServerException"),
        (503, "ServiceUnavailableException"),
    ],
)
def test_the_aws_client_reads_the_kind_and_the_message(status: int, code: str) -> None:
    headers, body = render_error("bedrock", status, "our_code", SECRETLESS, "req_42")
    answer = {
        "status_code": status,
        "headers": {name.decode(): value.decode() for name, value in headers},
        "body": body,
    }

    parsed: dict[str, Any] = create_parser("rest-json").parse(answer, StringShape("x", {"type": "string"}))

    assert parsed["Error"] == {"Code": code, "Message": SECRETLESS}
    assert header(headers, b"x-amzn-requestid") == b"req_42"


RETRIES: tuple[Retry, ...] = ("by status", "soon", "never")
DETAILS = {"budget_id": "budget_1", "limit_usd": "1"}


@pytest.mark.parametrize("dialect", ["anthropic", "openai", "azure", "bedrock"])
def test_what_a_program_needs_to_know_stands_beside_the_words(dialect: Dialect) -> None:
    _, body = render_error(dialect, 429, "budget_exceeded", "no room", "req_1", details=DETAILS)

    said = msgspec.json.decode(body)
    details = said["details"] if dialect == "bedrock" else said["error"]["details"]
    assert DETAILS.items() <= details.items()


def test_bedrocks_clients_are_not_told_of_a_throttle_that_would_pass() -> None:
    kinds = [
        header(render_error("bedrock", 429, "c", "m", "r", retry=retry)[0], b"x-amzn-errortype")
        for retry in RETRIES
    ]

    assert kinds == [b"ThrottlingException", b"ThrottlingException", b"ServiceQuotaExceededException"]
