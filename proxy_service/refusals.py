"""Errors of our own, in the caller's provider's words, so that its SDK raises what it would raise for them.

`dialect` is whose error shape the caller understands; `code` is our own stable word for the case, which each
shape carries in the place its SDK reads. Nothing a caller sent is ever part of a message.
"""

from typing import Any, Literal

import msgspec

from metering.accounts import Caller
from proxy_service.wire import Headers

Dialect = Literal["anthropic", "openai", "azure", "bedrock"]

Retry = Literal[
    "by status",  # a 429 and a 503 say when to come back, other statuses nothing
    "soon",  # what is missing is free again within seconds
    "never",  # coming back changes nothing: SDKs are told not to
]

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_BEDROCK_TYPES = {
    401: "AccessDeniedException",
    402: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    409: "ConflictException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_BEDROCK_SPENT = "ServiceQuotaExceededException"  # which its SDKs do not take for a passing throttle

_ENCODER = msgspec.json.Encoder()


class RequestRefused(Exception):
    """A call we do not pass on, with the status and words its caller gets.

    `message` tells the caller what to change and holds nothing it sent but names of fields; `param` names
    the field at fault where there is one. `details` say the same to a program. `caller` is for our log:
    whose key it was, where that is known and the key lets nobody in.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        *,
        details: dict[str, str] | None = None,
        retry: Retry = "by status",
        caller: Caller | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.details = details or {}
        self.retry = retry
        self.caller = caller


def render_error(  # noqa: PLR0913  # one of each that an error says
    dialect: Dialect,
    status: int,
    code: str,
    message: str,
    request_id: str,
    *,
    param: str | None = None,
    details: dict[str, str] | None = None,
    retry: Retry = "by status",
) -> tuple[Headers, bytes]:
    """Headers and body of an error answer; `request_id` is where the caller's SDK looks for it."""
    if dialect == "anthropic":
        headers, body = _anthropic(status, code, message, request_id, details or {})
    elif dialect == "bedrock":
        error_type = _BEDROCK_SPENT if retry == "never" else _bedrock_type(status)
        headers, body = _bedrock(error_type, code, message, request_id)
        body |= {"details": details} if details else {}
    else:
        headers, body = _openai(status, code, message, request_id, param, details or {})
    return headers, _ENCODER.encode(body)


def anthropic_error_body(error_type: str, message: str, request_id: str | None = None) -> bytes:
    """Anthropic's error object, for errors of another provider put in its words."""
    return _ENCODER.encode(
        {"type": "error", "error": {"type": error_type, "message": message}}
        | ({"request_id": request_id} if request_id else {})
    )


def anthropic_error_type(status: int) -> str:
    """The word Anthropic has for an error of that status."""
    return _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def _anthropic(
    status: int, code: str, message: str, request_id: str, details: dict[str, str]
) -> tuple[Headers, dict[str, Any]]:
    body = {
        "type": "error",
        "error": {
            "type": anthropic_error_type(status),
            "message": message,
            "details": {"error_code": code} | details,
        },
        "request_id": request_id,
    }
    return [(b"content-type", b"application/json"), (b"request-id", request_id.encode())], body


def _openai(
    status: int, code: str, message: str, request_id: str, param: str | None, details: dict[str, str]
) -> tuple[Headers, dict[str, Any]]:
    error_type = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": error_type, "param": param, "code": code}
    body = {"error": error | ({"details": details} if details else {})}
    return [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode())], body


def _bedrock_type(status: int) -> str:
    default = "InternalServerException" if status >= 500 else "ValidationException"
    return _BEDROCK_TYPES.get(status, default)


def _bedrock(error_type: str, code: str, message: str, request_id: str) -> tuple[Headers, dict[str, Any]]:
    headers = [
        (b"content-type", b"application/json"),
        (b"x-amzn-errortype", error_type.encode()),
        (b"x-amzn-requestid", request_id.encode()),
    ]
    return headers, {"message": message, "code": code}
